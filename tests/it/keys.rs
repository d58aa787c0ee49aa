//! `onerun keys` as people, hooks and CI jobs see it: what it prints, and its exit codes.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use onerun_tests::process::onerun;
use serde_json::{Value, json};

/// A key of no store: the bytes 0 to 40 and their checksum.
const MANAGED: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";
const ROOT: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";

fn keys(arguments: &[&str], stdin: &str) -> Output {
    let mut command = onerun(&[&["keys"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_key_is_checked_without_being_printed() {
    let changed = MANAGED.replace("AAEC", "AAED");
    for (key, code, told) in [
        (MANAGED, 0, "a managed key, AAECAwQFBgcI"),
        (ROOT, 0, "a root key"),
        (&changed, 1, "checksum is wrong"),
        (&MANAGED[..40], 1, "40 characters instead of 64"),
        ("changeme", 1, "placeholder"),
    ] {
        let output = keys(&["check"], &format!("{key}\n"));
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
        assert!(stdout.contains(told), "{stdout}");
        assert!(!format!("{stdout}{stderr}").contains(key));
    }
    let output = keys(&["check", "--json"], MANAGED);
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen, json!({"valid": true, "kind": "managed", "key_id": "AAECAwQFBgcI", "reason": null}));
}

#[test]
fn what_is_far_longer_than_a_key_is_not_read() {
    let output = keys(&["check"], &"a".repeat(10_000));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("4096 bytes"), "{output:?}");
}

#[test]
fn keys_in_files_are_found_and_not_printed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("a/.git")).unwrap();
    fs::write(root.join("a/clean"), "onr_ is how a key begins").unwrap();
    let scan = |arguments: &[&str]| keys(&[&["scan", root.to_str().unwrap()], arguments].concat(), "");

    let output = scan(&[]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), ""));

    fs::write(root.join("a/.git/object"), MANAGED).unwrap();
    fs::write(root.join("a/settings"), format!("# keys\nKEY={MANAGED}\n")).unwrap();
    let output = scan(&[]);
    let path = root.join("a/settings").display().to_string();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), format!("{path}:2:5: a managed key, AAECAwQFBgcI\n"));
    let seen: Value = serde_json::from_slice(&scan(&["--json"]).stdout).unwrap();
    assert_eq!(seen, json!([{"path": path, "line": 2, "column": 5, "key_id": "AAECAwQFBgcI"}]));

    let output = scan(&["/no/such/file"]);
    assert_eq!(output.status.code(), Some(2), "that something was not read is told");
    assert!(text(&output.stderr).contains("/no/such/file"), "{output:?}");
    assert!(text(&output.stdout).contains("a/settings"), "and what was found all the same");
}
