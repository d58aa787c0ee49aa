use serde_json::json;

use super::*;

const KEY: &str = "the key";

fn rights(statements: &[Value]) -> Rights {
    let mut all = statements.to_vec();
    all.push(json!({
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": KEY,
        "Condition": { "StringEquals": { "kms:ViaService": "dynamodb.eu-central-1.amazonaws.com" } },
    }));
    Rights::new([("role".to_owned(), all)], "the secret", KEY)
}

fn allow(actions: &[&str], operator: &str, partitions: &[&str]) -> Value {
    json!({
        "Effect": "Allow",
        "Action": actions,
        "Resource": table_arn("t"),
        "Condition": { operator: { "dynamodb:LeadingKeys": partitions } },
    })
}

fn is_allowed(rights: &Rights, call: &str, input: &Value) -> bool {
    rights.lacking("role", &format!("DynamoDB_20120810.{call}"), input).is_none()
}

fn key(partition: &str) -> Value {
    json!({ "TableName": "t", "Key": { "pk": { "S": partition }, "sk": { "S": "1" } } })
}

#[test]
fn call_needs_rights_to_every_partition_it_touches() {
    let rights = rights(&[
        allow(&["dynamodb:BatchGetItem", "dynamodb:GetItem"], "ForAllValues:StringLike", &["a", "b#*"]),
        allow(&["dynamodb:UpdateItem"], "ForAllValues:StringEquals", &["a"]),
    ]);
    for (partition, is) in [("a", true), ("b#", true), ("b#1", true), ("b", false), ("ab#1", false)] {
        assert_eq!(is_allowed(&rights, "GetItem", &key(partition)), is, "{partition}");
    }
    let batch = |partitions: &[&str]| {
        let keys: Vec<_> = partitions.iter().map(|partition| key(partition)["Key"].clone()).collect();
        json!({ "RequestItems": { "t": { "Keys": keys } } })
    };
    assert!(is_allowed(&rights, "BatchGetItem", &batch(&["a", "b#7"])));
    assert!(!is_allowed(&rights, "BatchGetItem", &batch(&["a", "c"])));
    let write = |partitions: &[&str]| {
        let parts: Vec<_> = partitions.iter().map(|partition| json!({ "Update": key(partition) })).collect();
        json!({ "TransactItems": parts })
    };
    assert!(is_allowed(&rights, "TransactWriteItems", &write(&["a"])));
    assert!(!is_allowed(&rights, "TransactWriteItems", &write(&["a", "b#1"])));
    assert!(!is_allowed(&rights, "PutItem", &json!({ "TableName": "t", "Item": key("a")["Key"] })));
    assert!(!is_allowed(&rights, "Scan", &json!({ "TableName": "t" })));
    assert!(!is_allowed(&rights, "GetItem", &json!({ "TableName": "u", "Key": key("a")["Key"] })));
}

#[test]
fn transaction_needs_rights_for_each_leading_key_rule() {
    let transaction = json!({ "TransactItems": [{ "Put": { "TableName": "t", "Item": key("a")["Key"] } },
                                                { "Update": key("b") }] });
    let is_allowed =
        |statements: &[Value]| is_allowed(&rights(statements), "TransactWriteItems", &transaction);
    let each = ["dynamodb:PutItem", "dynamodb:UpdateItem"];
    let put = |operator, partitions: &[&str]| allow(&each[..1], operator, partitions);
    let update = |operator, partitions: &[&str]| allow(&each[1..], operator, partitions);
    let all = "ForAllValues:StringEquals";
    assert!(is_allowed(&[put(all, &["a", "b"]), update(all, &["a", "b"])]));
    assert!(!is_allowed(&[put(all, &["a"]), update(all, &["b"])]), "all keys together are in no statement");
    assert!(!is_allowed(&[allow(&each, all, &["a"]), allow(&each, all, &["b"])]), "statements do not add up");
    assert!(!is_allowed(&[put("ForAnyValue:StringEquals", &["a", "b"]), update(all, &["a", "b"])]));
    let mut denial = put("ForAnyValue:StringEquals", &["b"]);
    denial["Effect"] = "Deny".into();
    assert!(!is_allowed(&[allow(&each, all, &["a", "b"]), denial]), "a denial fits all keys together");
}

