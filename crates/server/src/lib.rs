//! OneRun on one machine: HTTP over the routes, SQLite, and background jobs.
//!
//! A composition root: it reads the configuration, opens the data directory, and puts store, engine, routes and
//! server together. What a request is answered with is decided in `onerun-api`, not here.

mod config;
mod data;
mod http;
mod runner;

pub use config::Config;
pub use data::DataError;
pub use onerun_auth::RootKey;
pub use onerun_host::ConfigErrors;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use onerun_api::{App, ROUTES, Router};
use onerun_auth::KeyRing;
use onerun_engine::{Engine, EngineParts};
use onerun_host::{OsRandom, SystemClock};
use onerun_model_offline::Offline;
use onerun_store_sqlite::{OpenError, SqliteStore};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    data::{DataDirectory, FoundKey},
    http::{AnswerMemory, MAX_ANSWER_BYTES},
};

/// Why a server did not start. Each message says what to do.
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

/// Something was still being done when a server had waited long enough for it.
#[derive(Debug, thiserror::Error)]
#[error("stopped before everything in flight was finished")]
pub struct Unfinished;

/// How long requests and jobs in flight may take to finish when the server stops.
const GRACE: Duration = Duration::from_secs(30);

/// What the server and the jobs work with: one of it, shared by all of their tasks. Nothing else holds the engine or
/// the store, so the store is closed when the last of those tasks is done.
struct Service {
    app: App,
    router: Router,
    answer_memory: AnswerMemory,
    // The lock on the data directory. Fields are dropped in this order, so it is given up once the store is closed.
    _data: DataDirectory,
}

/// A running server. Dropped without [`Server::shutdown`] it stops in the same way, but nobody waits for it: its data
/// directory can be used again when what was in flight is finished.
pub struct Server {
    address: SocketAddr,
    key_file: Option<PathBuf>,
    key_was_generated: bool,
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<Result<(), Unfinished>>; 2],
}

impl Server {
    /// Opens the data directory and serves the API on `address`; port 0 picks a free one.
    pub async fn start(config: Config, data: &Path, address: SocketAddr) -> Result<Self, StartError> {
        Self::start_with(config, data, address, AnswerMemory::new(MAX_ANSWER_BYTES)).await
    }

