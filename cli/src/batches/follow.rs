//! Waits until a batch is over.

use std::{process::ExitCode, time::Duration};

use anyhow::anyhow;
use clap::{Args, value_parser};
use onerun_client::{
    ProjectClient, Verbatim,
    resource::{Batch, BatchStatus},
};
use onerun_report::Verdict;
use tokio::time::{Instant, sleep, timeout_at};

use super::{print_batch, progress};
use crate::{outcome, output, text::plain};

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a server may be unreachable.
const MAX_OUTAGE: Duration = Duration::from_mins(1);

pub(super) const HELP: &str = "\
Progress goes to standard error, the batch to standard output.

Exit codes, as those of `onerun run`:
  0  every simulation completed
  2  the batch is not over within --timeout, or it was canceled
  3  a simulation failed or expired, or the server cannot be reached
  4  the API refused the request";

/// How to wait.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Wait at most this long [default: until it is over].
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..=30 * 24 * 60 * 60))]
    timeout: Option<u32>,
    /// Print no progress.
    #[arg(long)]
    quiet: bool,
    /// Print the API's response as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Prints an error, and returns the exit code of a verdict.
pub(super) fn report(result: anyhow::Result<Verdict>) -> anyhow::Result<ExitCode> {
    let result = result.map(|verdict| ExitCode::from(verdict.exit_code()));
    outcome::report_as(result, Verdict::Config.exit_code(), Verdict::Infra.exit_code())
}

/// Waits until a batch is over and prints it. The verdict is `pass` if every simulation completed.
pub(super) async fn follow(project: &ProjectClient, id: &str, options: &Options) -> anyhow::Result<Verdict> {
    let mut shown = String::new();
    let over = until_over(project, id, &mut shown, options.quiet);
    let over = match options.timeout {
        Some(seconds) => timeout_at(Instant::now() + Duration::from_secs(seconds.into()), over).await,
        None => Ok(over.await),
    };
    let Ok(over) = over else {
        let seconds = options.timeout.unwrap_or_default();
        output::print_error(&anyhow!("batch {} is not over after {seconds} s: {shown}", plain(id)));
        return Ok(Verdict::Inconclusive);
    };
    let batch = over?;
    if options.json {
        output::print_json(batch.json())?;
    } else {
        print_batch(project, &batch).await?;
    }
    Ok(match batch.status {
        BatchStatus::Completed => Verdict::Pass,
        BatchStatus::Failed => Verdict::Infra,
        _ => Verdict::Inconclusive,
    })
}

/// Waits until the batch is over. `shown` is its progress.
async fn until_over(
    project: &ProjectClient,
    id: &str,
    shown: &mut String,
    quiet: bool,
) -> anyhow::Result<Verbatim<Batch>> {
    let mut last_answer = Instant::now();
    loop {
        let now = match project.batch(id).await {
            Ok(batch) if batch.ended_at.is_some() => return Ok(batch),
            Ok(batch) => {
                last_answer = Instant::now();
                format!("batch {}: {}", plain(&batch.id), progress(&batch.counts))
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
