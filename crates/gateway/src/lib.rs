//! OneRun on one machine: HTTP over the routes, SQLite, and background jobs.
//!
//! A composition root: it reads the configuration, opens the data directory, and puts store, engine, routes and
//! server together. What a request is answered with is decided in `onerun-api`, not here.

mod config;
mod data;
mod keys;
mod runner;
mod server;
mod system;

pub use config::{Config, ConfigErrors};
pub use data::DataError;
pub use onerun_auth::RootKey;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use onerun_api::{App, ROUTES, Router};
use onerun_engine::{Engine, offline::Offline};
use onerun_store_sqlite::{OpenError, SqliteStore};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    data::{DataDirectory, FoundKey},
    keys::RootKeys,
    system::{OsRandom, SystemClock},
};

/// Why a gateway did not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The database in the data directory cannot be used.
    #[error("the database in {path} cannot be used: {source}", path = .path.display())]
    Store {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: OpenError,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Two routes cannot be told apart. The program is wrong.
    #[error("the routes cannot be told apart: {0}")]
    Routes(String),
}

/// A running server. Dropped without [`Gateway::shutdown`], it stops like a process that is killed: nothing that was
/// acknowledged is lost.
pub struct Gateway {
    address: SocketAddr,
    key_file: Option<PathBuf>,
    key_was_generated: bool,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    runner: JoinHandle<()>,
    // Held so that no other process uses the directory; last, so that it is given up after everything else.
    data: DataDirectory,
}

impl Gateway {
    /// Opens the data directory and serves the API on `address`; port 0 picks a free one.
    pub async fn start(config: Config, data: &Path, address: SocketAddr) -> Result<Self, StartError> {
        let data = DataDirectory::open(data)?;
        let random = Arc::new(OsRandom);
        let FoundKey { key, file, generated } = data.root_key(config.key)?;
        let path = data.database();
        let store = SqliteStore::open(&path).map_err(|source| StartError::Store { path, source })?;
        let model = Arc::new(Offline);
        let engine = Engine::new(Arc::new(store), model, Arc::new(SystemClock), random, config.engine);
        let app = Arc::new(App::new(engine.clone(), Box::new(RootKeys::new(&key))));
        let router = Arc::new(Router::new(ROUTES).map_err(|error| StartError::Routes(error.to_string()))?);
        let listener =
            TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(server::serve(listener, app, router, stopped.clone()));
        let runner = tokio::spawn(runner::run(engine, stopped));
        Ok(Self { address, key_file: file, key_was_generated: generated, stop, server, runner, data })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file that the key is kept in, unless the configuration names the key.
    pub fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    /// Whether the key was made now.
    pub fn key_was_generated(&self) -> bool {
        self.key_was_generated
    }

    /// Stops: no new connections, requests in flight finish, jobs in flight too.
    pub async fn shutdown(self) {
        // The receivers live in the two tasks; if both are gone, there is nothing to tell.
        let _ = self.stop.send(true);
        for task in [self.server, self.runner] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the server failed");
            }
        }
        drop(self.data);
    }
}
