//! Queries are strict: unknown parameters and unknown values are refused with the list of known
//! ones.

use http::Method;
use onerun_api::{Body, Handler, ROUTES, Route};
use onerun_tests::app::{TestApp, documentation};
use serde_json::{Value, json};

use crate::{
    fixtures::{TestProject, code},
    seeded_project::SeededProject,
};

/// The error of each refused parameter.
fn details(problem: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = problem["errors"].as_array().expect("errors").iter();
    errors.map(|error| (text(&error["parameter"]), text(&error["detail"]))).collect()
}

fn reads_its_query(route: &Route) -> bool {
    !matches!(route.handler, Handler::Static(_) | Handler::Document(_))
}

#[tokio::test]
async fn every_operation_refuses_unknown_parameters() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let before = seeded.state().await;
    for route in ROUTES.iter().filter(|route| reads_its_query(route)) {
        let path = format!("{}&foo=1&foo=2", seeded.path(route));
        let reply =
            seeded.project.client.send_body(route.method.clone(), &path, seeded.body(route), 422).await;
        let problem = reply.json();
        assert_eq!(code(&problem), "invalid_request", "{}", route.operation);
        let documented: Vec<String> = documentation(route.operation)["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| format!("`{}", parameter["name"].as_str().expect("a name")))
            .collect();
        match &details(&problem)[..] {
            [(name, detail)] => {
                assert_eq!(name, "foo", "{}", route.operation);
                assert!(detail.starts_with("is not a parameter of this operation; it has "), "{detail}");
                assert!(documented.iter().all(|name| detail.contains(name)), "{detail}: {documented:?}");
                assert_eq!(documented.is_empty(), detail.ends_with("it has none"), "{detail}");
            }
            other => panic!("{}: {other:?}", route.operation),
        }
    }
    assert_eq!(seeded.state().await, before, "a refused request changed something");
}

#[tokio::test]
async fn documents_and_the_health_check_take_any_query() {
    let app = TestApp::start();
    let mut operations = Vec::new();
    for route in ROUTES.iter().filter(|route| !reads_its_query(route)) {
        let path = format!("{}?utm_source=mail&%ff", route.path);
        app.anonymous().send_body(Method::GET, &path, Body::Read("".into()), 200).await;
        operations.push(route.operation);
    }
    assert_eq!(operations, ["get_health", "get_openapi", "get_dashboard"]);
}

#[tokio::test]
async fn misspelled_parameter_gets_a_suggestion() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for (wrong, meant) in [
        ("statuss", Some("status")),
        ("Status", Some("status")),
        ("state", Some("status")),
        ("agent", Some("agent_id")),
        ("sortby", Some("sort_by")),
        ("sort-dir", Some("sort_dir")),
        ("page", None),
        ("", None),
        ("%3Cscript%3E", None),
    ] {
        let problem = project.client.get(&project.path(&format!("/simulations?{wrong}=x")), 422).await;
        let said = details(&problem).pop().expect("an error").1;
        let suggested = said.split_once("did you mean `").map(|(_, rest)| rest.split_once('`').unwrap().0);
        assert_eq!(suggested, meant, "{wrong}: {said}");
    }
}

#[tokio::test]
async fn unknown_parameters_are_truncated_and_limited_to_ten() {
    let app = TestApp::start();
    let many: Vec<String> = (0..1_000).map(|number| format!("{number:x<100}=1")).collect();
    let problem = app.root().get(&format!("/v1/whoami?{}", many.join("&")), 422).await;
    let details = details(&problem);
    assert_eq!(details.len(), 10);
    assert!(details.iter().all(|(name, _)| name.len() == 40), "{details:?}");
    assert!(problem.to_string().len() < 4_096, "{problem}");
}

#[tokio::test]
async fn unknown_enum_value_is_refused_with_the_known_ones() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({})).await;
    let conversations = format!("/simulations/{simulation}/conversations");
    let simulation_statuses = "`pending`, `in_progress`, `completed`, `failed`, `canceled`, `expired`";
    let conversation_statuses = "`queued`, `in_progress`, `ended`, `failed`";
    for (list, name, words, wrong) in [
        // The published service's `queued` and `canceling` are no statuses of a simulation here.
        ("/simulations", "status", simulation_statuses, &["done", "", "PENDING", "queued", "canceling"][..]),
        (&conversations, "status", conversation_statuses, &["done", "", "pending", "Queued"]),
        ("/simulations", "sort_by", "`created_at`, `name`, `status`", &["", "NAME", "id%20DESC,%20name"]),
        ("/agents", "sort_by", "`created_at`, `name`", &["", "status"]),
        ("/objectives", "sort_by", "`created_at`, `name`", &["", "status"]),
        ("/agents", "sort_dir", "`asc`, `desc`", &["", "DESC", "descending", "%27;%20DROP%20TABLE"]),
        ("/objectives", "sort_dir", "`asc`, `desc`", &["ascending"]),
        ("/simulations", "sort_dir", "`asc`, `desc`", &["up"]),
    ] {
        for wrong in wrong {
            let problem = project.client.get(&project.path(&format!("{list}?{name}={wrong}")), 422).await;
            let expected = vec![(name.to_owned(), format!("must be one of {words}"))];
            assert_eq!(details(&problem), expected, "{list} {wrong}");
        }
    }
    let problem = project.client.get("/v1/projects?sort_by=size", 422).await;
    assert_eq!(details(&problem)[0].1, "must be one of `created_at`, `name`");
}

