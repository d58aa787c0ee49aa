//! OneRun's store on SQLite, for one machine.
//!
//! One file, in WAL mode with `synchronous = FULL`: what was answered is on disk. One thread writes; it takes
//! all writes that wait, runs each in a savepoint of one transaction, and answers when that is committed, so
//! that many callers share one flush to disk. A few threads read, each from a snapshot, and never wait for
//! the writer.
//!
//! The file belongs to one process. That is for the host to see to, by a lock on its data directory; opening
//! relies on it, and releases the claims that the last process left.

mod audit;
mod columns;
mod idempotency;
mod jobs;
mod keys;
mod lists;
mod migrations;
mod open;
mod project;
mod rates;
mod readers;
mod reserve;
mod rows;
mod sql;
mod store;
mod writer;

pub use open::OpenError;
pub use store::SqliteStore;
