//! `onerun keys create` and `rotate`: what hands out a key, once.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use clap::{ArgGroup, Args};
use onerun_client::{
    Client, Verbatim,
    resource::{IssuedKey, NewKey, RateLimit, Rotation},
};
use zeroize::Zeroizing;

use super::{
    arguments::{self, GrantArguments, LifetimeArguments, MetadataArguments, ProjectArguments},
    confirm::Consent,
    manage, table,
};
use crate::{api::Connection, output, text};

/// What a key is made from.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("what it may do").args(["scope", "preset"]).required(true)),
    group(ArgGroup::new("where").args(["project", "all_projects"]).required(true)),
)]
pub(crate) struct Create {
    /// What people call it.
    name: String,
    #[command(flatten)]
    grants: GrantArguments,
    #[command(flatten)]
    projects: ProjectArguments,
    #[command(flatten)]
    lifetime: LifetimeArguments,
    /// When it begins to work, such as `2027-01-01T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// The addresses that it works from, such as `10.0.0.0/8`; several, or several in one with commas.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    allowed_cidr: Vec<String>,
    /// How often it may be used, such as `100/60s`.
    #[arg(long, value_name = "N/TIME", value_parser = arguments::rate)]
    rate_limit: Option<RateLimit>,
    #[command(flatten)]
    metadata: MetadataArguments,
    #[command(flatten)]
    to: Destination,
    #[command(flatten)]
    connection: Connection,
}

/// How a key is replaced.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The key's id.
    #[arg(value_name = "KEY_ID", allow_hyphen_values = true)]
    id: String,
    /// How long the old key goes on, at most `7d` [default: 24h]. `0s` ends it at once, as after a leak.
    #[arg(long, value_name = "TIME", value_parser = arguments::seconds)]
    overlap: Option<u32>,
    #[command(flatten)]
    lifetime: LifetimeArguments,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    to: Destination,
    #[command(flatten)]
    connection: Connection,
}

/// Where a new key goes.
#[derive(Debug, Args)]
struct Destination {
    /// Print what the API answers, the key in it.
    #[arg(long)]
    json: bool,
    /// Write to this file, which must not be there yet and which nobody else can read, rather than to standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn create(options: &Create) -> anyhow::Result<()> {
    let new = NewKey {
        name: options.name.clone(),
        // Clap sees to it that both are said.
        grants: options.grants.grants().context("say what the key may do: `--scope` or `--preset`")?,
        projects: options.projects.projects().context("say where: `--project` or `--all-projects`")?,
        lifetime: options.lifetime.lifetime(),
        not_before: options.not_before.clone(),
        allowed_cidrs: (!options.allowed_cidr.is_empty()).then(|| options.allowed_cidr.clone()),
        rate_limit: options.rate_limit,
        metadata: options.metadata.metadata(),
    };
    let client = options.connection.client()?;
    let place = Place::open(&options.to)?;
    match client.create_key(&new).await {
        Ok(issued) => place.deliver(&issued, options.to.json, &Made::New),
        Err(error) => {
            place.discard();
            Err(error.into())
        }
    }
}

pub(super) async fn rotate(options: &Rotate) -> anyhow::Result<()> {
    let id = arguments::key_id(&options.id)?;
    let client = options.connection.client()?;
    if options.overlap == Some(0) {
        consent(&client, &id, options.consent).await?;
    }
    let rotation = Rotation { overlap_seconds: options.overlap, lifetime: options.lifetime.lifetime() };
    let place = Place::open(&options.to)?;
    match client.rotate_key(&id, &rotation).await {
        Ok(issued) => place.deliver(&issued, options.to.json, &Made::InPlaceOfAnother),
        Err(error) => {
            place.discard();
            Err(error.into())
        }
    }
}

async fn consent(client: &Client, id: &str, consent: Consent) -> anyhow::Result<()> {
    let name = manage::name(client, id, consent).await;
    consent.ask(&format!("Rotate {name} and end it at once?"))
}

/// Where a new key goes. It is made sure of before there is a key that could be lost.
enum Place<'a> {
    StandardOutput,
    File(&'a Path, File),
}

impl<'a> Place<'a> {
    fn open(destination: &'a Destination) -> anyhow::Result<Self> {
        let Some(path) = &destination.output else { return Ok(Self::StandardOutput) };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(path) {
            Ok(file) => Ok(Self::File(path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{} is there already; name a file that is not", path.display())
            }
            Err(error) => Err(error).with_context(|| format!("cannot make {}", path.display())),
        }
    }

    /// There is no key to keep.
    fn discard(self) {
        if let Self::File(path, file) = self {
            drop(file);
            // Nothing is in it: if it stays, the next attempt says so.
            let _ = fs::remove_file(path);
        }
    }

    fn deliver(self, issued: &Verbatim<IssuedKey>, json: bool, made: &Made) -> anyhow::Result<()> {
        let key = &issued.key;
        let id = text::plain(&key.id);
        let Some(secret) = &issued.secret else {
            self.discard();
            bail!(
                "the key {id} was made, but the answer that had it was lost on the way, and nobody has it now: {}",
                made.without(&id)
            );
        };
        let json = json.then(|| Zeroizing::new(text::plain_json(issued.json())));
        let shown = json.as_ref().map_or(secret.expose(), |json| json.as_str());
        let text = Zeroizing::new(format!("{shown}\n"));
        let written = match self {
            Self::StandardOutput => output::print(&text),
            Self::File(_, mut file) => {
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Into::into)
            }
        };
        // Not as a cause: that nobody reads standard output is no failure elsewhere, and here it loses a key.
        written.map_err(|error| {
            let advice = made.without(&id);
            anyhow!("the key {id} was made, but it could not be written ({error}) and is gone: {advice}")
        })?;
        if json.is_none() {
            output::remark(&format!("{}\nThis is the one time that the key is shown.\n", table::key(key)));
        }
        Ok(())
    }
}

/// How a key came about.
enum Made {
    New,
    InPlaceOfAnother,
}

impl Made {
    /// What to do about a key that nobody has.
    fn without(&self, id: &str) -> String {
        match self {
            Self::New => format!("`onerun keys revoke {id}`, and make another"),
            // The old key has been replaced, and can be only once.
            Self::InPlaceOfAnother => {
                format!("`onerun keys rotate {id} --overlap 0s` makes another in its place")
            }
        }
    }
}
