//! What the role of each function allows by the template, and what a call takes. Nothing that stands for AWS here knows of
//! roles, so relays let through only what the caller's role allows.
//!
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html>

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{ACCOUNT, REGION, template::Template};

/// An action on a resource; on a key by way of a service.
type Right = (String, String);

/// The rights of every function.
#[derive(Debug)]
pub(crate) struct Rights {
    roles: BTreeMap<String, BTreeSet<Right>>,
    secret: String,
    key: String,
}

impl Rights {
    /// Those that the template gives. It must know what its resources are called.
    pub(crate) fn new<'a>(
        template: &Template,
        operations: impl Iterator<Item = &'a str>,
        secret: &str,
        key: &str,
    ) -> Self {
        let roles = operations.map(|operation| {
            let statements = template.statements(operation);
            (operation.to_owned(), statements.iter().flat_map(|one| allowed(template, one)).collect())
        });
        Self { roles: roles.collect(), secret: secret.to_owned(), key: key.to_owned() }
    }

    /// What a function lacks for a call, if its role does not allow it.
    pub(crate) fn lacking(&self, operation: &str, target: &str, input: &Value) -> Option<String> {
        let Some(role) = self.roles.get(operation) else { return Some(format!("nobody is {operation:?}")) };
        let lacking: Vec<Right> =
            self.needed(target, input).into_iter().filter(|right| !role.contains(right)).collect();
        (!lacking.is_empty()).then(|| format!("{operation} may not {target}: it lacks {lacking:?}"))
    }

    fn needed(&self, target: &str, input: &Value) -> BTreeSet<Right> {
        let (service, call) = target.split_once('.').unwrap_or((target, ""));
        let mut rights = BTreeSet::new();
        let (actions, service): (Vec<(String, String)>, _) = if service == "secretsmanager" {
            // Tests have others in the place of the one secret that there is.
            (vec![(call.to_owned(), self.secret.clone())], "secretsmanager")
        } else {
            (table_actions(call, input), "dynamodb")
        };
        let mut key = |action: &str| {
            let through = format!("{} through {service}.{REGION}.amazonaws.com", self.key);
            rights.insert((format!("kms:{action}"), through));
        };
        for (action, _) in &actions {
            match action.as_str() {
                "DescribeSecret" | "UpdateSecretVersionStage" => {}
                "PutItem" | "UpdateItem" | "BatchWriteItem" | "PutSecretValue" => {
                    key("Decrypt");
                    key("GenerateDataKey");
                }
                _ => key("Decrypt"),
            }
        }
        rights
            .extend(actions.into_iter().map(|(action, resource)| (format!("{service}:{action}"), resource)));
        rights
    }
}

/// What a call of DynamoDB takes: transactions are allowed through the actions of their parts.
fn table_actions(call: &str, input: &Value) -> Vec<(String, String)> {
    let table = |part: &Value| {
        let name = part["TableName"].as_str().unwrap_or_default();
        format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}")
    };
    match call {
        "TransactGetItems" | "TransactWriteItems" => {
            let items = input["TransactItems"].as_array().into_iter().flatten();
            let parts = items.filter_map(Value::as_object).flatten();
            let action = |(kind, part): (&String, &Value)| (format!("{kind}Item"), table(part));
            parts.map(action).collect()
        }
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = input["RequestItems"].as_object().into_iter().flatten();
            let arn =
                |(name, _): (&String, &Value)| format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}");
            tables.map(|part| (call.to_owned(), arn(part))).collect()
        }
        _ => {
            let index = input["IndexName"].as_str().map(|name| format!("/index/{name}"));
            vec![(call.to_owned(), table(input) + &index.unwrap_or_default())]
        }
    }
}

/// What a statement allows. Those of the template have no wildcards.
fn allowed(template: &Template, statement: &Value) -> Vec<Right> {
    assert_eq!(statement["Effect"], "Allow", "the test does not know {statement}");
    let through = statement.get("Condition").map(|condition| {
        let service = &condition["StringEquals"]["kms:ViaService"];
        let is_alone = condition.as_object().is_some_and(|tests| tests.len() == 1) && !service.is_null();
        assert!(is_alone, "the test does not know {condition}");
        template.resolve(service)
    });
    let list = |value: &Value| match value {
        Value::Array(values) => values.clone(),
        value => vec![value.clone()],
    };
    let resources: Vec<String> =
        list(&statement["Resource"]).iter().map(|resource| template.resolve(resource)).collect();
    let mut rights = Vec::new();
    for action in list(&statement["Action"]) {
        for resource in &resources {
            let action = template.resolve(&action);
            assert!(!action.contains('*') && !resource.contains('*'), "the test does not know {statement}");
            let resource = match &through {
                Some(service) => format!("{resource} through {service}"),
                None => resource.clone(),
            };
            rights.push((action, resource));
        }
    }
    rights
}
