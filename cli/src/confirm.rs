//! Confirmation of irreversible actions.

use std::io::{self, BufRead, IsTerminal};

use anyhow::bail;
use clap::Args;

use crate::{outcome::Negative, output};

/// Whether the user confirmed beforehand.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Consent {
    /// Do not ask for confirmation. This cannot be undone.
    #[arg(long)]
    yes: bool,
}

impl Consent {
    pub(crate) fn is_given(self) -> bool {
        self.yes
    }

    /// Whether a user can answer: both standard input and standard error are terminals.
    pub(crate) fn can_be_asked() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks for confirmation unless `--yes` was passed. Fails if it is refused or there is no terminal.
    pub(crate) fn ask(self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !Self::can_be_asked() {
            bail!("this cannot be undone and needs confirmation: run it in a terminal or pass `--yes`");
        }
        output::prompt(&format!("{question} This cannot be undone. Type `yes` to continue: "))?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() == "yes" {
            Ok(())
        } else {
            Err(Negative("canceled: nothing was changed".into()).into())
        }
    }
}
