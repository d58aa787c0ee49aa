//! The rights of each function's role, evaluated as IAM evaluates them, and the rights that a call
//! needs. The local AWS services know no roles, so relays and template tests ask this module.
//!
//! It supports only the features that the template uses and panics at others: allow and deny
//! statements, no wildcards in actions, wildcards at the end of resources only, and conditions on texts.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>,
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html>

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const REGION: &str = "eu-central-1";
const ACCOUNT: &str = "123456789012";

/// The partitions of the items that a call names.
const LEADING_KEYS: &str = "dynamodb:LeadingKeys";

/// The attributes that a write names: its key's, and those in its expressions.
const ATTRIBUTES: &str = "dynamodb:Attributes";

/// The values that a write returns, if the call asks for them.
const RETURN_VALUES: &str = "dynamodb:ReturnValues";

/// The words of expressions that are no names of attributes.
const WORDS: [&str; 11] = [
    "ADD",
    "AND",
    "BETWEEN",
    "OR",
    "REMOVE",
    "SET",
    "attribute_exists",
    "attribute_not_exists",
    "begins_with",
    "contains",
    "if_not_exists",
];

/// The service that uses a key of KMS for its caller.
const VIA_SERVICE: &str = "kms:ViaService";

/// A policy's statement.
#[derive(Debug)]
struct Statement {
    allows: bool,
    actions: BTreeSet<String>,
    resources: BTreeSet<String>,
    conditions: Vec<Condition>,
}

/// A condition on a request's context.
#[derive(Debug)]
struct Condition {
    /// For a context key with several values.
    quantifier: Option<Quantifier>,
    comparison: Comparison,
    key: String,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equals,
    /// Holds of nothing, too.
    EqualsIfExists,
    Like,
    /// Requires that the value is absent.
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    /// Each value must be listed. True without values.
    All,
    /// One value must be listed.
    Any,
}

/// An action on a resource with its context.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    action: String,
    resource: String,
    context: BTreeMap<&'static str, BTreeSet<String>>,
}

/// The rights of every function.
#[derive(Debug)]
pub struct Rights {
    roles: BTreeMap<String, Vec<Statement>>,
    secret: String,
    key: String,
}

/// The ARN of a table.
pub fn table_arn(name: &str) -> String {
    format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}")
}

/// The ARN of a bucket of S3.
pub fn bucket_arn(name: &str) -> String {
    format!("arn:aws:s3:::{name}")
}

impl Rights {
    /// The rights from policies: all statements of each role, with references resolved.
    pub fn new(roles: impl IntoIterator<Item = (String, Vec<Value>)>, secret: &str, key: &str) -> Self {
        let roles = roles
            .into_iter()
            .map(|(role, statements)| (role, statements.iter().map(Statement::read).collect()));
        Self { roles: roles.collect(), secret: secret.to_owned(), key: key.to_owned() }
    }

    /// The right that a role lacks for a call to a service such as `DynamoDB_20120810.GetItem`, if
    /// any.
    pub fn lacking(&self, role: &str, target: &str, input: &Value) -> Option<String> {
        if !self.roles.contains_key(role) {
            return Some(format!("nobody is {role:?}"));
        }
        let lacking: Vec<Request> = self
            .needed(target, input)
            .into_iter()
            .filter(|request| !self.is_allowed(role, request))
            .collect();
        (!lacking.is_empty()).then(|| format!("{role} may not {target}: it lacks {lacking:?}"))
    }

    /// Whether a role may do an action on items of a partition.
    pub fn may(&self, role: &str, action: &str, table: &str, partition: &str) -> bool {
        self.is_allowed(role, &item_request(action, table_arn(table), [partition.to_owned()].into()))
    }

    /// Whether a role may set attributes of items of a partition.
    pub fn may_set(&self, role: &str, table: &str, partition: &str, attributes: &[&str]) -> bool {
        let mut request = item_request("UpdateItem", table_arn(table), [partition.to_owned()].into());
        let attributes = ["pk", "sk"].iter().chain(attributes).map(|name| (*name).to_owned()).collect();
        request.context.insert(ATTRIBUTES, attributes);
        self.is_allowed(role, &request)
    }

    /// Whether a role may read a secret.
    pub fn may_read_secret(&self, role: &str, secret: &str) -> bool {
        let action = "secretsmanager:GetSecretValue".to_owned();
        self.is_allowed(role, &Request { action, resource: secret.to_owned(), context: BTreeMap::new() })
    }

    /// The actions of a service that a role may do on any resource.
    pub fn actions(&self, role: &str, service: &str) -> BTreeSet<String> {
        let allowing = self.roles.get(role).into_iter().flatten().filter(|statement| statement.allows);
        let actions = allowing.flat_map(|statement| &statement.actions);
        actions.filter(|action| action.split(':').next() == Some(service)).cloned().collect()
    }

    fn is_allowed(&self, role: &str, request: &Request) -> bool {
        let statements = self.roles.get(role).into_iter().flatten();
        let fits: Vec<_> = statements.filter(|statement| statement.fits(request)).collect();
        fits.iter().any(|statement| statement.allows) && fits.iter().all(|statement| statement.allows)
    }

