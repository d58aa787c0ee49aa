//! Real processes: the `onerun` program, and programs of the Python environment that `make tools` installs.
//!
//! Their environment has only the variables that a test sets, so a developer's own keys and
//! settings stay out.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Client, wait::DEADLINE};

const PAUSE: Duration = Duration::from_millis(10);

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The `onerun` program of this build, with these arguments. It must be built before, because cargo builds a package's
/// programs for that package's own tests only.
pub fn onerun(arguments: &[&str]) -> Command {
    let this = std::env::current_exe().expect("a test knows its own path");
    // target/debug/deps/it-0123 → target/debug/onerun, and target/release/bench_turns → target/release/onerun
    let program = this
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(format!("onerun{}", std::env::consts::EXE_SUFFIX)))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("no `onerun` program beside {}: run `make build`", this.display()));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("RUST_BACKTRACE", "1");
    command
}

/// A program of the Python environment, such as `python` or `schemathesis`, started in the root of the workspace.
pub fn venv(program: &str) -> Command {
    program_of("venv", program, "make tools")
}

/// A program of a Python environment in `.tools/`, which `install` creates.
pub(crate) fn program_of(environment: &str, program: &str, install: &str) -> Command {
    let path = workspace().join(".tools").join(environment).join("bin").join(program);
    assert!(path.exists(), "no {}: run `{install}`", path.display());
    let mut command = Command::new(path);
    command
        .current_dir(workspace())
        .env_clear()
        // Unbuffered, so that the log of a killed process is complete.
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A script of `tests/sdk/`, whose SDK uses `client`'s server and key.
pub fn sdk_script(script: &str, client: &Client) -> Command {
    let mut command = venv("python");
    command.arg(workspace().join("tests/sdk").join(script)).env("ONERUN_API_BASE_URL", client.base_url());
    if let Some(key) = client.key() {
        command.env("ONERUN_API_KEY", key);
    }
    command
}

/// A running program with recorded output. Killed on drop.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    stdout: Capture,
    stderr: Capture,
}

impl Process {
    /// Starts `command` without input.
    #[track_caller]
    pub fn spawn(command: Command) -> Self {
        Self::spawn_with(command, Stdio::null())
    }

    /// Starts `command`, whose standard input ends when this process does, even if it is killed.
    #[track_caller]
    pub(crate) fn spawn_until_exit(command: Command) -> Self {
        Self::spawn_with(command, Stdio::piped())
    }

    #[track_caller]
    fn spawn_with(mut command: Command, stdin: Stdio) -> Self {
        let what = format!("{command:?}");
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let stdout = Capture::start(child.stdout.take().expect("stdout is piped"));
        let stderr = Capture::start(child.stderr.take().expect("stderr is piped"));
        Self { what, child, stdout, stderr }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// The standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The exit status, if it has exited. Its output is then complete.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("a child can be waited for")?;
        self.stdout.finish();
        self.stderr.finish();
        Some(status)
    }

    /// Waits until it exits.
    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}: {}", self.report());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// [`exit`](Self::exit) with code 0 within a minute; returns the standard output.
    pub async fn success(&mut self) -> String {
        self.success_within(DEADLINE).await
    }

    /// [`exit`](Self::exit) with code 0; returns the standard output.
    pub async fn success_within(&mut self, limit: Duration) -> String {
        let status = self.exit(limit).await;
        assert!(status.success(), "{status}: {}", self.report());
        self.stdout()
    }

    /// Kills it with SIGKILL: it can neither finish nor flush anything.
    pub fn kill_9(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child can be waited for");
        self.stdout.finish();
        self.stderr.finish();
    }

    /// Kills its child processes with SIGKILL, on systems that list them.
    pub(crate) fn kill_children_9(&self) {
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            // "4711 (the name (of it)) S 4710 ...": the state and then the parent follow the last parenthesis.
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            if parent.and_then(|parent| parent.parse().ok()) == Some(self.pid()) {
                // It may have exited meanwhile.
                signal("KILL", &entry.file_name().to_string_lossy());
            }
        }
    }

    /// Asks it to stop with SIGTERM, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        if self.ended().is_none() {
            assert!(signal("TERM", &self.pid().to_string()), "cannot signal: {}", self.report());
        }
        self.exit(DEADLINE).await
    }

    /// The command and all of its output, for a failure's text.
    pub fn report(&self) -> String {
        format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.what, self.stdout(), self.stderr())
    }
}

