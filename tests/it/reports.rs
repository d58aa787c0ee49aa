//! Reports on simulations, and comparisons of two.

use onerun_engine::Reply as PersonaReply;
use onerun_tests::app::{Behavior, Reply, TestApp};
use serde_json::{Value, json};

use crate::fixtures::{SCENARIO, TestProject, code, id, text};

const REFUND: &str = "Here is your refund.";
const NO: &str = "No.";

/// A project with an objective that one answer meets and another does not.
struct Desk<'a> {
    project: TestProject<'a>,
    objective: String,
}

impl<'a> Desk<'a> {
    async fn open(app: &'a TestApp) -> Self {
        let project = TestProject::open(app).await;
        let objective = project.objective("Refunds", "check: agent says /refund/i").await;
        Self { project, objective }
    }

    /// A simulation with one conversation and persona for each answer. Conversations without one are not held.
    async fn simulate(&self, answers: &[Option<&str>], changes: Value) -> String {
        let mut wanted = json!({
            "target_conversations": answers.len(),
            "target_personas": answers.len(),
            "max_turns": 200,
            "objective_ids": [self.objective],
        });
        crate::fixtures::merge(&mut wanted, changes);
        let simulation = self.project.simulate(wanted).await;
        for (conversation, answer) in self.project.test_conversations(&simulation).await.iter().zip(answers) {
            let Some(answer) = answer else { continue };
            conversation.start(200).await;
            conversation.say(Some(answer), 200).await;
            conversation.end(200).await;
        }
        self.project.app.run_jobs().await;
        simulation
    }

    async fn report(&self, simulation: &str, query: &str) -> Value {
        self.project.get(&format!("/simulations/{simulation}/report{query}")).await
    }

    async fn reply(&self, simulation: &str, format: &str) -> Reply {
        let path = self.project.path(&format!("/simulations/{simulation}/report?format={format}"));
        self.project.client.send(http::Method::GET, &path, None, 200).await
    }

    async fn verdict(&self, simulation: &str, query: &str) -> String {
        text(&self.report(simulation, query).await, "verdict")
    }

    async fn compare(&self, after: &str, before: &str) -> Value {
        self.project.get(&format!("/simulations/{after}/compare?with={before}")).await
    }

    async fn refused(&self, rest: &str, status: u16) -> Value {
        self.project.client.get(&self.project.path(rest), status).await
    }
}

#[tokio::test]
async fn report_has_the_results_that_the_verdict_follows_from() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let answers = [Some(REFUND), Some(NO), Some(REFUND), Some(REFUND)];
    let simulation = desk.simulate(&answers, json!({})).await;
    let report = desk.report(&simulation, "").await;
    let conversations = desk.project.conversations(&simulation).await;
    let judged = &conversations[1]["evaluations"][0];

    assert_eq!((&report["name"], &report["verdict"]), (&json!("Refunds"), &json!("fail")));
    assert_eq!((&report["complete"], &report["at"]), (&json!(true), &json!(app.now().to_string())));
    let counts = json!({ "passed": 3, "failed": 1, "inconclusive": 0, "infra": 0, "quarantined": 0 });
    // 3 of 4, as in the tests of results.
    let rate = &report["rate"];
    for (name, expected) in [("rate", 0.75), ("low", 0.300_641_842_582_402), ("high", 0.954_412_739_190_3)] {
        assert!((rate[name].as_f64().unwrap() - expected).abs() < 1e-9, "{name} of {rate}");
    }
    assert_eq!(
        (&rate["passed"], &rate["judged"], &rate["low_evidence"]),
        (&json!(3), &json!(4), &json!(true))
    );
    assert_eq!(report["counts"], counts);
    let gate = &report["gates"][0];
    assert_eq!(
        (&gate["status"], &gate["text"]),
        (&json!("failed"), &json!("pass rate of all trials ≥ 100%"))
    );
    let case = &report["cases"][0];
    assert_eq!((&case["counts"], &case["rate"]), (&counts, rate));
    assert_eq!((&case["scenario"], &case["agent"]), (&json!(SCENARIO), &json!("Desk")));
    assert_eq!((&case["simulation_id"], &case["status"]), (&json!(simulation), &json!("completed")));
    assert_eq!((&case["planned_trials"], &case["trials_left_out"]), (&json!(4), &json!(0)));
    let objective = &case["objectives"][0];
    assert_eq!((&objective["key"], &objective["name"]), (&json!(desk.objective), &json!("Refunds")));
    assert_eq!((&objective["counts"], &objective["rate"]), (&counts, rate));
    for (trial, conversation) in case["trials"].as_array().unwrap().iter().zip(&conversations) {
        assert_eq!((&trial["number"], &trial["persona"]), (&conversation["seq_id"], &conversation["seq_id"]));
        assert_eq!(trial["conversation_id"], conversation["id"]);
        assert_eq!(trial["messages"], conversation["item_count"]);
        assert_eq!(trial["persona_summary"], conversation["persona"]["summary"]);
    }
    let failed = &case["trials"][1];
    let evaluation = &failed["evaluations"][0];
    assert_eq!((&failed["outcome"], &failed["failure"]), (&json!("failed"), &Value::Null));
    assert_eq!((&evaluation["outcome"], &evaluation["score"]), (&json!("failed"), &json!(0.0)));
    assert_eq!(evaluation["reason"], judged["reason"]);
    assert_eq!(
        case["trials"][0]["evaluations"][0],
        json!({
            "objective": desk.objective, "outcome": "passed", "score": 1.0,
        })
    );
}

