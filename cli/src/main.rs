//! The `onerun` program.

mod agents;
mod api;
mod batches;
mod confirm;
mod conversations;
mod creation;
mod demo;
mod evaluations;
mod export;
mod import;
mod init;
mod input;
mod keys;
mod list;
mod logs;
mod models;
mod monitors;
mod objectives;
mod outcome;
mod output;
mod personas;
mod project;
mod projects;
mod reports;
mod results;
mod run;
mod serve;
mod signals;
mod simulations;
mod text;
mod webhooks;
mod worker;
mod yaml;

use std::{borrow::Cow, ffi::OsStr, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use onerun_report::Verdict;

/// Blocking threads that still run this long after a server stopped are abandoned.
const THREAD_SHUTDOWN: Duration = Duration::from_secs(1);

/// Simulate conversations with an AI agent and score them.
#[derive(Debug, Parser)]
#[command(name = "onerun", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API on this machine.
    Serve(serve::Options),
    /// Hold queued conversations with an agent: a chat API, an HTTP endpoint or a command.
    Worker(worker::Options),
    /// Run simulations from one file, and end with a verdict and reports.
    Run(run::Options),
    /// Write a commented example: a file for `onerun run`, and a small agent.
    Init(init::Options),
    /// Print the JSON Schema of the file of `onerun run`, for editors.
    Schema,
    /// Approve the report of a run as the baseline of later runs.
    Baseline {
        #[command(subcommand)]
        command: run::baseline::Command,
    },
    /// Simulate and score a small built-in agent, without configuration or network.
    Demo(demo::Options),
    /// Create, list, change, rotate, revoke and check API keys.
    #[command(after_help = keys::AFTER_HELP)]
    Keys {
        #[command(subcommand)]
        command: keys::Command,
    },
    /// Create, show and list projects.
    #[command(after_help = outcome::AFTER_HELP)]
    Projects {
        #[command(subcommand)]
        command: projects::Command,
    },
    /// Create, show and list the agents of a project.
    #[command(after_help = outcome::AFTER_HELP)]
    Agents {
        #[command(subcommand)]
        command: agents::Command,
    },
    /// Create, show and list the objectives of a project.
    #[command(after_help = outcome::AFTER_HELP)]
    Objectives {
        #[command(subcommand)]
        command: objectives::Command,
    },
    /// Create, show, await, cancel and delete simulations.
    #[command(after_help = outcome::AFTER_HELP)]
    Simulations {
        #[command(subcommand)]
        command: simulations::Command,
    },
    /// Start the simulations of a file, many at once, and wait until they are over.
    #[command(after_help = batches::HELP)]
    Batch(batches::Create),
    /// List, show, cancel and rerun batches of simulations.
    #[command(after_help = outcome::AFTER_HELP)]
    Batches {
        #[command(subcommand)]
        command: batches::Command,
    },
    /// Create, show, pause and run monitors, which start simulations on a schedule.
    #[command(after_help = outcome::AFTER_HELP)]
    Monitors {
        #[command(subcommand)]
        command: monitors::Command,
    },
    /// Create, change and test webhooks, and see and replay their deliveries.
    #[command(after_help = outcome::AFTER_HELP)]
    Webhooks {
        #[command(subcommand)]
        command: webhooks::Command,
    },
    /// List, approve and reject the personas of a simulation.
    #[command(after_help = outcome::AFTER_HELP)]
    Personas {
        #[command(subcommand)]
        command: personas::Command,
    },
    /// Show the conversations of a simulation: transcripts and evaluations.
    #[command(after_help = outcome::AFTER_HELP)]
    Conversations {
        #[command(subcommand)]
        command: conversations::Command,
    },
    /// Judge the conversations of a simulation again, and compare the judges.
    #[command(after_help = outcome::AFTER_HELP)]
    Evaluations {
        #[command(subcommand)]
        command: evaluations::Command,
    },
    /// Show the report on a simulation: its verdict, and the results that it follows from.
    #[command(after_help = reports::AFTER_HELP)]
    Report(reports::ReportOptions),
    /// Compare two simulations with the same personas, conversation by conversation.
    #[command(after_help = reports::AFTER_HELP)]
    Compare(reports::CompareOptions),
    /// Export the conversations of a simulation, with evaluations and messages, as JSON lines or CSV.
    #[command(after_help = export::AFTER_HELP)]
    Export(export::Options),
    /// Import conversations that were held elsewhere, and judge them.
    #[command(after_help = import::HELP)]
    Import(import::Options),
    /// Check the language models that play personas and judge conversations.
    #[command(after_help = models::AFTER_HELP)]
    Models {
        #[command(subcommand)]
        command: models::Command,
    },
    /// Print the OpenAPI document.
    Openapi,
}

