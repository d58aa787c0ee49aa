//! `onerun keys attention`: active keys that need attention. The dashboard has a view with the same rules.

use std::fmt::Write;

use clap::Args;
use onerun_client::{
    Client, Verbatim,
    resource::{Key, KeyFilter, KeyStatus},
};

use super::table;
use crate::{api::Connection, list, output};

/// Keys that expire within this many days need attention.
const SOON_DAYS: u32 = 14;

/// Keys that were not used for this many days need attention.
const IDLE_DAYS: u32 = 30;

/// Options of `onerun keys attention`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print JSON: `expiring`, `idle`, `never_expires` and `unused_scopes`, each a list of keys as
    /// the API sends them.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let client = options.connection.client()?;
    let active = KeyFilter { status: Some(KeyStatus::Active), ..KeyFilter::default() };
    let soon = KeyFilter { expiring_within_days: Some(SOON_DAYS), ..active.clone() };
    let idle = KeyFilter { idle_for_days: Some(IDLE_DAYS), ..KeyFilter::default() };
    let found = Found {
        expiring: current(&client, &soon).await?,
        idle: current(&client, &idle).await?,
        active: current(&client, &active).await?,
    };
    if options.json { output::print_json(&found.json()) } else { output::print(&found.text()) }
}

/// Keys that match a filter, without replaced ones: a replaced key ends on its own, and its
/// successor has the same problems.
async fn current(client: &Client, filter: &KeyFilter) -> anyhow::Result<Vec<Verbatim<Key>>> {
    let mut keys = list::all(|key: &Key| &key.id, async |page| client.list_keys(filter, page).await).await?;
    keys.retain(|key| key.replaced_by.is_none());
    Ok(keys)
}

struct Found {
    expiring: Vec<Verbatim<Key>>,
    idle: Vec<Verbatim<Key>>,
    active: Vec<Verbatim<Key>>,
}

impl Found {
    fn never_expires(&self) -> Vec<&Verbatim<Key>> {
        self.active.iter().filter(|key| key.expires_at.is_none()).collect()
    }

    fn unused_scopes(&self) -> Vec<&Verbatim<Key>> {
        self.active.iter().filter(|key| table::unused(key).next().is_some()).collect()
    }

    fn json(&self) -> String {
        format!(
            "{{\"expiring\":{},\"idle\":{},\"never_expires\":{},\"unused_scopes\":{}}}",
            list::array(&self.expiring),
            list::array(&self.idle),
            list::array(self.never_expires()),
            list::array(self.unused_scopes()),
        )
    }

    fn text(&self) -> String {
        let (never, unused) = (self.never_expires(), self.unused_scopes());
        let groups = [
            (
                format!("Expire within {SOON_DAYS} days"),
                self.expiring.len(),
                table::keys(keys(&self.expiring)),
            ),
            (format!("Idle for {IDLE_DAYS} days or more"), self.idle.len(), table::keys(keys(&self.idle))),
            ("Never expire".to_owned(), never.len(), table::keys(keys(never))),
            ("Have unused scopes".to_owned(), unused.len(), table::keys_and_unused(keys(unused))),
        ];
        let mut text = String::new();
        for (title, number, table) in groups {
            let separator = if text.is_empty() { "" } else { "\n" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{separator}{title}: {number}");
            if number > 0 {
                text.push_str(&table);
            }
        }
        text
    }
}

fn keys<'a>(keys: impl IntoIterator<Item = &'a Verbatim<Key>>) -> impl Iterator<Item = &'a Key> {
    keys.into_iter().map(|key| &**key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashboard_uses_the_same_days() {
        let dashboard = include_str!("../../../dashboard/attention.js");
        for line in [format!("const SOON_DAYS = {SOON_DAYS};"), format!("const IDLE_DAYS = {IDLE_DAYS};")] {
            assert!(dashboard.lines().any(|found| found == line), "{line}");
        }
    }
}
