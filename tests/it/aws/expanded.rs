//! The template expanded by SAM's own transform, as AWS deploys it. API Gateway cannot fail on
//! warnings, because it warns about SAM's own output. These tests find errors of the API instead.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use http::Method;
use onerun_api::{ROUTES, Route};
use onerun_tests::{aws, process::workspace, template::logical_id};
use serde_json::{Value, json};

async fn expanded() -> Value {
    let script = workspace().join("tests/sam/expand.py");
    serde_json::from_str(&aws::python(&script).success().await).expect("the script prints JSON")
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// The events of functions that are routes, each with its name in the template and its method.
fn deployed() -> impl Iterator<Item = (&'static str, Method, &'static Route)> {
    ROUTES.iter().flat_map(|route| {
        let head = (route.method == Method::GET).then_some(("Head", Method::HEAD, *route));
        [("Api", route.method.clone(), *route)].into_iter().chain(head)
    })
}

/// The function that an operation of the API calls.
fn target(operation: &Value) -> &str {
    let uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"].as_str().expect("an address");
    let (_, rest) = uri.split_once("/functions/${").expect("a function");
    rest.strip_suffix(".Arn}/invocations").expect("an attribute of a function")
}

#[tokio::test]
async fn expanded_api_has_nothing_that_api_gateway_refuses() {
    let template = expanded().await;
    let api = &template["Resources"]["HttpApi"]["Properties"];
    assert!(api["FailOnWarnings"].is_null(), "API Gateway warns of SAM's own path parameters");
    let mut routes: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for (path, methods) in entries(&api["Body"]["paths"]) {
        let wanted: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        for (method, operation) in entries(methods) {
            let place = format!("{method} {path}");
            if let Some(id) = operation["operationId"].as_str() {
                assert!(ids.insert(id.to_owned()), "{place}: {id} is another's");
            }
            let integration = &operation["x-amazon-apigateway-integration"];
            assert_eq!(integration["type"], "aws_proxy", "{place}");
            assert_eq!(integration["payloadFormatVersion"], "2.0", "{place}");
            assert_eq!(integration["httpMethod"], "POST", "{place}: how a function is invoked");
            assert!(operation["responses"].is_object(), "{place}");
            let mut declared = BTreeSet::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert_eq!(
                    (&parameter["in"], &parameter["required"]),
                    (&json!("path"), &json!(true)),
                    "{place}"
                );
                assert!(
                    declared.insert(parameter["name"].as_str().unwrap_or_default()),
                    "{place}: declared twice"
                );
            }
            assert_eq!(declared, wanted, "{place}");
            let function = target(operation);
            assert_eq!(template["Resources"][function]["Type"], "AWS::Lambda::Function", "{place}");
            routes.insert((method.to_uppercase(), path.to_owned()), function.to_owned());
        }
    }
    let mut expected: BTreeMap<_, _> = deployed()
        .map(|(_, method, route)| ((method.to_string(), route.path.to_owned()), logical_id(route.operation)))
        .collect();
    // The default route.
    let default = ("X-AMAZON-APIGATEWAY-ANY-METHOD".to_owned(), "$default".to_owned());
    expected.insert(default, logical_id("get_health"));
    assert_eq!(routes, expected);
}

#[tokio::test]
async fn api_gateway_may_invoke_the_function_of_every_route() {
    let template = expanded().await;
    for (event, method, route) in deployed() {
        // Any route may invoke the function of the default route, so SAM creates one permission for
        // all.
        let is_default = route.operation == "get_health";
        let event = if is_default { "Default" } else { event };
        let name = format!("{}{event}Permission", logical_id(route.operation));
        let permission = &template["Resources"][&name];
        assert_eq!(permission["Type"], "AWS::Lambda::Permission", "{name}");
        let properties = &permission["Properties"];
        assert_eq!(properties["Principal"], "apigateway.amazonaws.com", "{name}");
        assert_eq!(properties["FunctionName"], json!({ "Ref": logical_id(route.operation) }), "{name}");
        let of = properties["SourceArn"].to_string();
        // In a permission every parameter is an asterisk.
        let path: Vec<_> =
            route.path.split('/').map(|part| if part.starts_with('{') { "*" } else { part }).collect();
        let end = if is_default { "}/*\"".to_owned() } else { format!("/{method}{}\"", path.join("/")) };
        assert!(of.contains(&end), "{name}: {of}");
    }
}

#[tokio::test]
async fn expanded_template_stays_below_the_limits_of_aws() {
    let template = expanded().await;
    let resources = template["Resources"].as_object().expect("resources");
    assert!(resources.len() <= 500, "{} resources in one stack", resources.len());
    let routes: usize = entries(&template["Resources"]["HttpApi"]["Properties"]["Body"]["paths"])
        .map(|(_, methods)| entries(methods).count())
        .sum();
    assert!(routes <= 300, "{routes} routes in one API");
    let size = fs::metadata(workspace().join("template.yaml")).expect("a template").len();
    assert!(size <= 1_000_000, "{size} bytes of template");
}

#[tokio::test]
async fn rotation_is_scheduled_only_once_the_api_answers() {
    let template = expanded().await;
    let resources = &template["Resources"];
    let schedule = &resources["SecretRotation"];
    let waits: Vec<&str> =
        schedule["DependsOn"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let types: BTreeSet<(&str, &str)> =
        waits.iter().map(|name| (*name, resources[*name]["Type"].as_str().unwrap_or("missing"))).collect();
    let expected = [
        ("GetWhoamiFunctionApiPermission", "AWS::Lambda::Permission"),
        ("HttpApiApiGatewayDefaultStage", "AWS::ApiGatewayV2::Stage"),
        ("RotateSecretPermission", "AWS::Lambda::Permission"),
    ];
    assert_eq!(types, expected.into());
    assert_eq!(schedule["Properties"]["RotateImmediatelyOnUpdate"], false);
}