#[tokio::test]
async fn gate_in_the_query_decides_the_verdict() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let answers = [Some(REFUND), Some(NO), Some(REFUND), Some(REFUND)];
    let simulation = desk.simulate(&answers, json!({})).await;
    for (query, verdict) in [
        ("", "fail"),
        ("?min_pass_rate=0.75", "pass"),
        ("?min_pass_rate=7.5e-1&on=rate", "pass"),
        ("?min_pass_rate=0.76", "fail"),
        ("?min_pass_rate=1", "fail"),
        // The lower end of 3 of 4 is 0.3006, and that of 4 of 4 is 0.5101.
        ("?min_pass_rate=0.30&on=lower_bound", "pass"),
        ("?min_pass_rate=0.31&on=lower_bound", "fail"),
        ("?min_pass_rate=0.52&on=lower_bound", "config"),
    ] {
        assert_eq!(desk.verdict(&simulation, query).await, verdict, "{query}");
    }
    let passed = desk.simulate(&[Some(REFUND)], json!({})).await;
    let report = desk.report(&passed, "").await;
    assert_eq!((&report["verdict"], &report["reasons"]), (&json!("pass"), &json!([])));
}

#[tokio::test]
async fn wrong_queries_are_refused_with_the_parameter() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let simulation = desk.simulate(&[Some(REFUND)], json!({})).await;
    for (query, parameter) in [
        ("report?format=pdf", "format"),
        ("report?format=", "format"),
        ("report?min_pass_rate=0", "min_pass_rate"),
        ("report?min_pass_rate=-0.5", "min_pass_rate"),
        ("report?min_pass_rate=1.01", "min_pass_rate"),
        ("report?min_pass_rate=90%25", "min_pass_rate"),
        ("report?min_pass_rate=NaN", "min_pass_rate"),
        ("report?min_pass_rate=inf", "min_pass_rate"),
        ("report?on=rate", "on"),
        ("report?min_pass_rate=0.9&on=median", "on"),
        ("compare?with=", "with"),
        ("compare?with=A", "with"),
        ("compare?with=AAAAAAAAAAAAAAAAAAAAA", "with"),
        ("compare", "with"),
    ] {
        let problem = desk.refused(&format!("/simulations/{simulation}/{query}"), 422).await;
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}: {problem}");
    }
    let itself = format!("/simulations/{simulation}/compare?with={simulation}");
    let problem = desk.refused(&itself, 422).await;
    assert!(text(&problem, "message").contains("itself"), "{problem}");
    for rest in ["report", &format!("compare?with={simulation}")] {
        let problem = desk.refused(&format!("/simulations/AAAAAAAAAAAAAAAAAAAAA/{rest}"), 404).await;
        assert_eq!(code(&problem), "simulation_not_found");
    }
}

