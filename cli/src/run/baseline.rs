//! Baselines: approved reports of earlier runs.

use std::{
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use onerun_report::{Report, baseline_problems, render};

use super::{failure::Failure, outputs::to_json};
use crate::{
    input, output,
    text::{count, plain},
};

/// The maximum size of a report in bytes.
const MAX_REPORT: u64 = 256 * 1024 * 1024;

/// `onerun baseline`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the report of a run the baseline of later runs.
    Approve(Approve),
}

/// Options of `onerun baseline approve`.
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The report, which `onerun run --json FILE` wrote.
    report: PathBuf,
    /// The baseline to write, which the file of the run names.
    #[arg(long, value_name = "FILE", default_value = "baseline.json")]
    output: PathBuf,
}

/// Runs a subcommand.
pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    let Command::Approve(Approve { report, output }) = command;
    let approved = read(report)?;
    let problems = baseline_problems(&approved);
    if !problems.is_empty() {
        return Err(Failure::config(format!(
            "{} cannot be approved: {}",
            report.display(),
            problems.join("; ")
        )));
    }
    write(&approved, output)?;
    let text = format!(
        "{} is the baseline now: {}, {}, {} passed, verdict {}\n",
        plain(&output.display().to_string()),
        count(approved.planned.cases, "case"),
        count(approved.planned.trials, "conversation"),
        render::rate(approved.rate.as_ref()),
        approved.verdict,
    );
    output::print(&text).map_err(Failure::infra)
}

/// Reads a report.
pub(crate) fn read(path: &Path) -> Result<Report, Failure> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::config(format!("the report {shown} does not exist")),
        _ => Failure::config(format!("cannot read the report {shown}: {error}")),
    })?;
    let text = input::read_bounded(file, &format!("the report {shown}"), MAX_REPORT);
    let text = text.map_err(|error| Failure::config(format!("{error:#}")))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::config(format!("{shown} is not a report of `onerun run --json`: {error}")))
}

/// Reads the baseline of a run. A missing one is an error with the next step.
pub(crate) fn read_baseline(path: &Path) -> Result<Report, Failure> {
    if !path.exists() {
        let shown = path.display();
        return Err(Failure::config(format!(
            "there is no baseline {shown}: run once with `--no-baseline --json report.json`, and approve the report with \
             `onerun baseline approve report.json --output {shown}`"
        )));
    }
    read(path)
}

/// Writes a baseline.
pub(crate) fn write(report: &Report, path: &Path) -> Result<(), Failure> {
    let text = to_json(report).map_err(Failure::infra)?;
    output::replace_file(path, &text).map_err(|error| Failure::infra(format!("{error:#}")))
}
