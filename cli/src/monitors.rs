//! `onerun monitors`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use onerun_client::{
    ProjectClient, Verbatim,
    resource::{
        AlertRates, Monitor, MonitorAlert, MonitorChange, MonitorGate, MonitorRun, MonitorState, NewMonitor,
        NewSchedule, PageRequest, Start,
    },
};
use onerun_report::Verdict;
use serde_json::Map;

use crate::{
    creation::{Printing, print_warnings},
    list::{self, Listing},
    outcome, output,
    project::{ProjectArgument, find},
    results,
    simulations::Settings,
    text::{fields, plain, prose, table, time, utc},
};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 9;

const EXAMPLES: &str = "\
Examples:
  onerun monitors create Mornings --agent Refunds --objective Polite \\
    --scenario 'A customer wants the money back for a broken kettle.' \\
    --personas 10 --schedule '0 9 * * 1-5' --timezone Europe/Berlin \\
    --min-pass-rate 0.9
  onerun monitors create Pulse --agent Refunds --objective Polite \\
    --scenario-file scenario.txt --personas 3 --schedule 'rate(1 hour)'";

const ALERT_EXAMPLES: &str = "\
Examples:
  onerun monitors alert Mornings || page-the-team
  onerun monitors alert Mornings --expected-pass-rate 0.95 --low-pass-rate 0.8

Exit codes, as those of `onerun run`:
  0  pass    no alert is open
  1  fail    the pass rate has dropped
  3  infra   the server cannot be reached, or fails
  4  config  the API refused the request, or the monitor has no alert";

/// Subcommands of `onerun monitors`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a monitor, which starts a simulation at each planned time, and print its id.
    #[command(after_help = EXAMPLES)]
    Create(Box<Create>),
    /// List the monitors of a project, newest first.
    List(List),
    /// Show a monitor: its schedule in words, its next times and its last runs.
    #[command(visible_alias = "get")]
    Show(Show),
    /// Show whether the pass rate of a monitor has dropped. The exit code is 1 if it has.
    #[command(after_help = ALERT_EXAMPLES)]
    Alert(Alert),
    /// Start no runs at the planned times.
    Pause(Selected),
    /// Go on with the next planned time.
    Resume(Selected),
    /// Start a run now, also of a paused monitor, and print its id.
    Run(Selected),
    /// List the runs of a monitor by planned time, last first.
    History(History),
    /// Delete a monitor and its history. Its simulations stay.
    Delete(Selected),
}

/// Options of `onerun monitors create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The monitor's name, which its simulations have, too.
    name: String,
    #[command(flatten)]
    settings: Settings,
    /// When runs start: a rate (`rate(1 hour)`), AWS's cron expression (`cron(0 9 ? * MON-FRI *)`), or the usual
    /// five fields (`0 9 * * 1-5`). Without one, only `onerun monitors run` starts runs.
    #[arg(long, value_name = "EXPRESSION")]
    schedule: Option<String>,
    /// The time zone of a cron expression, such as `Europe/Berlin` [default: UTC].
    #[arg(long, value_name = "ZONE", requires = "schedule")]
    timezone: Option<String>,
    /// The gate: the smallest share of a run's conversations that must pass. Without it, runs have no verdict.
    #[arg(long, value_name = "RATE")]
    min_pass_rate: Option<f64>,
    /// Compare the lower end of the pass rate's 95% interval with it.
    #[arg(long, requires = "min_pass_rate")]
    lower_bound: bool,
    #[command(flatten)]
    alert: AlertArguments,
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    printing: Printing,
}

/// The rates of an alert: both or neither.
#[derive(Debug, Args)]
struct AlertArguments {
    /// The pass rate of the agent as it should be. An alert opens when the runs show that the rate has dropped.
    #[arg(long, value_name = "RATE", requires = "low_pass_rate")]
    expected_pass_rate: Option<f64>,
    /// The lower pass rate that the alert must notice.
    #[arg(long, value_name = "RATE", requires = "expected_pass_rate")]
    low_pass_rate: Option<f64>,
}

impl AlertArguments {
    fn rates(&self) -> Option<AlertRates> {
        let (expected_pass_rate, low_pass_rate) = (self.expected_pass_rate?, self.low_pass_rate?);
        Some(AlertRates { expected_pass_rate, low_pass_rate })
    }
}

/// Options of `onerun monitors alert`.
#[derive(Debug, Args)]
pub(crate) struct Alert {
    #[command(flatten)]
    of: Show,
    #[command(flatten)]
    alert: AlertArguments,
}

/// Options of `onerun monitors list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    listing: Listing,
}