#[tokio::test]
async fn malformed_id_filter_is_refused_with_the_id_format() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    project.simulate(json!({})).await;
    for wrong in ["", "not-an-id", "AAAAAAAAAAA", "AAAAAAAAAAAAA", "%00"] {
        let problem = project.client.get(&project.path(&format!("/simulations?agent_id={wrong}")), 422).await;
        let said = "must be the id of an agent, which has 12 letters and digits".to_owned();
        assert_eq!(details(&problem), [("agent_id".to_owned(), said)], "{wrong}");
    }
    let page = project.get("/simulations?agent_id=AAAAAAAAAAAA").await;
    assert_eq!(page["data"], json!([]), "an unknown agent has no simulations");
}

/// The requests of `onerun` 0.1.0: every parameter of its methods, and every status that it knows.
#[tokio::test]
async fn every_query_of_the_sdk_is_accepted() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    let agent = &project.agent;
    for status in ["canceled", "completed", "expired", "failed", "in_progress", "pending"] {
        project.get(&format!(
            "/simulations?agent_id={agent}&name=r&status={status}&sort_by=name&sort_dir=desc&limit=5&offset=3"
        ))
        .await;
    }
    project.get("/simulations?sort_by=status").await;
    project.get(&format!("/simulations/{}", conversation.simulation)).await;
    project.get(&format!("/simulations/{}/conversations?status=queued", conversation.simulation)).await;
    conversation.start(200).await;
    conversation.say(None, 200).await;
    conversation.end(200).await;
}

#[tokio::test]
async fn lists_are_filtered_by_exact_name_and_by_metadata() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for (name, metadata) in [
        ("Nightly", json!({ "team": "shop & co", "build": 17 })),
        ("Nightly run", json!({ "team": "shop & co", "build": 18 })),
        ("nightly", json!({ "team": "Shop", "build": "17" })),
    ] {
        app.next_instant();
        let named = json!({ "name": name, "metadata": metadata });
        project.client.post(&project.path("/agents"), &named, 200).await;
        project.create(named.clone()).await;
        let key = json!({ "name": name, "metadata": metadata, "preset": "ci", "all_projects": true });
        project.client.post("/v1/keys", &key, 200).await;
    }
    let lists = [project.path("/agents"), project.path("/simulations"), "/v1/keys?limit=100".to_owned()];
    for list in lists {
        for (query, expected) in [
            ("exact_name=Nightly", vec!["Nightly"]),
            ("exact_name=", vec![]),
            ("metadata.team=shop+%26+co", vec!["Nightly run", "Nightly"]),
            ("metadata.build=17", vec!["nightly", "Nightly"]),
            ("metadata.team=shop+%26+co&metadata.build=17", vec!["Nightly"]),
            ("exact_name=nightly&metadata.build=17", vec!["nightly"]),
            ("metadata.nothing=1", vec![]),
        ] {
            let page = project.client.get(&format!("{list}&{query}"), 200).await;
            let names: Vec<_> = page["data"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
            assert_eq!(names, expected, "{list} {query}");
        }
    }
}

#[tokio::test]
async fn metadata_filters_are_bounded_and_not_repeated() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let long = "x".repeat(201);
    for (query, name, said) in [
        ("metadata.a=1&metadata.a=2".to_owned(), "metadata.a", "must be given once"),
        ("metadata.=1".to_owned(), "metadata.", "must name a key"),
        (format!("metadata.{long}=1"), "metadata.xxx", "at most 200 characters"),
        (format!("metadata.a={long}"), "metadata.a", "at most 200 characters"),
        (
            [1, 2, 3, 4, 5, 6].map(|number| format!("metadata.k{number}=1")).join("&"),
            "metadata.k6",
            "is one too many",
        ),
        ("metadata=1".to_owned(), "metadata", "is not a parameter"),
    ] {
        let problem = project.client.get(&project.path(&format!("/agents?{query}")), 422).await;
        let found = details(&problem);
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        assert!(found[0].0.starts_with(name) && found[0].1.contains(said), "{query}: {found:?}");
    }
}
