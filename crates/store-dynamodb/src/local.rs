//! Making the table, for tests and for a DynamoDB on one machine.
//!
//! On AWS the table is made with everything else that a deployment is made of, where its deletion protection,
//! point-in-time recovery and encryption are set. This module is the other statement of its keys and indexes.

use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        LocalSecondaryIndex, Projection, ProjectionType, ScalarAttributeType, StreamSpecification,
        StreamViewType,
    },
};
use onerun_store::StoreError;

use crate::{
    failure,
    item::{AGENT, FOLDED, PARTITION, SORT, STATUS},
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
            // What lists are filtered by goes with what they are in the order of.
            let filters = match index {
                Index::Wait => Projection::builder().projection_type(ProjectionType::KeysOnly),
                _ => Projection::builder()
                    .projection_type(ProjectionType::Include)
                    .set_non_key_attributes(Some([FOLDED, STATUS, AGENT].map(str::to_owned).into())),
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
