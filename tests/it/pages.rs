//! Pages: bounded in bytes, and stable when they are read by cursor.

use http::Method;
use onerun_engine::Reply;
use onerun_tests::{
    app::{Behavior, TestApp},
    process::Server,
    sdk::{self, SimulationFields, assert_content},
};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, data, id};

/// The maximum size of a page: 4,000,000 bytes of rows, and the surrounding members.
const MAX_PAGE: usize = 4_010_000;

fn emoji(count: usize) -> String {
    "\u{1f600}".repeat(count)
}

/// The rows of a list by cursor. Every page is small enough and has rows.
pub(crate) async fn by_cursor(project: &TestProject<'_>, list: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(project, &format!("{list}{cursor}")).await;
        rows.extend(data(&page).clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// The rows of a list by an offset that advances by the number of rows received.
async fn by_offset(project: &TestProject<'_>, list: &str) -> Vec<Value> {
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let page = page(project, &format!("{list}&offset={}", rows.len())).await;
        rows.extend(data(&page).clone());
        if page["has_more"] == false {
            return rows;
        }
    }
}

async fn page(project: &TestProject<'_>, path: &str) -> Value {
    let reply = project.client.send(Method::GET, &project.path(path), None, 200).await;
    assert!(reply.text.len() <= MAX_PAGE, "{path}: {} bytes", reply.text.len());
    let page = reply.json();
    assert_eq!(page["has_more"], page["next_cursor"].is_string(), "{path}");
    assert!(page["has_more"] == false || !data(&page).is_empty(), "{path}: more follows nothing");
    page
}

fn ids(rows: &[Value]) -> Vec<String> {
    rows.iter().map(id).collect()
}

/// The field that identifies a row.
fn name_of(row: &Value) -> String {
    format!("{}{}", row["id"], row["sequence"])
}

#[tokio::test]
async fn pages_of_large_rows_end_at_four_megabytes() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut objectives = Vec::new();
    for number in 0..50 {
        app.next_instant();
        objectives.push(project.objective(&format!("{number:02}"), &emoji(10_000)).await);
    }
    let mut simulations = Vec::new();
    for number in 0..100 {
        app.next_instant();
        // Each of these replies has 2 MB; a tenth of them shows the same.
        let pinned = if number % 10 == 9 { &objectives[..] } else { &[] };
        let changes = json!({
            "name": format!("{number:03}"), "scenario": emoji(20_000), "objective_ids": pinned,
        });
        simulations.push(project.create(changes).await);
    }
    objectives.reverse();
    simulations.reverse();
    for (list, expected) in [("/objectives?limit=100", &objectives), ("/simulations?limit=100", &simulations)]
    {
        let first = page(&project, list).await;
        assert!(first["has_more"] == true || expected.len() == 50, "{list}: everything in one page");
        assert_eq!(ids(&by_cursor(&project, list).await), *expected, "{list}");
        assert_eq!(ids(&by_offset(&project, list).await), *expected, "{list}");
    }
    // A list row has the fields that the published SDK reads, and none of the long texts that rows
    // share.
    let row = page(&project, "/simulations?limit=1").await["data"][0].clone();
    assert_eq!((&row["objectives"], row["agent"].get("description")), (&json!([]), None));
    assert_eq!(row["agent"]["id"], project.agent.as_str());
    // A single simulation has all fields.
    let whole = project.simulation(&simulations[0]).await;
    assert_eq!(whole["objectives"].as_array().map(Vec::len), Some(50));
}

#[tokio::test]
async fn megabyte_messages_are_read_with_default_parameters() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 50 })).await;
    conversation.start(200).await;
    conversation.say(None, 200).await;
    let part = json!({ "type": "text", "text": "x".repeat(32_000) });
    let large = json!({ "input": [{ "type": "message", "content": vec![part; 32] }] });
    app.model().on_reply(Behavior::Says(Reply { text: Some("Go on.".to_owned()), ends: false }));
    for _ in 0..7 {
        project.client.post(&conversation.path("/responses"), &large, 200).await;
    }
    let items = format!("/simulations/{}/conversations/{}/items?", conversation.simulation, conversation.id);
    let rows = by_cursor(&project, &items).await;
    assert_eq!(rows.len(), 15);
    assert_eq!(rows.iter().filter(|row| row["role"] == "assistant").count(), 7);
    assert_eq!(by_offset(&project, &items).await, rows);
}

#[tokio::test]
async fn rows_inserted_between_pages_shift_no_cursor() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let create = async |name: &str| {
        app.next_instant();
        project.client.post("/v1/projects", &json!({ "name": name }), 200).await;
        project.client.post(&project.path("/agents"), &json!({ "name": name }), 200).await;
        project.objective(name, "Is kind.").await;
        project.create(json!({ "name": name })).await;
        let key = json!({ "name": name, "preset": "read_only", "all_projects": true });
        project.client.post("/v1/keys", &key, 200).await;
    };
    for name in ["b", "d", "f", "h"] {
        create(name).await;
    }
    for (number, list) in [
        "/v1/projects?sort_by=created_at",
        "/v1/projects?sort_by=name&sort_dir=asc",
        &project.path("/agents?sort_by=name"),
        &project.path("/objectives?sort_by=name&sort_dir=asc"),
        &project.path("/simulations?sort_by=status"),
        &project.path("/simulations?exact_name=b"),
        "/v1/keys?status=active",
        "/v1/audit?order=newest",
    ]
    .into_iter()
    .enumerate()
    {
        let before = project.client.get(&format!("{list}&limit=100"), 200).await;
        let expected: Vec<String> = data(&before).iter().map(name_of).collect();
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = project.client.get(&format!("{list}&limit=1{cursor}"), 200).await;
            seen.extend(data(&page).iter().map(name_of));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            // Before and after the rows that were read.
            create(&format!("a{number}{}", seen.len())).await;
            create(&format!("i{number}{}", seen.len())).await;
            if seen.len() > 20 {
                break;
            }
        }
        let found: Vec<&String> = seen.iter().filter(|row| expected.contains(row)).collect();
        assert_eq!(found, expected.iter().take(found.len()).collect::<Vec<_>>(), "{list}: not in order");
        let missed = expected.iter().filter(|row| !seen.contains(row)).count();
        assert!(missed == 0 || seen.len() > 20, "{list}: {missed} rows were left out");
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "{list}: a row was shown twice");
    }
}

