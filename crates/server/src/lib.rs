//! OneRun on one machine: HTTP over the routes, SQLite, and background jobs.
//!
//! The composition root: reads the configuration, opens the data directory, and connects store,
//! engine, routes and HTTP server. Responses are decided in `onerun-api`.

mod audit_archive;
mod config;
mod data_directory;
mod http;
mod model_check;
mod models;
mod runner;
mod transport;

pub use config::Config;
pub use data_directory::DataError;
pub use model_check::{Checked, check_models};
pub use models::ModelsError;
pub use onerun_auth::RootKey;
pub use onerun_host::ConfigErrors;
pub use transport::{HttpError, HttpTransport};

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use onerun_api::{App, ROUTES, Router, audit_line};
use onerun_auth::KeyRing;
use onerun_domain::Clock;
use onerun_engine::{AuditArchiver, AuditArchiverParts, Engine, EngineParts, Outbound};
use onerun_host::{OsRandom, SystemClock};
use onerun_store_sqlite::{OpenError, SqliteStore};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    audit_archive::ArchiveDirectory,
    data_directory::{DataDirectory, FoundKey},
    http::{MAX_RESPONSE_BYTES, ResponseMemory},
    transport::GuardedTransport,
};

/// Why a server did not start. Each message names the next step.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The database cannot be opened.
    #[error("the database {path} cannot be opened: {source}", path = .path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: OpenError,
    },
    /// The server cannot listen on the address.
    #[error(
        "cannot listen on {address}: {source}; stop the process that uses the port, or choose another one with `--port`"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The models could not be opened.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// There is no HTTP client for calls to addresses of users.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Two routes match the same requests: a bug.
    #[error("two routes conflict: {0}; this is a bug in onerun, please report it")]
    Routes(String),
}

/// Requests or jobs were still in flight when the shutdown's grace period ended.
#[derive(Debug, thiserror::Error)]
#[error("stopped before all requests and jobs in flight finished; jobs run again after the next start")]
pub struct Unfinished;

/// How long requests and jobs in flight may take to finish when the server stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// The state that HTTP and job tasks share. Besides them, only the tasks that generate replies hold the
/// store, and the HTTP task waits for their end. So the store closes when the last of those tasks ends.
struct Service {
    app: App,
    router: Router,
    response_memory: ResponseMemory,
    /// After how long a waiting call gets the head of its response.
    late_after: Duration,
    // The lock on the data directory. Fields drop in this order, so it is released after the store closes.
    _data: DataDirectory,
}

/// A running server. Dropping it without [`Server::shutdown`] stops it in the background: its data
/// directory is locked until requests and jobs in flight have finished.
pub struct Server {
    address: SocketAddr,
    key_file: Option<PathBuf>,
    key_was_generated: bool,
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<Result<(), Unfinished>>; 2],
}

impl Server {
    /// Opens the data directory and serves the API on `address`. Port 0 chooses a free port.
    pub async fn start(config: Config, data: &Path, address: SocketAddr) -> Result<Self, StartError> {
        Self::start_with(config, data, address, ResponseMemory::new(MAX_RESPONSE_BYTES)).await
    }

