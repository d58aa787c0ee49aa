//! Monitors: schedules, runs and their results.

use futures_util::future::join_all;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use onerun_tests::app::{TestApp, wire_time};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, data, id, merge, text};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A project with an objective of a check line, and requests about its monitors.
struct Monitored<'a> {
    project: TestProject<'a>,
    objective: String,
}

impl<'a> Monitored<'a> {
    async fn open(app: &'a TestApp) -> Self {
        let project = TestProject::open(app).await;
        let objective = project.objective("Refunds", "check: agent says /refund/i").await;
        Self { project, objective }
    }

    fn path(&self, rest: &str) -> String {
        self.project.path(&format!("/monitors{rest}"))
    }

    /// The input of a monitor that runs each hour, changed by `changes`.
    fn wanted(&self, changes: Value) -> Value {
        let mut simulation = self.project.wanted(json!({ "objective_ids": [self.objective] }));
        simulation.as_object_mut().unwrap().remove("auto_approve");
        let mut body = json!({
            "name": "Refunds",
            "simulation": simulation,
            "schedule": { "expression": "rate(1 hour)" },
            "gate": { "min_pass_rate": 1.0 },
        });
        let Value::Object(changes) = changes else { panic!("not an object: {changes}") };
        for (name, change) in changes {
            match body.get_mut(&name) {
                Some(nested) if nested.is_object() && change.is_object() => merge(nested, change),
                _ => merge(&mut body, json!({ name: change })),
            }
        }
        body
    }

    async fn create(&self, changes: Value) -> Value {
        self.project.client.post(&self.path(""), &self.wanted(changes), 200).await
    }

    async fn refused(&self, changes: Value, status: u16) -> Value {
        self.project.client.post(&self.path(""), &self.wanted(changes), status).await
    }

    async fn patch(&self, monitor: &Value, body: Value, status: u16) -> Value {
        self.project.client.patch(&self.path(&format!("/{}", id(monitor))), &body, status).await
    }

    async fn runs(&self, monitor: &Value) -> Vec<Value> {
        let page = self.project.get(&format!("/monitors/{}/runs?limit=100", id(monitor))).await;
        data(&page).clone()
    }

    /// Holds the conversations of a run's simulation.
    async fn hold(&self, run: &Value, words: &str) {
        for conversation in self.project.test_conversations(&text(run, "simulation_id")).await {
            conversation.start(200).await;
            conversation.say(Some(words), 200).await;
            conversation.end(200).await;
        }
        self.project.app.run_jobs_twice().await;
    }

    async fn simulations(&self) -> usize {
        data(&self.project.get("/simulations?limit=100").await).len()
    }
}

#[tokio::test]
async fn monitor_has_its_shape_on_every_route() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let created = monitored
        .create(json!({
            "schedule": { "expression": "cron(30 9 ? * MON-FRI *)", "timezone": "europe/berlin" },
            "gate": { "min_pass_rate": 0.5, "on": "rate" },
            "alert": { "expected_pass_rate": 0.9, "low_pass_rate": 0.7 },
            "metadata": { "team": "qa" },
        }))
        .await;
    let monitor = id(&created);
    let now = app.now_text();
    let expected = json!({
        "id": monitor,
        "project_id": monitored.project.id,
        "name": "Refunds",
        "state": "active",
        "simulation": {
            "agent_id": monitored.project.agent,
            "name": "Refunds",
            "scenario": crate::fixtures::SCENARIO,
            "target_conversations": 1,
            "target_personas": 1,
            "personas": null,
            "personas_from": null,
            "auto_approve": true,
            "max_turns": 5,
            "objective_ids": [monitored.objective],
            "seed": 7,
            "metadata": {},
            "expires_in_seconds": 86_400,
            "models": { "persona": null, "reply": null, "judge": null },
            "max_cost_usd": null,
            "max_tokens": null,
        },
        "schedule": {
            "expression": "cron(30 9 ? * MON-FRI *)",
            "timezone": "Europe/Berlin",
            "description": "At 09:30, on Monday, Tuesday, Wednesday, Thursday, and Friday (Europe/Berlin)",
            "next_runs": [
                "2026-01-06T08:30:00.000000Z",
                "2026-01-07T08:30:00.000000Z",
                "2026-01-08T08:30:00.000000Z",
                "2026-01-09T08:30:00.000000Z",
                "2026-01-12T08:30:00.000000Z",
            ],
        },
        "gate": { "min_pass_rate": 0.5, "on": "rate" },
        "alert": { "expected_pass_rate": 0.9, "low_pass_rate": 0.7 },
        "metadata": { "team": "qa" },
        "created_by": "root",
        "created_at": now,
        "updated_at": now,
        "warnings": [],
    });
    assert_eq!(created, expected);
    assert_eq!(monitored.project.get(&format!("/monitors/{monitor}")).await, expected);
    assert_eq!(monitored.project.get("/monitors").await["data"], json!([expected]));

    app.next_instant();
    let paused = monitored.patch(&created, json!({ "state": "paused", "gate": null }), 200).await;
    let mut expected = expected;
    expected["state"] = json!("paused");
    expected["schedule"]["next_runs"] = json!([]);
    expected["updated_at"] = json!(app.now_text());
    assert_eq!(paused, expected);
    app.next_instant();
    assert_eq!(
        monitored.patch(&created, json!({ "state": "paused", "name": "Refunds" }), 200).await,
        expected
    );

    let other = TestProject::open(&app).await;
    for rest in ["", "/runs", "/alert"] {
        let problem = other.client.get(&other.path(&format!("/monitors/{monitor}{rest}")), 404).await;
        assert_eq!(code(&problem), "monitor_not_found");
    }
}

