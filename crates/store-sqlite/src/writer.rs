//! The writer thread.
//!
//! It runs all waiting writes, up to a number, in one transaction, each in its own savepoint: a
//! write that fails is undone alone. No write is answered before the transaction is on disk, so
//! concurrent callers wait for one flush together.
//!
//! Ends of keys run before other writes, in their own transaction. If the disk is full, they are
//! written in the [`Reserve`], and other writes are refused until the reserve exists again.

use std::{
    error::Error,
    iter,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use onerun_store::{ChangeError, KeyError, StoreError};
use rusqlite::{Connection, ffi};
use tokio::sync::oneshot;

use crate::{OpenError, reserve::Reserve, sql};

/// The most writes in one transaction: enough to share a flush, and few enough that the first one
/// does not wait long.
const MAX_BATCH: usize = 128;

/// The writer thread. Dropping it finishes the queued writes first.
pub(crate) struct Writer {
    sender: Option<mpsc::Sender<Box<dyn Write>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(connection: Connection, reserve: Reserve) -> Result<Self, OpenError> {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || run(&connection, reserve, &receiver))
            .map_err(OpenError::Thread)?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Runs `work` in a transaction, and returns when that is on disk. Once sent, it runs whether
    /// or not the caller still waits. If it fails, everything that it wrote is undone.
    pub(crate) async fn write<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError + 'static,
    {
        let mut work = Some(work);
        let once = move |connection: &Connection| match work.take() {
            Some(work) => work(connection),
            None => Err(unavailable("a write was run twice").into()),
        };
        self.send(once, false).await
    }

    /// Like [`write`](Self::write), for the end of a key: if the disk is full, `work` runs again in
    /// the reserve.
    pub(crate) async fn end<T, E>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError + 'static,
    {
        self.send(work, true).await
    }

    async fn send<T, E>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, E> + Send + 'static,
        is_ending: bool,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let write = Pending { work, is_ending, result: None, reply };
        if let Some(sender) = &self.sender {
            // If the thread has ended, `write` was dropped with the sender of the answer.
            let _ = sender.send(Box::new(write));
        }
        answer.await.unwrap_or_else(|_| Err(unavailable("the writer thread has ended").into()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes to the database panicked");
        }
    }
}

/// The error of a write.
pub(crate) trait WriteError: From<StoreError> + Send {
    /// Whether the disk is full.
    fn is_full(&self) -> bool;
}

impl WriteError for StoreError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl WriteError for ChangeError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_full())
    }
}

impl WriteError for KeyError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_full())
    }
}

/// The outcome of a write before it is on disk.
enum Ran {
    Succeeded,
    Failed,
    Full,
}

/// A waiting write.
trait Write: Send {
    /// Whether the write ends a key and can be repeated.
    fn is_ending(&self) -> bool;

    fn run(&mut self, connection: &Connection) -> Ran;

    /// Sends the result to the caller.
    fn answer(self: Box<Self>, committed: &Result<(), Arc<rusqlite::Error>>);
}

type Batch = Vec<Box<dyn Write>>;

