//! `onerun worker`: holds queued conversations with an agent that needs no code here.

pub(crate) mod agent;
mod metrics;
mod until;

use std::{
    fs::File,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, value_parser};
use onerun_client::{ApiKey, Client, Error, ProjectClient, Worker, WorkerOptions, WorkerReport};
use tokio::{net::TcpListener, select, time::sleep};
use zeroize::Zeroizing;

use crate::{
    output,
    project::{ProjectArgument, find_agent},
    signals::StopSignal,
    text::count,
};
use agent::TargetAgent;
use metrics::Metrics;
use until::Until;

/// The maximum size of a key file in bytes.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// How long to wait before looking again for the project and its agents.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Options of `onerun worker`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("end").multiple(false), after_help = AFTER_HELP)]
pub(crate) struct Options {
    #[command(flatten)]
    of: ProjectArgument,
    /// The id or exact name of the agent whose conversations to hold. Repeat it for several agents behind the same
    /// target.
    #[arg(long = "agent", value_name = "ID|NAME", required = true)]
    agents: Vec<String>,
    /// How to reach the agent: a YAML or JSON file, or the description itself, such as
    /// `{command: [python, agent.py]}`. docs/targets.md describes it.
    #[arg(long, value_name = "FILE|TEXT")]
    target: String,
    /// How many conversations to hold at once.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u16).range(1..=500))]
    concurrency: u16,
    /// How long the server may wait for queued conversations, in seconds. On AWS, fewer cost less: docs/worker.md.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = value_parser!(u16).range(0..=20))]
    wait_seconds: u16,
    /// How long to wait between two polls that found nothing and did not wait at the server, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = value_parser!(u16).range(1..=3600))]
    poll_seconds: u16,
    /// Read the API key from this file, instead of `ONERUN_API_KEY`. If the server refuses the key, the file is
    /// read again, so that a rotated key needs no restart.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Stop once no simulation of these agents is pending or in progress.
    #[arg(long, group = "end")]
    until_idle: bool,
    /// Stop once this simulation is over.
    #[arg(long, value_name = "SIMULATION", group = "end")]
    until: Option<String>,
    /// How long open conversations may continue after SIGTERM or Ctrl-C, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u16).range(0..=3600))]
    grace_seconds: u16,
    /// Serve `/health` and Prometheus `/metrics` at this address, such as `127.0.0.1:9464`.
    #[arg(long, value_name = "ADDRESS")]
    metrics_address: Option<SocketAddr>,
}

const AFTER_HELP: &str = "\
Environment:
  ONERUN_API_BASE_URL  the API's address [default: http://127.0.0.1:9000]
  ONERUN_API_KEY       an API key with the preset `worker`; see also --key-file
  ONERUN_PROJECT       the project's id or name, unless --project is given

Exit codes:
  0  the worker was asked to stop, or its end was reached
  1  it could not start or continue; the message says why";

/// Runs the worker until its end, or until it is asked to stop.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let (mut stop, mut stop_at_once) = (StopSignal::listen()?, StopSignal::listen()?);
    let agent = TargetAgent::open(&options.target)?;
    let client = client(options)?;
    let (project, agents, until) = select! {
        found = find(&client, options) => found.map_err(|error| explain(error, options))?,
        () = stop.received() => return Ok(()),
    };

    let mut settings = WorkerOptions::default();
    settings.concurrency = options.concurrency.into();
    settings.wait = Duration::from_secs(options.wait_seconds.into());
    settings.poll_interval = Duration::from_secs(options.poll_seconds.into());
    settings.grace = Duration::from_secs(options.grace_seconds.into());
    let (target, replies) = (agent.to_string(), agent.replies());
    let worker = Worker::for_agents(project, agents, agent).with_options(settings);

    let metrics = Metrics::new(worker.status(), replies);
    if let Some(address) = options.metrics_address {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("--metrics-address: cannot listen on {address}"))?;
        output::print(&format!("metrics on http://{}/metrics\n", listener.local_addr()?))?;
        tokio::spawn(metrics::serve(listener, metrics.clone()));
    }
    output::print(&format!("working: conversations are held with {target}\n"))?;
    let ending = async {
        select! {
            () = stop.received() => output::print_note("stopping: open conversations may end\n"),
            () = until.reached() => {}
        }
        metrics.stop();
    };
    let twice = async {
        stop_at_once.received().await;
        stop_at_once.received().await;
    };
    select! {
        report = worker.run(ending) => match report {
            Ok(report) => output::print(&summary(&report)),
            Err(error) => Err(explain(error.into(), options)),
        },
        () = twice => bail!("stopped at once; open conversations continue with other workers when their leases expire"),
    }
}

