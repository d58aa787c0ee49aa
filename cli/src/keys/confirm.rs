//! Asking before what cannot be undone.

use std::io::{self, BufRead, IsTerminal};

use anyhow::bail;
use clap::Args;

use crate::{outcome::No, output};

/// Whether somebody is asked.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Consent {
    /// Do not ask: this cannot be undone.
    #[arg(long)]
    yes: bool,
}

impl Consent {
    pub(super) fn is_given(self) -> bool {
        self.yes
    }

    /// Whether there is anybody to ask. Somebody who does not see the question cannot answer it.
    pub(super) fn can_be_asked() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Goes on if that was said beforehand, or is said now to this question.
    pub(super) fn ask(self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !Self::can_be_asked() {
            bail!("this cannot be undone, and nobody can be asked: say `--yes` to go on");
        }
        output::prompt(&format!("{question} This cannot be undone. Type `yes` to go on: "))?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() == "yes" { Ok(()) } else { Err(No("nothing was done".into()).into()) }
    }
}