/// Sends a signal with the shell's `kill`: the standard library can only send SIGKILL to a child.
fn signal(name: &str, pid: &str) -> bool {
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\" 2>/dev/null", name, pid])
        .status()
        .expect("there is a shell");
    sent.success()
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited; then nothing is left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One output stream of a process. A thread reads it, so the process never blocks on a full pipe.
#[derive(Debug)]
struct Capture {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    fn start(stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader does not panic");
        }
    }
}

/// `onerun serve` on a free port with a new data directory.
///
/// It can be killed and restarted on the same directory and port. On drop it is killed and its
/// directory removed.
#[derive(Debug)]
pub struct Server {
    // Declared before `data`: the process must stop before its directory is removed.
    process: Process,
    data: TempDir,
    environment: Vec<(String, String)>,
    base_url: String,
    key: String,
    earlier_log: String,
}

impl Server {
    /// Starts one as a user would, without any setting.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with these environment variables.
    pub async fn start_with(environment: &[(&str, &str)]) -> Self {
        let data = tempfile::Builder::new().prefix("onerun-it-").tempdir().expect("a temporary directory");
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (process, base_url) =
            launch(data.path(), &environment, 0).await.unwrap_or_else(|report| panic!("no server: {report}"));
        let given = environment.iter().find(|(name, _)| name == "AUTH_API_KEY").map(|(_, key)| key.clone());
        let key = given.unwrap_or_else(|| {
            let file = data.path().join("api-key");
            std::fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {error}: {}", file.display(), process.report()))
                .trim()
                .to_owned()
        });
        Self { process, data, environment, base_url, key, earlier_log: String::new() }
    }

    /// The base URL, such as `http://127.0.0.1:43210`. A restart keeps it.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The root key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A client with its root key.
    pub fn client(&self) -> Client {
        Client::new(&self.base_url, Some(&self.key))
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Stops it, and returns its complete standard error over all restarts. Use it to check that a
    /// text is absent: the last lines of a running process may be unread.
    pub async fn final_log(&mut self) -> String {
        self.terminate().await;
        self.log()
    }

    /// The standard error read so far, over all restarts. The last lines may be missing.
    pub fn log(&self) -> String {
        format!("{}{}", self.earlier_log, self.process.stderr())
    }

    /// Kills it with SIGKILL.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Stops it with SIGTERM, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.terminate().await
    }

    /// Starts it again on the same directory and port, killing it first if it runs.
    pub async fn restart(&mut self) {
        if self.process.ended().is_none() {
            self.kill_9();
        }
        self.earlier_log = self.log();
        let port = self.base_url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let deadline = Instant::now() + DEADLINE;
        loop {
            match launch(self.data.path(), &self.environment, port).await {
                Ok((process, base_url)) => {
                    assert_eq!(base_url, self.base_url, "listens at another address than configured");
                    self.process = process;
                    return;
                }
                // During the restart, an outgoing connection may have taken the port.
                Err(report) if report.contains("Address already in use") && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(report) => panic!("no server after a restart: {report}"),
            }
        }
    }
}

/// Starts `onerun serve` and waits for the line with its address.
async fn launch(
    data: &Path,
    environment: &[(String, String)],
    port: u16,
) -> Result<(Process, String), String> {
    let mut command = onerun(&["serve", "--port", &port.to_string(), "--data"]);
    command.arg(data).envs(environment.iter().map(|(name, value)| (name, value)));
    let mut process = Process::spawn(command);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let ended = process.ended();
        let stdout = process.stdout();
        if let Some(url) = stdout.lines().find_map(|line| line.strip_prefix("listening on ")) {
            return Ok((process, url.trim().to_owned()));
        }
        if let Some(status) = ended {
            return Err(format!("{status}: {}", process.report()));
        }
        if Instant::now() > deadline {
            return Err(format!("not listening after {DEADLINE:?}: {}", process.report()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