#[tokio::test]
async fn simulation_that_is_not_over_never_passes() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let pending = desk.project.create(json!({ "objective_ids": [desk.objective] })).await;
    assert_eq!(desk.verdict(&pending, "").await, "infra");
    app.run_jobs().await;

    let simulation = desk.simulate(&[Some(REFUND), Some(REFUND), Some(REFUND), None], json!({})).await;
    let gate = "?min_pass_rate=0.5";
    let report = desk.report(&simulation, gate).await;
    assert_eq!((&report["verdict"], &report["complete"]), (&json!("infra"), &json!(false)));
    assert_eq!(report["gates"][0]["status"], "passed", "three of four are enough");
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.contains("is not over (its status is `in_progress`)"), "{reason}");
    let junit = desk.reply(&simulation, "junit&min_pass_rate=0.5").await.text;
    assert!(junit.contains("<error type=\"infra\""), "{junit}");

    desk.project.order(&simulation, "cancel", 200).await;
    app.run_jobs().await;
    assert_eq!(desk.verdict(&simulation, gate).await, "pass", "now nothing can change it");
    let report = desk.report(&simulation, "").await;
    assert_eq!((&report["verdict"], &report["counts"]["infra"]), (&json!("infra"), &json!(1)));
    let failure = report["cases"][0]["trials"][3]["failure"].as_str().unwrap();
    assert!(failure.contains("simulation_canceled"), "{failure}");
}

#[tokio::test]
async fn conversation_with_a_critical_fault_counts_for_nobody() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let line = PersonaReply { text: Some("I am an AI language model.".to_owned()), ends: false };
    app.model().on_reply(Behavior::Says(line));
    let simulation = desk.simulate(&[Some(REFUND)], json!({})).await;
    let report = desk.report(&simulation, "").await;
    assert_eq!((&report["verdict"], &report["rate"]), (&json!("infra"), &Value::Null));
    let trial = &report["cases"][0]["trials"][0];
    assert_eq!(trial["failure"], "the persona has the critical fault leaves_character");
    assert_eq!(trial["evaluations"][0]["outcome"], "infra");
}

#[tokio::test]
async fn simulation_without_objectives_cannot_pass() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let simulation = desk.simulate(&[Some(REFUND)], json!({ "objective_ids": [] })).await;
    let report = desk.report(&simulation, "").await;
    assert_eq!((&report["verdict"], &report["rate"]), (&json!("config"), &Value::Null));
    assert_eq!(report["reasons"], json!(["case `Refunds` has no objective"]));
}

#[tokio::test]
async fn replacement_takes_the_place_of_a_rejected_persona() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let wanted = json!({
        "auto_approve": false, "target_personas": 2, "target_conversations": 2, "objective_ids": [desk.objective],
    });
    let simulation = desk.project.simulate(wanted).await;
    let personas = desk.project.personas(&simulation).await;
    desk.project.decide(&simulation, &id(&personas[0]), "reject", 200).await;
    app.run_jobs().await;
    for persona in &desk.project.personas(&simulation).await[1..] {
        desk.project.decide(&simulation, &id(persona), "approve", 200).await;
    }
    app.run_jobs().await;
    let report = desk.report(&simulation, "").await;
    let trials = report["cases"][0]["trials"].as_array().unwrap();
    let places: Vec<_> = trials.iter().map(|trial| (&trial["number"], &trial["persona"])).collect();
    assert_eq!(places, [(&json!(1), &json!(1)), (&json!(2), &json!(2))]);
}

#[tokio::test]
async fn each_format_shows_the_words_that_decided_and_no_markup() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let hostile = "</title><script>alert(1)</script>";
    let says = "<script>alert(2)</script>\u{202e}";
    let hostile_agent = desk.simulate(&[Some(says)], json!({ "name": hostile })).await;
    for (format, media_type) in [
        ("json", "application/json"),
        ("markdown", "text/markdown; charset=utf-8"),
        ("junit", "application/xml"),
        ("html", "text/html; charset=utf-8"),
    ] {
        let reply = desk.reply(&hostile_agent, format).await;
        assert_eq!(reply.header("content-type"), Some(media_type));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert!(reply.text.contains("fail"), "{format}: {}", reply.text);
        if format == "json" {
            assert_eq!(reply.json()["name"], hostile);
            continue;
        }
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
        assert!(!reply.text.contains("<script") && !reply.text.contains('\u{202e}'), "{}", reply.text);
    }
}

