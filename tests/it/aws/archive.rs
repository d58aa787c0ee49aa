//! The archive of the audit trail in S3.

use std::collections::BTreeMap;

use onerun_auth::{Actor, AuditEntry, AuditEvent};
use onerun_store::audit_body;
use onerun_tests::aws::{Cloud, tick_event};
use serde_json::{Value, json};

/// Puts three old entries in two months into the table.
async fn put_old_entries(cloud: &Cloud) -> Vec<AuditEntry> {
    let mut entries: Vec<AuditEntry> = Vec::new();
    for (number, month) in (1..).zip(["2025-01", "2025-01", "2025-02"]) {
        let event = AuditEvent {
            at: format!("{month}-10T10:00:0{number}.000000Z"),
            action: "create_key".to_owned(),
            key_id: "AAECAwQFBgcI".to_owned(),
            actor: Actor {
                key_id: "root".to_owned(),
                address: Some("203.0.113.9".to_owned()),
                user_agent: None,
                request_id: format!("req_{number}"),
            },
            details: BTreeMap::new(),
        };
        let head = entries.last().map(AuditEntry::head);
        let entry = event.seal(head.as_ref());
        let item = json!({
            "pk": { "S": format!("audit#{month}") },
            "sk": { "S": format!("entry#{number:010}") },
            "schema": { "N": "3" },
            "body": { "S": audit_body(&entry) },
        });
        cloud.put(&item).await;
        entries.push(entry);
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
