//! `onerun keys scan`: managed keys in files.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use onerun_auth::find_managed_keys;
use serde::Serialize;
use walkdir::{DirEntry, WalkDir};

use crate::output;

/// Where a key was found.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    column: usize,
    key_id: String,
}

pub(super) fn run(paths: &[PathBuf], json: bool) -> anyhow::Result<ExitCode> {
    let (mut findings, mut unread) = (Vec::new(), 0);
    for path in paths {
        for entry in WalkDir::new(path).sort_by_file_name().into_iter().filter_entry(is_looked_at) {
            let found = entry.map_err(io::Error::from).and_then(|entry| {
                // What a link leads to is looked at where it is.
                if entry.file_type().is_file() { scan(entry.path()) } else { Ok(Vec::new()) }
            });
            match found {
                Ok(found) => findings.extend(found),
                Err(error) => {
                    unread += 1;
                    complain(path, &error);
                }
            }
        }
    }
    let text = if json {
        format!("{}\n", serde_json::to_string(&findings)?)
    } else {
        findings.iter().map(in_words).collect()
    };
    output::print(&text)?;
    Ok(match (unread, findings.is_empty()) {
        (0, true) => ExitCode::SUCCESS,
        (0, false) => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    })
}

/// What git keeps for itself is compressed: a key in it would not be found.
fn is_looked_at(entry: &DirEntry) -> bool {
    entry.depth() == 0 || entry.file_name() != ".git"
}

fn scan(path: &Path) -> io::Result<Vec<Finding>> {
    let bytes = fs::read(path)?;
    let found = find_managed_keys(&bytes).map(|(place, id)| {
        let lines = bytes[..place].split(|byte| *byte == b'\n');
        let (line, column) = lines.fold((0, 0), |(line, _), text| (line + 1, text.len() + 1));
        Finding { path: path.display().to_string(), line, column, key_id: id.to_string() }
    });
    Ok(found.collect())
}

fn in_words(finding: &Finding) -> String {
    let Finding { path, line, column, key_id } = finding;
    format!("{path}:{line}:{column}: a managed key, {key_id}\n")
}

fn complain(path: &Path, error: &io::Error) {
    // If nobody can be told, the exit code still tells.
    let _ = writeln!(io::stderr().lock(), "error: {}: {error}", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";

    #[test]
    fn a_key_is_found_by_line_and_column() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings");
        let wrong = KEY.replace("AAEC", "AAED");
        fs::write(&file, [b"\xff\n# ", wrong.as_bytes(), b"\nKEY=", KEY.as_bytes(), b"\n"].concat()).unwrap();
        let found = scan(&file).unwrap();
        let path = file.display().to_string();
        assert_eq!(found, [Finding { path, line: 3, column: 5, key_id: "AAECAwQFBgcI".to_owned() }]);
        assert!(!in_words(&found[0]).contains(KEY));
    }
}
