//! The route table and what is deployed from it: template, functions, events and document have the same operations, and a
//! function may do what its route is for and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use http::Method;
use onerun_api::{Found, ROUTES, Route, Router};
use onerun_auth::Access;
use onerun_tests::{
    app::ROOT_KEY,
    process::workspace,
    template::{self, logical_id},
};
use serde_json::{Value, json};

/// What is not called by a route.
const EVENT_FUNCTIONS: [&str; 3] = ["run_jobs", "tick", "rotate_secret"];

const READS: [&str; 3] = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"];

/// `ConditionCheckItem` writes nothing, but is a part of transactions that do.
const WRITES: [&str; 3] = ["dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:UpdateItem"];

fn operations() -> BTreeSet<&'static str> {
    ROUTES.iter().map(|route| route.operation).chain(EVENT_FUNCTIONS).collect()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// A list, also where one alone stands for itself.
fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |values| values.iter().collect())
}

struct Template(Value);

impl Template {
    fn read() -> Self {
        Self(template::read())
    }

    fn of_type(&self, kind: &str) -> BTreeMap<&str, &Value> {
        entries(&self.0["Resources"]).filter(|(_, resource)| resource["Type"] == kind).collect()
    }

    fn function(&self, operation: &str) -> &Value {
        let id = logical_id(operation);
        let found = &self.0["Resources"][&id];
        assert!(found.is_object(), "the template has no {id}");
        found
    }

    /// What a function may do: actions, each with the resource as text.
    fn rights(&self, operation: &str) -> BTreeSet<(String, String)> {
        let mut rights = BTreeSet::new();
        for policy in self.function(operation)["Properties"]["Policies"].as_array().into_iter().flatten() {
            let statements = match policy["Ref"].as_str() {
                Some(name) => &self.0["Resources"][name]["Properties"]["PolicyDocument"]["Statement"],
                None => &policy["Statement"],
            };
            for statement in statements.as_array().expect("statements") {
                assert_eq!(statement["Effect"], "Allow");
                for action in list(&statement["Action"]) {
                    for resource in list(&statement["Resource"]) {
                        let action = action.as_str().expect("an action").to_owned();
                        rights.insert((action, resource.to_string()));
                    }
                }
            }
        }
        rights
    }

    /// The actions on a service.
    fn actions(&self, operation: &str, service: &str) -> BTreeSet<String> {
        let rights = self.rights(operation).into_iter().map(|(action, _)| action);
        rights.filter(|action| action.split(':').next() == Some(service)).collect()
    }
}

fn set(actions: &[&str]) -> BTreeSet<String> {
    actions.iter().map(|action| (*action).to_owned()).collect()
}

#[test]
fn every_operation_is_a_function_of_its_own() {
    let template = Template::read();
    let functions: BTreeSet<_> =
        template.of_type("AWS::Serverless::Function").into_keys().map(str::to_owned).collect();
    assert_eq!(functions, operations().into_iter().map(logical_id).collect());
    for operation in operations() {
        let metadata = &template.function(operation)["Metadata"];
        assert_eq!(metadata["BuildMethod"], "rust-cargolambda", "{operation}");
        assert_eq!(metadata["BuildProperties"], json!({ "Binary": operation }));
    }
    let globals = &template.0["Globals"]["Function"];
    assert_eq!((&globals["CodeUri"], &globals["Handler"]), (&json!("functions/"), &json!("bootstrap")));
}