#[tokio::test]
async fn wrong_cursors_are_refused() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for _ in 0..2 {
        app.next_instant();
        project.client.post(&project.path("/agents"), &json!({ "name": "Desk" }), 200).await;
        project.objective("Kind", "Is kind.").await;
        project.create(json!({ "target_conversations": 2, "target_personas": 2 })).await;
    }
    app.run_jobs().await;
    let simulation = id(&project.get("/simulations?limit=1").await["data"][0]);
    let cursor = async |list: &str| {
        let page = project.client.get(&format!("{list}&limit=1"), 200).await;
        page["next_cursor"].as_str().unwrap_or_else(|| panic!("{list} has one page")).to_owned()
    };
    let agents = project.path("/agents");
    let of_agents = cursor(&agents).await;
    project.client.get(&format!("{agents}&limit=3&cursor={of_agents}"), 200).await;
    let long = "A".repeat(5_000);
    // A position that the store did not create, under a valid fingerprint.
    let forged = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let decoded = URL_SAFE_NO_PAD.decode(&of_agents).unwrap();
        let forge = |position: &str| {
            let mut bytes = decoded[..16].to_vec();
            bytes.extend(position.as_bytes());
            URL_SAFE_NO_PAD.encode(bytes)
        };
        [forge("[]"), forge("[1]"), forge(r#"[1,"AAAAAAAAAAAA"]"#), forge(r#"["x","y"]"#), forge("\u{0}")]
    };
    let mut wrong: Vec<(String, &str)> = vec![
        (format!("{agents}&cursor=nonsense!"), "cursor"),
        (format!("{agents}&cursor="), "cursor"),
        (format!("{agents}&cursor={long}"), "cursor"),
        (format!("{agents}&cursor={of_agents}A"), "cursor"),
        (format!("{agents}&name=TestProject&cursor={of_agents}"), "cursor"),
        (format!("{agents}&exact_name=TestProject&cursor={of_agents}"), "cursor"),
        (format!("{agents}&metadata.team=a&cursor={of_agents}"), "cursor"),
        (format!("{agents}&sort_by=name&cursor={of_agents}"), "cursor"),
        (format!("{agents}&sort_dir=asc&cursor={of_agents}"), "cursor"),
        (format!("{}&cursor={of_agents}", project.path("/objectives")), "cursor"),
        (format!("{}&cursor={of_agents}", project.path("/simulations")), "cursor"),
        (
            format!("{}&cursor={of_agents}", project.path(&format!("/simulations/{simulation}/personas"))),
            "cursor",
        ),
        (
            format!(
                "{}&cursor={of_agents}",
                project.path(&format!("/simulations/{simulation}/conversations"))
            ),
            "cursor",
        ),
        (format!("/v1/projects?cursor={of_agents}"), "cursor"),
        (format!("/v1/keys?cursor={of_agents}"), "cursor"),
        (format!("/v1/audit?cursor={of_agents}"), "cursor"),
        (format!("{agents}&offset=1&cursor={of_agents}"), "offset"),
        (format!("{agents}&offset=1000001"), "offset"),
    ];
    wrong.extend(forged.iter().map(|forged| (format!("{agents}&cursor={forged}"), "cursor")));
    for (path, name) in &wrong {
        let problem = project.client.get(path, 422).await;
        let place = &problem["errors"][0];
        assert!(place.to_string().contains(name), "{path}: {problem}");
    }
    // A list of another project, and one of another simulation.
    let other = project.client.post("/v1/projects", &json!({ "name": "Other" }), 200).await;
    project.client.get(&format!("/v1/agents?project_id={}&cursor={of_agents}", id(&other)), 422).await;
    let all = project.get("/simulations").await;
    let personas =
        |number: usize| project.path(&format!("/simulations/{}/personas", id(&all["data"][number])));
    let of_personas = cursor(&personas(0)).await;
    project.client.get(&format!("{}&cursor={of_personas}", personas(1)), 422).await;
}

#[tokio::test]
async fn sdk_worker_works_through_simulations_with_large_objectives() {
    let server = Server::start().await;
    let mut project = sdk::SdkProject::open(server.client()).await;
    let path = format!("/v1/objectives?project_id={}", project.id);
    for number in 0..48 {
        let body = json!({ "name": format!("Large {number}"), "criteria": emoji(10_000) });
        project.objectives.push(id(&project.client.post(&path, &body, 200).await));
    }
    let mut simulations = Vec::new();
    for _ in 0..10 {
        let wanted =
            SimulationFields { name: "Large", conversations: 1, personas: 1, expires_in_seconds: None };
        simulations.push(project.simulate(wanted).await);
    }
    let worker = project.worker(&[]);
    for simulation in &simulations {
        project.reaches(simulation, "completed").await;
    }
    assert_content(worker).await;
}