/// A monitor.
#[derive(Debug, Args)]
pub(crate) struct Selected {
    /// The monitor's id or exact name.
    #[arg(value_name = "MONITOR_ID")]
    monitor: String,
    #[command(flatten)]
    of: ProjectArgument,
}

/// Options of `onerun monitors show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    of: Selected,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `onerun monitors history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    of: Selected,
    #[command(flatten)]
    listing: Listing,
}

/// Runs a command, and returns the exit code.
pub(crate) async fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Create(options) => create(options).await,
        Command::List(options) => list(options).await,
        Command::Show(options) => show(options).await,
        Command::Alert(options) => return alert(options).await,
        Command::Pause(options) => set_state(options, MonitorState::Paused).await,
        Command::Resume(options) => set_state(options, MonitorState::Active).await,
        Command::Run(options) => start(options).await,
        Command::History(options) => history(options).await,
        Command::Delete(options) => delete(options).await,
    };
    outcome::report(done.map(|()| ExitCode::SUCCESS))
}

impl Selected {
    /// A client of its project, and its id.
    async fn find(&self) -> anyhow::Result<(ProjectClient, String)> {
        let project = self.of.client().await?;
        let id = find_monitor(&project, &self.monitor).await?;
        Ok((project, id))
    }
}

async fn find_monitor(project: &ProjectClient, wanted: &str) -> anyhow::Result<String> {
    find(
        "monitor",
        wanted,
        async || project.monitor(wanted).await.map(drop),
        async || {
            let list = async |page| project.list_monitors(page).await;
            list::ids_named(wanted, |monitor: &Monitor| (&monitor.id, &monitor.name), list).await
        },
    )
    .await
}

async fn create(options: &Create) -> anyhow::Result<()> {
    let inputs = options.settings.read()?;
    let project = options.of.client().await?;
    let schedule = options
        .schedule
        .as_ref()
        .map(|expression| NewSchedule { expression: expression.clone(), timezone: options.timezone.clone() });
    let on = if options.lower_bound { "lower_bound" } else { "rate" };
    let new = NewMonitor {
        name: options.name.clone(),
        simulation: options.settings.simulation(&project, &options.name, inputs, true).await?,
        schedule,
        gate: options.min_pass_rate.map(|min_pass_rate| MonitorGate { min_pass_rate, on: on.to_owned() }),
        alert: options.alert.rates(),
        metadata: Map::new(),
    };
    let created = project.create_monitor(&new).await?;
    print_warnings(&created.warnings);
    options.printing.print(&created.id, async || project.monitor(&created.id).await).await
}

async fn list(options: &List) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    list::print(
        &options.listing,
        |monitor: &Monitor| &monitor.id,
        async |page| project.list_monitors(page).await,
        async |monitors| {
            let rows: Vec<_> = monitors.iter().map(|monitor| row(monitor)).collect();
            Ok(table(["ID", "NAME", "STATE", "SCHEDULE", "NEXT (UTC)"], &[1, 3], &rows))
        },
    )
    .await
}

fn row(monitor: &Monitor) -> [String; 5] {
    let schedule = monitor.schedule.as_ref();
    let next = schedule.and_then(|schedule| schedule.next_runs.first());
    [
        plain(&monitor.id),
        plain(&monitor.name),
        monitor.state.as_str().to_owned(),
        schedule.map_or_else(|| "none".to_owned(), |schedule| plain(&schedule.description)),
        next.map(|next| time(next)).unwrap_or_default(),
    ]
}

async fn show(options: &Show) -> anyhow::Result<()> {
    let (project, id) = options.of.find().await?;
    let monitor = project.monitor(&id).await?;
    if options.json {
        return output::print_json(monitor.json());
    }
    let last = PageRequest { limit: 10, start: Start::Offset(0) };
    let runs = project.list_monitor_runs(&id, last).await?;
    output::print(&describe(&monitor, &runs.data))
}

/// A monitor with its last runs.
fn describe(monitor: &Monitor, runs: &[Verbatim<MonitorRun>]) -> String {
    let prose = |text: &str| prose(text, NAME_WIDTH);
    let mut lines = vec![
        ("id", plain(&monitor.id)),
        ("name", prose(&monitor.name)),
        ("state", monitor.state.as_str().to_owned()),
    ];
    if let Some(schedule) = &monitor.schedule {
        lines.push(("schedule", prose(&format!("{}: {}", schedule.expression, schedule.description))));
        let next: Vec<_> = schedule.next_runs.iter().map(|next| utc(next)).collect();
        lines.push(("next", if next.is_empty() { "none".to_owned() } else { next.join("\n") }));
    }
    if let Some(gate) = &monitor.gate {
        let on = if gate.on == "lower_bound" { "lower bound of the pass rate" } else { "pass rate" };
        lines.push(("gate", format!("{on} ≥ {}%", results::percent(gate.min_pass_rate))));
    }
    if let Some(alert) = &monitor.alert {
        lines.push(("alert", rates(alert)));
    }
    lines.push(("created", utc(&monitor.created_at)));
    if !monitor.warnings.is_empty() {
        lines.push(("warnings", prose(&monitor.warnings.join(" "))));
    }
    let mut text = fields(&lines);
    if !runs.is_empty() {
        text.push('\n');
        text.push_str(&run_table(runs));
    }
    text
}

