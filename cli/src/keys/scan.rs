//! `onerun keys scan`: finds managed keys in files.
//!
//! A file is read in parts, so that its size costs no memory. Keys are found in text with one, two
//! or four bytes per character, as files may be UTF-16 or UTF-32.

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

/// How many bytes are read at a time.
const PART: usize = 256 * 1024;

/// At most this many bytes are read from a source that may never end, such as a pipe.
const MAX_STREAM: u64 = 1024 * 1024 * 1024;

/// The length of a managed key in characters.
const KEY_CHARS: usize = 64;

/// Supported sizes of a character, in bytes.
const WIDTHS: [usize; 3] = [1, 2, 4];

const WIDEST: usize = 4;

/// A managed key in a file, and an entry of the `--json` output.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct FoundKey {
    path: String,
    line: usize,
    column: usize,
    key_id: String,
}

pub(super) fn run(paths: &[PathBuf], json: bool) -> anyhow::Result<ExitCode> {
    let (mut keys, mut unread) = (Vec::new(), 0);
    let mut take = |path: &Path, found: io::Result<Vec<FoundKey>>| match found {
        Ok(found) => keys.extend(found),
        Err(error) => {
            unread += 1;
            print_error(path, &error);
        }
    };
    for path in paths {
        match fs::metadata(path) {
            Ok(named) if named.is_dir() => {
                for entry in WalkDir::new(path).sort_by_file_name().into_iter().filter_entry(is_scanned) {
                    let found = entry.map_err(io::Error::from).and_then(|entry| {
                        // Symbolic links are skipped, as their targets are scanned in place.
                        if entry.file_type().is_file() { scan(entry.path()) } else { Ok(Vec::new()) }
                    });
                    take(path, found);
                }
            }
            // A named path is read even if it is a link, a pipe or a device.
            Ok(_) => take(path, scan(path)),
            Err(error) => take(path, Err(error)),
        }
    }
    if json {
        output::print_json(&serde_json::to_string(&keys)?)?;
    } else {
        output::print(&keys.iter().map(in_words).collect::<String>())?;
    }
    Ok(match (unread, keys.is_empty()) {
        (0, true) => ExitCode::SUCCESS,
        (0, false) => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    })
}

/// `.git` is skipped: its objects are compressed, so that no key would be found.
fn is_scanned(entry: &DirEntry) -> bool {
    entry.depth() == 0 || entry.file_name() != ".git"
}

fn scan(path: &Path) -> io::Result<Vec<FoundKey>> {
    let file = File::open(path)?;
    let most = if file.metadata()?.is_file() { u64::MAX } else { MAX_STREAM };
    let found = find(file, most, PART)?.into_iter().map(|(line, column, id)| FoundKey {
        path: path.display().to_string(),
        line,
        column,
        key_id: id.to_string(),
    });
    Ok(found.collect())
}

/// The keys in `source` with line and column. It is read `part` bytes at a time, and fails after
/// `most` bytes.
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
                lines.advance(place, &bytes, before);
                found.push((lines.line, (before + place - lines.start) / width + 1, id));
            }
        }
        for lines in &mut lines {
            lines.advance(ready, &bytes, before);
        }
        bytes.drain(..ready);
        before += ready;
        if is_end {
            return Ok(found);
        }
    }
}

/// The key at the start of `bytes`, in characters of `width` bytes. The byte order does not matter:
/// between two low bytes, all others are zero.
fn key_at(bytes: &[u8], width: usize) -> Option<KeyId> {
    let mut key = [0; KEY_CHARS];
    let last = (KEY_CHARS - 1) * width;
    for (place, byte) in bytes.get(..=last)?.iter().enumerate() {
        match place % width {
            0 => *key.get_mut(place / width)? = *byte,
            _ if *byte != 0 => return None,
            _ => {}
        }
        // The second character rules out most candidates early.
        if place == width && key.get(1) != Some(&b'n') {
            return None;
        }
    }
    find_managed_keys(&key).next().map(|(_, id)| id)
}

/// Counts lines for one character width and byte order.
struct Lines {
    /// Bytes per character.
    width: usize,
    /// The index of the low byte in a character.
    low: usize,
    /// The offset up to which line ends were counted.
    at: usize,
    line: usize,
    /// The offset of the first low byte of the line.
    start: usize,
}

impl Lines {
    fn new(width: usize, low: usize) -> Self {
        Self { width, low, at: low, line: 1, start: low }
    }

    /// Counts line ends up to `place` in `bytes`, which start at the offset `before`.
    fn advance(&mut self, place: usize, bytes: &[u8], before: usize) {
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

fn in_words(key: &FoundKey) -> String {
    let FoundKey { path, line, column, key_id } = key;
    format!("{}:{line}:{column}: a managed key, {key_id}\n", harmless(path))
}

fn print_error(path: &Path, error: &io::Error) {
    output::print_error(&anyhow!(
        "{}: {}",
        harmless(&path.display().to_string()),
        harmless(&error.to_string())
    ));
}

/// Escapes text for a terminal and for CI systems, where `::error::` and `##vso[` are commands.
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
    fn key_is_found_with_line_and_column() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings");
        let wrong = KEY.replace("AAEC", "AAED");
        fs::write(&file, [b"\xff\n# ", wrong.as_bytes(), b"\nKEY=", KEY.as_bytes(), b"\n"].concat()).unwrap();
        let found = scan(&file).unwrap();
        let path = file.display().to_string();
        assert_eq!(found, [FoundKey { path, line: 3, column: 5, key_id: ID.to_owned() }]);
        assert!(!in_words(&found[0]).contains(KEY));
    }

    #[test]
    fn key_is_found_in_utf_16_and_utf_32() {
        // These characters contain the byte of a line feed.
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
    fn key_is_found_across_part_boundaries() {
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
    fn all_of_20_000_keys_are_found() {
        let text = iter::repeat_n(format!("{KEY}\n"), 20_000).collect::<String>();
        let found = places(text.as_bytes(), PART);
        assert!(found.into_iter().eq((1..=20_000).map(|line| (line, 1))));
    }

    #[test]
    fn endless_source_is_refused() {
        let error = find(io::repeat(b'o'), 1_000_000, PART).unwrap_err();
        assert!(error.to_string().contains("1000000 bytes"), "{error}");
    }

    #[test]
    fn path_is_escaped_for_terminals_and_ci() {
        assert_eq!(harmless("a\u{1b}[2J\n::error::b"), r"a\u{001B}[2J\u{000A}:\u{003A}error:\u{003A}b");
        assert_eq!(harmless("##vso[x]:::"), r"#\u{0023}vso[x]:\u{003A}:");
        assert_eq!(harmless("src/main.rs"), "src/main.rs");
    }
}
