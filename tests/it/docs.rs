//! Runs the commands of the documentation.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path, process::Command, time::Duration};

use onerun_auth::Preset;
use onerun_tests::{
    process::{Process, Server, onerun, venv, workspace},
    sdk::text,
};
use reqwest::Method;
use serde_json::Value;
use tokio::sync::oneshot;

/// A replacement for the options of cURL that `docs/api-keys.md` uses, for machines without it.
const CURL: &str = r#"#!/usr/bin/env python3
import sys, urllib.error, urllib.request
url, headers, data, show, rest = None, {}, None, False, iter(sys.argv[1:])
for word in rest:
    if word == "-H":
        field = next(rest)
        for line in sys.stdin if field == "@-" else [field]:
            name, value = line.strip().split(": ", 1)
            headers[name] = value
    elif word == "-d":
        data = next(rest).encode()
    elif word == "-i":
        show = True
    elif word != "-sS":
        url = word
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, data, headers))
except urllib.error.HTTPError as error:
    answer = error
if show:
    print(f"HTTP/1.1 {answer.status} {answer.reason}\n{answer.headers}", end="")
sys.stdout.write(answer.read().decode())
"#;

/// A block of commands in a document.
struct Block {
    line: usize,
    kind: String,
    text: String,
}

/// The fenced blocks of a document, in order.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in document.lines().enumerate() {
        match line.strip_prefix("```") {
            Some("") if open => open = false,
            Some(kind) if !open => {
                open = true;
                blocks.push(Block { line: number + 1, kind: kind.to_owned(), text: String::new() });
            }
            _ if open => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            _ => assert!(!line.trim_start().starts_with("```"), "line {}: {line}", number + 1),
        }
    }
    assert!(!open, "a block without an end");
    blocks
}

/// The blocks of the page on keys that run against emulated AWS services: see [`crate::aws`].
pub(crate) fn aws_blocks() -> Vec<String> {
    let blocks = blocks(&api_keys()).into_iter();
    blocks.filter(|block| block.kind == "sh aws").map(|block| block.text).collect()
}

/// One script of all blocks that run here. The others are counted, so that no new one is skipped
/// unnoticed.
fn script(document: &str, not_run: &[(&str, usize)]) -> String {
    let mut script = "set -eu\n".to_owned();
    let blocks = blocks(document);
    for Block { line, kind, text } in &blocks {
        match kind.as_str() {
            "sh" => write!(script, "echo '# line {line}' >&2\n{text}"),
            "python" => {
                write!(script, "echo '# line {line}' >&2\npython - <<'LINE_{line}'\n{text}LINE_{line}\n")
            }
            other => {
                assert!(not_run.iter().any(|(kind, _)| *kind == other), "line {line}: what is `{other}`?");
                Ok(())
            }
        }
        .unwrap();
    }
    for (kind, count) in not_run {
        assert_eq!(blocks.iter().filter(|block| block.kind == *kind).count(), *count, "blocks of `{kind}`");
    }
    script
}

/// A working directory for a script: a repository, a home directory, and the server's address and
/// key.
pub(crate) struct ScriptDirectory {
    directory: tempfile::TempDir,
}

impl ScriptDirectory {
    pub(crate) fn of(server: &Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { directory };
        for name in ["home", "bin", "shop/onerun-data"] {
            fs::create_dir_all(place.path(name)).unwrap();
        }
        fs::write(place.path("shop/onerun-data/api-key"), server.key()).unwrap();
        fs::write(place.path("shop/.gitignore"), "onerun-data\n").unwrap();
        let has_curl = Command::new("curl").arg("--version").output().is_ok_and(|seen| seen.status.success());
        if !has_curl {
            fs::write(place.path("bin/curl"), CURL).unwrap();
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(place.path("bin/curl"), fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// A shell with `onerun`, the tests' Python and `curl` on its path, and without the developer's
    /// settings.
    fn shell(&self, script: &str) -> Process {
        self.shell_with("venv", &[], script)
    }

    /// A shell with the programs of this Python environment and these variables.
    pub(crate) fn shell_with(&self, tools: &str, variables: &[(&str, String)], script: &str) -> Process {
        let program = onerun(&[]).get_program().to_owned();
        let tools = workspace().canonicalize().unwrap().join(".tools").join(tools).join("bin");
        assert!(tools.is_dir(), "no {}: run `make tools`", tools.display());
        let path = std::env::join_paths(
            [Path::new(&program).parent().unwrap().to_owned(), tools, self.path("bin")]
                .into_iter()
                .chain(std::env::split_paths(&path_of_this_process())),
        );
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(self.path("shop")).env_clear();
        command.env("PATH", path.unwrap()).env("HOME", self.path("home")).env("LANG", "C.UTF-8");
        command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("PYTHONDONTWRITEBYTECODE", "1")]);
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "Test")
                .env(format!("GIT_{role}_EMAIL"), "test@example.com");
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Process::spawn(command)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "where the system's programs are is the one thing that is inherited"
)]
fn path_of_this_process() -> std::ffi::OsString {
    std::env::var_os("PATH").expect("a path")
}

