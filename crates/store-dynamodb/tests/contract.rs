//! The contract that every backend passes, on the DynamoDB in `ONERUN_TEST_DYNAMODB`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic, in its helpers too")]

use std::sync::Arc;

use onerun_store::{Store, contract::Fixture};
use onerun_store_dynamodb::local::ScratchTable;

async fn empty_store() -> (Arc<dyn Store>, ScratchTable) {
    #[expect(clippy::disallowed_methods, reason = "a test is its own composition root")]
    let endpoint = std::env::var("ONERUN_TEST_DYNAMODB").expect(
        "ONERUN_TEST_DYNAMODB must name a DynamoDB, such as http://127.0.0.1:8000; `make test-dynamodb` starts one",
    );
    let table = ScratchTable::create(&endpoint).unwrap();
    (Arc::new(table.store()), table)
}

onerun_store::contract!(empty_store);

#[tokio::test]
async fn purged_simulation_leaves_no_item() {
    let (store, table) = empty_store().await;
    let naming =
        async |text: &str| table.contents().await.unwrap().lines().filter(|item| item.contains(text)).count();
    Fixture::purge_leaves_nothing(store, naming).await;
}
