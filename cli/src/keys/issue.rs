//! `onerun keys create` and `rotate`: the commands that print a secret, once.

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
    manage, table,
};
use crate::{api::Connection, confirm::Consent, output, text};

/// Options of `onerun keys create`.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("permissions").args(["scope", "preset"]).required(true)),
    group(ArgGroup::new("reach").args(["project", "all_projects"]).required(true)),
)]
pub(crate) struct Create {
    /// The name of the key, for people.
    name: String,
    #[command(flatten)]
    grants: GrantArguments,
    #[command(flatten)]
    projects: ProjectArguments,
    #[command(flatten)]
    lifetime: LifetimeArguments,
    /// When the key starts to work, such as `2027-01-01T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// A range of client addresses, such as `10.0.0.0/8`. Repeat the option or separate ranges with commas.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    allowed_cidr: Vec<String>,
    /// The rate limit, such as `100/60s`.
    #[arg(long, value_name = "N/TIME", value_parser = arguments::rate)]
    rate_limit: Option<RateLimit>,
    #[command(flatten)]
    metadata: MetadataArguments,
    #[command(flatten)]
    to: DestinationArguments,
    #[command(flatten)]
    connection: Connection,
}

/// Options of `onerun keys rotate`.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The key's id.
    #[arg(value_name = "KEY_ID", allow_hyphen_values = true)]
    id: String,
    /// How long the old key still works, at most `7d` [default: 24h]. `0s` ends it at once, for
    /// instance after a leak.
    #[arg(long, value_name = "TIME", value_parser = arguments::seconds)]
    overlap: Option<u32>,
    #[command(flatten)]
    lifetime: LifetimeArguments,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    to: DestinationArguments,
    #[command(flatten)]
    connection: Connection,
}

/// Where the secret is written.
#[derive(Debug, Args)]
struct DestinationArguments {
    /// Print the API's response as JSON, with the secret.
    #[arg(long)]
    json: bool,
    /// Write to this file instead of standard output. The file must not exist; only you can read it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn create(options: &Create) -> anyhow::Result<()> {
    let new = NewKey {
        name: options.name.clone(),
        // Clap requires both.
        grants: options.grants.grants().context("pass the scopes: `--scope` or `--preset`")?,
        projects: options
            .projects
            .projects()
            .context("pass the projects: `--project` or `--all-projects`")?,
        lifetime: options.lifetime.lifetime(),
        not_before: options.not_before.clone(),
        allowed_cidrs: (!options.allowed_cidr.is_empty()).then(|| options.allowed_cidr.clone()),
        rate_limit: options.rate_limit,
        metadata: options.metadata.metadata(),
    };
    let client = options.connection.client()?;
    let destination = Destination::open(&options.to)?;
    match client.create_key(&new).await {
        Ok(issued) => destination.deliver(&issued, options.to.json, &Origin::New),
        Err(error) => {
            destination.discard();
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
    let destination = Destination::open(&options.to)?;
    match client.rotate_key(&id, &rotation).await {
        Ok(issued) => destination.deliver(&issued, options.to.json, &Origin::Rotation),
        Err(error) => {
            destination.discard();
            Err(error.into())
        }
    }
}

async fn consent(client: &Client, id: &str, consent: Consent) -> anyhow::Result<()> {
    let name = manage::name(client, id, consent).await;
    consent.ask(&format!("Rotate {name} and end it at once?"))
}

/// Where the secret is written. It is opened before the key is created, so that no key is lost.
enum Destination<'a> {
    StandardOutput,
    File(&'a Path, File),
}

impl<'a> Destination<'a> {
    fn open(arguments: &'a DestinationArguments) -> anyhow::Result<Self> {
        let Some(path) = &arguments.output else { return Ok(Self::StandardOutput) };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(path) {
            Ok(file) => Ok(Self::File(path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{} exists already; use the name of a new file", path.display())
            }
            Err(error) => Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }

    /// Removes the file, as there is no secret to store.
    fn discard(self) {
        if let Self::File(path, file) = self {
            drop(file);
            // The file is empty. If it cannot be removed, the next attempt reports it.
            let _ = fs::remove_file(path);
        }
    }

    fn deliver(self, issued: &Verbatim<IssuedKey>, json: bool, origin: &Origin) -> anyhow::Result<()> {
        let key = &issued.key;
        let id = text::plain(&key.id);
        let Some(secret) = &issued.secret else {
            self.discard();
            bail!(
                "the key {id} was created, but the response with its secret was lost. Next: {}",
                origin.advice(&id)
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
        // The error is not a cause: a closed standard output is no failure elsewhere, but here the
        // secret is lost.
        written.map_err(|error| {
            let advice = origin.advice(&id);
            anyhow!("the key {id} was created, but its secret could not be written ({error}) and is lost. Next: {advice}")
        })?;
        if json.is_none() {
            output::print_note(&format!("{}\nThe secret is shown only once.\n", table::key(key)));
        }
        Ok(())
    }
}

/// How a key was created.
enum Origin {
    New,
    Rotation,
}

impl Origin {
    /// The next step after the secret was lost.
    fn advice(&self, id: &str) -> String {
        match self {
            Self::New => format!("run `onerun keys revoke {id}` and create another"),
            // The old key cannot be rotated a second time.
            Self::Rotation => {
                format!("run `onerun keys rotate {id} --overlap 0s` to replace it")
            }
        }
    }
}
