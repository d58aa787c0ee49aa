//! The template's table equals the one that tests create, on the DynamoDB in
//! `ONERUN_TEST_DYNAMODB`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic, in its helpers too")]

use std::{collections::BTreeMap, fs, path::Path};

use aws_sdk_dynamodb::types::{KeySchemaElement, Projection, TableDescription};
use jiff::Timestamp;
use onerun_auth::RateLimit;
use onerun_store::KeyStore;
use onerun_store_dynamodb::local;
use yaml_serde::Value;

/// Keys and projections by index; the table under its own name. Attributes by name.
#[derive(Debug, PartialEq)]
struct Shape {
    attributes: BTreeMap<String, String>,
    keys: BTreeMap<String, Vec<(String, String)>>,
    projections: BTreeMap<String, (String, Vec<String>)>,
    stream: String,
    billing: String,
}

fn made(table: &TableDescription) -> Shape {
    let keys = |schema: &[KeySchemaElement]| {
        schema.iter().map(|key| (key.attribute_name.clone(), key.key_type.to_string())).collect::<Vec<_>>()
    };
    let projection = |projection: Option<&Projection>| {
        let projection = projection.unwrap();
        let mut attributes = projection.non_key_attributes().to_vec();
        attributes.sort();
        (projection.projection_type.as_ref().unwrap().to_string(), attributes)
    };
    let attributes = table.attribute_definitions().iter();
    let mut shape = Shape {
        attributes: attributes
            .map(|one| (one.attribute_name.clone(), one.attribute_type.to_string()))
            .collect(),
        keys: [("table".to_owned(), keys(table.key_schema()))].into(),
        projections: BTreeMap::new(),
        stream: table.stream_specification().unwrap().stream_view_type.as_ref().unwrap().to_string(),
        billing: table.billing_mode_summary().unwrap().billing_mode.as_ref().unwrap().to_string(),
    };
    for index in table.global_secondary_indexes() {
        let name = index.index_name.clone().unwrap();
        shape.keys.insert(name.clone(), keys(index.key_schema()));
        shape.projections.insert(name, projection(index.projection()));
    }
    shape
}

fn deployed(table: &Value) -> Shape {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = |value: &Value| value.as_sequence().cloned().unwrap_or_default();
    let keys = |of: &Value| {
        let keys = list(&of["KeySchema"]);
        keys.iter().map(|key| (text(&key["AttributeName"]), text(&key["KeyType"]))).collect::<Vec<_>>()
    };
    let attributes = list(&table["AttributeDefinitions"]);
    let mut shape = Shape {
        attributes: attributes
            .iter()
            .map(|one| (text(&one["AttributeName"]), text(&one["AttributeType"])))
            .collect(),
        keys: [("table".to_owned(), keys(table))].into(),
        projections: BTreeMap::new(),
        stream: text(&table["StreamSpecification"]["StreamViewType"]),
        billing: text(&table["BillingMode"]),
    };
    assert!(table.get("LocalSecondaryIndexes").is_none(), "they bind a list to one partition");
    for index in list(&table["GlobalSecondaryIndexes"]) {
        let name = text(&index["IndexName"]);
        shape.keys.insert(name.clone(), keys(&index));
        let projection = &index["Projection"];
        let attributes = projection.get("NonKeyAttributes").map(list).unwrap_or_default();
        let mut attributes: Vec<_> = attributes.iter().map(text).collect();
        attributes.sort();
        shape.projections.insert(name, (text(&projection["ProjectionType"]), attributes));
    }
    shape
}

fn template() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml");
    let template: Value = yaml_serde::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    template["Resources"]["Table"]["Properties"].clone()
}

fn endpoint() -> String {
    #[expect(clippy::disallowed_methods, reason = "a test is its own composition root")]
    std::env::var("ONERUN_TEST_DYNAMODB").expect("`make test-dynamodb` starts one")
}

#[tokio::test]
async fn deployed_table_equals_the_tested_one() {
    let client = local::client(&endpoint());
    let name = format!("onerun-template-{}", std::process::id());
    local::create_table(&client, &name, local::Stream::On).await.unwrap();
    let described = client.describe_table().table_name(&name).send().await.unwrap();
    local::delete_table(&client, &name).await.unwrap();

    assert_eq!(deployed(&template()), made(described.table().unwrap()));
}

#[tokio::test]
async fn deployed_table_expires_request_counts() {
    let expiry = &template()["TimeToLiveSpecification"];
    assert_eq!(expiry["Enabled"].as_bool(), Some(true));
    let attribute = expiry["AttributeName"].as_str().unwrap();

    let scratch = local::ScratchTable::create(&endpoint()).unwrap();
    let now = Timestamp::from_second(86_400 * 20_000 + 59).unwrap();
    let limit = RateLimit::new(1, 60).unwrap();
    scratch.store().count_request("bucket", limit, now).await.unwrap();
    let items = scratch.client().scan().table_name(scratch.name()).send().await.unwrap().items.unwrap();
    let expires: Vec<i64> =
        items.iter().map(|item| item[attribute].as_n().unwrap().parse().unwrap()).collect();
    // A moment later for the sake of clocks that are behind.
    assert_eq!(expires, [86_400 * 20_000 + 60 + 60]);
}
