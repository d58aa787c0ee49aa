//! The files of an archive of the audit trail: one entry a line, as the API lists it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use onerun_client::resource::AuditEntry;

/// The longest line, well above the longest entry.
const MAX_LINE: u64 = 4 * 1024 * 1024;

/// The ending of files in a directory.
const ENDING: &str = "jsonl";

/// A file that is read line by line.
pub(super) struct ArchiveFile {
    /// Its name, for messages.
    pub(super) name: String,
    lines: BufReader<File>,
    /// The number of the line that was returned last.
    pub(super) line: u64,
}

impl ArchiveFile {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        Ok(Self { name, lines: BufReader::new(file), line: 0 })
    }

    /// The next entry.
    pub(super) fn next_entry(&mut self) -> anyhow::Result<Option<AuditEntry>> {
        let Self { name, lines, line } = self;
        let mut text = Vec::new();
        let read = lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut text);
        if read.with_context(|| format!("cannot read {name}"))? == 0 {
            return Ok(None);
        }
        *line += 1;
        let entry = serde_json::from_slice(&text);
        entry.with_context(|| format!("{name}: line {line} is no entry of an audit trail")).map(Some)
    }
}

/// Files and the files of directories, in the order of their first entries.
pub(super) fn sorted(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let found = if path.is_dir() { in_directory(path)? } else { vec![path.clone()] };
        for path in found {
            let Some(first) = ArchiveFile::open(&path)?.next_entry()? else {
                bail!("{} has no entries of an audit trail", path.display());
            };
            files.push((first.sequence, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn in_directory(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let unreadable = || format!("cannot read {}", directory.display());
    for file in fs::read_dir(directory).with_context(unreadable)? {
        let path = file.with_context(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            found.push(path);
        }
    }
    if found.is_empty() {
        bail!("{} has no files whose names end with .{ENDING}", directory.display());
    }
    Ok(found)
}
