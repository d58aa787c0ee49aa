//! The template with references resolved: tests deploy its routes, variables, table keys and stream
//! filters.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::{ACCOUNT, REGION};
use crate::{
    rights::{Rights, bucket_arn, table_arn},
    template::logical_id,
};

/// The parsed `template.yaml` with the values of its references.
#[derive(Clone, Debug)]
pub struct Template {
    document: Value,
    /// The values of references: defaults of parameters, and local names of resources.
    references: HashMap<String, String>,
}

/// The path of the default route.
pub(crate) const DEFAULT_ROUTE: &str = "$default";

/// A route of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRoute {
    /// The method.
    pub method: String,
    /// The path, with parameters in braces.
    pub path: String,
    /// The operation.
    pub operation: String,
}

impl TemplateRoute {
    /// The values of its parameters in a path, if the path is one of its.
    pub(crate) fn parameters(&self, path: &str) -> Option<BTreeMap<String, String>> {
        let (wanted, found): (Vec<_>, Vec<_>) = (self.path.split('/').collect(), path.split('/').collect());
        if wanted.len() != found.len() {
            return None;
        }
        let mut parameters = BTreeMap::new();
        for (wanted, found) in wanted.into_iter().zip(found) {
            match wanted.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) if !found.is_empty() => _ = parameters.insert(name.to_owned(), found.to_owned()),
                _ if wanted == found => {}
                _ => return None,
            }
        }
        Some(parameters)
    }
}