#[test]
fn explicit_deny_overrides_every_allow() {
    let mut everything = allow(&["dynamodb:PutItem"], "ForAllValues:StringEquals", &[]);
    everything.as_object_mut().unwrap().remove("Condition");
    let mut denial = allow(&["dynamodb:PutItem"], "ForAnyValue:StringEquals", &["keys"]);
    denial["Effect"] = "Deny".into();
    let rights = rights(&[everything, denial]);
    assert!(rights.may("role", "PutItem", "t", "projects"));
    assert!(!rights.may("role", "PutItem", "t", "keys"));
    assert!(!rights.may("another", "PutItem", "t", "projects"));
}

#[test]
fn write_names_attributes_of_key_and_expressions() {
    let mut statement = allow(&["dynamodb:UpdateItem"], "ForAllValues:StringLike", &["????"]);
    statement["Condition"]["ForAllValues:StringEquals"] =
        json!({ "dynamodb:Attributes": ["pk", "sk", "at"] });
    statement["Condition"]["Null"] = json!({ "dynamodb:Attributes": "false" });
    statement["Condition"]["StringEqualsIfExists"] = json!({ "dynamodb:ReturnValues": "NONE" });
    let rights = rights(&[statement]);
    let update = |partition: &str, names: Value, returns: Value| {
        let mut update = key(partition);
        update["UpdateExpression"] = json!("SET #a = :v0 ");
        update["ConditionExpression"] =
            json!("attribute_exists(#p) AND (attribute_not_exists(#a) OR #a < :v0)");
        update["ExpressionAttributeNames"] = names;
        update["ReturnValues"] = returns;
        is_allowed(&rights, "UpdateItem", &update)
    };
    let at = json!({ "#a": "at", "#p": "pk" });
    assert!(update("abcd", at.clone(), Value::Null));
    assert!(update("abcd", at.clone(), json!("NONE")));
    assert!(!update("abcd", at.clone(), json!("ALL_NEW")), "it returns other attributes");
    assert!(!update("abcde", at.clone(), Value::Null), "a partition that is not allowed");
    assert!(!update("abcd", json!({ "#a": "body", "#p": "pk" }), Value::Null), "it sets another attribute");
    assert!(!update("abcd", json!({ "#a": "at", "#p": "body" }), Value::Null), "it depends on another");
    let transaction = json!({ "TransactItems": [{ "Update": key("abcd") }] });
    assert!(!is_allowed(&rights, "TransactWriteItems", &transaction), "one reading names no attributes");
}

#[test]
fn query_partition_comes_from_its_key_condition() {
    let mut statement = allow(&["dynamodb:Query"], "ForAllValues:StringEquals", &["keys"]);
    statement["Resource"] = json!(format!("{}/index/by-due", table_arn("t")));
    let rights = rights(&[statement]);
    let query = |partition: &str| {
        json!({
            "TableName": "t",
            "IndexName": "by-due",
            "KeyConditionExpression": "#p = :p AND #s BETWEEN :s AND :t",
            "ExpressionAttributeNames": { "#p": "lane", "#s": "due" },
            "ExpressionAttributeValues": {
                ":p": { "S": partition }, ":s": { "S": "keys" }, ":t": { "S": "keys" },
            },
        })
    };
    assert!(is_allowed(&rights, "Query", &query("keys")));
    assert!(!is_allowed(&rights, "Query", &query("audit")));
    let mut table = query("keys");
    table.as_object_mut().unwrap().remove("IndexName");
    assert!(!is_allowed(&rights, "Query", &table));
}

#[test]
fn kms_key_is_used_only_via_the_named_service() {
    let secret =
        json!({ "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "the secret" });
    let lacking = rights(&[secret]).lacking("role", "secretsmanager.GetSecretValue", &json!({}));
    assert!(lacking.is_some_and(|lacking| lacking.contains("kms:Decrypt")));
}

#[test]
fn pattern_may_have_several_wildcards() {
    for (text, pattern, is) in [
        ("abc", "a*c", true),
        ("ac", "a*c", true),
        ("a", "a*a", false),
        ("abcabc", "*b*b*", true),
        ("abc", "*b*b*", false),
        ("abc", "abc", true),
        ("abcd", "abc", false),
        ("", "*", true),
        ("abc", "???", true),
        ("ab", "???", false),
        ("abcd", "???", false),
        ("aéc", "a?c", true),
        ("abcd", "?*d", true),
    ] {
        assert_eq!(is_like(text, pattern), is, "{text} {pattern}");
    }
}
