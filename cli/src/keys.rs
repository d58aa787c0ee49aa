//! `onerun keys`: API keys, as far as nobody need be asked about them.

mod check;
mod scan;

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use onerun_auth::RootKey;

use crate::output;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Generate => {
            let key = RootKey::generate(getrandom::fill)?;
            output::print(&format!("{}\n", key.expose()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { json } => check::run(*json),
        Command::Scan { paths, json } => scan::run(paths, *json),
    }
}
