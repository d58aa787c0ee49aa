//! The archive of the audit trail in S3.

use onerun_auth::AuditEntry;
use onerun_store::audit_body;
use onerun_tests::aws::{Cloud, tick_event};
use serde_json::{Value, json};

use crate::fixtures::audit_entries;

/// Puts three old entries in two months into the table.
async fn put_old_entries(cloud: &Cloud) -> Vec<AuditEntry> {
    let months = ["2025-01", "2025-01", "2025-02"];
    let entries = audit_entries(&months);
    for (entry, month) in entries.iter().zip(months) {
        let item = json!({
            "pk": { "S": format!("audit#{month}") },
            "sk": { "S": format!("entry#{:010}", entry.sequence) },
            "schema": { "N": "3" },
            "body": { "S": audit_body(entry) },
        });
        cloud.put(&item).await;
    }
    let head = json!({
        "pk": { "S": "audit" },
        "sk": { "S": "head" },
        "sequence": { "N": "3" },
        "hash": { "S": entries[2].hash },
        "months": { "S": r#"[["2025-01",1],["2025-02",3]]"# },
    });
    cloud.put(&head).await;
    entries
}

#[tokio::test]
async fn function_moves_old_months_into_the_bucket() {
    let cloud = Cloud::start().await;
    let entries = put_old_entries(&cloud).await;
    let client = cloud.client().await;
    let before = client.get("/v1/audit?order=oldest", 200).await;
    assert_eq!(before["data"].as_array().map(Vec::len), Some(3), "{before}");

    // It is off by default.
    cloud.function("archive_audit").invoke(&tick_event()).await.expect("nothing to do");
    assert_eq!(cloud.archived("2025-01-0000000001.jsonl").await, None);

    let archive = cloud.function_with("archive_audit", &[("ONERUN_AUDIT_ARCHIVE_DAYS", "90")]);
    for _ in 0..2 {
        archive.invoke(&tick_event()).await.expect("the months are archived");
        let page = client.get("/v1/audit?order=oldest", 200).await;
        assert_eq!(page["data"], json!([]));
        assert_eq!(page["head"], json!({ "sequence": 3, "hash": entries[2].hash }));
        assert_eq!(page["archived"], page["head"]);
        let mut archived = Vec::new();
        for name in ["2025-01-0000000001.jsonl", "2025-02-0000000003.jsonl"] {
            let text = cloud.archived(name).await.unwrap_or_else(|| panic!("no {name}"));
            archived.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
        }
        assert_eq!(before["data"], json!(archived));
    }
    for month in ["audit#2025-01", "audit#2025-02"] {
        assert_eq!(cloud.items(month).await, [Value::Null; 0], "{month}");
    }
    let operations: Vec<String> = cloud.s3.take_calls().into_iter().map(|call| call.operation).collect();
    assert_eq!(operations, ["PutObject", "GetObject", "PutObject", "GetObject"]);

    // The chain goes on.
    client.post("/v1/keys", &json!({ "name": "New", "preset": "ci", "all_projects": true }), 200).await;
    let page = client.get("/v1/audit", 200).await;
    assert_eq!(page["data"][0]["previous_hash"], json!(entries[2].hash));
}

#[tokio::test]
async fn bucket_that_is_down_keeps_the_entries() {
    let cloud = Cloud::start().await;
    put_old_entries(&cloud).await;
    let client = cloud.client().await;
    let before = client.get("/v1/audit", 200).await;
    let archive = cloud.function_with("archive_audit", &[("ONERUN_AUDIT_ARCHIVE_DAYS", "90")]);
    cloud.s3.down();
    assert!(archive.invoke(&tick_event()).await.is_err());
    assert_eq!(client.get("/v1/audit", 200).await, before);
    cloud.s3.up().await;
    archive.invoke(&tick_event()).await.expect("the months are archived");
    assert_eq!(client.get("/v1/audit", 200).await["archived"], before["head"]);
}