fn run_table(runs: &[Verbatim<MonitorRun>]) -> String {
    let rows: Vec<_> = runs.iter().map(|run| run_row(run)).collect();
    table(["PLANNED (UTC)", "STATUS", "VERDICT", "PASSED (95%)", "SIMULATION", "NOTE"], &[5], &rows)
}

fn run_row(run: &MonitorRun) -> [String; 6] {
    let outcomes = run.outcomes.as_ref();
    let rate = outcomes.and_then(|outcomes| {
        Some(results::rate_with_interval(outcomes.pass_rate?, outcomes.pass_rate_interval?))
    });
    let note = run.failure_reason.as_deref().or(run.reasons.first().map(String::as_str));
    [
        time(&run.planned_at),
        run.status.as_str().to_owned(),
        plain(run.verdict.as_deref().unwrap_or_default()),
        rate.unwrap_or_default(),
        plain(run.simulation_id.as_deref().unwrap_or_default()),
        plain(note.unwrap_or_default()),
    ]
}

fn rates(rates: &AlertRates) -> String {
    let AlertRates { expected_pass_rate: expected, low_pass_rate: low } = rates;
    format!("pass rate drops from {}% to {}%", results::percent(*expected), results::percent(*low))
}

async fn alert(options: &Alert) -> anyhow::Result<ExitCode> {
    let verdict = print_alert(options).await;
    let code = verdict.map(|verdict| ExitCode::from(verdict.exit_code()));
    outcome::report_as(code, Verdict::Config.exit_code(), Verdict::Infra.exit_code())
}

/// Prints the alert. `fail` if it is open.
async fn print_alert(options: &Alert) -> anyhow::Result<Verdict> {
    let (project, id) = options.of.of.find().await?;
    let alert = project.monitor_alert(&id, options.alert.rates().as_ref()).await?;
    if options.of.json {
        output::print_json(alert.json())?;
    } else {
        output::print(&describe_alert(&alert))?;
    }
    Ok(if alert.state == "ok" { Verdict::Pass } else { Verdict::Fail })
}

fn describe_alert(alert: &MonitorAlert) -> String {
    let since = alert.since.as_ref().map(|since| format!(" since {}", utc(since))).unwrap_or_default();
    let lines = [
        ("state", format!("{}{since}", plain(&alert.state))),
        ("alert", rates(&alert.rates)),
        ("score", format!("{:.2} of {:.2}", alert.score, alert.threshold)),
        ("runs", alert.runs.to_string()),
    ];
    let mut text = fields(&lines);
    if !alert.events.is_empty() {
        let rows = alert
            .events
            .iter()
            .map(|event| [time(&event.planned_at), plain(&event.change), plain(&event.run_id)]);
        text.push('\n');
        text.push_str(&table(["PLANNED (UTC)", "ALERT", "RUN"], &[], &rows.collect::<Vec<_>>()));
    }
    text
}

async fn set_state(options: &Selected, state: MonitorState) -> anyhow::Result<()> {
    let (project, id) = options.find().await?;
    let change = MonitorChange { state: Some(state), ..MonitorChange::default() };
    let monitor = project.update_monitor(&id, &change).await?;
    let next = monitor.schedule.as_ref().and_then(|schedule| schedule.next_runs.first());
    let next = next.map(|next| format!(", next run {}", utc(next))).unwrap_or_default();
    output::print(&format!("{}{next}\n", monitor.state.as_str()))
}

async fn start(options: &Selected) -> anyhow::Result<()> {
    let (project, id) = options.find().await?;
    let run = project.create_monitor_run(&id).await?;
    output::print(&format!("{}\n", plain(&run.id)))
}

async fn history(options: &History) -> anyhow::Result<()> {
    let (project, id) = options.of.find().await?;
    list::print(
        &options.listing,
        |run: &MonitorRun| &run.id,
        async |page| project.list_monitor_runs(&id, page).await,
        async |runs| Ok(run_table(runs)),
    )
    .await
}

async fn delete(options: &Selected) -> anyhow::Result<()> {
    let (project, id) = options.find().await?;
    project.delete_monitor(&id).await?;
    output::print("deleted\n")
}
