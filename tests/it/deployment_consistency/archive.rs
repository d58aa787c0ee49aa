//! The bucket of the audit trail's archive, and the rights of the function that writes it.

use std::collections::BTreeSet;

use onerun_tests::aws;
use serde_json::json;

use super::{PARTITIONS, Template, entries, operations, partitions, set};

#[test]
fn only_the_archive_uses_the_bucket_and_it_writes_no_entries() {
    let rights = aws::Template::rights();
    for operation in operations() {
        let expected = match operation {
            "archive_audit" => set(&["s3:GetObject", "s3:PutObject"]),
            _ => BTreeSet::new(),
        };
        assert_eq!(rights.actions(operation, "s3"), expected, "{operation}");
    }
    let archive = "archive_audit";
    let object = |key: &str| {
        let input = json!({ "Bucket": "AuditBucket", "Key": key });
        ["s3.GetObject", "s3.PutObject"].map(|target| rights.lacking(archive, target, &input).is_none())
    };
    assert_eq!(object("audit/2031-03-0000000001.jsonl"), [true, true]);
    assert_eq!(object("other/2031-03-0000000001.jsonl"), [false, false]);
    let trail = BTreeSet::from(["audit", "audit#2031-03"]);
    assert_eq!(partitions(&rights, archive, &["GetItem", "Query"]), trail);
    assert_eq!(partitions(&rights, archive, &["PutItem", "BatchGetItem"]), BTreeSet::new());
    // It cannot change an entry, nor move the head to another one.
    for partition in PARTITIONS {
        for attribute in ["archived", "archived_hash", "months"] {
            let may = rights.may_set(archive, "Table", partition, &[attribute]);
            assert_eq!(may, partition == "audit", "{partition}: {attribute}");
        }
        for attribute in ["sequence", "hash", "body"] {
            assert!(!rights.may_set(archive, "Table", partition, &["months", attribute]), "{partition}");
        }
    }
}

#[test]
fn archive_is_private_encrypted_and_kept() {
    let bucket = &Template::read().0["Resources"]["AuditBucket"];
    assert_eq!(bucket["DeletionPolicy"], "RetainExceptOnCreate");
    assert_eq!(bucket["UpdateReplacePolicy"], "Retain");
    let properties = &bucket["Properties"];
    assert_eq!(properties["VersioningConfiguration"]["Status"], "Enabled");
    let encryption = &properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
    assert_eq!(encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"], "aws:kms");
    for (name, blocks) in entries(&properties["PublicAccessBlockConfiguration"]) {
        assert_eq!(blocks, &json!(true), "{name}");
    }
    assert_eq!(entries(&properties["PublicAccessBlockConfiguration"]).count(), 4);
}
