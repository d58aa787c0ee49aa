//! The table of a deployment.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    random,
    service::{ServiceClient, authorization},
    template::Template,
};
use crate::rights::table_arn;

/// The template's table, in a DynamoDB that tests share.
#[derive(Debug)]
pub(crate) struct Table {
    caller: ServiceClient,
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) stream: String,
}

impl Table {
    pub(crate) async fn create(template: &Template) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test is its own composition root")]
        let url = std::env::var("ONERUN_TEST_DYNAMODB").expect(
            "ONERUN_TEST_DYNAMODB must name a DynamoDB, such as http://127.0.0.1:8000; `make test-aws` starts one",
        );
        let suffix: [u8; 8] = random();
        let name = format!("onerun-test-{:016x}", u64::from_le_bytes(suffix));
        let caller = ServiceClient::new(&url, "dynamodb", "DynamoDB_20120810");
        let made = caller.call("CreateTable", &template.table(&name)).await;
        let stream = made["TableDescription"]["LatestStreamArn"].as_str().expect("a stream").to_owned();
        Self { caller, url, name, stream }
    }

    pub(crate) fn arn(&self) -> String {
        table_arn(&self.name)
    }

    pub(crate) async fn items(&self, partition: &str) -> Vec<Value> {
        let query = json!({
            "TableName": self.name,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": partition } },
            "ConsistentRead": true,
        });
        self.caller.call("Query", &query).await["Items"].as_array().cloned().unwrap_or_default()
    }

    /// The items of waiting and claimed jobs, the outbound ones among them. Each has a partition of its own.
    pub(crate) async fn jobs(&self) -> Vec<Value> {
        let scan = json!({
            "TableName": self.name,
            "FilterExpression": "begins_with(pk, :jobs) OR begins_with(pk, :outbound)",
            "ExpressionAttributeValues": { ":jobs": { "S": "jobs#" }, ":outbound": { "S": "outbound-jobs#" } },
            "ConsistentRead": true,
        });
        self.caller.call("Scan", &scan).await["Items"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn put(&self, item: &Value) {
        self.caller.call("PutItem", &json!({ "TableName": self.name, "Item": item })).await;
    }

    pub(crate) async fn set(&self, item: &Value, attributes: &[(&str, Value)]) {
        let updates: serde_json::Map<String, Value> = attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!({ "Action": "PUT", "Value": value })))
            .collect();
        let update = json!({
            "TableName": self.name,
            "Key": { "pk": item["pk"], "sk": item["sk"] },
            "AttributeUpdates": updates,
        });
        self.caller.call("UpdateItem", &update).await;
    }
}

impl Drop for Table {
    /// Deleted explicitly, because `drop` cannot await. A leftover table costs only memory.
    fn drop(&mut self) {
        let delete = || {
            let host = self.url.trim_start_matches("http://").trim_end_matches('/');
            let body = json!({ "TableName": self.name }).to_string();
            let request = format!(
                "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\
                 content-type: application/x-amz-json-1.0\r\nx-amz-target: DynamoDB_20120810.DeleteTable\r\n\
                 authorization: {}\r\n\r\n{body}",
                body.len(),
                authorization("dynamodb"),
            );
            let mut stream = TcpStream::connect(host)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(request.as_bytes())?;
            stream.read(&mut [0; 64])
        };
        let _ = delete();
    }
}
