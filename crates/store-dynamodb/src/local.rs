//! A local DynamoDB, which speaks plain HTTP and accepts any key; and the creation of the table,
//! for it and for tests.
//!
//! On AWS the template creates the table, with deletion protection, point-in-time recovery and
//! encryption. This module repeats its keys and its index; a test compares the two.

use std::{
    fmt::Write as _,
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
        ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
    },
};
use onerun_store::StoreError;

use crate::{
    DynamoDbStore, configure, failure,
    item::{DUE, PARTITION, SHARD, SORT},
    query::Index,
};

/// Whether a table has a stream. Without one nothing is notified of new jobs, and a local DynamoDB
/// is many times faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// A stream with new and old images.
    On,
    /// No stream.
    Off,
}

/// A client of the local DynamoDB at `endpoint`, such as `http://127.0.0.1:8000`.
pub fn client(endpoint: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    Client::from_conf(configure(config).build())
}

/// Creates the table: keys `pk` and `sk`, and one global index of due times.
pub async fn create_table(client: &Client, table: &str, stream: Stream) -> Result<(), StoreError> {
    let stream = match stream {
        Stream::Off => None,
        Stream::On => {
            let images = StreamViewType::NewAndOldImages;
            let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(images);
            Some(stream.build().map_err(failure::unavailable)?)
        }
    };
    let mut request = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_stream_specification(stream)
        .set_key_schema(Some(key_schema(PARTITION, SORT)?));
    let keys = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
    let due = GlobalSecondaryIndex::builder()
        .index_name(Index::Due.name())
        .set_key_schema(Some(key_schema(SHARD, DUE)?))
        .projection(keys)
        .build()
        .map_err(failure::unavailable)?;
    request = request.global_secondary_indexes(due);
    for attribute in [PARTITION, SORT, SHARD, DUE] {
        let attribute = AttributeDefinition::builder()
            .attribute_name(attribute)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .map_err(failure::unavailable)?;
        request = request.attribute_definitions(attribute);
    }
    request.send().await.map_err(|error| failure::of("CreateTable", "table", &error))?;
    Ok(())
}

fn key_schema(partition: &str, sort: &str) -> Result<Vec<KeySchemaElement>, StoreError> {
    let element = |name: &str, key_type| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(key_type)
            .build()
            .map_err(failure::unavailable)
    };
    Ok(vec![element(partition, KeyType::Hash)?, element(sort, KeyType::Range)?])
}

/// Deletes a table with all its data.
pub async fn delete_table(client: &Client, table: &str) -> Result<(), StoreError> {
    let deleted = client.delete_table().table_name(table).send().await;
    deleted.map(drop).map_err(|error| failure::of("DeleteTable", "table", &error))
}

/// An empty table for a test, deleted when this is dropped.
#[derive(Debug)]
pub struct ScratchTable {
    endpoint: String,
    name: String,
}

impl ScratchTable {
    /// Creates a table without a stream. Blocks until it is ready, and may be called inside or
    /// outside a runtime.
    pub fn create(endpoint: &str) -> Result<Self, StoreError> {
        static TABLES: AtomicU32 = AtomicU32::new(0);
        let name = format!("onerun-test-{}-{}", process::id(), TABLES.fetch_add(1, Ordering::Relaxed));
        apart(endpoint, async |client| create_table(client, &name, Stream::Off).await)?;
        Ok(Self { endpoint: endpoint.to_owned(), name })
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client of the table's DynamoDB.
    pub fn client(&self) -> Client {
        client(&self.endpoint)
    }

    /// All items as text: what a thief of the table could read.
    pub async fn contents(&self) -> Result<String, StoreError> {
        let client = self.client();
        let mut items = client.scan().table_name(&self.name).into_paginator().items().send();
        let mut contents = String::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| failure::of("Scan", "table", &error))?;
            // Writing to a `String` cannot fail.
            let _ = writeln!(contents, "{item:?}");
        }
        Ok(contents)
    }

    /// A store on the table.
    pub fn store(&self) -> DynamoDbStore {
        DynamoDbStore::new(self.client(), &self.name)
    }
}

impl Drop for ScratchTable {
    /// # Panics
    ///
    /// A table that cannot be deleted fails the test, unless the test has failed already.
    fn drop(&mut self) {
        let deleted = apart(&self.endpoint, async |client| delete_table(client, &self.name).await);
        assert!(deleted.is_ok() || thread::panicking(), "the table {} is left: {deleted:?}", self.name);
    }
}

/// Runs on its own thread and runtime, with its own client. The caller may be in a runtime, which
/// must not be blocked, or in none, and a client's connections belong to the runtime that created
/// them.
fn apart(
    endpoint: &str,
    work: impl AsyncFnOnce(&Client) -> Result<(), StoreError> + Send,
) -> Result<(), StoreError> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(failure::unavailable)?.block_on(async { work(&client(endpoint)).await })
    };
    let panicked = || failure::contended("a thread", "it panicked");
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|_| Err(panicked()))
}