    async fn start_with(
        config: Config,
        data: &Path,
        address: SocketAddr,
        answer_memory: AnswerMemory,
    ) -> Result<Self, StartError> {
        let data = DataDirectory::open(data)?;
        let FoundKey { key, file, generated } = data.root_key(config.key)?;
        let path = data.database(generated)?;
        let store = SqliteStore::open(&path).map_err(|source| StartError::Store { path, source })?;
        let engine = Engine::new(EngineParts {
            store: Arc::new(store),
            model: Arc::new(Offline),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            settings: config.engine,
        });
        let app = App::new(engine, Box::new(KeyRing::new(&key))).with_key_cache(config.key_cache);
        let router = Router::new(ROUTES).map_err(|error| StartError::Routes(error.to_string()))?;
        let listener =
            TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let service = Arc::new(Service { app, router, answer_memory, _data: data });
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(http::serve(listener, Arc::clone(&service), stopped.clone()));
        let runner = tokio::spawn(runner::run(service, config.engine.lease, stopped));
        Ok(Self { address, key_file: file, key_was_generated: generated, stop, tasks: [server, runner] })
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

    /// Stops: no new connections, requests in flight finish, jobs in flight too, but for conversations being judged, which
    /// are put off until the next start.
    ///
    /// # Errors
    ///
    /// If they did not within half a minute. They go on for as long as the process does.
    pub async fn shutdown(self) -> Result<(), Unfinished> {
        // The receivers live in the two tasks; if both are gone, there is nothing to tell.
        let _ = self.stop.send(true);
        let mut outcome = Ok(());
        for task in self.tasks {
            let finished = task.await.unwrap_or_else(|error| {
                tracing::error!(%error, "a task of the server failed");
                Err(Unfinished)
            });
            outcome = outcome.and(finished);
        }
        outcome
    }
}

/// Ready when the server stops: when it says so, or was dropped.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, TcpStream},
    };

    use tokio::time::{sleep, timeout};

    use super::*;

    async fn start(data: &Path) -> Result<Server, StartError> {
        Server::start(Config::default(), data, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts a server when its directory is free, which nothing but trying tells.
    async fn start_when_free(data: &Path) -> Server {
        let started = timeout(Duration::from_mins(1), async {
            loop {
                match start(data).await {
                    Err(StartError::Data(DataError::InUse { .. })) => sleep(Duration::from_millis(10)).await,
                    other => return other,
                }
            }
        });
        started.await.expect("the directory is given up").unwrap()
    }

    /// Reads until the answer ends like this.
    fn read_until(stream: &mut TcpStream, end: &str) -> String {
        let mut text = String::new();
        let mut buffer = [0; 1024];
        while !text.ends_with(end) {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "closed after {text:?}");
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        text
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_directory_is_free_when_a_server_was_shut_down() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            start(directory.path()).await.unwrap().shutdown().await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_is_dropped_stops_and_gives_up_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = start(directory.path()).await.unwrap();
        let address = first.address();
        drop(first);
        let second = start_when_free(directory.path()).await;
        assert!(TcpStream::connect(address).is_err() || second.address() == address);
        second.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_directory_is_not_free_while_a_request_of_a_dropped_server_is_in_flight() {
        let directory = tempfile::tempdir().unwrap();
        let server = start(directory.path()).await.unwrap();
        let key = std::fs::read_to_string(server.key_file().unwrap()).unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let request = format!(
            "POST /v1/projects HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\nexpect: 100-continue\r\n\
             content-length: 15\r\n\r\n",
            key.trim()
        );
        stream.write_all(request.as_bytes()).unwrap();
        // Said when the body is wanted: the request is in flight from here on.
        assert_eq!(read_until(&mut stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");

        drop(server);
        let refused = start(directory.path()).await.err();
        assert!(matches!(refused, Some(StartError::Data(DataError::InUse { .. }))), "{refused:?}");
        stream.write_all(b"{\"name\":\"Late\"}").unwrap();
        let answer = read_until(&mut stream, "}");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        start_when_free(directory.path()).await.shutdown().await.unwrap();
    }

    /// The head, in lower case, and the body of the answer to one request on a connection of its own.
    fn exchange(server: &Server, request: &str, body: &str) -> (String, String) {
        let key = std::fs::read_to_string(server.key_file().unwrap()).unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-api-key: {}\r\ncontent-length: {}",
            key.trim(),
            body.len()
        );
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_memory_for_answers_large_ones_become_errors() {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let memory = AnswerMemory::new(16 * 1024);
        let server = Server::start_with(Config::default(), directory.path(), address, memory).await.unwrap();

        let (head, _) = exchange(&server, "GET /health", "");
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let (head, body) = exchange(&server, "GET /openapi.json", "");
        assert!(head.starts_with("http/1.1 503 "), "{head}");
        for field in ["retry-after: 1", "x-request-id: req_", "content-type: application/problem+json"] {
            assert!(head.contains(&format!("\r\n{field}")), "{head}");
        }
        assert!(body.contains("\"code\":\"unavailable\""), "{body}");

        let (_, project) = exchange(&server, "POST /v1/projects", r#"{"name":"Large"}"#);
        let id = project.split_once("\"id\":\"").unwrap().1.split('"').next().unwrap();
        let objective = format!(r#"{{"name":"Long","criteria":"{}"}}"#, "🙂".repeat(10_000));
        let (head, body) = exchange(&server, &format!("POST /v1/objectives?project_id={id}"), &objective);
        assert!(head.starts_with("http/1.1 503 "), "{head}");
        assert!(body.contains("\"code\":\"answer_not_sent\""), "{body}");
        assert!(!head.contains("retry-after"), "a client that tries again would make a second: {head}");
        let (_, page) = exchange(&server, &format!("GET /v1/objectives?project_id={id}&offset=1"), "");
        assert!(page.contains("\"data\":[]"), "{page}");
        let (head, _) = exchange(&server, &format!("GET /v1/objectives?project_id={id}"), "");
        assert!(head.starts_with("http/1.1 503 "), "the objective was made: {head}");
        server.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_shutdown_that_leaves_something_undone_says_so() {
        for [server, runner] in [[Err(Unfinished), Ok(())], [Ok(()), Err(Unfinished)]] {
            let server = Server {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                key_file: None,
                key_was_generated: false,
                stop: watch::channel(false).0,
                tasks: [tokio::spawn(async { server }), tokio::spawn(async { runner })],
            };
            assert!(server.shutdown().await.is_err());
        }
    }
}
