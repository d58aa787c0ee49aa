//! `onerun keys`: API keys. `generate`, `check` and `scan` work offline; the others use the API.

mod arguments;
mod attention;
mod audit;
mod check;
mod issue;
mod leak;
mod manage;
mod scan;
mod table;

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use onerun_auth::RootKey;

use crate::{logs, outcome, output, runtime};

/// Help text below the subcommands.
pub(crate) const AFTER_HELP: &str = "\
Environment:
  ONERUN_API_BASE_URL  the API's address [default: http://127.0.0.1:9000]
  ONERUN_API_KEY       the API key; no argument accepts one
  COLUMNS              the width of tables and text [default: the terminal's
                       width; tables in a file or a pipe are not cut]

  generate, check and scan work offline; report-leak needs no API key.

Exit codes:
  0  success, or a positive answer
  1  a negative answer: the API refused the request (4xx), a key is not well
     formed, a key was found in a file, the audit trail was changed, or you
     answered no
  2  the result is unknown: wrong command line, unusable file, no response from
     the API, or a server error (5xx)

With --json, standard output is the API's JSON document, or empty if the command
failed. That of attention has four lists of keys. Control and invisible
characters in it are replaced by \\u escapes.";

/// Subcommands of `onerun keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a key and print its secret: `KEY=$(onerun keys create …)`.
    ///
    /// The secret is shown only once. Its other details go to standard error.
    Create(issue::Create),
    /// List keys, newest first.
    List(manage::List),
    /// List active keys that need attention: keys that expire within 14 days, were not used for 30
    /// days, never expire, or have unused scopes.
    ///
    /// Replaced keys end on their own and are left out.
    Attention(attention::Options),
    /// Show a key.
    Show(manage::Named),
    /// Change a key's name, scopes, projects, expiry, allowed addresses, rate limit or metadata.
    Update(manage::Update),
    /// Replace a key and print the new secret. The old key works until the overlap ends.
    Rotate(issue::Rotate),
    /// Revoke a key permanently.
    Revoke(manage::Revoke),
    /// Disable a key until it is enabled again.
    Disable(manage::Named),
    /// Enable a disabled key.
    Enable(manage::Named),
    /// Show the key in `ONERUN_API_KEY`: its scopes, projects and expiry.
    Whoami(manage::Whoami),
    /// List the audit trail of keys, or verify it.
    Audit(audit::Options),
    /// Revoke leaked keys, read from standard input, one per line. No API key is needed.
    ReportLeak(leak::Options),
    /// Print a new root key: 32 random bytes in base64.
    Generate,
    /// Check the format and checksum of a key on standard input, offline.
    ///
    /// Exits with 0 if they are right and with 1 if not. It does not ask whether the API accepts the key.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Find managed keys in files by pattern and checksum, for pre-commit hooks and CI.
    ///
    /// Prints the location and the public id of each, never the secret. Exits with 0 if no key was
    /// found, with 1 if one was found, and with 2 if a file could not be read.
    Scan {
        /// Files and directories. Directories are scanned recursively, without `.git`.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs a subcommand and returns the exit code. Fails only if standard output was closed.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    outcome::report(run_command(command))
}

fn run_command(command: &Command) -> anyhow::Result<ExitCode> {
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
            runtime()?.block_on(run_remote(remote)).map(|()| ExitCode::SUCCESS)
        }
    }
}

async fn run_remote(command: &Command) -> anyhow::Result<()> {
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
