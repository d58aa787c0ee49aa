//! `onerun keys`: API keys. Some commands need nobody to be asked; the others ask the API.

mod arguments;
mod attention;
mod audit;
mod check;
mod confirm;
mod issue;
mod leak;
mod manage;
mod scan;
mod table;

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use onerun_auth::RootKey;

use crate::{logs, outcome, output, runtime};

/// What is said below the list of commands. One table for all of them.
pub(crate) const AFTER_HELP: &str = "\
Environment:
  ONERUN_API_BASE_URL  the API's address [default: http://127.0.0.1:9000]
  ONERUN_API_KEY       the key that is sent; no argument takes a key
  COLUMNS              how wide tables and texts are [default: the terminal's
                       width; to a file or a pipe, tables are not cut]

  generate, check and scan ask nobody and need neither; report-leak needs no key.

Exit codes:
  0  done; or the answer is yes
  1  the answer is no: the API refused (4xx), a key is not whole, one was found
     in a file, the audit trail is not what it was, or you said no
  2  nothing is known of it: a wrong command line, a file that cannot be used,
     no answer from the API, or one that says that it failed (5xx)

With --json, standard output is one JSON document, as the API sent it, and
nothing if the command failed. That of attention is four lists of keys. What a
terminal would obey or not show is written otherwise, as a \\u escape.";

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key, and print it alone: `KEY=$(onerun keys create …)`.
    ///
    /// It is shown this once. What else there is to say of it goes to standard error.
    Create(issue::Create),
    /// List keys, newest first.
    List(manage::List),
    /// List active keys that are worth a look: those that end within 14 days, were not used for 30, never end, or hold
    /// scopes that they have not used.
    ///
    /// A key that was replaced ends by itself, and is not among them.
    Attention(attention::Options),
    /// Show a key.
    Show(manage::Named),
    /// Change what a key may do, where, from where, how often and how long.
    Update(manage::Update),
    /// Put a new key in the place of one, and print it alone. The old one goes on for an overlap.
    Rotate(issue::Rotate),
    /// End a key for good.
    Revoke(manage::Revoke),
    /// Have a key not work until it is enabled.
    Disable(manage::Named),
    /// Have a disabled key work again.
    Enable(manage::Named),
    /// Show the key in `ONERUN_API_KEY`: what it may do, where, and how long.
    Whoami(manage::Whoami),
    /// List what was done with keys and by whom, or check that the list is whole.
    Audit(audit::Options),
    /// Revoke keys that leaked: read from standard input, one a line. Having them is all it takes.
    ReportLeak(leak::Options),
    /// Print a new root key: 32 bytes from the system's random generator, in base64.
    Generate,
    /// Say whether a key is whole: read from standard input, and looked at on this machine alone.
    ///
    /// Exits with 0 if it is, with 1 if it is not. Whether the API accepts it is another question.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Find managed keys in files, by their pattern and checksum: for pre-commit hooks and CI.
    ///
    /// Prints where each is and its public id, never the key. Exits with 0 if there is none, with 1 if there is one, and
    /// with 2 if something could not be read.
    Scan {
        /// Files, and directories with all that is in them but `.git`.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does it, and says what the program is to exit with. Fails only if standard output was closed.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    outcome::told(act(command))
}

fn act(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Generate => {
            let key = RootKey::generate(getrandom::fill)?;
            output::print(&format!("{}\n", key.expose()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { json } => check::run(*json),
        Command::Scan { paths, json } => scan::run(paths, *json),
        remote => {
            logs::start("warn");
            runtime()?.block_on(ask(remote)).map(|()| ExitCode::SUCCESS)
        }
    }
}

async fn ask(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Create(options) => issue::create(options).await,
        Command::Rotate(options) => issue::rotate(options).await,
        Command::List(options) => manage::list(options).await,
        Command::Attention(options) => attention::run(options).await,
        Command::Show(options) => manage::show(options).await,
        Command::Update(options) => manage::update(options).await,
        Command::Revoke(options) => manage::revoke(options).await,
        Command::Disable(options) => manage::disable(options).await,
        Command::Enable(options) => manage::enable(options).await,
        Command::Whoami(options) => manage::whoami(options).await,
        Command::Audit(options) => audit::run(options).await,
        Command::ReportLeak(options) => leak::run(options).await,
        Command::Generate | Command::Check { .. } | Command::Scan { .. } => Ok(()),
    }
}
