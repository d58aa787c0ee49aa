//! Records the traffic with models into a file, and replays it without a network.
//!
//! A recording is a file of JSON lines. Each line has a request without its credentials, and the
//! result. If a run sends a request several times, the trials are numbered, so that each trial gets
//! the answer of the same trial in the recording.

mod line;

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use self::line::{Canonical, Line};
use onerun_transport::{Transport, TransportError};

/// The maximum size of a recording, in bytes.
pub(crate) const MAX_RECORDING: u64 = 256 * 1024 * 1024;

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be opened, read or written.
    #[error("the recording cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// The file is larger than a recording may be.
    #[error("the recording is larger than {MAX_RECORDING} bytes")]
    TooLarge,
    /// A line is malformed.
    #[error("line {number} of the recording cannot be read: {reason}")]
    Line {
        /// The number of the line, from 1.
        number: usize,
        /// Why.
        reason: String,
    },
}

/// The number of times that each request was sent in this run, by the request's digest.
#[derive(Default)]
struct Trials(Mutex<HashMap<String, u32>>);

impl Trials {
    /// The number of this trial, from 1.
    fn next(&self, request: String) -> u32 {
        let mut trials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trial = trials.entry(request).or_insert(0);
        *trial += 1;
        *trial
    }
}

/// A transport that sends requests through another one and records the results. Failures are
/// recorded, too.
pub struct RecordingTransport<T> {
    inner: T,
    trials: Trials,
    recorder: Arc<Recorder>,
}

impl<T: Transport> RecordingTransport<T> {
    /// Appends to a file. Several processes may use the file.
    pub fn new(inner: T, path: &Path) -> Result<Self, RecordError> {
        Ok(Self {
            inner,
            trials: Trials::default(),
            recorder: Arc::new(Recorder::open(path, MAX_RECORDING)?),
        })
    }
}

#[async_trait]
impl<T: Transport> Transport for RecordingTransport<T> {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        if self.recorder.is_full() {
            return self.inner.send(request, timeout).await;
        }
        let canonical = Canonical::new(&request);
        let secrets = line::secrets(&request);
        let trial = self.trials.next(canonical.digest());
        let mut pending = Pending { recorder: Arc::clone(&self.recorder), call: Some((canonical, trial)) };
        let result = self.inner.send(request, timeout).await;
        if let Some((canonical, trial)) = pending.call.take() {
            let line = Line::new(canonical, trial, &result, &secrets);
            let recorder = Arc::clone(&self.recorder);
            // A slow disk must not hold up other requests.
            let _ = tokio::task::spawn_blocking(move || recorder.record(&line)).await;
        }
        result
    }
}

/// A call that has not ended. If it is abandoned, it is recorded as a time-out, so that later trials keep
/// their numbers.
struct Pending {
    recorder: Arc<Recorder>,
    call: Option<(Canonical, u32)>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some((canonical, trial)) = self.call.take() {
            self.recorder.record(&Line::new(canonical, trial, &Err(TransportError::Timeout), &[]));
        }
    }
}

/// The file of a recording.
struct Recorder {
    file: Mutex<File>,
    size: AtomicU64,
    limit: u64,
}

impl Recorder {
    fn open(path: &Path, limit: u64) -> Result<Self, RecordError> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        file.lock()?;
        let size = whole_lines(&mut file)?;
        file.set_len(size)?;
        file.unlock()?;
        Ok(Self { file: Mutex::new(file), size: AtomicU64::new(size), limit })
    }

    /// Whether recording has stopped.
    fn is_full(&self) -> bool {
        self.size.load(Ordering::Relaxed) > self.limit
    }

    /// Appends a line, or logs why not. Calls continue without it.
    fn record(&self, line: &Line) {
        if let Err(error) = self.write(line) {
            tracing::error!(%error, "a call to a model was not recorded");
        }
    }

    /// Appends a line. The lock keeps lines of several processes apart. The first line that does not fit is
    /// the end of the recording.
    fn write(&self, line: &Line) -> Result<(), RecordError> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::from)?;
        text.push(b'\n');
        let length = text.len() as u64;
        if self.size.fetch_add(length, Ordering::Relaxed).saturating_add(length) > self.limit {
            return Err(RecordError::TooLarge);
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.lock()?;
        let written = file.write_all(&text);
        file.unlock()?;
        Ok(written?)
    }
}

/// The size of a file without half a line at its end, which a process that died may have left.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut block)?;
        if let Some(index) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + index as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// A transport that answers from a recording and has no network. It refuses requests that are not in the
/// recording.
pub struct ReplayingTransport(HashMap<String, Replayed>);

/// The trials of one request.
#[derive(Default)]
struct Replayed {
    sent: AtomicU32,
    trials: HashMap<u32, Line>,
}

impl ReplayingTransport {
    /// Reads a recording. If it contains a trial of a request twice, the later one counts. Half a line at
    /// its end, from a process that died, is ignored.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let mut text = String::new();
        File::open(path)?.take(MAX_RECORDING + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_RECORDING {
            return Err(RecordError::TooLarge);
        }
        let mut requests: HashMap<String, Replayed> = HashMap::new();
        for (index, raw) in text.split_inclusive('\n').enumerate() {
            if raw.trim().is_empty() {
                continue;
            }
            match Line::parse(raw) {
                Ok(line) => {
                    let request = requests.entry(line.request.digest()).or_default();
                    request.trials.insert(line.trial, line);
                }
                Err(_) if !raw.ends_with('\n') => break,
                Err(reason) => return Err(RecordError::Line { number: index + 1, reason }),
            }
        }
        Ok(Self(requests))
    }
}

#[async_trait]
impl Transport for ReplayingTransport {
    async fn send(
        &self,
        request: Request<Bytes>,
        _timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let canonical = Canonical::new(&request);
        let recorded = self.0.get(&canonical.digest());
        let trial = recorded.map_or(1, |request| request.sent.fetch_add(1, Ordering::Relaxed) + 1);
        let line = recorded.and_then(|request| request.trials.get(&trial));
        line.map_or_else(
            || {
                Err(TransportError::NotRecorded(format!(
                    "trial {trial} of this request to {} is not in the recording (key {}); record it again",
                    canonical.url(),
                    canonical.key(trial)
                )))
            },
            Line::result,
        )
    }
}

#[cfg(test)]
mod tests;
