//! `onerun keys scan`: managed keys in files.
//!
//! A file is read in parts, so its size costs no memory. A key is found in text of one, two or four bytes a character: what
//! is UTF-16 or UTF-32 to some program is a key to whoever opens it there.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::anyhow;
use onerun_auth::{KeyId, find_managed_keys};
use serde::Serialize;
use walkdir::{DirEntry, WalkDir};

use crate::{output, text::plain};

/// How much is read at a time.
const PART: usize = 256 * 1024;

/// The most that is read of something that is no file and may never end, such as a pipe.
const MAX_STREAM: u64 = 1024 * 1024 * 1024;

/// The characters of a managed key.
const KEY_CHARS: usize = 64;

/// How many bytes a character of a text may have.
const WIDTHS: [usize; 3] = [1, 2, 4];

const WIDEST: usize = 4;

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
    let mut take = |path: &Path, found: io::Result<Vec<Finding>>| match found {
        Ok(found) => findings.extend(found),
        Err(error) => {
            unread += 1;
            complain(path, &error);
        }
    };
    for path in paths {
        match fs::metadata(path) {
            Ok(named) if named.is_dir() => {
                for entry in WalkDir::new(path).sort_by_file_name().into_iter().filter_entry(is_looked_at) {
                    let found = entry.map_err(io::Error::from).and_then(|entry| {
                        // Links are skipped: their target is scanned where it lies.
                        if entry.file_type().is_file() { scan(entry.path()) } else { Ok(Vec::new()) }
                    });
                    take(path, found);
                }
            }
            // Also a link, a pipe or a device: somebody who names it wants to know what is in it.
            Ok(_) => take(path, scan(path)),
            Err(error) => take(path, Err(error)),
        }
    }
    if json {
        output::print_json(&serde_json::to_string(&findings)?)?;
    } else {
        output::print(&findings.iter().map(in_words).collect::<String>())?;
    }
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
    let file = File::open(path)?;
    let most = if file.metadata()?.is_file() { u64::MAX } else { MAX_STREAM };
    let found = find(file, most, PART)?.into_iter().map(|(line, column, id)| Finding {
        path: path.display().to_string(),
        line,
        column,
        key_id: id.to_string(),
    });
    Ok(found.collect())
}

/// The keys in what is read, `part` bytes at a time, each with its line and column.
fn find(mut source: impl Read, most: u64, part: usize) -> io::Result<Vec<(usize, usize, KeyId)>> {
    let mut found = Vec::new();
    let mut lines: Vec<Lines> =
        WIDTHS.into_iter().flat_map(|width| (0..width).map(move |low| Lines::new(width, low))).collect();
    // The bytes that are read but not scanned yet, and their offset in the file.
    let (mut bytes, mut before) = (Vec::new(), 0);
    loop {
        let read = source.by_ref().take(part as u64).read_to_end(&mut bytes)?;
        let is_end = read == 0;
        if (before + bytes.len()) as u64 > most {
            return Err(io::Error::other(format!("does not end within {most} bytes")));
        }
        // A partial key at the end waits for more input. Characters are never split.
        let ready = match bytes.len().checked_sub(KEY_CHARS * WIDEST) {
            _ if is_end => bytes.len(),
            Some(ready) => ready - ready % WIDEST,
            None => 0,
        };
        for place in (0..ready).filter(|place| bytes[*place] == b'o') {
            let mut keys =
                WIDTHS.into_iter().filter_map(|width| Some((width, key_at(&bytes[place..], width)?)));
            let Some((width, id)) = keys.next() else { continue };
            let low = (before + place) % width;
            if let Some(lines) = lines.iter_mut().find(|lines| (lines.width, lines.low) == (width, low)) {
                lines.go_to(place, &bytes, before);
                found.push((lines.line, (before + place - lines.start) / width + 1, id));
            }
        }
        for lines in &mut lines {
            lines.go_to(ready, &bytes, before);
        }
        bytes.drain(..ready);
        before += ready;
        if is_end {
            return Ok(found);
        }
    }
}

/// The key that begins here, in characters of `width` bytes. Which of a character's bytes is the low one does not matter:
/// between two low ones, all others are zero.
fn key_at(bytes: &[u8], width: usize) -> Option<KeyId> {
    let mut key = [0; KEY_CHARS];
    let last = (KEY_CHARS - 1) * width;
    for (place, byte) in bytes.get(..=last)?.iter().enumerate() {
        match place % width {
            0 => *key.get_mut(place / width)? = *byte,
            _ if *byte != 0 => return None,
            _ => {}
        }
        // Most of what begins with an `o` is known by its second character.
        if place == width && key.get(1) != Some(&b'n') {
            return None;
        }
    }
    find_managed_keys(&key).next().map(|(_, id)| id)
}

/// The line that a place is in, in characters of one width and order of bytes.
struct Lines {
    /// The bytes of a character.
    width: usize,
    /// Which of them is the low one.
    low: usize,
    /// Up to where line ends were counted.
    at: usize,
    line: usize,
    /// Where the line's first low byte is.
    start: usize,
}

