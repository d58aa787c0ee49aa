//! The common part of the commands that create something.

use clap::Args;
use onerun_client::{Error, Verbatim};

use crate::{output, project::several, text::plain};

/// Options of commands that create something with a name.
#[derive(Debug, Args)]
pub(crate) struct Creation {
    /// If there is one with this name already, print that one and change nothing, so that a script can be repeated.
    #[arg(long)]
    unless_exists: bool,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

impl Creation {
    /// The id of the existing one, if it may be printed instead. More than one is an error.
    pub(crate) async fn existing(
        &self,
        what: &str,
        name: &str,
        named: impl AsyncFnOnce() -> Result<Vec<String>, Error>,
    ) -> anyhow::Result<Option<String>> {
        if !self.unless_exists {
            return Ok(None);
        }
        let mut ids = named().await?;
        if ids.len() > 1 {
            return Err(several(what, name, &ids).into());
        }
        Ok(ids.pop())
    }
}

/// How the created resource is printed.
#[derive(Debug, Args)]
pub(crate) struct Printing {
    /// Print the resource as JSON, as the API shows it, rather than its id.
    #[arg(long)]
    json: bool,
}

impl Printing {
    /// Prints the id, or what `get` returns.
    pub(crate) async fn print<T>(
        &self,
        id: &str,
        get: impl AsyncFnOnce() -> Result<Verbatim<T>, Error>,
    ) -> anyhow::Result<()> {
        if self.json {
            return output::print_json(get().await?.json());
        }
        output::print(&format!("{}\n", plain(id)))
    }
}

/// Writes the API's warnings about a request to standard error.
pub(crate) fn print_warnings(warnings: &[String]) {
    for warning in warnings {
        output::print_note(&format!("warning: {}\n", plain(warning)));
    }
}