/// The smoke test that `make deploy` runs on a stack.
#[tokio::test]
async fn smoke_test_passes_here_and_fails_with_a_wrong_key() {
    let server = Server::start().await;
    let smoke = |key: &str| {
        let mut command = venv("python");
        command.arg("tests/smoke.py");
        command.env("ONERUN_API_BASE_URL", server.base_url()).env("ONERUN_API_KEY", key);
        Process::spawn(command)
    };
    let said = smoke(server.key()).success().await;
    assert!(
        said.ends_with("smoke: passed\n") && said.contains("conversation of a simulation is queued"),
        "{said}"
    );
    let mut wrong = smoke("q3V8ZtL0yJm5RcXe7oNwB2kHs9GdFuTa4iP1xWvEzMI=");
    assert_eq!(wrong.exit(Duration::from_mins(1)).await.code(), Some(1), "{}", wrong.report());
    assert!(wrong.stderr().contains("invalid_api_key"), "{}", wrong.report());
    // No file with a usable key is left.
    let keys = server.client().get("/v1/keys?limit=100", 200).await;
    let left: Vec<_> = keys["data"].as_array().unwrap().iter().map(|key| text(key, "status")).collect();
    assert!(!left.is_empty() && left.iter().all(|status| status == "revoked"), "{left:?}");
}

fn api_keys() -> String {
    fs::read_to_string(workspace().join("docs/api-keys.md")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_docs_on_keys_works() {
    let server = Server::start().await;
    let place = ScriptDirectory::of(&server);
    place.shell("git init --quiet && git add . && git commit --quiet --message 'A shop'").success().await;
    let document = api_keys();
    let script = script(&document, &[("sh aws", 4), ("sh serve", 1), ("yaml", 1)])
        .replace("http://127.0.0.1:9000", server.base_url());
    assert!(document.contains("onerun serve --port 9000 --data onerun-data"), "how the server is started");

    // The nightly job, which keeps calling while its key is changed.
    let (stop, mut stopped) = oneshot::channel::<()>();
    let (client, file) = (server.client(), place.path("home/.onerun/nightly"));
    let nightly_job = tokio::spawn(async move {
        let mut keys = BTreeSet::new();
        while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            // The file exists, empty, while it is being written.
            match fs::read_to_string(&file) {
                Ok(key) if !key.is_empty() => {
                    let key = key.trim().to_owned();
                    client.with_key(&key).send(Method::GET, "/v1/projects", None, 200).await;
                    keys.insert(key);
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        keys
    });
    let mut typed = place.shell(&script);
    let status = typed.exit(Duration::from_mins(2)).await;
    assert!(status.success(), "{status}: {}", typed.report());
    stop.send(()).unwrap();
    let used = nightly_job.await.unwrap();
    let both = used.len() == 2 && used.contains(server.key());
    assert!(both, "the job had the one key, and then the other: {} keys", used.len());

    let said = typed.stdout();
    for expected in
        ["0 simulations", "ratelimit-policy: \"default\";q=100;w=60", "found: see above", "build.env:1:1: "]
    {
        assert!(said.to_lowercase().contains(expected), "{expected:?} in {}", typed.report());
    }
    // cURL's exit code does not show a refusal.
    assert_eq!(said.matches(r#""kind":"root""#).count(), 3, "{}", typed.report());
    let keys = server.client().get("/v1/keys?limit=100", 200).await;
    let mut seen: Vec<(String, String)> = keys["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (text(key, "name"), text(key, "status")))
        .filter(|(name, _)| !name.ends_with("administration"))
        .collect();
    seen.sort();
    let expected = [
        ("build of shop", "revoked"),
        ("monitor of shop", "active"),
        ("nightly export", "active"),
        ("nightly job of shop", "active"),
        ("nightly report", "active"),
        ("pipeline of shop", "active"),
        ("pipeline of shop", "revoked"),
        ("worker of shop", "active"),
    ];
    assert_eq!(seen, expected.map(|(name, status)| (name.to_owned(), status.to_owned())));
    nobody_else_reads(&place.path("home/.onerun"));

    // The hook refuses a key, and nothing else.
    let commit = "git add . && git commit --quiet --message 'A change'";
    let mut process = place.shell(&format!("cp ~/.onerun/worker 'a setting' && {commit}"));
    assert_eq!(process.exit(Duration::from_mins(1)).await.code(), Some(1), "{}", process.report());
    assert!(process.stderr().contains("/a setting:1:1: a managed key"), "{}", process.report());
    place.shell(&format!("echo harmless >'a setting' && {commit}")).success().await;
}

#[cfg(unix)]
fn nobody_else_reads(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let holds_a_key = fs::read_to_string(entry.path()).unwrap().contains("onr_");
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert!(!holds_a_key || mode == 0o600, "{}: {mode:o}", entry.path().display());
    }
}

#[cfg(not(unix))]
fn nobody_else_reads(_: &Path) {}

#[test]
fn docs_on_keys_have_the_scopes_of_each_preset() {
    let document = api_keys();
    for preset in Preset::ALL {
        let scopes: Vec<String> = preset.scopes().iter().map(|scope| format!("`{scope}`")).collect();
        let row = format!("| `{}` | {} |", preset.as_str(), scopes.join(" "));
        assert!(document.contains(&row), "no row {row}");
    }
}

#[test]
fn docs_on_keys_explain_each_refusal() {
    let document = api_keys();
    let api = fs::read_to_string(workspace().join("openapi.json")).unwrap();
    let api: Value = serde_json::from_str(&api).unwrap();
    let mut codes = BTreeSet::new();
    for (path, operations) in api["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                // The codes of keys, and those of key routes except the ones of every route.
                if ["401", "403"].contains(&status.as_str())
                    || path.contains("key_id") && ["404", "409"].contains(&status.as_str())
                {
                    let examples =
                        response["content"]["application/problem+json"]["examples"].as_object().unwrap();
                    codes.extend(examples.keys().cloned());
                }
            }
        }
    }
    assert!(codes.contains("revoked_api_key") && codes.contains("key_replaced"), "{codes:?}");
    for code in codes {
        let rows =
            document.lines().filter(|line| line.starts_with('|') && line.contains(&format!("`{code}`")));
        assert_eq!(rows.count(), 1, "rows about {code}");
    }
}
