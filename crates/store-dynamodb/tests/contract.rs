//! The contract that every backend passes, on a DynamoDB that `ONERUN_TEST_DYNAMODB` names.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic, in its helpers too")]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use onerun_store::Store;
use onerun_store_dynamodb::{DynamoDbStore, local};

/// A client of the DynamoDB that tests run on, over plain HTTP.
fn client() -> Client {
    #[expect(clippy::disallowed_methods, reason = "a test is its own composition root")]
    let endpoint = std::env::var("ONERUN_TEST_DYNAMODB").expect(
        "ONERUN_TEST_DYNAMODB must name a DynamoDB, such as http://127.0.0.1:8000; `make test-dynamodb` starts one",
    );
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

/// A table that is removed when the test is over, whichever way it ends.
struct Table {
    client: Client,
    name: String,
}

impl Drop for Table {
    fn drop(&mut self) {
        let delete = self.client.delete_table().table_name(&self.name).send();
        // A guard is dropped in the runtime of its test, which has several threads.
        let runtime = tokio::runtime::Handle::current();
        let deleted = tokio::task::block_in_place(|| runtime.block_on(async { delete.await.is_ok() }));
        assert!(deleted || std::thread::panicking(), "{} is left", self.name);
    }
}

async fn empty_store() -> (Arc<dyn Store>, Table) {
    static TABLES: AtomicU32 = AtomicU32::new(0);
    let client = client();
    let name = format!("onerun-test-{}-{}", std::process::id(), TABLES.fetch_add(1, Ordering::Relaxed));
    local::create_table(&client, &name, local::Stream::Off).await.unwrap();
    (Arc::new(DynamoDbStore::new(client.clone(), name.clone())), Table { client, name })
}

onerun_store::contract!(empty_store);