#[tokio::test]
async fn run_follows_its_simulation_to_its_verdict() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let monitor = monitored.create(json!({})).await;
    app.advance(MINUTE * 60);
    let planned = app.now();
    app.advance(MINUTE);
    app.run_jobs_twice().await;
    let [run] = &monitored.runs(&monitor).await[..] else { panic!("not one run") };
    let mut expected = json!({
        "id": run["id"],
        "monitor_id": monitor["id"],
        "trigger": "schedule",
        "planned_at": wire_time(planned),
        "created_at": app.now_text(),
        "started_at": app.now_text(),
        "ended_at": null,
        "status": "in_progress",
        "simulation_id": run["simulation_id"],
        "failure_reason": null,
        "gate": { "min_pass_rate": 1.0, "on": "rate" },
        "verdict": null,
        "reasons": [],
        "outcomes": null,
    });
    assert_eq!(*run, expected);
    let simulation = monitored.project.simulation(&text(run, "simulation_id")).await;
    assert_eq!((&simulation["seed"], &simulation["auto_approve"]), (&json!(7), &json!(true)));

    app.next_instant();
    monitored.hold(run, "A refund is on its way.").await;
    expected["ended_at"] = json!(app.now_text());
    expected["status"] = json!("completed");
    expected["verdict"] = json!("pass");
    expected["outcomes"] = json!({
        "passed": 1, "failed": 0, "inconclusive": 0, "infra": 0,
        "pass_rate": 1.0, "pass_rate_interval": { "low": 0.206_549_314_377_237_45, "high": 1.0 },
    });
    assert_eq!(monitored.runs(&monitor).await, [expected]);

    app.advance(MINUTE * 60);
    app.run_jobs().await;
    let run = &monitored.runs(&monitor).await[0];
    monitored.hold(run, "No.").await;
    let run = &monitored.runs(&monitor).await[0];
    assert_eq!((&run["verdict"], &run["outcomes"]["failed"]), (&json!("fail"), &json!(1)), "{run}");
    assert_eq!(run["reasons"].as_array().map(Vec::len), Some(1), "{run}");
}

#[tokio::test]
async fn run_without_a_gate_has_no_verdict() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let monitor = monitored.create(json!({ "gate": null, "schedule": null })).await;
    assert_eq!((&monitor["gate"], &monitor["schedule"]), (&json!(null), &json!(null)));
    let runs = monitored.path(&format!("/{}/runs", id(&monitor)));
    let started = monitored.project.client.post_empty(&runs, 200).await;
    assert_eq!((&started["status"], &started["trigger"]), (&json!("pending"), &json!("request")));
    app.run_jobs().await;
    monitored.hold(&monitored.runs(&monitor).await[0], "No.").await;
    let run = &monitored.runs(&monitor).await[0];
    assert_eq!((&run["verdict"], &run["reasons"]), (&json!(null), &json!([])), "{run}");
    assert_eq!((&run["status"], &run["outcomes"]["failed"]), (&json!("completed"), &json!(1)));
}

