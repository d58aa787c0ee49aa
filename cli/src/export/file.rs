//! The file of an export. An interrupted export continues where it stopped.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::Format;
use crate::{input, output};

/// The largest file of a state, in bytes: a cursor has at most 4 KiB.
const MAX_STATE: u64 = 16 * 1024;

/// A file that is being written.
pub(super) struct ExportFile {
    file: File,
    /// `None` for a pipe or a device, which cannot be continued.
    partial: Option<Partial>,
    state: State,
}

/// The places of a file that is not complete.
struct Partial {
    complete: PathBuf,
    data: PathBuf,
    state: PathBuf,
}

/// How far an export got.
#[derive(Serialize, Deserialize)]
struct State {
    simulation: String,
    format: Format,
    bytes: u64,
    conversations: u64,
    cursor: Option<String>,
}

impl ExportFile {
    /// Opens a file, to continue it if it is the incomplete export of the same simulation in the same format.
    pub(super) fn open(path: &Path, simulation: &str, format: Format) -> anyhow::Result<Self> {
        let failed = || format!("cannot write {}", path.display());
        let new =
            State { simulation: simulation.to_owned(), format, bytes: 0, conversations: 0, cursor: None };
        if path.exists() && !path.is_file() {
            let file = OpenOptions::new().write(true).open(path).with_context(failed)?;
            return Ok(Self { file, partial: None, state: new });
        }
        let beside = |end: &str| {
            let mut name = OsString::from(path);
            name.push(end);
            PathBuf::from(name)
        };
        let partial =
            Partial { complete: path.to_owned(), data: beside(".part"), state: beside(".part.json") };
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&partial.data);
        let mut file = file.with_context(failed)?;
        let state =
            continued(&partial.state, &new, file.metadata().with_context(failed)?.len()).unwrap_or(new);
        // Behind the last complete page there may be a part of another one.
        file.set_len(state.bytes).with_context(failed)?;
        file.seek(SeekFrom::End(0)).with_context(failed)?;
        Ok(Self { file, partial: Some(partial), state })
    }

    /// The cursor to continue at, and the number of conversations before it.
    pub(super) fn position(&self) -> (Option<String>, u64) {
        (self.state.cursor.clone(), self.state.conversations)
    }

    /// Appends a page. `next` is the cursor of the page after it.
    pub(super) fn append(
        &mut self,
        page: &str,
        next: Option<&str>,
        conversations: u64,
    ) -> anyhow::Result<()> {
        self.file.write_all(page.as_bytes()).context("cannot write the export")?;
        self.state.bytes += page.len() as u64;
        self.state.conversations = conversations;
        self.state.cursor = next.map(str::to_owned);
        match &self.partial {
            Some(partial) if next.is_some() => {
                output::replace_file(&partial.state, &serde_json::to_string(&self.state)?)
            }
            _ => Ok(()),
        }
    }

    /// Puts the complete file in its place.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Some(partial) = self.partial else { return Ok(()) };
        let complete = &partial.complete;
        self.file.sync_all().with_context(|| format!("cannot write {}", complete.display()))?;
        fs::rename(&partial.data, complete)
            .with_context(|| format!("cannot write {}", complete.display()))?;
        if partial.state.exists() {
            fs::remove_file(&partial.state)
                .with_context(|| format!("cannot remove {}", partial.state.display()))?;
        }
        Ok(())
    }
}

/// The state of an earlier export like this one, unless it is unreadable or its data is missing.
fn continued(path: &Path, new: &State, bytes: u64) -> Option<State> {
    let text = input::read_bounded(File::open(path).ok()?, "the state of the export", MAX_STATE).ok()?;
    let state: State = serde_json::from_str(&text).ok()?;
    let is_same = (&state.simulation, state.format) == (&new.simulation, new.format);
    (is_same && state.bytes <= bytes && state.cursor.is_some()).then_some(state)
}
