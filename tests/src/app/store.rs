//! The store of an application: on DynamoDB where a test run names one, else on SQLite.

use std::{fs, io, sync::Arc};

use onerun_store::Store;
#[cfg(feature = "dynamodb")]
use onerun_store_dynamodb::local::ScratchTable;
use onerun_store_sqlite::SqliteStore;
use tempfile::TempDir;

/// The directory or table behind a store. It is removed on drop.
pub(super) enum Backing {
    Directory(TempDir),
    #[cfg(feature = "dynamodb")]
    Table(ScratchTable),
}

impl Backing {
    /// The bytes of all files of a directory, or of all items of a table.
    #[cfg_attr(
        not(feature = "dynamodb"),
        expect(clippy::unused_async, reason = "a table is read over the network")
    )]
    pub(super) async fn contents(&self) -> Vec<u8> {
        match self {
            Backing::Directory(directory) => {
                let files = fs::read_dir(directory.path()).expect("the directory is there");
                let read = |file: io::Result<fs::DirEntry>| fs::read(file.expect("a file").path());
                files.flat_map(|file| read(file).expect("the file can be read")).collect()
            }
            #[cfg(feature = "dynamodb")]
            Backing::Table(table) => table.contents().await.expect("the table can be read").into_bytes(),
        }
    }
}

/// A new empty store.
pub(super) fn empty() -> (Arc<dyn Store>, Backing) {
    #[expect(clippy::disallowed_methods, reason = "a test kit is its own composition root")]
    let endpoint = std::env::var("ONERUN_TEST_DYNAMODB");
    if let Ok(endpoint) = endpoint {
        return on_dynamodb(&endpoint);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = SqliteStore::open(&directory.path().join("onerun.db")).expect("an empty store opens");
    (Arc::new(store), Backing::Directory(directory))
}

/// A new empty store on the DynamoDB of the test run, with a meter.
#[cfg(feature = "dynamodb")]
pub(super) async fn metered() -> (Arc<dyn Store>, Backing, super::Meter) {
    #[expect(clippy::disallowed_methods, reason = "a test kit is its own composition root")]
    let endpoint = std::env::var("ONERUN_TEST_DYNAMODB").expect("`make test-aws` starts a DynamoDB");
    let table = ScratchTable::create(&endpoint).expect("a table is made");
    let meter = super::Meter::start(&endpoint).await;
    (Arc::new(meter.store(&table)), Backing::Table(table), meter)
}

#[cfg(feature = "dynamodb")]
fn on_dynamodb(endpoint: &str) -> (Arc<dyn Store>, Backing) {
    let table = ScratchTable::create(endpoint).expect("a table is made");
    (Arc::new(table.store()), Backing::Table(table))
}

#[cfg(not(feature = "dynamodb"))]
fn on_dynamodb(endpoint: &str) -> (Arc<dyn Store>, Backing) {
    panic!("`ONERUN_TEST_DYNAMODB` is {endpoint}, but the tests were built without the feature `dynamodb`")
}