#[tokio::test]
async fn alert_opens_with_a_lower_rate_and_ends_with_the_expected_one() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let alert = json!({ "expected_pass_rate": 0.9, "low_pass_rate": 0.3 });
    let several = json!({ "target_conversations": 4, "seed": null });
    let monitor = monitored.create(json!({ "alert": alert, "simulation": several })).await;
    let path = format!("/monitors/{}/alert", id(&monitor));
    let mut expected = json!({
        "monitor_id": monitor["id"],
        "expected_pass_rate": 0.9,
        "low_pass_rate": 0.3,
        "state": "ok",
        "since": null,
        "score": 0.0,
        "threshold": 8.0,
        "runs": 0,
        "events": [],
    });
    assert_eq!(monitored.project.get(&path).await, expected);

    // Each failed conversation is 7 times as likely at the low rate, and each passed one 3 times less.
    let run = async |words: &str| {
        app.advance(MINUTE * 60);
        app.run_jobs_twice().await;
        monitored.hold(&monitored.runs(&monitor).await[0], words).await;
        monitored.runs(&monitor).await[0].clone()
    };
    run("A refund is on its way.").await;
    let bad = run("No.").await;
    expected["runs"] = json!(2);
    let seen = monitored.project.get(&path).await;
    assert_eq!(
        (&seen["state"], &seen["runs"], &seen["events"]),
        (&json!("ok"), &json!(2), &json!([])),
        "{seen}"
    );
    let score = seen["score"].as_f64().unwrap();
    assert!((score - 4.0 * 7.0_f64.ln()).abs() < 1e-9, "{seen}");
    let worse = run("No.").await;
    expected["runs"] = json!(3);
    expected["state"] = json!("alerting");
    expected["since"] = worse["planned_at"].clone();
    expected["threshold"] = json!(4.0);
    expected["events"] =
        json!([{ "change": "opened", "run_id": worse["id"], "planned_at": worse["planned_at"] }]);
    assert_eq!(monitored.project.get(&path).await, expected);

    let better = run("A refund is on its way.").await;
    let recovered =
        json!({ "change": "recovered", "run_id": better["id"], "planned_at": better["planned_at"] });
    let seen = monitored.project.get(&path).await;
    assert_eq!((&seen["state"], &seen["since"]), (&json!("ok"), &json!(null)), "{seen}");
    assert_eq!(seen["events"], json!([recovered, expected["events"][0]]));

    // An alert with other rates would have opened earlier.
    let sooner = monitored.project.get(&format!("{path}?expected_pass_rate=0.95&low_pass_rate=0.2")).await;
    assert_eq!(sooner["events"][1]["run_id"], bad["id"], "{sooner}");
}

#[tokio::test]
async fn alert_without_rates_is_refused_with_the_parameters() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let monitor = monitored.create(json!({})).await;
    assert_eq!(monitor["alert"], json!(null));
    let path = |query: &str| monitored.path(&format!("/{}/alert?{query}", id(&monitor)));
    for (query, parameter, words) in [
        ("", "expected_pass_rate", "has no `alert`"),
        ("low_pass_rate=0.7", "expected_pass_rate", "both rates or neither"),
        ("expected_pass_rate=0.9", "low_pass_rate", "both rates or neither"),
        ("expected_pass_rate=1&low_pass_rate=0.7", "expected_pass_rate", "from 0.02 to 0.999"),
        ("expected_pass_rate=0.7&low_pass_rate=0.9", "low_pass_rate", "below `expected_pass_rate`"),
        ("expected_pass_rate=NaN&low_pass_rate=0.9", "expected_pass_rate", "above 0"),
        ("expected_pass_rate=0.9&low_pass_rate=0.7&low=1", "low", "not a parameter"),
    ] {
        let problem = monitored.project.client.get(&path(query), 422).await;
        let errors = problem["errors"].as_array().unwrap();
        let found = errors.iter().find(|error| error["parameter"] == parameter);
        assert!(found.is_some_and(|error| text(error, "detail").contains(words)), "{query}: {problem}");
    }
    assert_eq!(
        monitored.project.client.get(&path("expected_pass_rate=0.9&low_pass_rate=0.7"), 200).await["state"],
        "ok"
    );
    let changed = monitored.patch(
        &monitor,
        json!({ "alert": { "expected_pass_rate": 0.9, "low_pass_rate": 0.7 } }),
        200,
    );
    assert_eq!(changed.await["alert"]["low_pass_rate"], 0.7);
    monitored.project.client.get(&path(""), 200).await;
}