    fn is_resource(&self, name: &str) -> bool {
        self.roles.values().flatten().any(|statement| statement.resources.contains(name))
    }

    fn needed(&self, target: &str, input: &Value) -> BTreeSet<Request> {
        let (service, call) = target.split_once('.').unwrap_or((target, ""));
        let (service, mut requests) = if service == "secretsmanager" {
            let action = format!("secretsmanager:{call}");
            // Tests use other secrets in the place of the template's root key.
            let named = input["SecretId"].as_str().filter(|named| self.is_resource(named));
            let resource = named.unwrap_or(&self.secret).to_owned();
            let request = Request { action, resource, context: BTreeMap::new() };
            (service, BTreeSet::from([request]))
        } else if service == "s3" {
            let [bucket, key] = ["Bucket", "Key"].map(|name| input[name].as_str().unwrap_or_default());
            let (action, resource) = (format!("s3:{call}"), format!("{}/{key}", bucket_arn(bucket)));
            (service, BTreeSet::from([Request { action, resource, context: BTreeMap::new() }]))
        } else {
            ("dynamodb", table_requests(call, input))
        };
        let through = format!("{service}.{REGION}.amazonaws.com");
        let mut uses: BTreeSet<&str> = BTreeSet::new();
        for request in &requests {
            uses.extend(match request.action.as_str() {
                "secretsmanager:DescribeSecret" | "secretsmanager:UpdateSecretVersionStage" => &[][..],
                "dynamodb:PutItem"
                | "dynamodb:UpdateItem"
                | "s3:PutObject"
                | "secretsmanager:PutSecretValue" => &["kms:Decrypt", "kms:GenerateDataKey"],
                _ => &["kms:Decrypt"],
            });
        }
        requests.extend(uses.into_iter().map(|action| Request {
            action: action.to_owned(),
            resource: self.key.clone(),
            context: [(VIA_SERVICE, [through.clone()].into())].into(),
        }));
        requests
    }
}

impl Statement {
    fn read(statement: &Value) -> Self {
        let known = ["Effect", "Action", "Resource", "Condition"];
        let members = statement.as_object().unwrap_or_else(|| panic!("no statement: {statement}"));
        assert!(members.keys().all(|name| known.contains(&name.as_str())), "not known: {statement}");
        let allows = match statement["Effect"].as_str() {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => panic!("not known: {statement}"),
        };
        let set = |part: &str| {
            let texts: BTreeSet<String> = texts(&statement[part]).into_iter().collect();
            let exact = |text: &String| {
                if part == "Resource" { text.trim_end_matches("/*") } else { text }.to_owned()
            };
            assert!(
                !texts.is_empty() && texts.iter().all(|text| !exact(text).contains('*')),
                "not known: {statement}"
            );
            texts
        };
        let operators = statement.get("Condition").and_then(Value::as_object).into_iter().flatten();
        let conditions = operators.flat_map(|(operator, keys)| {
            let keys = keys.as_object().unwrap_or_else(|| panic!("not known: {statement}"));
            keys.iter().map(|(key, values)| Condition::read(operator, key, values))
        });
        Self { allows, actions: set("Action"), resources: set("Resource"), conditions: conditions.collect() }
    }

    fn fits(&self, request: &Request) -> bool {
        self.actions.contains(&request.action)
            && self.resources.iter().any(|resource| is_like(&request.resource, resource))
            && self.conditions.iter().all(|condition| condition.holds(request))
    }
}

impl Condition {
    fn read(operator: &str, key: &str, values: &Value) -> Self {
        let (quantifier, comparison) = match operator.split_once(':') {
            None => (None, operator),
            Some(("ForAllValues", comparison)) => (Some(Quantifier::All), comparison),
            Some(("ForAnyValue", comparison)) => (Some(Quantifier::Any), comparison),
            Some(_) => panic!("not known: {operator}"),
        };
        let comparison = match comparison {
            "StringEquals" => Comparison::Equals,
            "StringEqualsIfExists" => Comparison::EqualsIfExists,
            "StringLike" => Comparison::Like,
            "Null" => Comparison::Null,
            _ => panic!("not known: {operator}"),
        };
        // A context key that requests here never set.
        assert!([LEADING_KEYS, ATTRIBUTES, RETURN_VALUES, VIA_SERVICE].contains(&key), "not known: {key}");
        let has_several = [LEADING_KEYS, ATTRIBUTES].contains(&key) && comparison != Comparison::Null;
        assert_eq!(quantifier.is_some(), has_several, "AWS wants it of {key} and of no other");
        Self { quantifier, comparison, key: key.to_owned(), values: texts(values) }
    }

