//! The reader threads.
//!
//! Each has its own connection, which can only read, and runs every request in one transaction, so
//! all its queries see one snapshot. A snapshot includes every acknowledged write, because a write
//! is committed before its answer.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use onerun_store::StoreError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{OpenError, open, writer::unavailable};

/// The number of reader threads on a small machine: enough that a long read does not delay short
/// ones.
const MIN_READERS: usize = 4;
const MAX_READERS: usize = 8;

type Task = Box<dyn FnOnce(&Connection) + Send>;

pub(crate) struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The queue of reads. A channel of the standard library has one receiver; this has several.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    sleeping: usize,
    closed: bool,
}

impl Readers {
    pub(crate) fn start(path: &Path) -> Result<Self, OpenError> {
        let count = thread::available_parallelism().map_or(MIN_READERS, usize::from);
        let mut readers = Self { shared: Arc::default(), threads: Vec::new() };
        for _ in 0..count.clamp(MIN_READERS, MAX_READERS) {
            let connection = open::reading(path)?;
            let shared = Arc::clone(&readers.shared);
            let thread = thread::Builder::new()
                .name("sqlite-reader".into())
                .spawn(move || run(&connection, &shared))
                .map_err(OpenError::Thread)?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Runs `work` on a snapshot of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.shared.push(Box::new(move |connection| {
            // The caller may have stopped waiting.
            if !reply.is_closed() {
                let _ = reply.send(on_snapshot(connection, work));
            }
        }));
        answer.await.unwrap_or_else(|_| Err(unavailable("the threads that read are gone")))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads from the database panicked");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Poisoning is ignored: no critical section leaves the queue inconsistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Task) {
        let mut queue = self.lock();
        queue.tasks.push_back(task);
        let wake = queue.sleeping > 0;
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
    }

    /// The next task. `None` once the queue is closed.
    fn pop(&self) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
            }
            if queue.closed {
                return None;
            }
            queue.sleeping += 1;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.sleeping -= 1;
        }
    }
}

fn run(connection: &Connection, shared: &Shared) {
    while let Some(task) = shared.pop() {
        task(connection);
    }
}

fn on_snapshot<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    step(connection, "BEGIN")?;
    // A panic is safe: the connection only reads, and the transaction ends here.
    let result = catch_unwind(AssertUnwindSafe(|| work(connection)));
    step(connection, "COMMIT")?;
    result.unwrap_or_else(|_| Err(unavailable("a read panicked")))
}

fn step(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .map_err(|error| StoreError::Unavailable(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(connection: &Connection) -> u32 {
        connection.query_row("SELECT COUNT(*) FROM projects", [], |row| row.get(0)).unwrap()
    }

    const INSERT: &str = "INSERT INTO projects (id, name, name_folded, created_at, updated_at)
                          VALUES (hex(randomblob(6)), 'x', 'x', 0, 0)";

    #[tokio::test]
    async fn reads_of_one_request_see_one_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("onerun.db");
        let writing = open::writing(&path).unwrap();
        let readers = Readers::start(&path).unwrap();
        let counts = readers
            .read(move |connection| {
                let before = count(connection);
                writing.execute(INSERT, []).unwrap();
                Ok((before, count(connection)))
            })
            .await;
        assert_eq!(counts.unwrap(), (0, 0));
        assert_eq!(readers.read(|connection| Ok(count(connection))).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_reader_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("onerun.db");
        let _writing = open::writing(&path).unwrap();
        let readers = Readers::start(&path).unwrap();
        let written = readers.read(|connection| Ok(connection.execute(INSERT, []).is_ok())).await;
        assert!(!written.unwrap());
    }

    #[tokio::test]
    async fn panic_fails_only_its_own_request() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("onerun.db");
        let _writing = open::writing(&path).unwrap();
        let readers = Readers::start(&path).unwrap();
        for _ in 0..2 * MAX_READERS {
            let failed = readers.read(|_| -> Result<(), StoreError> { panic!("this is the test's") }).await;
            assert!(matches!(failed, Err(StoreError::Unavailable(_))));
        }
        assert_eq!(readers.read(|connection| Ok(count(connection))).await.unwrap(), 0);
    }
}