#[tokio::test]
async fn two_servers_start_one_run_for_each_time() {
    let app = TestApp::start();
    let other = app.beside(SignedDuration::ZERO);
    let monitored = Monitored::open(&app).await;
    let monitor = monitored.create(json!({ "schedule": { "expression": "*/10 * * * *" } })).await;
    let mut planned: Vec<String> = Vec::new();
    for _ in 0..6 {
        app.advance(MINUTE * 10);
        planned.insert(0, app.now_text());
        let ticks = (0..4).flat_map(|_| [app.engine().tick(), other.engine().tick()]);
        for ticked in join_all(ticks).await {
            ticked.expect("the tick succeeds");
        }
    }
    app.run_jobs_twice().await;
    let runs = monitored.runs(&monitor).await;
    assert_eq!(runs.iter().map(|run| text(run, "planned_at")).collect::<Vec<_>>(), planned);
    assert_eq!(monitored.simulations().await, 6);
}

#[tokio::test]
async fn events_of_a_schedule_start_one_run_for_each_time() {
    let app = TestApp::start();
    let other = app.beside(SignedDuration::ZERO);
    let monitored = Monitored::open(&app).await;
    let monitor = monitored.create(json!({ "schedule": null })).await;
    let (project, id) = (monitored.project.id.parse().unwrap(), id(&monitor).parse().unwrap());
    app.advance(MINUTE * 200);
    let at = |hour: u8| format!("2026-01-05T{hour:02}:00:00Z").parse::<Timestamp>().unwrap();
    // Each time is delivered three times, in another order, and some an hour or more late.
    let mut events = Vec::new();
    for hour in [11, 9, 10, 9, 11, 10, 10, 11, 9] {
        events.push(app.engine().run_monitor(&project, &id, at(hour)));
        events.push(other.engine().run_monitor(&project, &id, at(hour)));
        app.run_jobs_twice().await;
    }
    for started in join_all(events).await {
        assert!(started.expect("the run starts").is_some());
    }
    app.run_jobs_twice().await;
    let planned: Vec<_> = monitored.runs(&monitor).await.iter().map(|run| text(run, "planned_at")).collect();
    assert_eq!(planned, [11, 10, 9].map(|hour| wire_time(at(hour))));
    assert_eq!(monitored.simulations().await, 3);
    monitored.patch(&monitor, json!({ "state": "paused" }), 200).await;
    assert_eq!(app.engine().run_monitor(&project, &id, at(12)).await.unwrap(), None);
    let gone = "monitorIsGon".parse().unwrap();
    assert!(app.engine().run_monitor(&project, &gone, at(12)).await.is_err());
}

#[tokio::test]
async fn missed_times_start_one_run_for_the_latest() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let monitor = monitored.create(json!({ "schedule": { "expression": "0 * * * *" } })).await;
    // Nothing ticked for five and a half hours.
    app.advance(MINUTE * 330);
    app.run_jobs().await;
    let [run] = &monitored.runs(&monitor).await[..] else { panic!("not one run") };
    assert_eq!(run["planned_at"], "2026-01-05T14:00:00.000000Z");
    let monitor = monitored.project.get(&format!("/monitors/{}", id(&monitor))).await;
    assert_eq!(monitor["schedule"]["next_runs"][0], "2026-01-05T15:00:00.000000Z");
    app.run_jobs().await;
    assert_eq!(monitored.simulations().await, 1);
}

