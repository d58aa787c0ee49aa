//! Every route through its function in the template, with the rights of the template.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, header};
use onerun_tests::{
    Client,
    aws::{Cloud, Payload, sqs_event, tick_event},
    sdk::{SdkProject, id, text},
};
use serde_json::{Value, json};

#[tokio::test]
async fn every_function_has_the_rights_it_uses() {
    let cloud = Cloud::start().await;
    let project = SdkProject::open(cloud.client().await).await;
    let client = &project.client;
    let within = |path: &str| format!("{path}?project_id={}", project.id);

    client.anonymous().get("/health", 200).await;
    client.anonymous().get("/openapi.json", 200).await;
    let page = client.anonymous().send(Method::GET, "/", None, 200).await;
    assert!(page.text.starts_with("<!"), "{}", page.text);
    assert!(page.headers.contains_key("content-security-policy"), "{:?}", page.headers);
    client.get("/v1/whoami", 200).await;
    let project_path = format!("/v1/projects/{}", project.id);
    let agent = within(&format!("/v1/agents/{}", project.agent));
    let objective = within(&format!("/v1/objectives/{}", project.objectives[0]));
    for path in [&project_path, &agent, &objective] {
        let name = text(&client.get(path, 200).await, "name");
        assert_eq!(
            client.patch(path, &json!({ "name": format!("{name} 2") }), 200).await["name"],
            format!("{name} 2")
        );
    }
    // Another version of the objective.
    client.patch(&objective, &json!({ "criteria": "check: agent says /refund/i" }), 200).await;

    endpoint_of_an_agent(&project).await;
    keys(client, &project.id).await;

    let simulation = simulate(&project, json!({ "auto_approve": false, "target_personas": 2 })).await;
    assert_eq!(project.status(&simulation).await, "pending");
    do_jobs(&cloud).await;
    let personas = client.get(&project.path(&simulation, "/personas"), 200).await;
    let [first, second] = personas["data"].as_array().unwrap().as_slice() else { panic!("{personas}") };
    for (persona, decision) in [(first, "approve"), (second, "reject")] {
        let path = project.path(&simulation, &format!("/personas/{}/{decision}", id(persona)));
        client.post_empty(&path, 200).await;
    }
    do_jobs(&cloud).await;

    let path = |rest: &str| project.path(&simulation, &format!("/conversations/{rest}"));
    let conversation = project.conversation(&simulation, "queued").await;
    client.get(&path(&conversation), 200).await;
    client.post_empty(&path(&format!("{conversation}/start")), 200).await;
    let failure = json!({ "attempt": 1, "reason": "out of memory" });
    client.post(&path(&format!("{conversation}/fail")), &failure, 200).await;
    let claim = within("/v1/conversations/claim");
    let wanted = json!({ "agent_ids": [project.agent], "limit": 50, "wait_seconds": 1 });
    let claiming = client.with_header("idempotency-key", "claim");
    let claimed = claiming.post(&claim, &wanted, 200).await;
    assert_eq!(claimed["data"].as_array().map(Vec::len), Some(1), "{claimed}");
    assert_eq!(claiming.post(&claim, &wanted, 200).await, claimed);
    assert_eq!(client.post(&claim, &wanted, 200).await["data"], json!([]));
    client.post(&path(&format!("{conversation}/renew")), &json!({ "attempt": 2 }), 200).await;
    let responses = path(&format!("{conversation}/responses"));
    let said = |text: &str| json!({ "input": [{ "type": "message", "content": [{ "type": "text", "text": text }] }] });
    let keyed = client.with_header("idempotency-key", "once");
    let reply = keyed.post(&responses, &said("Hello. I have started the refund."), 200).await;
    assert_eq!(keyed.post(&responses, &said("Hello. I have started the refund."), 200).await, reply);
    client.post(&responses, &said(&"☂".repeat(32_000)), 200).await;
    for method in [Method::GET, Method::POST] {
        let items = client.send(method, &path(&format!("{conversation}/items")), None, 200).await.json();
        assert!(items["data"].as_array().is_some_and(|items| items.len() >= 3), "{items}");
    }
    client.post_empty(&path(&format!("{conversation}/end")), 200).await;
    do_jobs(&cloud).await;
    client.get(&project.path(&simulation, "/results"), 200).await;
    let report = client.get(&project.path(&simulation, "/report"), 200).await;
    assert_eq!(report["verdict"], "infra", "{report}");
    let export = client.send(Method::GET, &project.path(&simulation, "/export"), None, 200).await;
    assert!(export.text.starts_with("{\"conversation\":"), "{export:?}");
    let labels = path(&format!("{conversation}/labels"));
    let label = json!({ "labels": [{ "objective_id": project.objectives[0], "outcome": "passed" }] });
    client.send(Method::PUT, &labels, Some(&label), 200).await;
    client.get(&labels, 200).await;
    client.get(&within("/v1/usage"), 200).await;
    let estimated = json!({ "target_conversations": 2, "target_personas": 1 });
    client.post(&within("/v1/simulations/estimate"), &estimated, 200).await;

    let canceled = simulate(&project, json!({})).await;
    client.post_empty(&project.path(&canceled, "/cancel"), 200).await;
    let with = format!("{}&with={simulation}", project.path(&canceled, "/compare"));
    assert_eq!(client.get(&with, 200).await["before"]["simulation_id"], simulation);
    let run = simulate(&project, json!({})).await;
    client.post_empty(&project.path(&run, "/run"), 200).await;
    cloud.function("tick").run(&tick_event()).await;
    do_jobs(&cloud).await;
    lists(&project, &[&simulation, &canceled]).await;

    client.post_empty(&project.path(&simulation, "/cancel"), 200).await;
    let evaluations = project.path(&simulation, "/evaluations");
    let judged = id(&client.post(&evaluations, &json!({ "judge": "offline" }), 200).await);
    do_jobs(&cloud).await;
    client.get(&evaluations, 200).await;
    client.get(&project.path(&simulation, &format!("/evaluations/{judged}")), 200).await;

    delete(&project, &canceled).await;
    monitors(&project, &cloud).await;
    batches(&project, &cloud).await;
    import(&project, &cloud).await;
    webhooks(&project, &cloud).await;

    rotate(&cloud).await;
    // It is off by default. `aws::archive` turns it on.
    cloud.function("archive_audit").run(&tick_event()).await;

    let used: BTreeSet<&str> = cloud
        .functions()
        .filter(|function| function.environments() > 0)
        .map(|function| function.operation())
        .collect();
    let all: BTreeSet<&str> = cloud.functions().map(|function| function.operation()).collect();
    assert_eq!(used, all, "a function was not called");
}