    async fn start_with(
        config: Config,
        data: &Path,
        address: SocketAddr,
        response_memory: ResponseMemory,
    ) -> Result<Self, StartError> {
        let data = DataDirectory::open(data)?;
        let FoundKey { key, file, generated } = data.root_key(config.key)?;
        let path = data.database(generated)?;
        let store = SqliteStore::open(&path).map_err(|source| StartError::Store { path, source })?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let redaction = Arc::clone(config.models.redaction());
        let models = models::open(config.models, &config.traffic, &clock)?;
        let policy = Arc::new(config.outbound);
        let outbound = Outbound {
            transport: Arc::new(GuardedTransport::new(Arc::clone(&policy))?),
            policy,
            master_key: Arc::new(data.master_key()?),
        };
        let engine = Engine::new(EngineParts {
            store: Arc::new(store),
            models: Arc::new(models),
            clock,
            random: Arc::new(OsRandom),
            redaction,
            outbound,
            settings: config.engine,
        });
        let archiver = config.audit_archive.map(|after| {
            AuditArchiver::new(AuditArchiverParts {
                store: Arc::clone(engine.store()),
                archive: Arc::new(ArchiveDirectory::below(&data)),
                clock: Arc::clone(engine.clock()),
                after,
                line: audit_line,
            })
        });
        let mut app = App::new(engine, Box::new(KeyRing::new(&key))).with_key_cache(config.key_cache);
        app.allow_late_bodies(config.late_after);
        let router = Router::new(ROUTES).map_err(|error| StartError::Routes(error.to_string()))?;
        let listener =
            TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let service =
            Arc::new(Service { app, router, response_memory, late_after: config.late_after, _data: data });
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(http::serve(listener, Arc::clone(&service), stopped.clone()));
        let runner = tokio::spawn(runner::run(service, config.engine.lease, archiver, stopped));
        Ok(Self { address, key_file: file, key_was_generated: generated, stop, tasks: [server, runner] })
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key file; `None` if the configuration has the key.
    pub fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    /// Whether this start generated the key.
    pub fn key_was_generated(&self) -> bool {
        self.key_was_generated
    }

    /// Stops the server: refuses new connections, and waits for requests and jobs in flight.
    /// Judging is interrupted and retried after the next start.
    ///
    /// # Errors
    ///
    /// If requests or jobs are still in flight after 30 s. They continue until the process exits.
    pub async fn shutdown(self) -> Result<(), Unfinished> {
        // Fails only if both tasks, which hold the receivers, have ended.
        let _ = self.stop.send(true);
        let mut outcome = Ok(());
        for task in self.tasks {
            let finished = task.await.unwrap_or_else(|error| {
                tracing::error!(%error, "a task of the server panicked; restart the server");
                Err(Unfinished)
            });
            outcome = outcome.and(finished);
        }
        outcome
    }
}

/// Waits until the server is shut down or dropped.
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

    /// Retries until the data directory is free.
    async fn start_when_free(data: &Path) -> Server {
        let started = timeout(Duration::from_mins(1), async {
            loop {
                match start(data).await {
                    Err(StartError::Data(DataError::InUse { .. })) => sleep(Duration::from_millis(10)).await,
                    other => return other,
                }
            }
        });
        started.await.expect("the directory is released").unwrap()
    }

    /// Reads until the response ends with `end`.
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
    async fn data_directory_is_free_after_a_shutdown() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            start(directory.path()).await.unwrap().shutdown().await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn dropped_server_stops_and_releases_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = start(directory.path()).await.unwrap();
        let address = first.address();
        drop(first);
        let second = start_when_free(directory.path()).await;
        assert!(TcpStream::connect(address).is_err() || second.address() == address);
        second.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn dropped_server_holds_its_directory_until_requests_end() {
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
        // The server sends this when it reads the body, so the request is in flight now.
        assert_eq!(read_until(&mut stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");

        drop(server);
        let refused = start(directory.path()).await.err();
        assert!(matches!(refused, Some(StartError::Data(DataError::InUse { .. }))), "{refused:?}");
        stream.write_all(b"{\"name\":\"Late\"}").unwrap();
        let answer = read_until(&mut stream, "}");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        start_when_free(directory.path()).await.shutdown().await.unwrap();
    }

    /// Sends one request on a new connection. Returns the response's head in lower case, and its body.
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
    async fn large_response_without_memory_becomes_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let memory = ResponseMemory::new(16 * 1024);
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
        assert!(!head.contains("retry-after"), "a retry would create a second objective: {head}");
        let (_, page) = exchange(&server, &format!("GET /v1/objectives?project_id={id}&offset=1"), "");
        assert!(page.contains("\"data\":[]"), "{page}");
        let (head, _) = exchange(&server, &format!("GET /v1/objectives?project_id={id}"), "");
        assert!(head.starts_with("http/1.1 503 "), "the objective was created: {head}");
        server.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn shutdown_reports_unfinished_work() {
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