#[tokio::test]
async fn times_follow_the_clocks_of_the_zone() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let at = |time: &str| time.parse::<Timestamp>().unwrap();
    // Clocks go from 02:00 to 03:00 on 29 March 2026, and from 03:00 to 02:00 on 25 October.
    for (start, expected) in [
        ("2026-03-28T12:00:00Z", ["2026-03-29T01:00:00.000000Z", "2026-03-30T00:30:00.000000Z"]),
        ("2026-10-24T12:00:00Z", ["2026-10-25T00:30:00.000000Z", "2026-10-26T01:30:00.000000Z"]),
    ] {
        app.set_now(at(start));
        let schedule = json!({ "expression": "30 2 * * *", "timezone": "Europe/Berlin" });
        let monitor = monitored.create(json!({ "schedule": schedule })).await;
        for _ in 0..48 {
            app.advance(MINUTE * 60);
            app.engine().tick().await.expect("the tick succeeds");
        }
        let mut planned: Vec<_> =
            monitored.runs(&monitor).await.iter().map(|run| text(run, "planned_at")).collect();
        planned.reverse();
        assert_eq!(planned, expected);
        monitored.patch(&monitor, json!({ "state": "paused" }), 200).await;
    }
    app.run_jobs().await;
}

#[tokio::test]
async fn paused_monitor_starts_no_run_until_it_is_resumed() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let monitor = monitored.create(json!({ "state": "paused" })).await;
    assert_eq!(monitor["schedule"]["next_runs"], json!([]));
    app.advance(MINUTE * 600);
    app.run_jobs().await;
    assert_eq!(monitored.runs(&monitor).await, [] as [Value; 0]);
    let resumed = monitored.patch(&monitor, json!({ "state": "active" }), 200).await;
    assert_eq!(resumed["schedule"]["next_runs"][0], "2026-01-05T20:00:00.000000Z");
    app.advance(MINUTE * 60);
    app.run_jobs().await;
    assert_eq!(monitored.runs(&monitor).await.len(), 1);
}

#[tokio::test]
async fn run_whose_simulation_is_refused_says_why() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    // The personas are copied from a simulation whose personas are approved now.
    let source = monitored.project.simulate(json!({ "scenario": "A late parcel." })).await;
    let changes = json!({ "personas_from": source, "scenario": "A late parcel." });
    let monitor = monitored.create(json!({ "simulation": changes })).await;
    let stored =
        app.engine().store().open_project(&monitored.project.id.parse().unwrap()).await.unwrap().unwrap();
    let decide = Box::new(|mut monitor: onerun_domain::Monitor| {
        monitor.simulation.agent_id = "agentIsGone0".parse().unwrap();
        Ok(onerun_store::MonitorChange::to(monitor))
    });
    stored.change_monitor(&id(&monitor).parse().unwrap(), decide).await.unwrap();
    app.advance(MINUTE * 60);
    app.run_jobs_twice().await;
    let [run] = &monitored.runs(&monitor).await[..] else { panic!("not one run") };
    assert_eq!((&run["status"], &run["simulation_id"]), (&json!("failed"), &json!(null)));
    assert_eq!(run["failure_reason"], "Agent not found: `agentIsGone0`");
    assert_eq!((&run["ended_at"], &run["verdict"]), (&json!(app.now_text()), &json!(null)));
}

#[tokio::test]
async fn run_of_a_canceled_or_expired_simulation_ends() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let monitor = monitored.create(json!({ "simulation": { "expires_in_seconds": 1_800 } })).await;
    app.advance(MINUTE * 60);
    app.run_jobs().await;
    app.advance(MINUTE * 60);
    app.run_jobs().await;
    let runs = monitored.runs(&monitor).await;
    monitored.project.order(&text(&runs[0], "simulation_id"), "cancel", 200).await;
    app.run_jobs().await;
    let runs = monitored.runs(&monitor).await;
    let ends: Vec<_> = runs.iter().map(|run| (text(run, "status"), text(run, "verdict"))).collect();
    let end = |status: &str| (status.to_owned(), "infra".to_owned());
    assert_eq!(ends, [end("canceled"), end("expired")]);
    assert!(text(&runs[1], "failure_reason").starts_with("not completed before it expired"));
}