    fn holds(&self, request: &Request) -> bool {
        let found = request.context.get(self.key.as_str());
        if self.comparison == Comparison::Null {
            return self.values == [found.is_none().to_string()];
        }
        let fits = |value: &String| {
            let is_like = self.comparison == Comparison::Like;
            self.values
                .iter()
                .any(|wanted| if is_like { self::is_like(value, wanted) } else { value == wanted })
        };
        let Some(values) = found else {
            return self.quantifier == Some(Quantifier::All) || self.comparison == Comparison::EqualsIfExists;
        };
        match self.quantifier {
            Some(Quantifier::Any) | None => values.iter().any(fits),
            Some(Quantifier::All) => values.iter().all(fits),
        }
    }
}

/// Whether a text matches a pattern: `*` matches any text and `?` one character.
fn is_like(text: &str, pattern: &str) -> bool {
    let (mut wanted, mut found) = (pattern.chars(), text.chars());
    match (wanted.next(), found.next()) {
        (None, first) => first.is_none(),
        (Some('*'), first) => {
            is_like(text, wanted.as_str()) || (first.is_some() && is_like(found.as_str(), pattern))
        }
        (Some(_), None) => false,
        (Some(one), Some(other)) => (one == '?' || one == other) && is_like(found.as_str(), wanted.as_str()),
    }
}

/// A text, or a list of them.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned();
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => vec![text(value)],
    }
}

fn item_request(action: &str, resource: String, partitions: BTreeSet<String>) -> Request {
    Request { action: format!("dynamodb:{action}"), resource, context: [(LEADING_KEYS, partitions)].into() }
}

/// The rights that a DynamoDB call needs. AWS does not document the leading keys of a transaction's
/// parts: they may be the part's own, those of all parts, or none. A transaction must be allowed
/// under each reading.
fn table_requests(call: &str, input: &Value) -> BTreeSet<Request> {
    let table = |part: &Value| table_arn(part["TableName"].as_str().unwrap_or_default());
    match call {
        "TransactGetItems" | "TransactWriteItems" => {
            let items = input["TransactItems"].as_array().into_iter().flatten();
            let parts: Vec<_> = items.filter_map(Value::as_object).flatten().collect();
            let all: BTreeSet<String> = parts.iter().filter_map(|(_, part)| partition(part)).collect();
            let readings = |(kind, part): (&String, &Value)| {
                let action = format!("{kind}Item");
                let mut alone = item_request(&action, table(part), partition(part).into_iter().collect());
                add_written(&mut alone, part);
                let together = item_request(&action, table(part), all.clone());
                let without = Request { context: BTreeMap::new(), ..alone.clone() };
                [alone, together, without]
            };
            parts.into_iter().flat_map(readings).collect()
        }
        "BatchGetItem" => {
            let tables = input["RequestItems"].as_object().into_iter().flatten();
            let request = |(name, part): (&String, &Value)| {
                let keys = part["Keys"].as_array().into_iter().flatten().filter_map(hash);
                item_request(call, table_arn(name), keys.collect())
            };
            tables.map(request).collect()
        }
        "Query" => {
            let index = input["IndexName"].as_str().map(|name| format!("/index/{name}"));
            let partitions = queried(input).into_iter().collect();
            [item_request(call, table(input) + &index.unwrap_or_default(), partitions)].into()
        }
        "GetItem" | "PutItem" | "UpdateItem" | "DeleteItem" => {
            let mut request = item_request(call, table(input), partition(input).into_iter().collect());
            if call != "GetItem" {
                add_written(&mut request, input);
            }
            [request].into()
        }
        // Nothing has a right to it.
        _ => {
            [Request { action: format!("dynamodb:{call}"), resource: table(input), context: BTreeMap::new() }]
                .into()
        }
    }
}

/// The partition of the one item that a call, or a part of one, is about.
fn partition(part: &Value) -> Option<String> {
    hash(part.get("Key").or_else(|| part.get("Item"))?)
}

/// Adds the attributes that a write names, and its return values, to a request's context.
fn add_written(request: &mut Request, write: &Value) {
    let members = |name: &str| write[name].as_object().into_iter().flatten();
    let key = members("Key").chain(members("Item")).map(|(name, _)| name.clone());
    let named = members("ExpressionAttributeNames").filter_map(|(_, name)| name.as_str().map(str::to_owned));
    request.context.insert(ATTRIBUTES, key.chain(named).collect());
    for expression in ["UpdateExpression", "ConditionExpression"] {
        let text = write[expression].as_str().unwrap_or_default();
        for word in text.split(|letter: char| !letter.is_alphanumeric() && !"_#:-".contains(letter)) {
            let is_known = word.is_empty() || word.starts_with(['#', ':']) || WORDS.contains(&word);
            assert!(is_known, "not known: {word} in {text}");
        }
    }
    if let Some(returned) = write["ReturnValues"].as_str() {
        request.context.insert(RETURN_VALUES, [returned.to_owned()].into());
    }
}

fn hash(key: &Value) -> Option<String> {
    key["pk"]["S"].as_str().map(str::to_owned)
}

/// The partition that is queried: `#p = :p`, perhaps with more about the sort key.
fn queried(input: &Value) -> Option<String> {
    let condition = input["KeyConditionExpression"].as_str()?;
    let (_, value) = condition.split(" AND ").next()?.split_once(" = ")?;
    input["ExpressionAttributeValues"][value]["S"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