#[test]
fn every_route_leads_to_its_function_and_nothing_else_leads_there() {
    let template = Template::read();
    for route in ROUTES {
        let events: Vec<_> = entries(&template.function(route.operation)["Properties"]["Events"]).collect();
        let api =
            json!({ "ApiId": { "Ref": "HttpApi" }, "Method": route.method.as_str(), "Path": route.path });
        let mut expected = vec![("Api", json!({ "Type": "HttpApi", "Properties": api }))];
        // What has no route is answered as everywhere.
        if route.operation == "get_health" {
            expected.push((
                "Default",
                json!({ "Type": "HttpApi", "Properties": { "ApiId": { "Ref": "HttpApi" } } }),
            ));
        }
        let expected: Vec<_> = expected.iter().map(|(name, event)| (*name, event)).collect();
        assert_eq!(events, expected, "{}", route.operation);
    }
    for operation in EVENT_FUNCTIONS {
        for (name, event) in entries(&template.function(operation)["Properties"]["Events"]) {
            assert_ne!(event["Type"], "HttpApi", "{operation} can be called by {name}");
        }
    }
    let mapping = &template.0["Resources"]["RunJobsMapping"]["Properties"];
    assert_eq!(mapping["FunctionName"], json!({ "Ref": "RunJobsFunction" }));
    assert_eq!(mapping["EventSourceArn"], json!({ "Fn::GetAtt": ["JobQueue", "Arn"] }));
    assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
    let schedule = &template.function("tick")["Properties"]["Events"]["EveryMinute"];
    assert_eq!(schedule["Properties"]["ScheduleExpression"], "rate(1 minute)");
    let rotation = &template.0["Resources"]["SecretRotation"]["Properties"];
    assert_eq!(rotation["RotationLambdaARN"], json!({ "Fn::GetAtt": ["RotateSecretFunction", "Arn"] }));
}

