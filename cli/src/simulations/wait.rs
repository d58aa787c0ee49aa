//! `onerun simulations wait`.

use std::{process::ExitCode, time::Duration};

use anyhow::anyhow;
use clap::{Args, value_parser};
use onerun_client::{
    Error, ProjectClient, SimulationClient, Verbatim,
    resource::{Results, Simulation, SimulationStatus},
};
use onerun_report::Verdict;
use tokio::time::{Instant, sleep, timeout_at};

use super::{approvals, describe, is_running, print_json, progress};
use crate::{
    outcome, output,
    project::{ProjectArgument, find_simulation},
    text::plain,
};

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a server may be unreachable.
const MAX_OUTAGE: Duration = Duration::from_mins(1);

pub(super) const HELP: &str = "\
Progress goes to standard error, the results to standard output.

Exit codes, as those of `onerun run`:
  0  the simulation is completed: every conversation was held and judged. The
     results say whether the agent passed
  2  it is not over within --timeout, or it was canceled
  3  it failed or expired, or the server cannot be reached
  4  the API refused the request: there is no such simulation, or the key may
     not read it

Example:
  onerun simulations wait Nightly --timeout 3600 && onerun simulations show Nightly";

/// Options of `onerun simulations wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The simulation's id or exact name.
    #[arg(value_name = "ID|NAME")]
    simulation: String,
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    follow: Follow,
}

/// How to wait.
#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// Wait at most this long [default: until it is over, which it is at its expiry at the latest].
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=30 * 24 * 60 * 60))]
    pub(crate) timeout: Option<u32>,
    /// Print no progress.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Print the API's responses as JSON: `{"simulation": …, "results": …}`.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A simulation and its results at one time.
type View = (Verbatim<Simulation>, Verbatim<Results>);

pub(super) async fn run(options: &Wait) -> anyhow::Result<ExitCode> {
    report(wait(options).await)
}

/// Prints an error, and returns the exit code of a verdict.
pub(crate) fn report(result: anyhow::Result<Verdict>) -> anyhow::Result<ExitCode> {
    let result = result.map(|verdict| ExitCode::from(verdict.exit_code()));
    outcome::report_as(result, Verdict::Config.exit_code(), Verdict::Infra.exit_code())
}

async fn wait(options: &Wait) -> anyhow::Result<Verdict> {
    let project = options.of.client().await?;
    let id = find_simulation(&project, &options.simulation).await?;
    follow(&project, &id, &options.follow).await
}

/// Waits until a simulation is over and prints it. The verdict is the one whose exit code fits: `pass` if every
/// conversation was held and judged.
pub(crate) async fn follow(project: &ProjectClient, id: &str, options: &Follow) -> anyhow::Result<Verdict> {
    let client = project.simulation(id);
    let mut shown = String::new();
    let over = until_over(&client, &mut shown, options.quiet);
    let over = match options.timeout {
        Some(seconds) => timeout_at(Instant::now() + Duration::from_secs(seconds.into()), over).await,
        None => Ok(over.await),
    };
    let Ok(over) = over else {
        let seconds = options.timeout.unwrap_or_default();
        output::print_error(&anyhow!("the simulation is not over after {seconds} s: {shown}"));
        return Ok(Verdict::Inconclusive);
    };
    let (simulation, results) = over?;
    if options.json {
        print_json(&simulation, &results)?;
    } else {
        let mut text = String::new();
        describe(&mut text, project.id(), &simulation, &results)?;
        output::print(&text)?;
    }
    Ok(match simulation.status {
        SimulationStatus::Completed => Verdict::Pass,
        SimulationStatus::Failed | SimulationStatus::Expired => Verdict::Infra,
        _ => Verdict::Inconclusive,
    })
}

/// Waits until the simulation is over. `shown` is its progress.
async fn until_over(client: &SimulationClient, shown: &mut String, quiet: bool) -> anyhow::Result<View> {
    let mut last_answer = Instant::now();
    loop {
        let now = match look(client).await {
            Ok((simulation, results)) if !is_running(&simulation) => return Ok((simulation, results)),
            Ok((simulation, results)) => {
                last_answer = Instant::now();
                progress_line(&simulation, &results)
            }
            Err(error) if error.is_transient() && last_answer.elapsed() < MAX_OUTAGE => {
                format!("the server does not answer: {}", plain(&error.to_string()))
            }
            Err(error) => return Err(error.into()),
        };
        if now != *shown {
            *shown = now;
            if !quiet {
                output::print_note(&format!("{shown}\n"));
            }
        }
        sleep(INTERVAL).await;
    }
}

async fn look(client: &SimulationClient) -> Result<View, Error> {
    Ok((client.get().await?, client.results().await?))
}

/// The progress of a running simulation, and what it waits for.
fn progress_line(simulation: &Simulation, results: &Results) -> String {
    let counts = &results.conversations;
    let waits_for = if results.personas.pending > 0 {
        format!("; waits for {}: `onerun simulations approve`", approvals(results))
    } else if counts.queued > 0 && simulation.agent.last_polled_at.is_none() {
        "; no worker has polled yet: `onerun worker` starts one".to_owned()
    } else {
        String::new()
    };
    let status = simulation.status.as_str().replace('_', " ");
    let judged = results.evaluations.completed;
    format!("{status}: conversations: {}; judged: {judged}{waits_for}", progress(counts))
}
