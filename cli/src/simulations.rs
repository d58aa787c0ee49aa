//! `onerun simulations`.

mod create;
mod wait;

pub(crate) use create::{Settings, find_objectives};
pub(crate) use wait::{Follow, follow, report};

use std::{collections::BTreeMap, fmt, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};
use onerun_client::{
    ProjectClient, Verbatim,
    resource::{
        ConversationCounts, Failures, LeftOutMessages, Models, Results, Simulation, SimulationFilter,
        SimulationStatus,
    },
};
use tokio::task::JoinSet;

use crate::{
    confirm::Consent,
    list::{self, Listing},
    outcome, output, personas,
    project::{ProjectArgument, find_simulation},
    results,
    text::{count, fields, labelled, plain, prose, table, time, utc},
};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 9;

/// How many requests for results are in flight at once.
const CONCURRENT_REQUESTS: usize = 4;

/// Subcommands of `onerun simulations`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a simulation, which starts at once, and print its id.
    #[command(after_help = create::EXAMPLES)]
    Create(Box<create::Create>),
    /// List the simulations of a project, newest first.
    ///
    /// For the table, the results of each simulation are requested, too. `--json` prints the list only.
    List(List),
    /// Show a simulation: its settings, progress, and results by objective.
    #[command(visible_alias = "get")]
    Show(Show),
    /// Wait until a simulation is over, show its progress, and print its results.
    #[command(after_help = wait::HELP)]
    Wait(wait::Wait),
    /// Approve all pending personas of a simulation, so that their conversations start.
    Approve(Selected),
    /// Cancel a simulation. Conversations in progress are stopped.
    Cancel(Selected),
    /// Delete a simulation that has ended, with its conversations, personas and evaluations.
    ///
    /// Asks for confirmation. Cancel a running simulation first. The usage of the project stays.
    Delete(Delete),
}

/// Options of `onerun simulations list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    of: ProjectArgument,
    /// Only simulations with this status.
    #[arg(long)]
    status: Option<Status>,
    /// Only simulations of this batch.
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Only simulations of this monitor.
    #[arg(long, value_name = "ID")]
    monitor: Option<String>,
    /// Only simulations created after this time, such as `2026-11-23T09:30:00Z`.
    #[arg(long, value_name = "TIME")]
    created_after: Option<String>,
    /// Only simulations created before this time.
    #[arg(long, value_name = "TIME")]
    created_before: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

/// Values of `--status`.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Pending,
    InProgress,
    Completed,
    Failed,
    Canceled,
    Expired,
}

impl From<Status> for SimulationStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::InProgress => Self::InProgress,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Canceled => Self::Canceled,
            Status::Expired => Self::Expired,
        }
    }
}

/// A simulation.
#[derive(Debug, Args)]
pub(crate) struct Selected {
    /// The simulation's id or exact name.
    #[arg(value_name = "SIMULATION_ID")]
    simulation: String,
    #[command(flatten)]
    of: ProjectArgument,
}

/// Options of `onerun simulations show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    of: Selected,
    /// Print the API's responses as JSON: `{"simulation": …, "results": …}`.
    #[arg(long)]
    json: bool,
}

/// Options of `onerun simulations delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    of: Selected,
    #[command(flatten)]
    consent: Consent,
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Wait(options) => return wait::run(options).await,
        Command::Create(options) => create::run(options).await,
        Command::List(options) => list(options).await,
        Command::Show(options) => show(options).await,
        Command::Approve(options) => approve(options).await,
        Command::Cancel(options) => cancel(options).await,
        Command::Delete(options) => delete(options).await,
    };
    outcome::report(done.map(|()| ExitCode::SUCCESS))
}

async fn approve(options: &Selected) -> anyhow::Result<()> {
    let simulation = options.of.simulation(&options.simulation).await?;
    let approved = personas::approve_all(&simulation).await?;
    output::print(&format!("approved {}\n", count(approved, "persona")))
}

async fn cancel(options: &Selected) -> anyhow::Result<()> {
    options.of.simulation(&options.simulation).await?.cancel().await?;
    output::print("canceled\n")
}

async fn delete(options: &Delete) -> anyhow::Result<()> {
    let simulation = options.of.of.simulation(&options.of.simulation).await?;
    let Simulation { name, id, .. } = simulation.get().await?.into_value();
    let question =
        format!("Delete the simulation {} (`{}`) with everything below it?", plain(&name), plain(&id));
    options.consent.ask(&question)?;
    simulation.delete().await?;
    output::print("deleted\n")
}

