//! `onerun keys audit`: the audit trail of keys and its verification.

mod archive;
mod verify;

use std::path::PathBuf;

use clap::Args;
use onerun_client::{
    Client, Verbatim,
    resource::{AuditEntry, AuditHead, AuditOrder, PageRequest},
};

use crate::{
    api::Connection,
    list::{self, PAGE, Paging},
    output, text,
};
use verify::Anchor;

/// Options of `onerun keys audit`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Verify the hash chain and print the last entry as SEQUENCE:HASH. The hashes use no secret:
    /// anyone with write access to the database can rewrite entries with new hashes or remove the
    /// last ones. Only `--anchor` detects that.
    #[arg(long, conflicts_with_all = ["limit", "offset", "all", "oldest"])]
    verify: bool,
    /// A line that an earlier `--verify` printed and that you stored outside the database.
    /// Verification fails if the trail up to that entry has changed. Repeat the option for more.
    #[arg(long, value_name = "SEQUENCE:HASH", requires = "verify")]
    anchor: Vec<Anchor>,
    /// A file of the deployment's archive, or a directory with such files, to verify them together
    /// with the trail. Repeat the option for more. Without it, archived entries are not verified.
    #[arg(long, value_name = "PATH", requires = "verify")]
    archive: Vec<PathBuf>,
    /// List the oldest entry first.
    #[arg(long)]
    oldest: bool,
    #[command(flatten)]
    paging: Paging,
    /// Print the API's response as JSON, or the result of `--verify`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let client = options.connection.client()?;
    if options.verify {
        return verify::verify(&client, &options.anchor, &options.archive, options.json).await;
    }
    let order = if options.oldest { AuditOrder::Oldest } else { AuditOrder::Newest };
    if options.paging.all {
        let (mut entries, head, archived) = all(&client).await?;
        if order == AuditOrder::Newest {
            entries.reverse();
        }
        if !options.json {
            return output::print(&rows(&entries));
        }
        let data = list::array(&entries);
        let [head, archived] = [head, archived].map(|entry| serde_json::to_string(&entry));
        let (head, archived) = (head?, archived?);
        return output::print_json(&format!(
            "{{\"data\":{data},\"has_more\":false,\"next_cursor\":null,\"head\":{head},\"archived\":{archived}}}"
        ));
    }
    let request = options.paging.first();
    let page = client.list_audit(order, request.clone()).await?;
    if options.json {
        return output::print_json(page.json());
    }
    output::print(&rows(&page.data))?;
    list::print_next(page.following(&request));
    Ok(())
}

fn rows(entries: &[Verbatim<AuditEntry>]) -> String {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            // The name comes first, as the column may be cut.
            let (names, others): (Vec<_>, Vec<_>) =
                entry.details.iter().partition(|(name, _)| *name == "name");
            let details: Vec<String> =
                names.into_iter().chain(others).map(|(name, value)| format!("{name}={value}")).collect();
            [
                entry.sequence.to_string(),
                text::time(&entry.at),
                text::plain(&entry.action),
                text::plain(&entry.key_id),
                text::plain(&entry.actor.key_id),
                text::plain(entry.actor.address.as_deref().unwrap_or("-")),
                text::plain(&details.join(", ")),
            ]
        })
        .collect();
    text::table(["NO.", "AT (UTC)", "ACTION", "KEY", "BY", "FROM", "DETAILS"], &[6], &rows)
}

/// The entries, the last one and the last archived one.
type All = (Vec<Verbatim<AuditEntry>>, Option<AuditHead>, Option<AuditHead>);

/// Every entry that is listed. They are read oldest first, so that new entries move none of them to another page.
async fn all(client: &Client) -> anyhow::Result<All> {
    let mut entries = Vec::new();
    let mut request = PageRequest::first(PAGE as usize);
    loop {
        let page = client.list_audit(AuditOrder::Oldest, request.clone()).await?.into_value();
        let next = page.following(&request);
        entries.extend(page.data);
        match next {
            Some(next) => request = next,
            None => return Ok((entries, page.head, page.archived)),
        }
    }
}
