//! Commands that call no server.

use std::fs;

use serde_json::{Value, json};

use super::{CliOutput, MANAGED};

const ROOT: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";

fn keys(arguments: &[&str], stdin: &str) -> CliOutput {
    super::keys(arguments, &[], stdin)
}

#[test]
fn key_is_checked_without_being_printed() {
    let changed = MANAGED.replace("AAEC", "AAED");
    for (key, code, reported) in [
        (MANAGED, 0, "a managed key, AAECAwQFBgcI"),
        (ROOT, 0, "a root key"),
        (&changed, 1, "checksum is wrong"),
        (&MANAGED[..40], 1, "40 characters instead of 64"),
        ("changeme", 1, "placeholder"),
    ] {
        let output = keys(&["check"], &format!("{key}\n"));
        assert_eq!(output.code, code, "{output:?}");
        assert!(output.stdout.contains(reported), "{output:?}");
        assert!(!format!("{output:?}").contains(key));
    }
    let seen: Value = serde_json::from_str(&keys(&["check", "--json"], MANAGED).exits(0)).unwrap();
    assert_eq!(seen, json!({"valid": true, "kind": "managed", "key_id": "AAECAwQFBgcI", "reason": null}));
}

#[test]
fn input_far_longer_than_a_key_is_not_read() {
    let stderr = keys(&["check"], &"a".repeat(10_000)).fails(1);
    assert!(stderr.contains("4096 bytes"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn named_files_are_scanned_whatever_their_type() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    fs::create_dir(at("real")).unwrap();
    fs::write(at("real/settings"), MANAGED).unwrap();
    std::os::unix::fs::symlink(at("real/settings"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("real"), at("linked")).unwrap();
    for (path, input) in [("/dev/stdin", MANAGED), (&at("link"), ""), (&at("linked"), "")] {
        let found = keys(&["scan", path], input).exits(1);
        assert!(found.starts_with(path) && found.contains(":1:1: a managed key"), "{found}");
    }
    assert_eq!(keys(&["scan", "/dev/stdin"], "none").exits(0), "");

    std::os::unix::fs::symlink(at("nothing"), at("dangling")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for path in ["dangling", "socket"] {
        let stderr = keys(&["scan", &at(path), &at("link")], "");
        assert!(stderr.stderr.contains(path), "{stderr:?}");
        stderr.exits(2);
    }
    drop(socket);
}

#[cfg(unix)]
#[test]
fn names_of_scanned_files_are_escaped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a\u{1b}[2J\n::error::b");
    fs::write(&path, MANAGED).unwrap();
    let found = keys(&["scan", path.to_str().unwrap()], "").exits(1);
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.contains(r"/a\u{001B}[2J\u{000A}:\u{003A}error:\u{003A}b:1:1: a managed key"), "{found}");
    let missing = directory.path().join("\n::error::c");
    let reported = keys(&["scan", missing.to_str().unwrap()], "").fails(2);
    assert_eq!(reported.lines().count(), 1, "{reported}");
    assert!(!reported.contains("::"), "{reported}");
}

#[test]
fn keys_in_files_are_found_and_not_printed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("a/.git")).unwrap();
    fs::write(root.join("a/clean"), "onr_ is how a key begins").unwrap();
    let scan = |arguments: &[&str]| keys(&[&["scan", root.to_str().unwrap()], arguments].concat(), "");

    assert_eq!(scan(&[]).exits(0), "");

    fs::write(root.join("a/.git/object"), MANAGED).unwrap();
    fs::write(root.join("a/settings"), format!("# keys\nKEY={MANAGED}\n")).unwrap();
    let path = root.join("a/settings").display().to_string();
    assert_eq!(scan(&[]).exits(1), format!("{path}:2:5: a managed key, AAECAwQFBgcI\n"));
    let seen: Value = serde_json::from_str(&scan(&["--json"]).exits(1)).unwrap();
    assert_eq!(seen, json!([{"path": path, "line": 2, "column": 5, "key_id": "AAECAwQFBgcI"}]));

    let output = scan(&["/no/such/file"]);
    assert!(output.stderr.contains("/no/such/file"), "{output:?}");
    assert!(output.exits(2).contains("a/settings"), "and the found keys are still reported");
}
