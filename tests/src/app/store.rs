//! The store of an application: on DynamoDB where a test run names one, else on SQLite.

use std::sync::Arc;

use onerun_store::Store;
use onerun_store_dynamodb::local::ScratchTable;
use onerun_store_sqlite::SqliteStore;
use tempfile::TempDir;

/// What a store rests on. It is removed with this.
pub(super) enum Home {
    Directory { _held: TempDir },
    Table { _held: ScratchTable },
}

/// An empty store of its own.
pub(super) fn empty() -> (Arc<dyn Store>, Home) {
    #[expect(clippy::disallowed_methods, reason = "a test kit is its own composition root")]
    let endpoint = std::env::var("ONERUN_TEST_DYNAMODB");
    if let Ok(endpoint) = endpoint {
        let table = ScratchTable::create(&endpoint).expect("a table is made");
        return (Arc::new(table.store()), Home::Table { _held: table });
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = SqliteStore::open(&directory.path().join("onerun.db")).expect("an empty store opens");
    (Arc::new(store), Home::Directory { _held: directory })
}
