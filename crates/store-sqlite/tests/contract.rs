//! The contract that every backend passes.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::sync::Arc;

use onerun_store::{Store, contract::Fixture};
use onerun_store_sqlite::SqliteStore;
use rusqlite::Connection;
use tempfile::TempDir;

async fn empty_store() -> (Arc<dyn Store>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("onerun.db")).unwrap();
    (Arc::new(store), directory)
}

onerun_store::contract!(empty_store);

/// The number of rows with a value that has this text, in all tables but that of the usage.
fn rows_naming(connection: &Connection, text: &str) -> usize {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'model_usage'";
    let mut tables = connection.prepare(sql).unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(tables.len() > 15, "{tables:?}");
    let count = |table: String| {
        let mut columns = connection.prepare("SELECT name FROM pragma_table_xinfo(?1)").unwrap();
        let columns = columns.query_map([&table], |row| row.get::<_, String>(0)).unwrap();
        let named = columns.map(|column| format!("instr({}, ?1) > 0", column.unwrap()));
        let named = named.collect::<Vec<_>>().join(" OR ");
        let sql = format!("SELECT COUNT(*) FROM {table} WHERE {named}");
        connection.query_row(&sql, [text], |row| row.get::<_, u32>(0)).unwrap()
    };
    usize::try_from(tables.into_iter().map(count).sum::<u32>()).unwrap()
}

#[tokio::test]
async fn purged_simulation_leaves_no_row() {
    let (store, directory) = empty_store().await;
    let path = directory.path().join("onerun.db");
    let naming = async |text: &str| rows_naming(&Connection::open(&path).unwrap(), text);
    Fixture::purge_leaves_nothing(store, naming).await;
}