async fn list(options: &List) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    let filter = SimulationFilter {
        status: options.status.map(Into::into),
        batch_id: options.batch.clone(),
        monitor_id: options.monitor.clone(),
        created_after: options.created_after.clone(),
        created_before: options.created_before.clone(),
    };
    list::print(
        &options.listing,
        |simulation: &Simulation| &simulation.id,
        async |page| project.list_simulations(&filter, page).await,
        async |simulations| {
            let results = results_of(&project, simulations).await?;
            let rows: Vec<_> = simulations
                .iter()
                .map(|simulation| {
                    let results = results.get(&simulation.id);
                    [
                        plain(&simulation.id),
                        plain(&simulation.name),
                        simulation.status.as_str().to_owned(),
                        results.map(|results| ended(&results.conversations)).unwrap_or_default(),
                        results.and_then(|results| results::rate(&results.overall)).unwrap_or_default(),
                        time(&simulation.created_at),
                        results.map(|results| note(simulation, results)).unwrap_or_default(),
                    ]
                })
                .collect();
            let headings = ["ID", "NAME", "STATUS", "ENDED", "PASSED (95%)", "CREATED (UTC)", "NOTE"];
            Ok(table(headings, &[1, 6], &rows))
        },
    )
    .await
}

/// The results of each simulation, by id.
async fn results_of(
    project: &ProjectClient,
    simulations: &[Verbatim<Simulation>],
) -> anyhow::Result<BTreeMap<String, Results>> {
    let mut results = BTreeMap::new();
    for chunk in simulations.chunks(CONCURRENT_REQUESTS) {
        let mut calls: JoinSet<_> = chunk
            .iter()
            .map(|simulation| {
                let (id, client) = (simulation.id.clone(), project.simulation(&simulation.id));
                async move { client.results().await.map(|results| (id, results.into_value())) }
            })
            .collect();
        while let Some(call) = calls.join_next().await {
            results.extend([call??]);
        }
    }
    Ok(results)
}

fn ended(counts: &ConversationCounts) -> String {
    format!("{} of {}", counts.ended, counts.target)
}

async fn show(options: &Show) -> anyhow::Result<()> {
    let project = options.of.of.client().await?;
    let client = project.simulation(&find_simulation(&project, &options.of.simulation).await?);
    let (simulation, results) = (client.get().await?, client.results().await?);
    if options.json {
        return print_json(&simulation, &results);
    }
    let mut text = String::new();
    describe(&mut text, project.id(), &simulation, &results)?;
    output::print(&text)
}

fn print_json(simulation: &Verbatim<Simulation>, results: &Verbatim<Results>) -> anyhow::Result<()> {
    let (simulation, results) = (simulation.json(), results.json());
    output::print_json(&format!("{{\"simulation\":{simulation},\"results\":{results}}}"))
}

/// Writes all details of a simulation.
fn describe(out: &mut String, project: &str, simulation: &Simulation, results: &Results) -> fmt::Result {
    let prose = |text: &str| prose(text, NAME_WIDTH);
    let mut lines = vec![
        ("id", plain(&simulation.id)),
        ("name", prose(&simulation.name)),
        ("status", simulation.status.as_str().to_owned()),
    ];
    let reason = results.failures.last_failure_reason.as_deref();
    lines.extend(reason.map(|reason| ("because", prose(reason))));
    if results.personas.pending > 0 && is_running(simulation) {
        // Wrapping would break the command.
        let command = format!("onerun personas approve {} --project {} --all", simulation.id, project);
        lines.push(("waits for", format!("{}:\n{}", approvals(results), plain(&command))));
    }
    if is_running(simulation) && simulation.import.is_none() {
        lines.push(("worker", prose(&worker(simulation))));
    }
    lines.extend([("scenario", prose(&simulation.scenario)), ("agent", prose(&simulation.agent.name))]);
    lines.extend(match &simulation.import {
        Some(import) => [
            ("imported", prose(&imported(import.left_out))),
            ("models", prose(&format!("judged by {}", simulation.models.judge))),
        ],
        None => [
            ("personas", format!("{}, seed {}", personas(simulation, results), simulation.seed)),
            ("models", prose(&models(&simulation.models))),
        ],
    });
    lines.extend([
        ("ended", progress(&results.conversations)),
        ("judged", format!("{} of {}", results.evaluations.completed, results.conversations.target)),
        ("created", utc(&simulation.created_at)),
    ]);
    if let Some(at) = &simulation.transcripts_deleted_at {
        lines.push(("deleted", format!("the transcripts, {}", utc(at))));
    }
    if let Some(usage) = results::usage(results) {
        lines.push(("usage", usage));
    }
    let problems = problems(results);
    if !problems.is_empty() {
        lines.push(("problems", problems.join("\n")));
    }
    out.push_str(&fields(&lines));
    out.push('\n');
    results::table(out, results)?;
    out.push('\n');
    labelled(out, "", &results::endings(results, simulation.max_turns))
}

