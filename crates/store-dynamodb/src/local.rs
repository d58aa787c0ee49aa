//! A DynamoDB on one machine, which speaks plain HTTP and takes any key; and making the table, for it and for tests.
//!
//! On AWS the table is made with everything else that a deployment is made of, where its deletion protection,
//! point-in-time recovery and encryption are set. This module is the other statement of its keys and indexes.

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
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        LocalSecondaryIndex, Projection, ProjectionType, ScalarAttributeType, StreamSpecification,
        StreamViewType,
    },
};
use onerun_store::StoreError;

use crate::{
    DynamoDbStore, configure, failure,
    item::{AGENT, FACETS, FOLDED, PARTITION, SORT, STATUS},
    query::Index,
};

/// Whether a table has a stream. Without one nothing is told of new jobs, and a DynamoDB on one machine is many times
/// faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// It has one, of both images.
    On,
    /// It has none.
    Off,
}

/// A client of the DynamoDB on this machine that answers at `endpoint`, such as `http://127.0.0.1:8000`.
pub fn client(endpoint: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    Client::from_conf(configure(config).build())
}

/// Makes the table: keys `pk` and `sk`, four local indexes that are read consistently, and one global index of due
/// times.
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
    let mut attributes = vec![PARTITION, SORT];
    for index in Index::ALL {
        let schema = Some(key_schema(index.partition(), index.sort())?);
        attributes.extend([index.partition(), index.sort()]);
        if index == Index::Due {
            let keys = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
            let index = GlobalSecondaryIndex::builder()
                .index_name(index.name())
                .set_key_schema(schema)
                .projection(keys)
                .build()
                .map_err(failure::unavailable)?;
            request = request.global_secondary_indexes(index);
        } else {
            // An index includes the attributes that its lists filter by.
            let filters = match index {
                Index::Wait => Projection::builder().projection_type(ProjectionType::KeysOnly),
                _ => Projection::builder()
                    .projection_type(ProjectionType::Include)
                    .set_non_key_attributes(Some([FOLDED, STATUS, AGENT, FACETS].map(str::to_owned).into())),
            };
            let index = LocalSecondaryIndex::builder()
                .index_name(index.name())
                .set_key_schema(schema)
                .projection(filters.build())
                .build()
                .map_err(failure::unavailable)?;
            request = request.local_secondary_indexes(index);
        }
    }
    attributes.sort_unstable();
    attributes.dedup();
    for attribute in attributes {
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

/// Removes a table with all that is in it.
pub async fn delete_table(client: &Client, table: &str) -> Result<(), StoreError> {
    let deleted = client.delete_table().table_name(table).send().await;
    deleted.map(drop).map_err(|error| failure::of("DeleteTable", "table", &error))
}

/// An empty table of its own, for as long as this is there: what a test runs on.
#[derive(Debug)]
pub struct ScratchTable {
    endpoint: String,
    name: String,
}

impl ScratchTable {
    /// Makes one, without a stream. Waits for it, and may be called anywhere.
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

    /// A client of the DynamoDB that it is in.
    pub fn client(&self) -> Client {
        client(&self.endpoint)
    }

    /// All items that are in it, in words: what somebody sees who steals the table.
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

    /// The store in it.
    pub fn store(&self) -> DynamoDbStore {
        DynamoDbStore::new(self.client(), &self.name)
    }
}

impl Drop for ScratchTable {
    /// # Panics
    ///
    /// If it cannot be removed, unless a test has failed already.
    fn drop(&mut self) {
        let deleted = apart(&self.endpoint, async |client| delete_table(client, &self.name).await);
        assert!(deleted.is_ok() || thread::panicking(), "the table {} is left: {deleted:?}", self.name);
    }
}

/// Runs on a thread and in a runtime of its own, with a client of its own: whoever calls may be in a runtime, which
/// must not be blocked on, or in none. A client's connections belong to the runtime that they were made in.
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
