//! OneRun's store on SQLite, for one machine.
//!
//! The database is one file, in WAL mode with `synchronous = FULL`, so acknowledged writes are on disk. One thread
//! writes. It runs all waiting writes in one transaction, each in a savepoint, and answers after the commit, so
//! many callers share one flush to disk. A few threads read, each from a snapshot, and never wait for
//! the writer.
//!
//! The file belongs to one process. The host ensures this with a lock on its data directory. Opening
//! the file relies on it, and releases the claims of the last process.

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