#[test]
fn a_function_reads_the_secret_only_if_it_checks_keys() {
    let template = Template::read();
    let reads = set(&["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]);
    for route in ROUTES {
        let expected = if route.access == Access::Public { BTreeSet::new() } else { reads.clone() };
        assert_eq!(template.actions(route.operation, "secretsmanager"), expected, "{}", route.operation);
    }
    for operation in ["run_jobs", "tick"] {
        assert!(template.actions(operation, "secretsmanager").is_empty(), "{operation}");
    }
    let rotates = set(&["secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]);
    assert_eq!(template.actions("rotate_secret", "secretsmanager"), &reads | &rotates);
}

#[test]
fn a_function_writes_the_table_only_if_its_route_does() {
    let template = Template::read();
    let (reads, writes) = (set(&READS), set(&WRITES));
    for route in ROUTES {
        let actions = template.actions(route.operation, "dynamodb");
        let operation = route.operation;
        match route.access {
            Access::Public | Access::AnyKey => assert!(actions.is_empty(), "{operation}: {actions:?}"),
            Access::Requires(scope) if scope.as_str().ends_with(":read") => {
                assert!(!actions.is_empty() && actions.is_subset(&reads), "{operation}: {actions:?}");
            }
            Access::Requires(_) => {
                assert!(actions.is_subset(&(&reads | &writes)), "{operation}: {actions:?}");
                assert!(!actions.is_disjoint(&writes), "{operation} writes nothing");
            }
        }
    }
    for operation in ["run_jobs", "tick"] {
        let deletes = set(&["dynamodb:DeleteItem"]);
        assert_eq!(template.actions(operation, "dynamodb"), &(&reads | &writes) | &deletes, "{operation}");
    }
    assert!(template.actions("rotate_secret", "dynamodb").is_empty());
}

#[test]
fn who_may_only_read_may_not_encrypt_either() {
    let template = Template::read();
    for operation in operations() {
        let rights = template.rights(operation);
        let may = |wanted: &str| rights.iter().any(|(action, _)| action == wanted);
        let writes = WRITES.iter().chain(&["secretsmanager:PutSecretValue"]).any(|action| may(action));
        assert_eq!(may("kms:GenerateDataKey"), writes, "{operation}");
        assert_eq!(may("kms:Decrypt"), !rights.is_empty(), "{operation}");
    }
}

/// The one place where `*` means one thing alone: in a key's own policy it is that key.
#[test]
fn no_policy_has_a_wildcard() {
    fn statements<'a>(place: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
        for (name, value) in entries(value) {
            if name == "Statement" {
                found.extend(list(value).into_iter().map(|statement| (place.to_owned(), statement)));
            }
            statements(&format!("{place}/{name}"), value, found);
        }
        for value in value.as_array().into_iter().flatten() {
            statements(place, value, found);
        }
    }
    let template = Template::read();
    let mut found = Vec::new();
    statements("", &template.0["Resources"], &mut found);
    assert!(found.len() > ROUTES.len(), "only {} statements were found", found.len());
    for (place, statement) in found {
        let wildcard = |part: &str| statement[part].to_string().contains('*');
        assert!(!wildcard("Action") && !wildcard("Principal"), "{place}: {statement}");
        assert!(!wildcard("Resource") || place == "/Key/Properties/KeyPolicy", "{place}: {statement}");
    }
}

#[test]
fn every_operation_has_its_program() {
    let directory = workspace().join("functions/src/bin");
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let programs: BTreeSet<_> = files.map(|name| name.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(programs, operations().into_iter().map(str::to_owned).collect());
}

#[test]
fn the_document_describes_every_route() {
    let document = fs::read_to_string(workspace().join("openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in entries(&document["paths"]) {
        for (method, operation) in entries(methods) {
            let id = operation["operationId"].as_str().unwrap();
            described.insert((id.to_owned(), method.to_uppercase(), path.to_owned()));
        }
    }
    let route =
        |route: &&Route| (route.operation.to_owned(), route.method.to_string(), route.path.to_owned());
    assert_eq!(described, ROUTES.iter().map(route).collect());
}

/// The events by file name, and what is expected of some.
fn events() -> (BTreeMap<String, Value>, Value) {
    let files = fs::read_dir(workspace().join("events")).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let mut events: BTreeMap<String, Value> = files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
        })
        .collect();
    let expected = events.remove("expected.json").unwrap();
    (events, expected)
}

#[test]
fn every_operation_has_its_events_and_every_event_its_operation() {
    let (events, expected) = events();
    let operations = operations();
    for name in events.keys() {
        assert!(operations.contains(name.split('.').next().unwrap()), "{name} is an event of no operation");
    }
    for route in ROUTES {
        assert!(events.contains_key(&format!("{}.json", route.operation)), "{}", route.operation);
        let name = format!("{}.unauthenticated.json", route.operation);
        assert!(events.contains_key(&name), "{name}");
    }
    for name in [
        "run_jobs.json",
        "run_jobs.duplicate.json",
        "run_jobs.poison.json",
        "tick.json",
        "rotate_secret.create_secret.json",
        "rotate_secret.set_secret.json",
        "rotate_secret.test_secret.json",
        "rotate_secret.finish_secret.json",
    ] {
        assert!(events.contains_key(name), "{name}");
    }
    for (name, _) in entries(&expected) {
        assert!(events.contains_key(name), "{name} is expected and not there");
    }
}

#[test]
fn an_event_is_a_request_of_its_route() {
    let router = Router::new(ROUTES).unwrap();
    let (events, expected) = events();
    for (name, event) in &events {
        let Some(route) = ROUTES.iter().find(|route| Some(route.operation) == name.split('.').next()) else {
            continue;
        };
        let context = &event["requestContext"];
        let (method, path) = match event["version"].as_str() {
            Some("1.0") => (&event["httpMethod"], &event["path"]),
            _ => (&context["http"]["method"], &event["rawPath"]),
        };
        let method: Method = method.as_str().unwrap().parse().unwrap();
        let found = router.find(&method, path.as_str().unwrap());
        if expected[name]["status"] == 404 {
            assert!(matches!(found, Found::NoRoute), "{name}");
            assert_eq!(event["routeKey"], "$default");
            continue;
        }
        assert!(matches!(found, Found::Route(found, _) if found.operation == route.operation), "{name}");
        // A function URL has no routes.
        if !name.ends_with(".url.json") && event["version"] == "2.0" {
            assert_eq!(event["routeKey"], format!("{} {}", route.method, route.path), "{name}");
        }
        let key = entries(&event["headers"]).find(|(header, _)| *header == "x-api-key").map(|(_, key)| key);
        let sends_key = !name.ends_with(".unauthenticated.json");
        assert_eq!(key, sends_key.then_some(&json!(ROOT_KEY)), "{name}");
    }
}