#[tokio::test]
async fn deleted_monitor_starts_nothing_and_keeps_its_simulations() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    let monitor = monitored.create(json!({})).await;
    app.advance(MINUTE * 60);
    app.run_jobs().await;
    let run = monitored.runs(&monitor).await[0].clone();
    // A run is recorded, and its simulation is not created yet.
    app.advance(MINUTE * 60);
    app.engine().tick().await.expect("the tick succeeds");
    let path = monitored.path(&format!("/{}", id(&monitor)));
    monitored.project.client.send(Method::DELETE, &path, None, 200).await;
    monitored.project.client.send(Method::DELETE, &path, None, 404).await;
    app.advance(MINUTE * 60);
    app.run_jobs().await;
    assert_eq!(monitored.simulations().await, 1);
    monitored.hold(&run, "A refund.").await;
    assert_eq!(monitored.project.status(&text(&run, "simulation_id")).await, "completed");
}

#[tokio::test]
async fn wrong_monitor_is_refused_with_its_field() {
    let app = TestApp::start();
    let monitored = Monitored::open(&app).await;
    for (changes, pointer, words) in [
        (
            json!({ "schedule": { "expression": "cron(0 9 * * MON *)" } }),
            "#/schedule/expression",
            "ambiguous",
        ),
        (json!({ "schedule": { "expression": "0 0 31 2 *" } }), "#/schedule", "never fires"),
        (json!({ "schedule": { "expression": "rate(1 second)" } }), "#/schedule/expression", "from 1 minute"),
        (json!({ "schedule": { "timezone": "Mars/Olympus" } }), "#/schedule/timezone", "IANA"),
        (json!({ "gate": { "min_pass_rate": 0 } }), "#/gate/min_pass_rate", "above 0"),
        (json!({ "gate": { "on": "median" } }), "#/gate/on", "lower_bound"),
        (
            json!({ "alert": { "expected_pass_rate": 1.0, "low_pass_rate": 0.7 } }),
            "#/alert/expected_pass_rate",
            "0.999",
        ),
        (
            json!({ "alert": { "expected_pass_rate": 0.9, "low_pass_rate": 0.9 } }),
            "#/alert/low_pass_rate",
            "below",
        ),
        (json!({ "alert": { "expected_pass_rate": 0.9 } }), "#/alert/low_pass_rate", "required"),
        (json!({ "gate": { "on": "lower_bound" } }), "#/gate", "could not be passed"),
        (json!({ "simulation": { "unknown": 1 } }), "#/simulation/unknown", "not a field"),
        (json!({ "simulation": { "scenario": "" } }), "#/simulation/scenario", "must not be empty"),
        (
            json!({ "simulation": { "personas_from": "A".repeat(21) } }),
            "#/simulation/personas_from",
            "not exist",
        ),
        (json!({ "state": "sleeping" }), "#/state", "active, paused"),
    ] {
        let problem = monitored.refused(changes, 422).await;
        let error = &problem["errors"][0];
        assert_eq!(error["pointer"], pointer, "{problem}");
        assert!(text(error, "detail").contains(words), "{problem}");
    }
    let persona =
        json!({ "summary": "s".repeat(4_000), "purpose": "p".repeat(4_000), "story": "t".repeat(4_000) });
    let mut many = monitored.wanted(json!({}));
    many["simulation"]["personas"] = json!(vec![persona; 15]);
    many["simulation"].as_object_mut().unwrap().remove("target_personas");
    let problem = monitored.project.client.post(&monitored.path(""), &many, 422).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/simulation", "{problem}");
    let problem = monitored.refused(json!({ "simulation": { "agent_id": "agentIsGone0" } }), 404).await;
    assert_eq!(code(&problem), "agent_not_found");
    let problem =
        monitored.refused(json!({ "simulation": { "models": { "judge": "openai:none" } } }), 422).await;
    assert_eq!(code(&problem), "model_not_allowed");
    let monitor = monitored.create(json!({})).await;
    monitored.patch(&monitor, json!({ "schedule": { "expression": "0 0 31 2 *" } }), 422).await;
    let unchanged = monitored.project.get(&format!("/monitors/{}", id(&monitor))).await;
    assert_eq!(unchanged, monitor);
}
