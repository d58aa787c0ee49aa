//! Callers' numbers are returned with the value sent, or refused.

use http::Method;
use onerun_tests::app::TestApp;
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::json;

use crate::fixtures::{TestProject, id};

/// Each field with a caller's own JSON: how to create, change and read it.
struct JsonField {
    write: (Method, String),
    /// The other fields of the body.
    fields: String,
    /// The path of the written resource, from its reply.
    read: Box<dyn Fn(&str) -> String>,
}

async fn places(project: &TestProject<'_>) -> Vec<JsonField> {
    let key = project.client.create_key(json!({})).await;
    let wanted = project.wanted(json!({})).to_string();
    let (agents, simulations) = (project.path("/agents"), project.path("/simulations"));
    let of = |path: &str| {
        let (path, query) = path.split_once('?').map_or((path, ""), |(path, query)| (path, query));
        let (path, query) = (path.to_owned(), query.to_owned());
        Box::new(move |id: &str| format!("{path}/{id}?{query}"))
    };
    vec![
        JsonField {
            write: (Method::POST, agents.clone()),
            fields: r#""name": "Desk""#.to_owned(),
            read: of(&agents),
        },
        JsonField {
            write: (Method::POST, simulations.clone()),
            fields: wanted[1..wanted.len() - 1].to_owned(),
            read: of(&simulations),
        },
        JsonField {
            write: (Method::POST, "/v1/keys".to_owned()),
            fields: r#""name": "Key", "preset": "worker", "all_projects": true"#.to_owned(),
            read: of("/v1/keys"),
        },
        JsonField {
            write: (Method::PATCH, format!("/v1/keys/{}", key.id)),
            fields: r#""name": "Key""#.to_owned(),
            read: of("/v1/keys"),
        },
    ]
}

/// The numbers in a text, between brackets after `"v":`.
fn shown(text: &str) -> Vec<f64> {
    let (_, rest) = text.split_once(r#""v":["#).unwrap_or_else(|| panic!("no numbers in {text}"));
    rest.split(']').next().unwrap().split(',').map(|number| number.parse().unwrap()).collect()
}

/// A finite double of any size, or an integer.
fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u64>().prop_filter_map("finite", |bits| {
            let number = f64::from_bits(bits);
            number.is_finite().then(|| format!("{number:?}"))
        }),
        any::<f64>().prop_map(|number| number.to_string()),
        (0.0..1_000.0).prop_map(|number: f64| format!("{number:e}")),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
    ]
}

#[tokio::test]
async fn numbers_in_metadata_are_returned_unchanged() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut sent = vec!["117.63331139400017".to_owned(), "18446744073709551615".to_owned()];
    let mut runner = TestRunner::deterministic();
    let tree = vec(literal(), 400).new_tree(&mut runner).unwrap();
    sent.extend(tree.current());
    for place in places(&project).await {
        let body = format!("{{{}, \"metadata\": {{\"v\": [{}]}}}}", place.fields, sent.join(", "));
        let (method, path) = place.write.clone();
        let written = project.client.send_bytes(method, &path, body, 200).await;
        let path = (place.read)(&id(&written.json()));
        let read = project.client.send(Method::GET, &path, None, 200).await;
        for text in [&written.text, &read.text] {
            for (sent, shown) in sent.iter().zip(shown(text)) {
                let sent_number: f64 = sent.parse().unwrap();
                assert_eq!(sent_number.to_bits(), shown.to_bits(), "{path}: {sent}");
            }
            // Integers with more digits than a double distinguishes.
            for whole in sent.iter().filter(|sent| sent.parse::<u64>().is_ok() || sent.parse::<i64>().is_ok())
            {
                assert!(text.contains(whole.as_str()), "{path}: {whole}");
            }
        }
    }
}

#[tokio::test]
async fn number_that_cannot_be_stored_is_refused_by_field() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for place in places(&project).await {
        for number in
            ["18446744073709551616", "-9223372036854775809", "0.12345678901234567890", "1e-400", "1e400"]
        {
            let body = format!("{{{}, \"metadata\": {{\"a\": [1, {{\"v\": {number}}}]}}}}", place.fields);
            let (method, path) = place.write.clone();
            let refused = project.client.send_bytes(method, &path, body, 422).await.json();
            assert_eq!(refused["errors"][0]["pointer"], "#/metadata/a/1/v", "{number}: {refused}");
            assert_eq!(refused["errors"].as_array().map(Vec::len), Some(1));
        }
    }
}
