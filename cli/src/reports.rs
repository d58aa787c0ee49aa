//! `onerun report` and `onerun compare`.

mod text;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, ValueEnum};
use onerun_client::resource::MinPassRate;
use onerun_report::{Comparison, Report, Verdict, render};
use serde::de::DeserializeOwned;

use crate::{
    outcome, output,
    project::{ProjectArgument, find_simulation},
};

/// Help text below the options of both commands.
pub(crate) const AFTER_HELP: &str = "\
Exit codes:
  0  success, whatever the verdict
  1  the API refused the request (4xx): the resource does not exist, or the key
     may not read it
  2  wrong command line, no response from the API, or a server error (5xx)

Exit codes with --exit-code, as those of `onerun run`:
  0  pass
  1  fail
  2  inconclusive: inconclusive evaluations could decide it (also a wrong
     command line)
  3  infra: results are missing, a simulation is not over, or there was no
     report from the API
  4  config: it cannot be evaluated, or the API refused the request

docs/reports.md says what the figures mean. The environment is that of
`onerun simulations --help`.";

/// Options of `onerun report`.
#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// The simulation's id or exact name.
    #[arg(value_name = "SIMULATION_ID")]
    simulation: String,
    #[command(flatten)]
    of: ProjectArgument,
    /// The format.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write the report to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The smallest share of all conversations that must pass, above 0 and at most 1 [default: every conversation must
    /// pass].
    #[arg(long, value_name = "RATE", value_parser = min_pass_rate)]
    min_pass_rate: Option<f64>,
    /// Compare the lower end of the 95% interval with the minimum, instead of the pass rate.
    #[arg(long, requires = "min_pass_rate")]
    on_lower_bound: bool,
    /// Exit with the code of the verdict.
    #[arg(long)]
    exit_code: bool,
}

/// Values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal.
    Text,
    /// The API's response.
    Json,
    Markdown,
    /// JUnit XML.
    Junit,
    /// One page that loads nothing.
    Html,
}

/// Options of `onerun compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareOptions {
    /// The earlier simulation: its id or exact name.
    #[arg(value_name = "BEFORE_ID")]
    before: String,
    /// The later simulation, with the same personas: its id or exact name.
    #[arg(value_name = "AFTER_ID")]
    after: String,
    #[command(flatten)]
    of: ProjectArgument,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
    /// Exit with the code of the verdict.
    #[arg(long)]
    exit_code: bool,
}

fn min_pass_rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| *number > 0.0 && *number <= 1.0);
    number.ok_or_else(|| "must be a number above 0 and at most 1, such as 0.9".to_owned())
}

/// Prints or writes the report on a simulation, and returns the exit code.
pub(crate) async fn report(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    let result = write_report(options).await;
    exit_code(options.exit_code, result)
}

/// Prints the comparison of two simulations, and returns the exit code.
pub(crate) async fn compare(options: &CompareOptions) -> anyhow::Result<ExitCode> {
    let result = print_comparison(options).await;
    exit_code(options.exit_code, result)
}

/// The exit code of a verdict or an error.
fn exit_code(of_verdict: bool, result: anyhow::Result<Verdict>) -> anyhow::Result<ExitCode> {
    if of_verdict {
        let result = result.map(|verdict| ExitCode::from(verdict.exit_code()));
        return outcome::report_as(result, Verdict::Config.exit_code(), Verdict::Infra.exit_code());
    }
    outcome::report(result.map(|_| ExitCode::SUCCESS))
}

async fn write_report(options: &ReportOptions) -> anyhow::Result<Verdict> {
    let gate = options.min_pass_rate.map(|min| MinPassRate { min, on_lower_bound: options.on_lower_bound });
    let answer = options.of.simulation(&options.simulation).await?.report(gate).await?;
    let report: Report = parse(answer.json())?;
    let format = if options.json { Format::Json } else { options.format };
    if let Some(file) = &options.output {
        let text = match format {
            Format::Json => format!("{}\n", answer.json()),
            _ => rendered(&report, format)?,
        };
        output::replace_file(file, &text)?;
        output::print_note(&format!("{}: {}\n", crate::text::plain(&report.name), report.verdict));
    } else if format == Format::Json {
        output::print_json(answer.json())?;
    } else {
        output::print(&rendered(&report, format)?)?;
    }
    Ok(report.verdict)
}

fn rendered(report: &Report, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Text => text::report(report)?,
        Format::Json => serde_json::to_string(report)?,
        Format::Markdown => render::markdown(report),
        Format::Junit => render::junit(report),
        Format::Html => render::html(report),
    })
}

async fn print_comparison(options: &CompareOptions) -> anyhow::Result<Verdict> {
    let project = options.of.client().await?;
    let before = find_simulation(&project, &options.before).await?;
    let after = find_simulation(&project, &options.after).await?;
    let answer = project.simulation(&after).compare_with(&before).await?;
    let comparison: Comparison = parse(answer.json())?;
    if options.json {
        output::print_json(answer.json())?;
    } else {
        output::print(&text::comparison(&comparison)?)?;
    }
    Ok(comparison.verdict)
}

fn parse<T: DeserializeOwned>(json: &str) -> anyhow::Result<T> {
    serde_json::from_str(json)
        .context("the API's response has a form that this program does not know; use the server's version")
}