struct Pending<F, T, E> {
    work: F,
    is_ending: bool,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Write for Pending<F, T, E>
where
    F: FnMut(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: WriteError,
{
    fn is_ending(&self) -> bool {
        self.is_ending
    }

    fn run(&mut self, connection: &Connection) -> Ran {
        // If `work` panics, its partial writes are undone with the savepoint.
        let result = catch_unwind(AssertUnwindSafe(|| (self.work)(connection)))
            .unwrap_or_else(|_| Err(unavailable("a write panicked").into()));
        let ran = match &result {
            Ok(_) => Ran::Succeeded,
            Err(error) if error.is_full() => Ran::Full,
            Err(_) => Ran::Failed,
        };
        self.result = Some(result);
        ran
    }

    fn answer(self: Box<Self>, committed: &Result<(), Arc<rusqlite::Error>>) {
        let result = match committed {
            Ok(()) => self.result.unwrap_or_else(|| Err(unavailable("a write was not run").into())),
            // Refused writes fail, too: a refusal may depend on a write that is now undone.
            Err(error) if sql::is_full(error) => Err(StoreError::Full(Box::new(Arc::clone(error))).into()),
            Err(error) => Err(StoreError::Unavailable(Box::new(Arc::clone(error))).into()),
        };
        // The caller may have stopped waiting.
        let _ = self.reply.send(result);
    }
}

fn run(connection: &Connection, mut reserve: Reserve, receiver: &mpsc::Receiver<Box<dyn Write>>) {
    while let Ok(first) = receiver.recv() {
        let batch = iter::once(first).chain(receiver.try_iter()).take(MAX_BATCH);
        let (mut ends, mut others): (Batch, Batch) = batch.partition(|write| write.is_ending());
        if !ends.is_empty() {
            let committed = end(connection, &mut reserve, &mut ends);
            answer(ends, committed);
        }
        if !others.is_empty() {
            let committed = if reserve.restore() { commit(connection, &mut others) } else { Err(full()) };
            answer(others, committed);
        }
    }
}

/// Runs ends of keys in one transaction, and again in the reserve if the disk is full.
fn end(connection: &Connection, reserve: &mut Reserve, ends: &mut Batch) -> rusqlite::Result<()> {
    let committed = commit(connection, ends);
    if !committed.as_ref().is_err_and(sql::is_full) {
        return committed;
    }
    reserve.release();
    // After a checkpoint of the whole log, writes start at its beginning and need no further space.
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the log cannot be moved into the database");
    }
    commit(connection, ends)
}

fn answer(batch: Batch, committed: rusqlite::Result<()>) {
    let committed = committed.map_err(Arc::new);
    if let Err(error) = &committed {
        tracing::error!(%error, writes = batch.len(), "a transaction failed");
    }
    for write in batch {
        write.answer(&committed);
    }
}

/// Runs a batch in one transaction, which is rolled back on an error.
fn commit(connection: &Connection, batch: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
    let committed = run_all(connection, batch).and_then(|()| step(connection, "COMMIT"));
    if committed.is_err() && !connection.is_autocommit() {
        step(connection, "ROLLBACK")?;
    }
    committed
}

fn run_all(connection: &Connection, batch: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
    step(connection, "BEGIN IMMEDIATE")?;
    for write in batch {
        step(connection, "SAVEPOINT one")?;
        match write.run(connection) {
            Ran::Succeeded => {}
            Ran::Failed => step(connection, "ROLLBACK TO one")?,
            // SQLite may have ended the transaction, and with it the savepoint.
            Ran::Full => return Err(full()),
        }
        step(connection, "RELEASE one")?;
    }
    Ok(())
}

/// SQLite's error for a full disk.
fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None)
}

