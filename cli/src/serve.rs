//! `onerun serve`: the API on this machine.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::bail;
use clap::Args;
use onerun_server::{Config, Server};

use crate::{output, signals::Stop, text::plain};

/// Where to serve, and over which data.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// The address to listen on. There is no TLS: any but a loopback address is for networks that can be trusted.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The directory that everything is kept in; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "onerun-data")]
    data: PathBuf,
}

/// Serves until the process is asked to stop.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let config = Config::from_env()?;
    // Before anything is open: from here on a signal stops the server rather than killing it.
    let mut stop = Stop::listen()?;
    let server = Server::start(config, &options.data, SocketAddr::new(options.host, options.port)).await?;

    if !options.host.is_loopback() {
        tracing::warn!(
            "listening on {}: there is no TLS, so keys and conversations can be read by whoever is on the way",
            options.host
        );
    }
    match server.key_file() {
        Some(file) if server.key_was_generated() => {
            tracing::info!("an API key was generated; it is in {}", plain(&file.display().to_string()));
        }
        Some(file) => tracing::info!("the API key is in {}", plain(&file.display().to_string())),
        None => tracing::info!("the API key is that of AUTH_API_KEY"),
    }
    output::print(&format!("listening on http://{}\n", server.address()))?;

    stop.asked().await;
    tracing::info!("stopping: requests in flight finish; another signal stops at once");
    tokio::select! {
        stopped = server.shutdown() => Ok(stopped?),
        () = stop.asked() => bail!("stopped before the requests in flight were finished"),
    }
}