/// The origin of imported conversations, and the messages that the import left out.
fn imported(LeftOutMessages { system, tool }: LeftOutMessages) -> String {
    let parts = [(system, "system message"), (tool, "tool message")];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    let left_out: Vec<_> = parts.map(|(number, what)| count(number.into(), what)).collect();
    if left_out.is_empty() {
        return "the conversations were held elsewhere".to_owned();
    }
    format!("the conversations were held elsewhere; {} left out", left_out.join(" and "))
}

fn is_running(simulation: &Simulation) -> bool {
    matches!(simulation.status, SimulationStatus::Pending | SimulationStatus::InProgress)
}

/// A note for the list: why the simulation failed, or what it waits for.
fn note(simulation: &Simulation, results: &Results) -> String {
    if let Some(reason) = &results.failures.last_failure_reason {
        return plain(reason);
    }
    if !is_running(simulation) {
        return String::new();
    }
    if results.personas.pending > 0 {
        return format!("waits for {}", approvals(results));
    }
    if results.conversations.queued > 0 && simulation.agent.last_polled_at.is_none() {
        return "no worker yet".to_owned();
    }
    String::new()
}

fn approvals(results: &Results) -> String {
    format!("approval of {}", count(results.personas.pending, "persona"))
}

/// When a worker last polled for conversations.
fn worker(simulation: &Simulation) -> String {
    match &simulation.agent.last_polled_at {
        Some(at) => format!("last polled {}", utc(at)),
        None => "no worker has polled yet".to_owned(),
    }
}

/// The target number of personas, and how many are pending or rejected.
fn personas(simulation: &Simulation, results: &Results) -> String {
    let counts = &results.personas;
    let others = [(counts.pending, "pending"), (counts.rejected, "rejected")];
    let others = others.into_iter().filter(|(number, _)| *number > 0);
    let parts = others.map(|(number, what)| format!("{number} {what}"));
    std::iter::once(simulation.target_personas.to_string()).chain(parts).collect::<Vec<_>>().join(", ")
}

/// The models in force. If personas are scripted, the text says how to configure a language model.
fn models(models: &Models) -> String {
    let Models { persona, reply, judge } = models;
    if models.are_scripted() {
        let judged = if judge == "offline" { String::new() } else { format!(", judged by {judge}") };
        return format!(
            "scripted personas (offline){judged}; to configure a language model, start the server with \
             ONERUN_MODEL=provider:model (docs/models.md)"
        );
    }
    if persona == reply && reply == judge {
        return reply.clone();
    }
    format!("personas by {persona}, their messages by {reply}, judged by {judge}")
}

/// The number of conversations by status.
fn progress(counts: &ConversationCounts) -> String {
    let others = [(counts.failed, "failed"), (counts.in_progress, "in progress"), (counts.queued, "queued")];
    let others = others.into_iter().filter(|(number, _)| *number > 0);
    let parts = others.map(|(number, what)| format!("{number} {what}"));
    std::iter::once(ended(counts)).chain(parts).collect::<Vec<_>>().join(", ")
}

/// One line for each kind of problem.
fn problems(results: &Results) -> Vec<String> {
    let Failures { lease_expired, reply_late, agent_failed, stopped, evaluations, .. } = results.failures;
    [
        (lease_expired, "failed: the lease of every attempt expired"),
        (reply_late, "failed: replies came late in every attempt"),
        (agent_failed, "failed: the agent failed in the last attempt"),
        (stopped, "stopped when the simulation ended"),
        (evaluations, "could not be judged"),
        (results.conversations.retried, "needed more than one attempt"),
        (results.persona_faults.critical, "left out of the results: a fault of the persona decided them"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{} {what}", count(number, "conversation")))
    .collect()
}
