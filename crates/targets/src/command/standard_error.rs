//! The standard error of a command.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, BufReader},
    process::ChildStderr,
    task::JoinHandle,
    time::timeout,
};

use crate::secrets::Secrets;

/// How many bytes of a command's standard error are logged. The rest is read and dropped.
const MAX_LOGGED: usize = 64 * 1024;

/// How many bytes of one line are logged.
const MAX_LINE: usize = 1024;

/// How many of the last bytes are stored for an error.
const MAX_LAST: usize = 2048;

/// Reads a command's standard error, so that the command never blocks on it, and logs its lines.
pub(super) struct StandardError {
    last: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
    secrets: Secrets,
}

impl StandardError {
    pub(super) fn read(stream: ChildStderr, conversation: String, secrets: Secrets) -> Self {
        let last = Arc::new(Mutex::new(Vec::new()));
        let task = read(BufReader::new(stream), conversation, secrets.clone(), Arc::clone(&last));
        Self { last, reader: tokio::spawn(task), secrets }
    }

    /// The last lines on one line, escaped, once the command has closed the stream or the limit has passed.
    pub(super) async fn last_words(&mut self, limit: Duration) -> String {
        let _ = timeout(limit, &mut self.reader).await;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The end of a traceback names the error.
        let text = String::from_utf8_lossy(&last);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let words = lines[lines.len().saturating_sub(3)..].join(" / ");
        self.secrets.excerpt_of(&words, 400)
    }
}

#[cfg(test)]
impl StandardError {
    /// Whether every process has closed the stream within the limit.
    pub(super) async fn is_closed_within(&mut self, limit: Duration) -> bool {
        timeout(limit, &mut self.reader).await.is_ok()
    }
}

impl Drop for StandardError {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(
    mut stream: BufReader<ChildStderr>,
    conversation: String,
    secrets: Secrets,
    last: Arc<Mutex<Vec<u8>>>,
) {
    let (mut buffer, mut line, mut logged) = ([0; 4096], Vec::new(), 0);
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let bytes = &buffer[..read];
        {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            last.extend_from_slice(bytes);
            let excess = last.len().saturating_sub(MAX_LAST);
            last.drain(..excess);
        }
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = MAX_LINE.saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                log(&conversation, &secrets, &line, &mut logged);
                line.clear();
            }
        }
    }
    log(&conversation, &secrets, &line, &mut logged);
}

fn log(conversation: &str, secrets: &Secrets, line: &[u8], logged: &mut usize) {
    if line.trim_ascii().is_empty() || *logged > MAX_LOGGED {
        return;
    }
    *logged += line.len();
    let text = secrets.excerpt_of(&String::from_utf8_lossy(line), MAX_LINE);
    tracing::info!(target: "agent", conversation, "{text}");
    if *logged > MAX_LOGGED {
        tracing::info!(target: "agent", conversation, "the rest of the command's standard error is not logged");
    }
}