#[tokio::test]
async fn comparison_pairs_conversations_of_the_same_personas() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let answers = |passed: [bool; 8]| passed.map(|passed| Some(if passed { REFUND } else { NO }));
    let before = desk.simulate(&answers([true, true, false, false, true, true, true, true]), json!({})).await;
    let changes = json!({ "name": "Refunds, new", "personas_from": before });
    let after = desk.simulate(&answers([true, false, true, false, true, false, true, true]), changes).await;
    let found = desk.compare(&after, &before).await;
    assert_eq!((&found["verdict"], &found["warnings"]), (&json!("pass"), &json!([])));
    let trials = json!({
        "fixed": 1, "broken": 2, "still_passed": 4, "still_not_passed": 1, "unpaired": 0, "p_value": 1.0,
    });
    assert_eq!(found["overall"], trials);
    let objective = &found["objectives"][0];
    assert_eq!((&objective["objective_id"], &objective["broken"]), (&json!(desk.objective), &json!(2)));
    assert_eq!((&objective["before"]["rate"], &objective["after"]["rate"]), (&json!(0.75), &json!(0.625)));
    assert_eq!(
        (&found["before"]["simulation_id"], &found["after"]["simulation_id"]),
        (&json!(before), &json!(after))
    );
    let changed: Vec<_> = found["changed"].as_array().unwrap().iter().map(|one| &one["number"]).collect();
    assert_eq!(changed, [2, 6, 3], "broken ones first");
    let (olds, news) = (desk.project.conversations(&before).await, desk.project.conversations(&after).await);
    assert_eq!(found["changed"][0]["before_conversation_id"], olds[1]["id"]);
    assert_eq!(found["changed"][0]["after_conversation_id"], news[1]["id"]);
    assert_eq!(found["changed"][0]["broken"], json!([desk.objective]));

    // 6 broken and none fixed: p = 2 × 0.5⁶.
    let passed = desk.simulate(&answers([true; 8]), json!({ "personas_from": before })).await;
    let broken = answers([false, false, false, false, false, false, true, true]);
    let broken = desk.simulate(&broken, json!({ "personas_from": before })).await;
    let found = desk.compare(&broken, &passed).await;
    assert_eq!((&found["verdict"], &found["overall"]["p_value"]), (&json!("fail"), &json!(0.031_25)));
    assert_eq!(desk.compare(&passed, &broken).await["verdict"], "pass", "an improvement");
}

#[tokio::test]
async fn different_personas_are_never_compared() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let answers = [Some(REFUND); 6];
    let before = desk.simulate(&answers, json!({ "seed": 1 })).await;
    let after = desk.simulate(&answers, json!({ "seed": 2 })).await;
    let found = desk.compare(&after, &before).await;
    assert_eq!((&found["verdict"], &found["overall"]["unpaired"]), (&json!("config"), &json!(6)));
    assert_eq!((&found["overall"]["still_passed"], &found["changed"]), (&json!(0), &json!([])));
    let warning = found["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("6 conversations have different personas"), "{warning}");
}

#[tokio::test]
async fn comparison_with_a_running_simulation_never_passes() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let before = desk.simulate(&[Some(REFUND); 7], json!({})).await;
    let mut answers = [Some(REFUND); 7];
    answers[6] = None;
    let after = desk.simulate(&answers, json!({ "personas_from": before })).await;
    for (one, other) in [(&after, &before), (&before, &after)] {
        let found = desk.compare(one, other).await;
        assert_eq!(found["verdict"], "infra", "{found}");
        assert!(found["warnings"][0].as_str().unwrap().contains("is not over"), "{found}");
        assert_eq!(found["overall"]["unpaired"], 1);
    }
}

#[tokio::test]
async fn another_project_sees_no_report_and_no_comparison() {
    let app = TestApp::start();
    let desk = Desk::open(&app).await;
    let mine = desk.simulate(&[Some(REFUND)], json!({})).await;
    let other = Desk::open(&app).await;
    let theirs = other.simulate(&[Some(REFUND)], json!({})).await;
    desk.refused(&format!("/simulations/{theirs}/report"), 404).await;
    desk.refused(&format!("/simulations/{theirs}/compare?with={mine}"), 404).await;
    let problem = desk.refused(&format!("/simulations/{mine}/compare?with={theirs}"), 422).await;
    assert!(text(&problem, "message").contains("not a simulation of this project"), "{problem}");
}