/// A client with the key of the file or of the environment.
fn client(options: &Options) -> anyhow::Result<Client> {
    let connection = options.of.connection();
    let Some(path) = &options.key_file else { return connection.client() };
    let client = connection.client_with(&read_key(path)?)?;
    // A pipe can be read only once, and reading it again might block.
    if !path.is_file() {
        return Ok(client);
    }
    let path = path.clone();
    Ok(client.with_key_source(move || match read_key(&path) {
        Ok(key) => Some(key),
        Err(error) => {
            tracing::warn!(
                error = format!("{error:#}"),
                "the API key was refused, and the key file cannot be read"
            );
            None
        }
    }))
}

/// Reads an API key from a file or a pipe.
fn read_key(path: &Path) -> anyhow::Result<ApiKey> {
    let named = || format!("--key-file {}", path.display());
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).with_context(named)?;
    file.take(MAX_KEY_FILE).read_to_string(&mut text).with_context(named)?;
    ApiKey::new(&text).with_context(named)
}

/// The project, the ids of its agents and the end of the work. Waits for a server that is not there yet, as polls do.
async fn find(client: &Client, options: &Options) -> anyhow::Result<(ProjectClient, Vec<String>, Until)> {
    loop {
        let find = async {
            let project = options.of.select(client).await?;
            let agents = find_agents(&project, &options.agents).await?;
            let until = Until::open(project.clone(), options, &agents).await?;
            Ok((project, agents, until))
        };
        match find.await {
            Err(error) if is_transient(&error) => {
                tracing::warn!(error = format!("{error:#}"), "the server cannot be reached; trying again");
                sleep(RETRY_INTERVAL).await;
            }
            found => return found,
        }
    }
}

fn is_transient(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(Error::is_transient)
}

/// The ids of the agents, each once.
async fn find_agents(project: &ProjectClient, wanted: &[String]) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for wanted in wanted {
        let id = find_agent(project, wanted).await?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// An error of the API with the next step.
fn explain(error: anyhow::Error, options: &Options) -> anyhow::Error {
    let Some(of_api) = error.downcast_ref::<Error>() else { return error };
    let advice = match of_api.status() {
        Some(401) if options.key_file.is_some() => "the key file still has a key that the server refuses",
        Some(401) => "set ONERUN_API_KEY to a valid key, or use --key-file",
        Some(403) => "the key needs the scopes of the preset `worker`",
        Some(404) => "check --project and --agent",
        _ => "the worker cannot continue",
    };
    error.context(advice)
}

fn summary(report: &WorkerReport) -> String {
    let WorkerReport { held, taken, lost, failed, .. } = *report;
    let others: Vec<_> = [(failed, "failed"), (lost, "lost"), (taken, "taken by other workers")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!(", {number} {what}"))
        .collect();
    format!("held {}{}\n", count(held, "conversation"), others.concat())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn key_file_is_read_without_white_space() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, " onr_key ").unwrap();
        assert!(read_key(file.path()).is_ok());
        for text in ["", "two\nlines"] {
            std::fs::write(file.path(), text).unwrap();
            let error = format!("{:#}", read_key(file.path()).unwrap_err());
            assert!(error.starts_with("--key-file /") && !error.contains("lines"), "{error}");
        }
        let error = format!("{:#}", read_key(Path::new("/no/such/file")).unwrap_err());
        assert!(error.starts_with("--key-file /no/such/file: "), "{error}");
    }
}