#[tokio::test]
async fn unrouted_requests_get_a_problem_response() {
    let cloud = Cloud::start().await;
    let client = cloud.client().await.anonymous();
    for path in ["/v1", "/v1/nothing", "/v1/projects/", "/health/", "/%20"] {
        let reply = client.send(Method::GET, path, None, 404).await;
        assert_eq!(reply.json()["code"], "route_not_found", "{path}");
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{path}");
        assert_eq!(
            reply.headers["x-request-id"].to_str().ok(),
            reply.json()["request_id"].as_str(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let cloud = Cloud::start().await;
    let client = cloud.client().await;
    let project = id(&client.post("/v1/projects", &json!({ "name": "Kettles" }), 200).await);
    let agents = format!("/v1/agents?project_id={project}");
    let routes = [
        ("get_health", "/health", 200),
        ("get_openapi", "/openapi.json", 200),
        ("get_dashboard", "/", 200),
        ("get_whoami", "/v1/whoami", 200),
        ("list_agents", &agents, 200),
        ("list_agents", "/v1/agents?project_id=projectOfOthe", 404),
    ];
    for (operation, path, status) in routes {
        assert_head_is_get(&cloud, &client, operation, path, status).await;
    }
    let stranger = client.anonymous();
    assert_head_is_get(&cloud, &stranger, "get_health", "/health", 200).await;
    assert_head_is_get(&cloud, &stranger, "list_agents", &agents, 401).await;
    // HEAD has a route only where GET has one, like every other method.
    for method in [Method::GET, Method::HEAD] {
        client.send(method, "/v1/simulations/simulationOfNobody000/cancel", None, 404).await;
    }
}

/// HEAD and GET have the same status and header fields, and the function's own answer to HEAD has no body.
async fn assert_head_is_get(cloud: &Cloud, client: &Client, operation: &str, path: &str, status: u16) {
    let function = cloud.function(operation);
    let fields = |mut headers: HeaderMap| {
        for own in [header::CONTENT_LENGTH, header::DATE, HeaderName::from_static("x-request-id")] {
            headers.remove(own);
        }
        headers
    };
    let get = client.send(Method::GET, path, None, status).await;
    let head = client.send(Method::HEAD, path, None, status).await;
    assert!(!get.text.is_empty(), "{path}");
    assert_eq!(fields(head.headers), fields(get.headers), "{path}");
    // HTTP libraries leave out the body that an answer to HEAD has, so they would hide one.
    let request = Request::builder().method(Method::HEAD).uri(path).body(Bytes::new()).unwrap();
    for payload in [Payload::V1, Payload::V2, Payload::FunctionUrl] {
        let answer = cloud.ask(function, payload, &request).await.unwrap();
        assert!(answer.body().is_empty(), "{path}: {:?}", answer.body());
    }
    let exchanges = cloud.front().exchanges();
    let [.., of_get, of_head] = &exchanges[..] else { panic!("{exchanges:?}") };
    assert_eq!((&*of_get.operation, &*of_head.operation), (operation, operation), "{path}");
}

/// Rotates the secret, with each step that Secrets Manager takes.
async fn rotate(cloud: &Cloud) {
    let rotate = cloud.function("rotate_secret");
    let token = cloud.begin_rotation().await;
    for step in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
        rotate.run(&cloud.secret.rotation_event(step, &token)).await;
    }
}

async fn delete(project: &SdkProject, simulation: &str) {
    let path = project.path(simulation, "");
    project.client.send(Method::DELETE, &path, None, 200).await;
    project.client.get(&path, 404).await;
}

/// Every route of managed keys, called with managed keys, so that every function writes key uses.
async fn keys(root: &Client, project: &str) {
    let admin = json!({
        "name": "admin",
        "preset": "admin",
        "all_projects": true,
        "rate_limit": { "requests": 1_000_000, "window_seconds": 86_400 },
    });
    let admin = root.with_key(&text(&root.post("/v1/keys", &admin, 200).await, "key"));
    let new = json!({
        "name": "worker", "preset": "worker", "project_ids": [project],
        "rate_limit": { "requests": 1_000_000, "window_seconds": 86_400 },
    });
    let keyed = admin.with_header("idempotency-key", "once");
    let made = keyed.post("/v1/keys", &new, 200).await;
    assert!(keyed.post("/v1/keys", &new, 200).await["key"].is_null());
    let key = format!("/v1/keys/{}", id(&made));
    for query in [
        "",
        "?status=active",
        "?expiring_within_days=365&idle_for_days=0&offset=1",
        &format!("?project_id={project}"),
    ] {
        admin.get(&format!("/v1/keys{query}"), 200).await;
    }
    admin.get(&key, 200).await;
    admin.patch(&key, &json!({ "name": "another", "project_ids": [project] }), 200).await;
    admin.post_empty(&format!("{key}/disable"), 200).await;
    admin.post_empty(&format!("{key}/enable"), 200).await;
    let rotated =
        keyed.with_header("idempotency-key", "twice").post(&format!("{key}/rotate"), &json!({}), 200).await;
    admin.post_empty(&format!("{key}/revoke"), 200).await;
    let leaked = json!({ "keys": [rotated["key"], made["key"]] });
    admin.anonymous().post("/v1/keys/revoke-leaked", &leaked, 202).await;
    for order in ["newest", "oldest"] {
        admin.get(&format!("/v1/audit?order={order}&limit=3"), 200).await;
    }
    admin.get("/v1/whoami", 200).await;
}

/// Both routes of an agent's endpoint. `endpoints` holds conversations.
async fn endpoint_of_an_agent(project: &SdkProject) {
    let (client, of_project) = (&project.client, format!("?project_id={}", project.id));
    let agents = format!("/v1/agents{of_project}");
    let agent = id(&client.post(&agents, &json!({ "name": "Called" }), 200).await);
    let endpoint = format!("/v1/agents/{agent}/endpoint{of_project}");
    let target = json!({ "target": { "openai": { "url": "https://localhost/v1", "model": "desk" } } });
    client.send(Method::PUT, &endpoint, Some(&target), 200).await;
    client.send(Method::DELETE, &endpoint, None, 200).await;
}

/// Every route of webhooks, and a delivery to this machine, which the deployment does not call.
async fn webhooks(project: &SdkProject, cloud: &Cloud) {
    let client = &project.client;
    let path = |rest: &str| format!("/v1/webhooks{rest}?project_id={}", project.id);
    let keyed = client.with_header("idempotency-key", "webhook");
    let body = json!({ "url": "https://localhost/hook" });
    let made = keyed.post(&path(""), &body, 200).await;
    assert!(text(&made, "secret").starts_with("whsec_"), "{made}");
    assert_eq!(keyed.post(&path(""), &body, 200).await["secret"], json!(null));
    let refused = json!({ "url": "https://169.254.170.2/v2/credentials" });
    client.post(&path(""), &refused, 422).await;
    assert_eq!(client.get(&path(""), 200).await["data"].as_array().map(Vec::len), Some(1));
    let one = format!("/{}", id(&made));
    client.patch(&path(&one), &json!({ "description": "Team" }), 200).await;
    let rotated = client.post(&path(&format!("{one}/rotate_secret")), &json!({}), 200).await;
    assert_ne!(rotated["secret"], made["secret"]);
    let tested = id(&client.post(&path(&format!("{one}/test")), &json!({}), 200).await);
    let job = format!("deliver_webhook:{tested}");
    let message = json!({ "job_id": job, "partition": format!("outbound-jobs#{job}") }).to_string();
    let answer = cloud.function("run_outbound_jobs").run(&sqs_event(&[&message], 1)).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    let deliveries = format!("{one}/deliveries");
    let delivery = client.get(&path(&format!("{deliveries}/{tested}")), 200).await;
    let attempt = &delivery["attempts"][0];
    assert_eq!(
        (&attempt["error"], &attempt["status_code"]),
        (&json!("address_refused"), &json!(null)),
        "{delivery}"
    );
    let pending = client.get(&format!("{}&state=pending", path(&deliveries)), 200).await;
    assert_eq!(pending["data"][0]["id"], json!(tested));
    let replay = path(&format!("{deliveries}/{tested}/replay"));
    assert_eq!(client.post(&replay, &json!({}), 409).await["code"], "delivery_pending");
    assert_eq!(client.get(&path(&one), 200).await["description"], "Team");
    client.send(Method::DELETE, &path(&one), None, 200).await;
}

/// Every route of monitors, and a run from its start by the tick to its end.
async fn monitors(project: &SdkProject, cloud: &Cloud) {
    let client = &project.client;
    let path = |rest: &str| format!("/v1/monitors{rest}?project_id={}", project.id);
    let monitor = json!({
        "name": "Refunds",
        "simulation": {
            "agent_id": project.agent,
            "name": "Refunds",
            "scenario": "A customer asks for a refund of a kettle that arrived broken.",
            "target_conversations": 1,
            "target_personas": 1,
            "objective_ids": project.objectives,
        },
        "schedule": { "expression": "cron(0 9 ? * MON-FRI *)", "timezone": "Europe/Berlin" },
        "gate": { "min_pass_rate": 1.0 },
    });
    let keyed = client.with_header("idempotency-key", "monitor");
    let made = keyed.post(&path(""), &monitor, 200).await;
    assert_eq!(keyed.post(&path(""), &monitor, 200).await, made);
    let one = format!("/{}", id(&made));
    for (by, dir) in [("created_at", "asc"), ("name", "desc")] {
        client.get(&format!("{}&sort_by={by}&sort_dir={dir}", path("")), 200).await;
    }
    assert_eq!(client.get(&path(&one), 200).await, made);
    client.patch(&path(&one), &json!({ "name": "Returns", "state": "paused" }), 200).await;
    let rates = "&expected_pass_rate=0.9&low_pass_rate=0.7";
    let alert = client.get(&format!("{}{rates}", path(&format!("{one}/alert"))), 200).await;
    assert_eq!((&alert["state"], &alert["runs"]), (&json!("ok"), &json!(0)), "{alert}");
    let runs = path(&format!("{one}/runs"));
    let keyed = client.with_header("idempotency-key", "run");
    let started = keyed.post(&runs, &json!({}), 200).await;
    assert_eq!(keyed.post(&runs, &json!({}), 200).await, started);
    do_jobs(cloud).await;
    let run = client.get(&runs, 200).await["data"][0].clone();
    assert_eq!((&run["id"], &run["status"]), (&started["id"], &json!("in_progress")));
    let simulation = text(&run, "simulation_id");
    client.post_empty(&project.path(&simulation, "/cancel"), 200).await;
    do_jobs(cloud).await;
    let run = client.get(&runs, 200).await["data"][0].clone();
    assert_eq!((&run["status"], &run["verdict"]), (&json!("canceled"), &json!("infra")), "{run}");

    let event =
        |time: &str| json!({ "project_id": project.id, "monitor_id": made["id"], "scheduled_time": time });
    let schedule = cloud.function("run_monitor");
    assert_eq!(schedule.run(&event("2036-01-05T09:00:00Z")).await, json!({ "run_id": null }), "it is paused");
    client.patch(&path(&one), &json!({ "state": "active" }), 200).await;
    let mut answers = Vec::new();
    for time in ["10:00:00Z", "09:00:00Z", "10:00:00.000Z", "09:00:00Z", "11:00:00+01:00", "10:00:00Z"] {
        answers.push(text(&schedule.run(&event(&format!("2036-01-05T{time}"))).await, "run_id"));
    }
    assert_eq!(answers.iter().collect::<BTreeSet<_>>().len(), 2, "two times have two runs: {answers:?}");
    do_jobs(cloud).await;
    let runs = client.get(&runs, 200).await;
    let planned: Vec<_> =
        runs["data"].as_array().unwrap()[..2].iter().map(|run| text(run, "planned_at")).collect();
    assert_eq!(planned, ["2036-01-05T10:00:00.000000Z", "2036-01-05T09:00:00.000000Z"], "{runs}");
    client.send(Method::DELETE, &path(&one), None, 200).await;
    client.get(&path(&one), 404).await;
}

/// Every route of batches, and a batch from its creation over its cancel to its rerun.
async fn batches(project: &SdkProject, cloud: &Cloud) {
    let client = &project.client;
    let path = |rest: &str| format!("/v1/{rest}?project_id={}", project.id);
    let body = json!({
        "name": "Refunds",
        "defaults": {
            "agent_id": project.agent,
            "scenario": "A customer asks for a refund of a kettle that arrived broken.",
            "target_conversations": 1,
            "target_personas": 1,
            "objective_ids": project.objectives,
        },
        "items": [{}, { "name": "Second" }, {}],
        "max_in_flight": 2,
    });
    let keyed = client.with_header("idempotency-key", "batch");
    let made = keyed.post(&path("simulations/batch"), &body, 202).await;
    assert_eq!(keyed.post(&path("simulations/batch"), &body, 202).await, made);
    let one = format!("batches/{}", id(&made));
    for (by, dir) in [("created_at", "asc"), ("name", "desc")] {
        client.get(&format!("{}&sort_by={by}&sort_dir={dir}", path("batches")), 200).await;
    }
    do_jobs(cloud).await;
    let counts = async |status: &str| client.get(&path(&one), 200).await["counts"][status].clone();
    assert_eq!((counts("in_progress").await, counts("queued").await), (json!(2), json!(1)));
    let items = client.get(&path(&format!("{one}/items")), 200).await;
    assert_eq!(items["data"][1]["simulation_id"], made["simulation_ids"][1]);
    let first = made["simulation_ids"][0].as_str().unwrap();
    client.post_empty(&project.path(first, "/cancel"), 200).await;
    do_jobs(cloud).await;
    assert_eq!((counts("in_progress").await, counts("canceled").await), (json!(2), json!(1)));
    let canceled = client.post_empty(&path(&format!("{one}/cancel")), 200).await;
    assert_eq!(canceled["status"], "canceled");
    do_jobs(cloud).await;
    assert_eq!(counts("canceled").await, json!(3));
    let keyed = client.with_header("idempotency-key", "rerun");
    let again = keyed.post_empty(&path(&format!("{one}/rerun")), 200).await;
    assert_eq!(keyed.post_empty(&path(&format!("{one}/rerun")), 200).await, again);
    do_jobs(cloud).await;
    assert_eq!((counts("in_progress").await, counts("queued").await), (json!(2), json!(1)));
    client.post_empty(&path(&format!("{one}/cancel")), 200).await;
    do_jobs(cloud).await;
}

/// Conversations from their import to their verdicts. Their words take several items of the table.
async fn import(project: &SdkProject, cloud: &Cloud) {
    let client = &project.client;
    let of_project = format!("/v1/simulations/import?project_id={}", project.id);
    let message = |role: &str, words: &str| json!({ "role": role, "content": words });
    let messages = [message("user", &"\u{2602}".repeat(8_000)), message("assistant", "Here is your refund.")];
    let body = json!({
        "agent_id": project.agent,
        "name": "Chats",
        "objective_ids": project.objectives,
        "conversations": vec![json!({ "messages": messages }); 40],
    });
    let keyed = client.with_header("idempotency-key", "import");
    let made = keyed.post(&of_project, &body, 200).await;
    assert_eq!(keyed.post(&of_project, &body, 200).await, made);
    do_jobs(cloud).await;
    let results = client.get(&project.path(&id(&made), "/results"), 200).await;
    let (status, judged) = (&results["status"], &results["evaluations"]["completed"]);
    assert_eq!((status, judged), (&json!("completed"), &json!(40)), "{results}");
}

async fn simulate(project: &SdkProject, changes: Value) -> String {
    let mut body = json!({
        "agent_id": project.agent,
        "name": "Refunds",
        "scenario": "A customer asks for a refund of a kettle that arrived broken.",
        "target_conversations": 2,
        "target_personas": 1,
        "auto_approve": true,
        "objective_ids": project.objectives,
    });
    for (name, value) in changes.as_object().expect("changes") {
        body[name] = value.clone();
    }
    id(&project.client.post(&format!("/v1/simulations?project_id={}", project.id), &body, 200).await)
}

/// Delivers messages of jobs for as long as there are any.
async fn do_jobs(cloud: &Cloud) {
    for _round in 0..100 {
        let messages = cloud.job_messages().await;
        if messages.is_empty() && cloud.jobs().await.is_empty() {
            return;
        }
        for message in messages {
            let answer = cloud.function("run_jobs").run(&sqs_event(&[&message], 1)).await;
            assert_eq!(answer, json!({ "batchItemFailures": [] }));
        }
    }
    panic!("jobs enqueue jobs without end: {:?}", cloud.jobs().await);
}

/// Every list in every order, by every filter, and on its second page.
async fn lists(project: &SdkProject, simulations: &[&str]) {
    let client = &project.client;
    let of_project = format!("project_id={}&", project.id);
    let lists: [(&str, &str, &[&str], &[&str]); 4] = [
        ("projects", "", &["created_at", "name"], &[""]),
        ("agents", &of_project, &["created_at", "name"], &["", "&name=e"]),
        ("objectives", &of_project, &["created_at", "name"], &[""]),
        ("simulations", &of_project, &["created_at", "name", "status"], &["", "&name=e"]),
    ];
    for (list, of, orders, filters) in lists {
        for (by, dir) in orders.iter().flat_map(|by| [(by, "asc"), (by, "desc")]) {
            for more in filters.iter().chain(&["&offset=1&limit=1"]) {
                client.get(&format!("/v1/{list}?{of}sort_by={by}&sort_dir={dir}{more}"), 200).await;
            }
        }
    }
    for status in ["pending", "in_progress", "completed", "failed", "canceled", "expired"] {
        for by in ["created_at", "name", "status"] {
            let path = format!("/v1/simulations?project_id={}&status={status}&sort_by={by}", project.id);
            client.get(&format!("{path}&agent_id={}", project.agent), 200).await;
        }
    }
    for simulation in simulations {
        for status in ["", "&status=queued", "&status=in_progress", "&status=ended", "&status=failed"] {
            client.get(&format!("{}{status}", project.path(simulation, "/conversations")), 200).await;
        }
    }
}
