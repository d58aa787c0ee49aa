//! A data directory on a full disk: keys can still be revoked.
//!
//! The disk is a tmpfs of 3 MB in the server's own mount namespace. Where tests may not create one,
//! they print that and check nothing.

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use http::Method;
use onerun_tests::{
    Client,
    app::ROOT_KEY,
    eventually,
    process::{Process, onerun},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixtures::{code, data, id};

/// A server whose data directory is a disk of 3 MB.
struct SmallDisk {
    process: Process,
    base_url: String,
    directory: TempDir,
}

/// The arguments of `unshare` with which this user may mount, if there are any.
fn unshare() -> Option<&'static str> {
    let can = |arguments: &&str| {
        let mut command = Command::new("unshare");
        command.args([arguments, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    ["-m", "-Urm"].into_iter().find(can)
}

impl SmallDisk {
    #[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
    async fn start() -> Option<Self> {
        let Some(arguments) = unshare() else {
            eprintln!("not tested: this system lets the tests mount nothing");
            return None;
        };
        let directory =
            tempfile::Builder::new().prefix("onerun-it-").tempdir().expect("a temporary directory");
        let program = onerun(&[]);
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=3m,mode=0700 tmpfs \"$0\" && exec \"$@\"";
        command.args([arguments, "sh", "-c", script]).arg(directory.path()).arg(program.get_program());
        command.args(["serve", "--port", "0", "--data"]).arg(directory.path()).env("AUTH_API_KEY", ROOT_KEY);
        let process = Process::spawn(command);
        let base_url = eventually("server", async || {
            let stdout = process.stdout();
            let url = stdout.lines().find_map(|line| line.strip_prefix("listening on "));
            url.map(|url| url.trim().to_owned()).ok_or_else(|| process.report())
        });
        let base_url = base_url.await;
        Some(Self { process, base_url, directory })
    }

    fn client(&self, key: &str) -> Client {
        Client::new(&self.base_url, Some(key))
    }

    fn root(&self) -> Client {
        self.client(ROOT_KEY)
    }

    async fn create_key(&self) -> (String, String) {
        // Its end also writes a job, which tells the webhooks of its project.
        let project = id(&self.root().post("/v1/projects", &json!({ "name": "Shop" }), 200).await);
        let new = json!({ "name": "Key", "preset": "admin", "project_ids": [project] });
        let made = self.root().post("/v1/keys", &new, 200).await;
        (id(&made), made["key"].as_str().expect("a key").to_owned())
    }

    /// A file on the disk, as this process sees it.
    fn file(&self, name: &str) -> PathBuf {
        let below = self.directory.path().strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.process.pid())).join(below).join(name)
    }

    /// Fills the disk.
    fn fill(&self, name: &str) {
        let mut file = File::create(self.file(name)).expect("a file on the disk");
        for size in [65_536, 4_096, 1] {
            let block = vec![b'x'; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    fn free(&self, name: &str) {
        std::fs::remove_file(self.file(name)).expect("the file is there");
    }

    async fn assert_is_full(&self) {
        let problem = self.root().post("/v1/projects", &json!({ "name": "Shop" }), 507).await;
        assert_eq!(code(&problem), "storage_full");
        assert!(problem["message"].as_str().is_some_and(|text| text.contains("disk is full")), "{problem}");
    }

    /// The audit actions of a key.
    async fn audited_operations(&self, key: &str) -> Vec<Value> {
        let trail = self.root().get("/v1/audit?limit=100", 200).await;
        let of_key = data(&trail).iter().filter(|entry| entry["key_id"] == key);
        of_key.map(|entry| entry["action"].clone()).collect()
    }
}

#[tokio::test]
async fn full_disk_does_not_stop_revocation() {
    let Some(disk) = SmallDisk::start().await else { return };
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(disk.create_key().await);
    }
    disk.fill("filler");
    disk.assert_is_full().await;
    let root = disk.root();
    let path = |number: usize, rest: &str| format!("/v1/keys/{}{rest}", keys[number].0);
    root.post(&path(0, "/revoke"), &json!({}), 200).await;
    root.post(&path(1, "/disable"), &json!({}), 200).await;
    root.patch(&path(2, ""), &json!({ "scopes": ["keys:read"] }), 200).await;
    root.post("/v1/keys/revoke-leaked", &json!({ "keys": [keys[3].1] }), 202).await;
    root.post(&path(4, "/rotate"), &json!({ "overlap_seconds": 0 }), 200).await;
    for (number, status, expected) in [
        (0, 401, "revoked_api_key"),
        (1, 401, "inactive_api_key"),
        (2, 403, "insufficient_scope"),
        (3, 401, "revoked_api_key"),
        (4, 401, "revoked_api_key"),
    ] {
        let problem = disk.client(&keys[number].1).get("/v1/projects", status).await;
        assert_eq!(code(&problem), expected, "{number}");
    }
    // Only revocations may use the reserve.
    let longer = json!({ "name": "Longer", "metadata": { "note": "x".repeat(1_000) } });
    assert_eq!(code(&root.patch(&path(2, ""), &longer, 507).await), "storage_full");
    disk.assert_is_full().await;
    disk.free("filler");
    eventually("room for other writes", async || {
        match root.attempt(Method::POST, "/v1/projects", Some(&json!({ "name": "Shop" }))).await {
            Some((200, _)) => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn revocation_without_disk_space_is_written_later() {
    let Some(disk) = SmallDisk::start().await else { return };
    let (id, key) = &disk.create_key().await;
    let spare: Vec<_> = [disk.create_key().await, disk.create_key().await, disk.create_key().await].into();
    disk.fill("filler");
    disk.assert_is_full().await;
    let root = disk.root();
    // Revoke keys until no space is left even for that. Fill the rest of the reserve from outside.
    let mut ends = spare.iter().flat_map(|(id, _)| (1..90).rev().map(move |days| (id, days)));
    loop {
        let (spare, days) = ends.next().expect("the reserve is used up");
        let shorter = json!({ "expires_in_days": days });
        let answer = root.attempt(Method::PATCH, &format!("/v1/keys/{spare}"), Some(&shorter)).await;
        match answer.expect("an answer") {
            (200, _) => disk.fill(&format!("filler-{spare}-{days}")),
            (507, _) => break,
            other => panic!("{other:?}"),
        }
    }
    let problem = root.post_empty(&format!("/v1/keys/{id}/disable"), 507).await;
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("in force")), "{problem}");
    assert_eq!(code(&disk.client(key).get("/v1/projects", 401).await), "inactive_api_key");
    assert_eq!(disk.audited_operations(id).await, ["create_key"]);
    assert_eq!(root.get(&format!("/v1/keys/{id}"), 200).await["status"], "disabled");
    // A second revocation also applies, and a change that restores a key is refused.
    let problem = root.post(&format!("/v1/keys/{id}/enable"), &json!({}), 507).await;
    assert_eq!(code(&problem), "storage_full");
    let problem = root.post(&format!("/v1/keys/{id}/revoke"), &json!({}), 507).await;
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("in force")), "{problem}");
    assert_eq!(code(&disk.client(key).get("/v1/whoami", 401).await), "revoked_api_key");
    disk.free("filler");
    eventually("ends in the trail", async || {
        let reported = disk.audited_operations(id).await;
        if reported == ["revoke_key", "disable_key", "create_key"] {
            Ok(())
        } else {
            Err(format!("{reported:?}"))
        }
    })
    .await;
    assert_eq!(code(&disk.client(key).get("/v1/whoami", 401).await), "revoked_api_key");
}
