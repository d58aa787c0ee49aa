//! Functions as Lambda runs them. Each environment is a process under AWS's runtime emulator. Its
//! variables are those of Lambda and of the template, and it runs one invocation at a time.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::net::TcpStream;

use super::service::free_port;
use crate::{
    eventually, http_client,
    process::{Process, workspace},
};

/// AWS's emulator of the Lambda runtime. SAM's package carries it.
fn emulator() -> PathBuf {
    let library = workspace().join(".tools/aws/lib");
    let found = std::fs::read_dir(&library).into_iter().flatten().flatten().find_map(|python| {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        let file = python
            .path()
            .join("site-packages/samcli/local/rapid")
            .join(format!("aws-lambda-rie-{architecture}"));
        file.is_file().then_some(file)
    });
    found.unwrap_or_else(|| panic!("no runtime emulator under {}: run `make test-aws`", library.display()))
}

/// The release binary of an operation. Build it before the tests, because cargo builds a package's
/// binaries only for that package's own tests.
fn binary(operation: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a test knows its own path");
    // target/debug/deps/it-0123 → target/lambda/get_whoami/bootstrap
    let target = this.ancestors().nth(3).expect("a test is in a target directory");
    let binary = target.join("lambda").join(operation).join("bootstrap");
    assert!(binary.is_file(), "no function {}: run `make test-aws`", binary.display());
    binary
}

/// Why an invocation has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvocationError {
    /// The function reported this error.
    Error(String),
    /// The process ended or timed out.
    Died(String),
}

/// A function, with as many environments as have been needed at once.
#[derive(Debug)]
pub struct Function {
    operation: String,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    emulator: PathBuf,
    http: reqwest::Client,
    idle: Mutex<Vec<Arc<Environment>>>,
    all: Mutex<Vec<Arc<Environment>>>,
}

impl Function {
    /// A function of which nothing runs yet.
    pub(crate) fn new(operation: &str, environment: Vec<(String, String)>) -> Self {
        Self {
            operation: operation.to_owned(),
            binary: binary(operation),
            environment,
            emulator: emulator(),
            http: http_client(),
            idle: Mutex::default(),
            all: Mutex::default(),
        }
    }

    /// The operation.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// Invokes it with an event and waits for its answer, in an environment that is free or else in a new one.
    pub async fn invoke(self: &Arc<Self>, event: &Value) -> Result<Value, InvocationError> {
        let (this, event) = (Arc::clone(self), event.to_string());
        // Spawned as a task, because an invocation continues when its caller stops waiting, and
        // keeps its environment busy until it ends.
        let invoked = tokio::spawn(async move {
            let idle = this.lock(&this.idle).pop();
            let environment = match idle {
                Some(environment) => environment,
                None => this.start().await,
            };
            let outcome = environment.invoke(&this.http, event).await;
            if environment.is_alive() {
                this.lock(&this.idle).push(environment);
            }
            outcome
        });
        invoked.await.unwrap_or_else(|error| panic!("{}: {error}", self.operation))
    }

    /// Invokes it with an event that it must take.
    pub async fn run(self: &Arc<Self>, event: &Value) -> Value {
        self.invoke(event)
            .await
            .unwrap_or_else(|failed| panic!("{}: {failed:?}\n{}", self.operation, self.log()))
    }

    async fn start(&self) -> Arc<Environment> {
        let environment = Arc::new(
            Environment::start(&self.operation, &self.binary, &self.environment, &self.emulator).await,
        );
        self.lock(&self.all).push(Arc::clone(&environment));
        environment
    }

    /// The number of environments started so far.
    pub fn environments(&self) -> usize {
        self.lock(&self.all).len()
    }

    /// Stops all environments and returns their complete logs. Use it to check that a text is
    /// absent: the last lines of a running environment may be unread.
    pub fn final_log(&self) -> String {
        self.kill();
        self.log()
    }

    /// The log lines read so far, including the emulator's.
    pub fn log(&self) -> String {
        self.lock(&self.all).iter().map(|environment| environment.log()).collect()
    }

    /// The lines that the function itself has logged, which are JSON.
    pub fn lines(&self) -> Vec<Value> {
        let log = self.log();
        log.lines()
            .filter(|line| line.starts_with('{'))
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Kills all environments at once.
    pub fn kill(&self) {
        self.lock(&self.idle).clear();
        for environment in self.lock(&self.all).iter() {
            environment.kill();
        }
    }

    #[expect(clippy::unused_self, reason = "reads as what is locked")]
    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One environment: the emulator, and the function's process, which the first invocation starts.
#[derive(Debug)]
struct Environment {
    process: Mutex<Process>,
    url: String,
    is_alive: AtomicBool,
}

impl Environment {
    async fn start(
        operation: &str,
        binary: &Path,
        environment: &[(String, String)],
        emulator: &Path,
    ) -> Self {
        // Another process may take the free port first.
        for _attempt in 1..=5 {
            let (front, api) = (free_port(), free_port());
            let mut command = Command::new(emulator);
            command
                .args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{front}")])
                .args(["--runtime-api-address", &format!("127.0.0.1:{api}")])
                .arg(binary)
                .env_clear()
                .envs(environment.iter().map(|(name, value)| (name, value)));
            let mut process = Process::spawn(command);
            let process_ref = &mut process;
            let ended = eventually(&format!("emulator of {operation}"), || {
                let ended = process_ref.ended().is_some();
                async move {
                    if ended {
                        return Ok(true);
                    }
                    let connected = TcpStream::connect(("127.0.0.1", front)).await;
                    connected.map(|_| false).map_err(|error| error.to_string())
                }
            })
            .await;
            if !ended {
                return Self {
                    process: Mutex::new(process),
                    url: format!("http://127.0.0.1:{front}/2015-03-31/functions/function/invocations"),
                    is_alive: AtomicBool::new(true),
                };
            }
        }
        panic!("the emulator of {operation} does not start");
    }

    async fn invoke(&self, http: &reqwest::Client, event: String) -> Result<Value, InvocationError> {
        let sent = http.post(&self.url).timeout(Duration::from_mins(5)).body(event).send().await;
        let answered = match sent {
            Ok(response) => {
                let status = response.status();
                response.text().await.map(|text| (status, text))
            }
            Err(error) => Err(error),
        };
        let (status, text) = answered.map_err(|error| {
            self.kill();
            InvocationError::Died(format!("{error:?}"))
        })?;
        if !status.is_success() || text.starts_with("Task timed out after") {
            return Err(InvocationError::Died(text));
        }
        let answer: Value = serde_json::from_str(&text).map_err(|_| InvocationError::Error(text))?;
        // The emulator has no other sign of an error.
        match answer.get("errorType") {
            Some(_) if answer.get("errorMessage").is_some() => {
                Err(InvocationError::Error(answer.to_string()))
            }
            _ => Ok(answer),
        }
    }

    fn is_alive(&self) -> bool {
        self.is_alive.load(Ordering::SeqCst)
    }

    fn log(&self) -> String {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}{}", process.stdout(), process.stderr())
    }

    /// Kills the function's process first: an orphan would continue until its next reply.
    fn kill(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_alive.swap(false, Ordering::SeqCst) {
            process.kill_children_9();
            process.kill_9();
        }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.kill();
    }
}
