//! The contract that every backend passes.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::sync::Arc;

use onerun_store::Store;
use onerun_store_sqlite::SqliteStore;
use tempfile::TempDir;

async fn empty_store() -> (Arc<dyn Store>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("onerun.db")).unwrap();
    (Arc::new(store), directory)
}

onerun_store::contract!(empty_store);
