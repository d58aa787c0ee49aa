//! `onerun serve`: the API on one machine.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::bail;
use clap::Args;
use onerun_server::{Config, Server};

use crate::{output, signals::StopSignal, text::plain};

/// Options of `onerun serve`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// The address to listen on. There is no TLS: use an address other than loopback on trusted
    /// networks only.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The directory for all data. It is created if it does not exist.
    #[arg(long, value_name = "DIR", default_value = "onerun-data")]
    data: PathBuf,
}

/// Serves until the process is asked to stop.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let models = config.models().clone();
    // Before anything is open: from here on a signal stops the server instead of killing it.
    let mut stop = StopSignal::listen()?;
    let server = Server::start(config, &options.data, SocketAddr::new(options.host, options.port)).await?;

    if !options.host.is_loopback() {
        tracing::warn!(
            "listening on {} without TLS: anyone on the network path can read keys and conversations",
            options.host
        );
    }
    match server.key_file() {
        Some(file) if server.key_was_generated() => {
            tracing::info!("API key generated and stored in {}", plain(&file.display().to_string()));
        }
        Some(file) => tracing::info!("the API key is in {}", plain(&file.display().to_string())),
        None => tracing::info!("the API key is in AUTH_API_KEY"),
    }
    let [persona, reply, judge] = models.names();
    if models.names().iter().all(|name| name.is_offline()) {
        tracing::info!(
            "scripted personas (offline): set ONERUN_MODEL=provider:model for a language model; \
             `onerun models --help` explains how"
        );
    } else {
        tracing::info!("models: {persona} for personas, {reply} for replies, {judge} as the judge");
    }
    output::print(&format!("listening on http://{}\n", server.address()))?;

    stop.received().await;
    tracing::info!("stopping: requests in flight finish; another signal stops at once");
    tokio::select! {
        stopped = server.shutdown() => Ok(stopped?),
        () = stop.received() => bail!("stopped before the requests in flight finished"),
    }
}