impl Template {
    /// Reads `template.yaml`.
    pub(crate) fn read() -> Self {
        let document = crate::template::read();
        let mut references: HashMap<String, String> = [
            ("AWS::Region", REGION),
            ("AWS::AccountId", ACCOUNT),
            ("AWS::Partition", "aws"),
            ("AWS::URLSuffix", "amazonaws.com"),
            ("AWS::StackName", "onerun-test"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        for (name, parameter) in document["Parameters"].as_object().into_iter().flatten() {
            if let Some(default) = parameter.get("Default") {
                references.insert(name.clone(), scalar(default).unwrap_or_default());
            }
        }
        Self { document, references }
    }

    /// The rights of the functions, with resources under their names in the template: the table is
    /// `Table`. The deployment has models of Bedrock, and the other providers' keys.
    pub fn rights() -> Rights {
        Self::rights_with(&[("ModelKeysSecretArn", "ModelKeys"), ("BedrockModelArns", "Model,Profile")])
    }

    /// The rights of the functions, with values of parameters.
    pub fn rights_with(parameters: &[(&str, &str)]) -> Rights {
        let mut template = Self::read();
        for (name, value) in parameters {
            template.refer(name, value);
        }
        let names: Vec<String> = template.resources().map(|(name, _)| name.clone()).collect();
        for name in names {
            template.refer(&name, &name);
            template.refer(&format!("{name}.Arn"), &name);
        }
        template.refer("Table.Arn", &table_arn("Table"));
        template.refer("AuditBucket.Arn", &bucket_arn("AuditBucket"));
        Rights::new(template.roles(), "Secret", "Key")
    }

    /// Sets the value of a parameter, or the local name of a resource or of an attribute such as `Queue.Arn`.
    pub(crate) fn refer(&mut self, name: &str, value: &str) {
        self.references.insert(name.to_owned(), value.to_owned());
    }

    fn resources(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.document["Resources"].as_object().into_iter().flatten()
    }

    /// The logical id and properties of the only resource of a type that matches `is`.
    pub(crate) fn resource(&self, kind: &str, is: impl Fn(&str, &Value) -> bool) -> (&str, &Value) {
        let mut found = self
            .resources()
            .filter(|(name, resource)| resource["Type"] == kind && is(name, &resource["Properties"]));
        match (found.next(), found.next()) {
            (Some((name, resource)), None) => (name, &resource["Properties"]),
            (first, second) => panic!("not one {kind} in the template: {first:?}, {second:?}"),
        }
    }

    /// The properties of the function of an operation.
    fn function(&self, operation: &str) -> &Value {
        let name = logical_id(operation);
        let resource = &self.document["Resources"][&name];
        assert!(resource.is_object(), "no {name} in the template");
        &resource["Properties"]
    }

    /// All routes.
    pub fn routes(&self) -> Vec<TemplateRoute> {
        let mut routes = Vec::new();
        for (name, resource) in self.resources() {
            for event in
                resource["Properties"]["Events"].as_object().into_iter().flatten().map(|(_, event)| event)
            {
                if event["Type"] == "HttpApi" {
                    let part = |name: &str| event["Properties"][name].as_str();
                    routes.push(TemplateRoute {
                        method: part("Method").unwrap_or("ANY").to_uppercase(),
                        path: part("Path").unwrap_or(DEFAULT_ROUTE).to_owned(),
                        operation: snake_case(name.trim_end_matches("Function")),
                    });
                }
            }
        }
        assert!(!routes.is_empty(), "no routes in the template");
        routes
    }

    /// The variables that a function is given.
    pub(crate) fn variables(&self, operation: &str) -> BTreeMap<String, String> {
        let globals = &self.document["Globals"]["Function"];
        let of = |function: &Value| function["Environment"]["Variables"].clone();
        let mut variables = BTreeMap::new();
        for source in [of(globals), of(self.function(operation))] {
            for (name, value) in source.as_object().into_iter().flatten() {
                variables.insert(name.clone(), self.resolve(value));
            }
        }
        variables
    }

    /// A property of a function, such as `Timeout`.
    pub(crate) fn setting(&self, operation: &str, name: &str) -> Option<String> {
        let own = self.function(operation).get(name);
        own.or_else(|| self.document["Globals"]["Function"].get(name)).map(|value| self.resolve(value))
    }

    /// The statements of all policies of each function's role, with nothing left in them that refers to something.
    pub(crate) fn roles(&self) -> Vec<(String, Vec<Value>)> {
        let functions =
            self.resources().filter(|(_, resource)| resource["Type"] == "AWS::Serverless::Function");
        let operations = functions.map(|(name, _)| snake_case(name.trim_end_matches("Function")));
        operations.map(|operation| (operation.clone(), self.statements(&operation))).collect()
    }

    fn statements(&self, operation: &str) -> Vec<Value> {
        let list = |value: &Value| match value {
            Value::Null => Vec::new(),
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        let mut statements = Vec::new();
        for policy in list(&self.function(operation)["Policies"]) {
            let Some(policy) = self.chosen(&policy) else { continue };
            let document = match policy.get("Ref").and_then(Value::as_str) {
                Some(name) => self.document["Resources"][name]["Properties"]["PolicyDocument"].clone(),
                None => policy.clone(),
            };
            let found = list(&document["Statement"]);
            assert!(!found.is_empty(), "a policy of {operation} without a statement: {document}");
            statements.extend(found.iter().map(|statement| self.resolve_all(statement)));
        }
        statements
    }

    /// The branch of a condition that applies; other values as they are. `None` for no value.
    fn chosen<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        let Some(condition) = value.get("Fn::If") else { return Some(value) };
        let holds = self.holds(&self.document["Conditions"][condition[0].as_str().expect("a condition")]);
        let branch = &condition[if holds { 1 } else { 2 }];
        (branch["Ref"] != "AWS::NoValue").then_some(branch)
    }

    fn holds(&self, condition: &Value) -> bool {
        if let Some(negated) = condition.get("Fn::Not") {
            return !self.holds(&negated[0]);
        }
        let sides = condition.get("Fn::Equals").unwrap_or_else(|| panic!("not known: {condition}"));
        self.resolve(&sides[0]) == self.resolve(&sides[1])
    }

    /// Whether a value refers to a parameter that is a list.
    fn is_list(&self, value: &Value) -> bool {
        let name = value["Ref"].as_str().unwrap_or_default();
        self.document["Parameters"][name]["Type"] == "CommaDelimitedList"
    }

    /// A value with everything resolved that is in it.
    fn resolve_all(&self, value: &Value) -> Value {
        match value {
            Value::Array(values) => values.iter().map(|value| self.resolve_all(value)).collect(),
            Value::Object(members) => {
                if self.is_list(value) {
                    return self.resolve(value).split(',').collect();
                }
                if members.keys().any(|name| name == "Ref" || name.starts_with("Fn::")) {
                    return self.resolve(value).into();
                }
                let member = |(name, value): (&String, &Value)| (name.clone(), self.resolve_all(value));
                members.iter().map(member).collect::<serde_json::Map<_, _>>().into()
            }
            value => value.clone(),
        }
    }

    /// The input of `CreateTable` for the template's table.
    pub(crate) fn table(&self, name: &str) -> Value {
        let (_, properties) = self.resource("AWS::DynamoDB::Table", |_, _| true);
        let mut input = json!({ "TableName": name });
        for part in [
            "AttributeDefinitions",
            "KeySchema",
            "BillingMode",
            "GlobalSecondaryIndexes",
            "LocalSecondaryIndexes",
        ] {
            if let Some(value) = properties.get(part) {
                input[part] = value.clone();
            }
        }
        for index in input["GlobalSecondaryIndexes"].as_array_mut().into_iter().flatten() {
            // Bounds of cost, which DynamoDB Local does not know.
            if let Some(index) = index.as_object_mut() {
                index.retain(|name, _| ["IndexName", "KeySchema", "Projection"].contains(&name.as_str()));
            }
        }
        let view = &properties["StreamSpecification"]["StreamViewType"];
        input["StreamSpecification"] = json!({ "StreamEnabled": true, "StreamViewType": view });
        input
    }

    /// Resolves a value.
    pub(crate) fn resolve(&self, value: &Value) -> String {
        if let Some(text) = scalar(value) {
            return text;
        }
        let known = |name: &str| {
            let found = self.references.get(name);
            found.unwrap_or_else(|| panic!("the test does not know what {name} is, in {value}")).clone()
        };
        let (function, argument) = value
            .as_object()
            .filter(|object| object.len() == 1)
            .and_then(|object| object.iter().next())
            .unwrap_or_else(|| panic!("neither a scalar nor a reference: {value}"));
        match function.as_str() {
            "Ref" => known(argument.as_str().expect("a name")),
            "Fn::GetAtt" => {
                let parts = argument
                    .as_array()
                    .map(|parts| parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("."));
                known(&parts.or_else(|| scalar(argument)).expect("an attribute"))
            }
            "Fn::Join" => {
                let delimiter = argument[0].as_str().expect("a delimiter");
                assert!(self.is_list(&argument[1]), "the test does not know {argument}");
                self.resolve(&argument[1]).replace(',', delimiter)
            }
            "Fn::Sub" => {
                let (text, own) = match argument {
                    Value::Array(parts) => (scalar(&parts[0]).expect("text"), parts[1].clone()),
                    _ => (scalar(argument).expect("text"), Value::Null),
                };
                let mut result = String::new();
                let mut rest = text.as_str();
                while let Some((before, after)) = rest.split_once("${") {
                    let (name, after) = after.split_once('}').expect("a closing brace");
                    result.push_str(before);
                    result.push_str(&own.get(name).map_or_else(|| known(name), |value| self.resolve(value)));
                    rest = after;
                }
                result + rest
            }
            _ => panic!("the test does not know {function}, in {value}"),
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// `GetWhoami` as `get_whoami`.
fn snake_case(name: &str) -> String {
    let mut result = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !result.is_empty() {
            result.push('_');
        }
        result.push(letter.to_ascii_lowercase());
    }
    result
}
