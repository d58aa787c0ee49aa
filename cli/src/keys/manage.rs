//! `onerun keys` commands that list, show and change existing keys.

use anyhow::bail;
use clap::{Args, ValueEnum};
use onerun_client::{
    Client, Verbatim,
    resource::{Addresses, Key, KeyChange, KeyFilter, KeyStatus, Limit, RateLimit},
};

use super::{
    arguments::{self, GrantArguments, LifetimeArguments, ProjectArguments},
    table,
};
use crate::{
    api::Connection,
    confirm::Consent,
    list::{self, Listing},
    output, text,
};

/// Options of `onerun keys list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only keys with this status.
    #[arg(long)]
    status: Option<Status>,
    /// Only keys that may access this project.
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only keys that end within this time, in whole days: `14d` or `2w`.
    #[arg(long, value_name = "TIME", value_parser = arguments::days)]
    expiring_within: Option<u32>,
    /// Only active keys that were not used for this time, in whole days: `90d` or `4w`.
    #[arg(long, value_name = "TIME", value_parser = arguments::days)]
    idle_for: Option<u32>,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    connection: Connection,
}

/// Values of `--status`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    Active,
    Pending,
    Disabled,
    Expired,
    Revoked,
}

impl From<Status> for KeyStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Pending => Self::Pending,
            Status::Disabled => Self::Disabled,
            Status::Expired => Self::Expired,
            Status::Revoked => Self::Revoked,
        }
    }
}

/// Options of commands on one key.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The key's id.
    #[arg(value_name = "KEY_ID", allow_hyphen_values = true)]
    id: String,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Options of `onerun keys revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    consent: Consent,
}

/// Options of `onerun keys update`. Omitted ones leave the key unchanged.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    named: Named,
    /// The name of the key, for people.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    grants: GrantArguments,
    #[command(flatten)]
    projects: ProjectArguments,
    #[command(flatten)]
    lifetime: LifetimeArguments,
    /// A range of client addresses, such as `10.0.0.0/8`. Repeat the option or separate ranges with commas.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    allowed_cidr: Vec<String>,
    /// Allow every client address.
    #[arg(long, conflicts_with = "allowed_cidr")]
    any_address: bool,
    /// The rate limit, such as `100/60s`.
    #[arg(long, value_name = "N/TIME", value_parser = arguments::rate)]
    rate_limit: Option<RateLimit>,
    /// Remove the rate limit.
    #[arg(long, conflicts_with = "rate_limit")]
    no_rate_limit: bool,
    /// Replaces all metadata.
    #[command(flatten)]
    metadata: arguments::MetadataArguments,
}

/// Options of `onerun keys whoami`.
#[derive(Debug, Args)]
pub(crate) struct Whoami {
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn list(options: &List) -> anyhow::Result<()> {
    let client = options.connection.client()?;
    let filter = KeyFilter {
        status: options.status.map(Into::into),
        project_id: options.project.clone(),
        expiring_within_days: options.expiring_within,
        idle_for_days: options.idle_for,
    };
    list::print(
        &options.listing,
        |key: &Key| &key.id,
        async |page| client.list_keys(&filter, page).await,
        async |keys| Ok(table::keys(keys.iter().map(|key| &**key))),
    )
    .await
}

pub(super) async fn show(options: &Named) -> anyhow::Result<()> {
    let id = arguments::key_id(&options.id)?;
    print(&options.connection.client()?.get_key(&id).await?, options.json)
}

pub(super) async fn update(options: &Update) -> anyhow::Result<()> {
    let id = arguments::key_id(&options.named.id)?;
    let limit = match options.rate_limit {
        Some(rate) => Some(Limit::Rate(rate)),
        None => options.no_rate_limit.then_some(Limit::None),
    };
    let addresses = if options.any_address {
        Some(Addresses::Any)
    } else {
        (!options.allowed_cidr.is_empty()).then(|| Addresses::Only(options.allowed_cidr.clone()))
    };
    let change = KeyChange {
        name: options.name.clone(),
        grants: options.grants.grants(),
        projects: options.projects.projects(),
        lifetime: options.lifetime.lifetime(),
        addresses,
        limit,
        metadata: Some(options.metadata.metadata()).filter(|metadata| !metadata.is_empty()),
    };
    if serde_json::to_string(&change)? == "{}" {
        bail!("nothing to change: pass at least one option, see `onerun keys update --help`");
    }
    print(&options.named.connection.client()?.update_key(&id, &change).await?, options.named.json)
}

pub(super) async fn revoke(options: &Revoke) -> anyhow::Result<()> {
    let id = arguments::key_id(&options.named.id)?;
    let client = options.named.connection.client()?;
    let question = format!("Revoke {}?", name(&client, &id, options.consent).await);
    options.consent.ask(&question)?;
    print(&client.revoke_key(&id).await?, options.named.json)
}

pub(super) async fn disable(options: &Named) -> anyhow::Result<()> {
    let id = arguments::key_id(&options.id)?;
    print(&options.connection.client()?.disable_key(&id).await?, options.json)
}

pub(super) async fn enable(options: &Named) -> anyhow::Result<()> {
    let id = arguments::key_id(&options.id)?;
    print(&options.connection.client()?.enable_key(&id).await?, options.json)
}

pub(super) async fn whoami(options: &Whoami) -> anyhow::Result<()> {
    let key = options.connection.client()?.whoami().await?;
    if options.json { output::print_json(key.json()) } else { output::print(&table::whoami(&key)) }
}

/// The description of a key in a question. It is the id alone if no question is asked or the key
/// cannot be read.
pub(super) async fn name(client: &Client, id: &str, consent: Consent) -> String {
    if consent.is_given() || !Consent::can_be_asked() {
        return id.to_owned();
    }
    match client.get_key(id).await {
        Ok(key) => {
            let last = key.last_used_at.as_deref();
            let used =
                last.map_or_else(|| "never used".to_owned(), |at| format!("last used {}", text::time(at)));
            format!("{id}, `{}`, {}, {used}", text::plain(&key.name), key.status.as_str())
        }
        Err(_) => id.to_owned(),
    }
}

fn print(key: &Verbatim<Key>, json: bool) -> anyhow::Result<()> {
    if json { output::print_json(key.json()) } else { output::print(&table::key(key)) }
}