fn step(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// The store cannot answer, for another reason than an error of SQLite.
pub(crate) fn unavailable(reason: &'static str) -> StoreError {
    StoreError::Unavailable(Box::<dyn Error + Send + Sync>::from(reason))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use onerun_domain::Refusal;
    use onerun_store::ChangeError;

    use super::*;
    use crate::sql;

    type Work = Box<dyn FnOnce(&Connection) -> Result<u32, ChangeError> + Send>;

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = ON;
                 CREATE TABLE numbers (number INTEGER PRIMARY KEY, other INTEGER REFERENCES numbers (number));",
            )
            .unwrap();
        connection
    }

    fn writer(connection: Connection) -> Writer {
        let directory = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::of(&directory.path().join("numbers.db"));
        assert!(reserve.restore());
        Writer::start(connection, reserve).unwrap()
    }

    fn insert(connection: &Connection, number: u32) -> Result<u32, ChangeError> {
        sql::execute(connection, "number", "INSERT INTO numbers (number) VALUES (?1)", [number])?;
        Ok(number)
    }

    async fn numbers(writer: &Writer) -> Vec<u32> {
        let read = |connection: &Connection| -> Result<Vec<u32>, StoreError> {
            let mut statement = connection.prepare("SELECT number FROM numbers ORDER BY number").unwrap();
            Ok(statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect())
        };
        writer.write(read).await.unwrap()
    }

    /// Blocks the thread until the result is dropped, so that later writes become one batch.
    async fn hold(writer: &Arc<Writer>) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel();
        let (started, starts) = oneshot::channel();
        let held = Arc::clone(writer);
        tokio::spawn(async move {
            let wait = move |_: &Connection| -> Result<(), StoreError> {
                started.send(()).unwrap();
                let _: Result<(), _> = released.recv_timeout(Duration::from_secs(10));
                Ok(())
            };
            held.write(wait).await.unwrap();
        });
        starts.await.unwrap();
        release
    }

    /// Sends the writes in their order, as one batch.
    async fn batch(writer: &Arc<Writer>, writes: Vec<Work>) -> Vec<Result<u32, ChangeError>> {
        let release = hold(writer).await;
        let mut pending: Vec<_> = writes.into_iter().map(|write| Box::pin(writer.write(write))).collect();
        for write in &mut pending {
            // A write is sent when it is first polled.
            tokio::select! { biased; _ = write => unreachable!("the thread waits"), () = async {} => {} }
        }
        drop(release);
        let mut results = Vec::new();
        for write in pending {
            results.push(write.await);
        }
        results
    }

    #[tokio::test]
    async fn failed_write_is_undone_alone() {
        let writer = Arc::new(writer(connection()));
        let results = batch(
            &writer,
            vec![
                Box::new(|connection| insert(connection, 1)),
                Box::new(|connection| {
                    insert(connection, 2)?;
                    Err(Refusal::LeaseHeld.into())
                }),
                Box::new(|connection| {
                    insert(connection, 3)?;
                    panic!("this is the test's")
                }),
                Box::new(|connection| insert(connection, 4)),
            ],
        )
        .await;
        assert!(matches!(results[0], Ok(1)));
        assert!(matches!(results[1], Err(ChangeError::Refused(Refusal::LeaseHeld))));
        assert!(matches!(results[2], Err(ChangeError::Store(StoreError::Unavailable(_)))));
        assert!(matches!(results[3], Ok(4)));
        assert_eq!(numbers(&writer).await, [1, 4]);
    }

    #[tokio::test]
    async fn where_the_commit_fails_none_is_answered_as_done() {
        let writer = Arc::new(writer(connection()));
        let results = batch(
            &writer,
            vec![
                Box::new(|connection| insert(connection, 1)),
                Box::new(|connection| {
                    // The commit finds this error, as it finds a full disk.
                    connection.execute_batch("PRAGMA defer_foreign_keys = ON").unwrap();
                    connection.execute("INSERT INTO numbers VALUES (2, 99)", []).unwrap();
                    Ok(2)
                }),
                Box::new(|_| Err(Refusal::LeaseHeld.into())),
            ],
        )
        .await;
        for result in results {
            assert!(matches!(result, Err(ChangeError::Store(StoreError::Unavailable(_)))), "{result:?}");
        }
        assert!(numbers(&writer).await.is_empty());
        writer.write(|connection| insert(connection, 5)).await.unwrap();
        assert_eq!(numbers(&writer).await, [5]);
    }

    #[tokio::test]
    async fn transaction_rolled_back_by_sqlite_fails_completely() {
        let writer = Arc::new(writer(connection()));
        let results = batch(
            &writer,
            vec![
                Box::new(|connection| insert(connection, 1)),
                Box::new(|connection| {
                    connection.execute_batch("ROLLBACK").unwrap();
                    Err(Refusal::LeaseHeld.into())
                }),
                Box::new(|connection| insert(connection, 3)),
            ],
        )
        .await;
        for result in results {
            assert!(matches!(result, Err(ChangeError::Store(StoreError::Unavailable(_)))), "{result:?}");
        }
        assert!(numbers(&writer).await.is_empty());
    }

    #[tokio::test]
    async fn sent_writes_are_done_after_the_store_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("numbers.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY)").unwrap();
        let writer = Arc::new(writer(connection));
        let release = hold(&writer).await;
        for number in 0..300 {
            let write = writer.write(move |connection| insert(connection, number));
            tokio::select! { biased; _ = write => unreachable!("the thread waits"), () = async {} => {} }
        }
        drop(release);
        // The task that waits for the first write still holds the writer.
        while Arc::strong_count(&writer) > 1 {
            tokio::task::yield_now().await;
        }
        drop(writer);
        let count: u32 = Connection::open(&path)
            .unwrap()
            .query_row("SELECT COUNT(*) FROM numbers", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 300);
    }
}
