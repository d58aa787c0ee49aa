//! The `onerun` program.

mod api;
mod conversations;
mod demo;
mod keys;
mod list;
mod logs;
mod outcome;
mod output;
mod personas;
mod projects;
mod results;
mod serve;
mod signals;
mod simulations;
mod text;

use std::{borrow::Cow, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

/// How long threads have to end once a server has stopped.
const THREADS_END: Duration = Duration::from_secs(1);

/// Simulate conversations with an AI agent, and score them.
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
    /// Simulate and score a small built-in agent: nothing to configure, no network.
    Demo(demo::Options),
    /// API keys.
    #[command(after_help = keys::AFTER_HELP)]
    Keys {
        #[command(subcommand)]
        command: keys::Command,
    },
    /// Projects: what everything else belongs to.
    #[command(after_help = outcome::AFTER_HELP)]
    Projects {
        #[command(subcommand)]
        command: projects::Command,
    },
    /// Simulations, how far they are, and what their verdicts come to.
    #[command(after_help = outcome::AFTER_HELP)]
    Simulations {
        #[command(subcommand)]
        command: simulations::Command,
    },
    /// Personas of a simulation, and whether they may hold conversations.
    #[command(after_help = outcome::AFTER_HELP)]
    Personas {
        #[command(subcommand)]
        command: personas::Command,
    },
    /// Conversations of a simulation: who said what, and the verdicts on it.
    #[command(after_help = outcome::AFTER_HELP)]
    Conversations {
        #[command(subcommand)]
        command: conversations::Command,
    },
    /// Print the OpenAPI document of the API.
    Openapi,
}

fn main() -> ExitCode {
    text::measure_screen(api::variable("COLUMNS").ok().flatten().as_deref());
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return explain(&error),
    };
    match run(command) {
        Ok(code) => code,
        // Whoever reads has seen enough, as in `onerun demo | head`.
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints help, or what is wrong with the command line. Arguments may come from elsewhere, so a terminal must not obey them.
fn explain(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    // If nobody can be told, the exit code still tells.
    let _ = match text::plain_lines(&text) {
        Cow::Borrowed(_) => error.print(),
        Cow::Owned(text) => output::prompt(&text),
    };
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Keys { command } => return keys::run(&command),
        Command::Projects { command } => return ask(projects::run(&command)),
        Command::Simulations { command } => return ask(simulations::run(&command)),
        Command::Personas { command } => return ask(personas::run(&command)),
        Command::Conversations { command } => return ask(conversations::run(&command)),
        Command::Serve(options) => {
            logs::start("info");
            block_on(serve::run(&options))
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
    done.map(|()| ExitCode::SUCCESS)
}

/// Has the API asked something.
fn ask(asked: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    logs::start("warn");
    outcome::told(runtime()?.block_on(asked).map(|()| ExitCode::SUCCESS))
}

/// Runs a server to its end, whatever a thread is still at.
fn block_on(serving: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(serving);
    // Dropping the runtime would wait for threads without limit, and one may be matching a pattern.
    runtime.shutdown_timeout(THREADS_END);
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
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
