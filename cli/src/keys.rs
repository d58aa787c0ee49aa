//! `onerun keys`: API keys.

use clap::Subcommand;
use onerun_gateway::RootKey;

use crate::output;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a new root key: 32 bytes from the system's random generator, in base64.
    Generate,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Generate => {
            let key = RootKey::generate(getrandom::fill)?;
            output::print(&format!("{}\n", key.expose()))
        }
    }
}