fn main() -> ExitCode {
    text::measure_screen(api::variable("COLUMNS").ok().flatten().as_deref());
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return print_usage(&error, usage_code(std::env::args_os().nth(1).as_deref())),
    };
    match run(command) {
        Ok(code) => code,
        // The reader closed the pipe, as in `onerun demo | head`: no failure.
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints help or a usage error. The text may repeat untrusted arguments, so control characters are escaped.
fn print_usage(error: &clap::Error, code: ExitCode) -> ExitCode {
    let text = error.render().to_string();
    // If standard error is closed, the exit code still reports the failure.
    let _ = match text::plain_lines(&text) {
        Cow::Borrowed(_) => error.print(),
        Cow::Owned(text) => output::prompt(&text),
    };
    if error.use_stderr() { code } else { ExitCode::SUCCESS }
}

/// The exit code of a wrong command line. That of a run is `config`, because 2 is a verdict.
fn usage_code(command: Option<&OsStr>) -> ExitCode {
    let has_verdict = command
        .is_some_and(|command| ["run", "batch", "import", "baseline"].iter().any(|one| command == *one));
    if has_verdict { ExitCode::from(Verdict::Config.exit_code()) } else { ExitCode::from(2) }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let result = match command {
        Command::Keys { command } => return keys::run(&command),
        Command::Projects { command } => return query(projects::run(&command)),
        Command::Agents { command } => return query(agents::run(&command)),
        Command::Objectives { command } => return query(objectives::run(&command)),
        Command::Simulations { command } => return exit_with(simulations::run(&command)),
        Command::Batch(options) => return exit_with(batches::create(&options)),
        Command::Batches { command } => return exit_with(batches::run(&command)),
        Command::Monitors { command } => return exit_with(monitors::run(&command)),
        Command::Webhooks { command } => return query(webhooks::run(&command)),
        Command::Personas { command } => return query(personas::run(&command)),
        Command::Conversations { command } => return query(conversations::run(&command)),
        Command::Evaluations { command } => return query(evaluations::run(&command)),
        Command::Report(options) => return exit_with(reports::report(&options)),
        Command::Compare(options) => return exit_with(reports::compare(&options)),
        Command::Export(options) => return query(export::run(&options)),
        Command::Import(options) => return exit_with(import::run(&options)),
        Command::Models { command } => {
            // The report has every failure with its cause.
            logs::start("error");
            return runtime()?.block_on(models::run(&command));
        }
        Command::Run(options) => {
            logs::start("error");
            let verdict = block_on(async { Ok(run::run(&options).await) })?;
            return Ok(ExitCode::from(verdict.exit_code()));
        }
        Command::Init(options) => init::run(&options),
        Command::Schema => init::print_schema(),
        Command::Baseline { command } => {
            let verdict = run::baseline::run(&command).err().map(|failure| run::report_failure(&failure));
            return Ok(verdict.map_or(ExitCode::SUCCESS, |verdict| ExitCode::from(verdict.exit_code())));
        }
        Command::Serve(options) => {
            logs::start("info");
            block_on(serve::run(&options))
        }
        Command::Worker(options) => {
            logs::start("info");
            block_on(worker::run(&options))
        }
        Command::Demo(options) => {
            logs::start("warn");
            block_on(demo::run(&options))
        }
        Command::Openapi => {
            let document = serde_json::to_string_pretty(&onerun_api::openapi::document())?;
            output::print_json(&document)
        }
    };
    result.map(|()| ExitCode::SUCCESS)
}

/// Runs a command that reads from the API.
fn query(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    exit_with(async { outcome::report(command.await.map(|()| ExitCode::SUCCESS)) })
}

/// Runs a command that reads from the API and decides its exit code.
fn exit_with(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    logs::start("warn");
    runtime()?.block_on(command)
}

/// Runs a command that has a server, without waiting for busy threads at its end.
fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(command);
    // Dropping the runtime would wait for threads without limit; one may be matching a pattern.
    runtime.shutdown_timeout(THREAD_SHUTDOWN);
    outcome
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
