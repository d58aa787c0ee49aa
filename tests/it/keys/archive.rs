//! The archive of the audit trail on one machine, and `onerun keys audit --verify --archive`.

use std::{fs, path::PathBuf};

use onerun_auth::AuditEntry;
use onerun_store::audit_body;
use onerun_tests::{
    eventually,
    process::{Process, Server, venv},
};
use serde_json::Value;

use super::{CliOutput, keys, trail::SQL};
use crate::fixtures::audit_entries;

/// Five entries of three months of another year.
fn entries() -> Vec<AuditEntry> {
    audit_entries(&["2025-01", "2025-01", "2025-02", "2025-02", "2025-03"])
}

/// A server whose trail begins with old entries.
async fn server(entries: &[AuditEntry]) -> Server {
    let mut server = Server::start_with(&[("ONERUN_AUDIT_ARCHIVE_DAYS", "90")]).await;
    server.terminate().await;
    let inserts: Vec<String> = entries
        .iter()
        .map(|entry| {
            let body = audit_body(entry);
            format!("INSERT INTO audit VALUES ({}, '{}', '{body}');", entry.sequence, entry.hash)
        })
        .collect();
    let mut command = venv("python");
    command.args(["-c", SQL]).arg(server.data().join("onerun.db")).arg(inserts.concat());
    Process::spawn(command).success().await;
    server.restart().await;
    server
}

struct Archive {
    server: Server,
}

impl Archive {
    /// A server that has archived the old entries, with a new one.
    async fn open() -> Self {
        let server = server(&entries()).await;
        let client = server.client();
        eventually("archive of five entries", || async {
            let page = client.get("/v1/audit", 200).await;
            if page["archived"]["sequence"] == 5 { Ok(()) } else { Err(page.to_string()) }
        })
        .await;
        let archive = Self { server };
        archive.keys(&["create", "new", "--preset", "worker", "--all-projects"]).exits(0);
        archive
    }

    fn directory(&self) -> PathBuf {
        self.server.data().join("audit")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn keys(&self, arguments: &[&str]) -> CliOutput {
        let environment =
            [("ONERUN_API_BASE_URL", self.server.base_url()), ("ONERUN_API_KEY", self.server.key())];
        keys(arguments, &environment, "")
    }

    /// Verifies the trail with the directory of the archive.
    fn verify(&self, more: &[&str]) -> CliOutput {
        let directory = self.directory();
        let directory = directory.to_str().unwrap();
        self.keys(&[&["audit", "--verify", "--archive", directory], more].concat())
    }
}

const JANUARY: &str = "2025-01-0000000001.jsonl";
const FEBRUARY: &str = "2025-02-0000000003.jsonl";

#[tokio::test]
async fn archive_and_trail_verify_together() {
    let archive = Archive::open().await;
    let names = fs::read_dir(archive.directory()).unwrap().count();
    assert_eq!(names, 3);
    let with_archive = archive.verify(&[]);
    assert!(with_archive.stderr.contains("The hashes of all 6 entries match."), "{with_archive:?}");
    let head = with_archive.exits(0);
    assert!(head.starts_with("6:"), "{head}");
    // An anchor of the time before the archive.
    let old = entries()[1].head();
    archive.verify(&["--anchor", &format!("{}:{}", old.sequence, old.hash)]).exits(0);
    let other = archive.verify(&["--anchor", &format!("{}:{}", old.sequence, "0a".repeat(32))]).fails(1);
    assert!(other.contains("from entry 2 on") && other.contains("it differs from `--anchor`"), "{other}");

    // Without the archive, what the server has.
    let alone = archive.keys(&["audit", "--verify"]);
    assert!(alone.stderr.contains("Entries up to 5 are archived and were not verified"), "{alone:?}");
    assert_eq!(alone.exits(0), head);
    let json = archive.keys(&["audit", "--verify", "--json"]).exits(0);
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&found["from"], &found["entries"]), (&6.into(), &6.into()), "{found}");
    let anchor = format!("{}:{}", old.sequence, old.hash);
    let unknown = archive.keys(&["audit", "--verify", "--anchor", &anchor]).fails(2);
    assert!(unknown.contains("entry 2 of `--anchor` is archived; name the files"), "{unknown}");
}

#[tokio::test]
async fn changed_missing_or_doubled_file_is_named() {
    let archive = Archive::open().await;
    let (january, february) = (archive.file(JANUARY), archive.file(FEBRUARY));
    let text = fs::read_to_string(&february).unwrap();

    fs::write(&february, text.replacen("key 4", "key 5", 1)).unwrap();
    let changed = archive.verify(&[]).fails(1);
    assert!(changed.contains(FEBRUARY) && changed.contains("line 2: entry 4 was changed"), "{changed}");

    let lines: Vec<&str> = text.lines().collect();
    fs::write(&february, format!("{}\n{}\n", lines[1], lines[0])).unwrap();
    let reordered = archive.verify(&[]).fails(1);
    assert!(reordered.contains(FEBRUARY) && reordered.contains("from entry 3 on"), "{reordered}");

    fs::write(&february, "{}\n").unwrap();
    let malformed = archive.verify(&[]).fails(2);
    assert!(malformed.contains(FEBRUARY) && malformed.contains("line 1 is no entry"), "{malformed}");

    fs::remove_file(&february).unwrap();
    let missing = archive.verify(&[]).fails(1);
    assert!(missing.contains("no file has the entries from 3 to 4 before"), "{missing}");

    fs::write(&february, &text).unwrap();
    let copy = archive.file("copy.jsonl");
    fs::copy(&january, &copy).unwrap();
    let doubled = archive.verify(&[]).fails(1);
    assert!(doubled.contains("begins with entry 1, which another file has, too"), "{doubled}");
    fs::remove_file(&copy).unwrap();
    archive.verify(&[]).exits(0);

    fs::remove_file(archive.file("2025-03-0000000005.jsonl")).unwrap();
    let last = archive.verify(&[]).fails(1);
    assert!(last.contains("the entries up to 5 are archived, and no file has them"), "{last}");
}

#[tokio::test]
async fn changed_trail_is_not_archived() {
    let mut changed = entries();
    changed[1].event.key_id = "other".to_owned();
    let server = server(&changed).await;
    eventually("error about the trail", || async {
        let log = server.log();
        if log.contains("the audit trail was changed, so it is not archived") { Ok(()) } else { Err(log) }
    })
    .await;
    let page = server.client().get("/v1/audit", 200).await;
    assert_eq!((&page["archived"], page["data"].as_array().unwrap().len()), (&Value::Null, 5));
}