impl Lines {
    fn new(width: usize, low: usize) -> Self {
        Self { width, low, at: low, line: 1, start: low }
    }

    /// Counts line ends up to a place in `bytes`, which come after `before` others.
    fn go_to(&mut self, place: usize, bytes: &[u8], before: usize) {
        let end = before + place;
        while self.at < end {
            let character = self.at - self.low - before;
            let is_end = bytes.get(character..character + self.width).is_some_and(|character| {
                let newline =
                    |(place, byte): (usize, &u8)| *byte == if place == self.low { b'\n' } else { 0 };
                character.iter().enumerate().all(newline)
            });
            self.at += self.width;
            if is_end {
                self.line += 1;
                self.start = self.at;
            }
        }
    }
}

fn in_words(finding: &Finding) -> String {
    let Finding { path, line, column, key_id } = finding;
    format!("{}:{line}:{column}: a managed key, {key_id}\n", harmless(path))
}

fn complain(path: &Path, error: &io::Error) {
    output::complain(&anyhow!("{}: {}", harmless(&path.display().to_string()), harmless(&error.to_string())));
}

/// A text in which neither a terminal nor a CI system finds a command: `::error::` and `##vso[` are some to those.
fn harmless(text: &str) -> String {
    plain(text).replace("::", ":\\u{003A}").replace("##", "#\\u{0023}")
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    const KEY: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";
    const ID: &str = "AAECAwQFBgcI";

    fn places(bytes: &[u8], part: usize) -> Vec<(usize, usize)> {
        let found = find(bytes, u64::MAX, part).unwrap();
        found
            .into_iter()
            .map(|(line, column, id)| {
                assert_eq!(id.as_str(), ID);
                (line, column)
            })
            .collect()
    }

    fn wide(text: &str, encode: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(encode).collect()
    }

    #[test]
    fn a_key_is_found_by_line_and_column() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings");
        let wrong = KEY.replace("AAEC", "AAED");
        fs::write(&file, [b"\xff\n# ", wrong.as_bytes(), b"\nKEY=", KEY.as_bytes(), b"\n"].concat()).unwrap();
        let found = scan(&file).unwrap();
        let path = file.display().to_string();
        assert_eq!(found, [Finding { path, line: 3, column: 5, key_id: ID.to_owned() }]);
        assert!(!in_words(&found[0]).contains(KEY));
    }

    #[test]
    fn a_key_is_found_in_utf_16_and_utf_32() {
        // Characters that have the byte of a line's end in them.
        let text = format!("\u{a0a}\u{10a}\nKEY={KEY}\n{KEY}");
        let places_in_text = [(2, 5), (3, 1)];
        assert_eq!(places(text.as_bytes(), PART), places_in_text);
        assert_eq!(places(&wide(&text, u16::to_le_bytes), PART), places_in_text);
        assert_eq!(places(&wide(&text, u16::to_be_bytes), PART), places_in_text);
        let of_32: Vec<u8> = text.chars().flat_map(|char| u32::from(char).to_le_bytes()).collect();
        assert_eq!(places(&of_32, PART), places_in_text);
        let of_32: Vec<u8> = text.chars().flat_map(|char| u32::from(char).to_be_bytes()).collect();
        assert_eq!(places(&of_32, PART), places_in_text);
        let marked = wide(&format!("\u{feff}\n{KEY}"), u16::to_le_bytes);
        assert_eq!(places(&marked, PART), [(2, 1)]);
    }

    #[test]
    fn a_key_is_found_wherever_a_part_ends() {
        for before in 0..80 {
            let text = format!("{}\n{KEY}", "x".repeat(before));
            for bytes in
                [text.clone().into_bytes(), wide(&text, u16::to_le_bytes), wide(&text, u16::to_be_bytes)]
            {
                for part in [1, 7, 64, 100] {
                    assert_eq!(places(&bytes, part), [(2, 1)], "{before} {part}");
                }
            }
        }
    }

    #[test]
    fn every_one_of_20_000_keys_is_found() {
        let text = iter::repeat_n(format!("{KEY}\n"), 20_000).collect::<String>();
        let found = places(text.as_bytes(), PART);
        assert!(found.into_iter().eq((1..=20_000).map(|line| (line, 1))));
    }

    #[test]
    fn what_does_not_end_is_given_up() {
        let error = find(io::repeat(b'o'), 1_000_000, PART).unwrap_err();
        assert!(error.to_string().contains("1000000 bytes"), "{error}");
    }

    #[test]
    fn a_name_is_shown_without_its_commands() {
        assert_eq!(harmless("a\u{1b}[2J\n::error::b"), r"a\u{001B}[2J\u{000A}:\u{003A}error:\u{003A}b");
        assert_eq!(harmless("##vso[x]:::"), r"#\u{0023}vso[x]:\u{003A}:");
        assert_eq!(harmless("src/main.rs"), "src/main.rs");
    }
}
