//! Evaluation runs, labels, and the faults of personas.

use http::Method;
use onerun_domain::{FaultSeverity, Outcome, PersonaFaultKind, ReportedFault, Score};
use onerun_engine::{Reply, Verdict};
use onerun_tests::app::{Behavior, JUDGE_VERSION, TestApp};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, data, id, text};

fn verdict(outcome: Outcome) -> Behavior<Verdict> {
    Behavior::Says(Verdict {
        outcome,
        score: Score::parse(1.0),
        ordinal: None,
        reason: "Because.".to_owned(),
        quotes: Vec::new(),
    })
}

/// A completed simulation with a prose objective, which the model passed, and one of checks.
struct Finished<'a> {
    project: TestProject<'a>,
    simulation: String,
    prose: String,
    checks: String,
}

impl<'a> Finished<'a> {
    async fn open(app: &'a TestApp, conversations: usize) -> Self {
        let project = TestProject::open(app).await;
        let prose = project.objective("Is kind", "The agent is kind.").await;
        let checks = project.objective("Refunds", "check: agent says /refund/i").await;
        app.model().on_judge(verdict(Outcome::Passed));
        let simulation = project
            .simulate(json!({
                "target_conversations": conversations,
                "max_turns": 200,
                "objective_ids": [prose, checks],
            }))
            .await;
        for (number, conversation) in project.test_conversations(&simulation).await.iter().enumerate() {
            conversation.start(200).await;
            conversation.say(Some(if number % 2 == 0 { "A refund." } else { "No." }), 200).await;
            conversation.end(200).await;
        }
        app.run_jobs().await;
        assert_eq!(project.status(&simulation).await, "completed");
        Self { project, simulation, prose, checks }
    }

    fn path(&self, rest: &str) -> String {
        self.project.path(&format!("/simulations/{}{rest}", self.simulation))
    }

    async fn judge_again(&self) -> Value {
        let run =
            self.project.client.post(&self.path("/evaluations"), &json!({ "judge": "offline" }), 200).await;
        assert_eq!((&run["status"], &run["judge"]), (&json!("pending"), &json!("offline")));
        run
    }

    async fn report(&self, run: &Value) -> Value {
        self.project.client.get(&self.path(&format!("/evaluations/{}", id(run))), 200).await
    }

    async fn label(&self, conversation: &str, labels: Value, status: u16) -> Value {
        let path = self.path(&format!("/conversations/{conversation}/labels"));
        let body = json!({ "labels": labels });
        self.project.client.send(Method::PUT, &path, Some(&body), status).await.json()
    }
}

#[tokio::test]
async fn finished_simulation_is_judged_again() {
    let app = TestApp::start();
    let finished = Finished::open(&app, 4).await;
    let before = results_without_usage(&finished).await;
    let conversations = finished.project.conversations(&finished.simulation).await;

    app.model().on_judge(verdict(Outcome::Failed));
    let replies = app.model().replies();
    let run = finished.judge_again().await;
    assert_eq!(run["conversations"], json!({ "target": 4, "judged": 0, "failed": 0 }));
    app.run_jobs_twice().await;

    let report = finished.report(&run).await;
    assert_eq!(report["status"], "completed");
    assert_eq!(report["conversations"], json!({ "target": 4, "judged": 4, "failed": 0 }));
    assert_eq!(report["judge_versions"], json!([JUDGE_VERSION]));
    assert_eq!(report["usage"]["calls"], 4, "each conversation is judged once");
    let [prose, checks] = &report["objectives"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(
        (&prose["objective_id"], &checks["objective_id"]),
        (&json!(finished.prose), &json!(finished.checks))
    );
    assert_eq!(
        (&prose["evaluated"], &prose["failed"], &prose["pass_rate"]),
        (&json!(4), &json!(4), &json!(0.0))
    );
    assert_eq!(prose["agreement"]["with_original"], json!({ "n": 4, "rate": 0.0, "kappa": 0.0 }));
    assert_eq!(checks["agreement"]["with_original"], json!({ "n": 4, "rate": 1.0, "kappa": 1.0 }));
    assert_eq!(checks["agreement"]["with_labels"], json!({ "n": 0, "rate": null, "kappa": null }));
    let disagreements = report["disagreements"].as_array().unwrap();
    assert_eq!(disagreements.len(), 4);
    assert!(disagreements.iter().all(|one| one["original"] == "passed" && one["outcome"] == "failed"));

    assert_eq!(results_without_usage(&finished).await, before, "its own results changed");
    assert_eq!(finished.project.conversations(&finished.simulation).await, conversations);
    assert_eq!(app.model().replies(), replies, "a conversation was held again");
    let second = finished.judge_again().await;
    let listed = finished.project.get(&format!("/simulations/{}/evaluations", finished.simulation)).await;
    assert_eq!(data(&listed).iter().map(id).collect::<Vec<_>>(), [id(&second), id(&run)]);
}

#[tokio::test]
async fn repeated_request_creates_one_run() {
    let app = TestApp::start();
    let finished = Finished::open(&app, 1).await;
    let client = finished.project.client.with_header("idempotency-key", "again");
    let (path, body) = (finished.path("/evaluations"), json!({ "judge": "offline" }));
    let first = client.post(&path, &body, 200).await;
    assert_eq!(client.post(&path, &body, 200).await, first);
    assert_eq!(data(&finished.project.client.get(&path, 200).await).len(), 1);
}

#[tokio::test]
async fn run_of_many_conversations_is_queued_in_steps() {
    let app = TestApp::start();
    let finished = Finished::open(&app, 90).await;
    let run = finished.judge_again().await;
    app.run_jobs().await;
    let report = finished.report(&run).await;
    assert_eq!(report["status"], "completed");
    assert_eq!(report["conversations"], json!({ "target": 90, "judged": 90, "failed": 0 }));
    assert_eq!(
        report["objectives"][0]["agreement"]["with_original"],
        json!({ "n": 90, "rate": 1.0, "kappa": null })
    );
}

#[tokio::test]
async fn run_whose_judge_fails_completes_with_failures() {
    let app = TestApp::start();
    let finished = Finished::open(&app, 2).await;
    app.model().on_judge(Behavior::Unavailable);
    let run = finished.judge_again().await;
    app.run_jobs_and_retries().await;
    let report = finished.report(&run).await;
    assert_eq!(report["status"], "completed");
    assert_eq!(report["conversations"], json!({ "target": 2, "judged": 0, "failed": 2 }));
    assert_eq!(report["objectives"][0]["pass_rate"], Value::Null);
    assert_eq!(finished.project.status(&finished.simulation).await, "completed");
    app.take_buried();
}

#[tokio::test]
async fn run_is_refused_before_the_end_and_without_a_judge() {
    let app = TestApp::start();
    let finished = Finished::open(&app, 1).await;
    let project = &finished.project;
    let refused = async |simulation: &str, judge: &str, status| {
        let path = project.path(&format!("/simulations/{simulation}/evaluations"));
        project.client.post(&path, &json!({ "judge": judge }), status).await
    };
    let running = project.simulate(json!({ "objective_ids": [finished.checks] })).await;
    assert_eq!(code(&refused(&running, "offline", 409).await), "simulation_not_over");
    project.order(&running, "cancel", 200).await;
    app.run_jobs().await;
    assert_eq!(code(&refused(&running, "offline", 409).await), "nothing_to_judge");
    assert_eq!(code(&refused(&finished.simulation, "openai:gpt-5.4", 422).await), "model_not_allowed");
    assert_eq!(code(&refused(&finished.simulation, "gpt-5", 422).await), "invalid_request");
    assert_eq!(code(&refused("simulation00000000001", "offline", 404).await), "simulation_not_found");
    let unknown = finished.path("/evaluations/evaluationrun00000001");
    assert_eq!(code(&project.client.get(&unknown, 404).await), "evaluation_not_found");
}

#[tokio::test]
async fn labels_are_compared_with_each_judge() {
    let app = TestApp::start();
    let finished = Finished::open(&app, 4).await;
    let ids: Vec<String> =
        finished.project.conversations(&finished.simulation).await.iter().map(id).collect();
    let labels_path = finished.path(&format!("/conversations/{}/labels", ids[0]));
    let none = json!({ "conversation_id": ids[0], "labels": [], "updated_by": null, "updated_at": null });
    assert_eq!(finished.project.client.get(&labels_path, 200).await, none);

    // The judges: passed by all, then failed by all. People: passed, failed, inconclusive; one has no label.
    for (conversation, outcome) in ids.iter().zip(["passed", "failed", "inconclusive"]) {
        let label = json!({ "objective_id": finished.prose, "outcome": "inconclusive" });
        finished.label(conversation, json!([label]), 200).await;
        let label = json!({ "objective_id": finished.prose, "outcome": outcome, "note": "Seen twice." });
        let stored = finished.label(conversation, json!([label]), 200).await;
        assert_eq!(stored["labels"], json!([label]));
        assert_eq!((&stored["updated_by"], &stored["updated_at"]), (&json!("root"), &json!(app.now_text())));
        let path = finished.path(&format!("/conversations/{conversation}/labels"));
        assert_eq!(finished.project.client.get(&path, 200).await, stored);
    }
    let before = results_without_usage(&finished).await;
    app.model().on_judge(verdict(Outcome::Failed));
    let run = finished.judge_again().await;
    app.run_jobs().await;
    let report = finished.report(&run).await;
    let third = 1.0 / 3.0;
    let expected = json!({
        "with_original": { "n": 4, "rate": 0.0, "kappa": 0.0 },
        "with_labels": { "n": 3, "rate": third, "kappa": 0.0 },
        "original_with_labels": { "n": 3, "rate": third, "kappa": 0.0 },
    });
    assert_eq!(report["objectives"][0]["agreement"], expected);
    assert_eq!(report["objectives"][1]["agreement"]["with_labels"]["n"], 0);
    assert_eq!(results_without_usage(&finished).await, before, "labels change no results");
}

#[tokio::test]
async fn wrong_labels_are_refused_with_their_place() {
    let app = TestApp::start();
    let finished = Finished::open(&app, 1).await;
    let conversation = id(&finished.project.conversations(&finished.simulation).await[0]);
    let other = finished.project.objective("Other", "check: persona ended").await;
    let label = |objective: &str, outcome: &str| json!({ "objective_id": objective, "outcome": outcome });
    for (labels, pointer) in [
        (json!([label(&finished.prose, "passed"), label(&other, "passed")]), "#/labels/1/objective_id"),
        (
            json!([label(&finished.prose, "passed"), label(&finished.prose, "failed")]),
            "#/labels/1/objective_id",
        ),
        (json!([label(&finished.prose, "good")]), "#/labels/0/outcome"),
        (
            json!([{ "objective_id": finished.prose, "outcome": "passed", "note": "x".repeat(1_001) }]),
            "#/labels/0/note",
        ),
    ] {
        let problem = finished.label(&conversation, labels, 422).await;
        assert_eq!(text(&problem["errors"][0], "pointer"), pointer, "{problem}");
    }
    let unknown = finished.label("conversation000000001", json!([]), 404).await;
    assert_eq!(code(&unknown), "conversation_not_found");
    assert_eq!(finished.label(&conversation, json!([]), 200).await["labels"], json!([]));
}

#[tokio::test]
async fn fault_that_the_judge_reports_is_stored_with_its_source() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let prose = project.objective("Is kind", "The agent is kind.").await;
    app.model().on_judge(verdict(Outcome::Passed));
    let report = |quote: &str| ReportedFault {
        kind: PersonaFaultKind::SpeaksAsAgent,
        severity: FaultSeverity::Critical,
        quote: quote.to_owned(),
    };
    // The second one is of the agent's message, which proves nothing.
    app.model().on_faults(vec![report("refund it for you"), report("A refund.")]);
    let reply = Reply { text: Some("I refund it for you.".to_owned()), ends: false };
    app.model().on_reply(Behavior::Says(reply));
    let conversation = project.converse(json!({ "objective_ids": [prose], "max_turns": 200 })).await;
    conversation.start(200).await;
    conversation.say(Some("A refund."), 200).await;
    conversation.end(200).await;
    app.run_jobs().await;
    let item = &conversation.items().await[1]["id"];
    let expected = json!([{
        "kind": "speaks_as_agent", "severity": "critical", "item_id": item, "quote": "refund it for you",
        "source": "judge",
    }]);
    assert_eq!(conversation.see().await["persona_faults"], expected);
    let results = project.results(&conversation.simulation).await;
    assert_eq!(results["persona_faults"], json!({ "critical": 1, "minor": 0 }));
}

#[tokio::test]
async fn conversation_with_a_critical_fault_is_left_out() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let checks = project.objective("Refunds", "check: agent says /refund/i").await;
    let wanted = json!({ "target_conversations": 3, "max_turns": 200, "objective_ids": [checks] });
    let simulation = project.simulate(wanted).await;
    let lines = ["I am an AI language model.", "Where is my kettle?", "Please refund me."];
    for (conversation, line) in project.test_conversations(&simulation).await.iter().zip(lines) {
        conversation.start(200).await;
        app.model().on_reply(Behavior::Says(Reply { text: Some(line.to_owned()), ends: false }));
        conversation.say(Some("No."), 200).await;
        conversation.end(200).await;
    }
    app.run_jobs().await;
    let results = project.results(&simulation).await;
    assert_eq!(results["status"], "completed");
    assert_eq!(results["persona_faults"], json!({ "critical": 1, "minor": 0 }));
    assert_eq!(results["evaluations"]["completed"], 3);
    for scores in [&results["overall"], &results["objectives"][0]] {
        assert_eq!((&scores["evaluated"], &scores["failed"]), (&json!(2), &json!(2)));
    }
    let conversations = project.conversations(&simulation).await;
    let with_faults: Vec<_> = conversations.iter().filter(|one| one["persona_faults"] != json!([])).collect();
    let [faulty] = &with_faults[..] else { panic!("{with_faults:?}") };
    let fault = &faulty["persona_faults"][0];
    assert_eq!((&fault["kind"], &fault["severity"]), (&json!("leaves_character"), &json!("critical")));
    assert_eq!((&fault["quote"], &fault["source"]), (&json!("I am an AI language model."), &json!("rule")));
    let test = project.test_conversation(&simulation, &id(faulty));
    let items = test.items().await;
    assert!(items.iter().any(|item| item["id"] == fault["item_id"]), "{fault}");
    assert_eq!(test.see().await["persona_faults"], faulty["persona_faults"]);
    assert_eq!(faulty["evaluations"].as_array().unwrap().len(), 1, "it is judged and shown");

    let path = project.path(&format!("/simulations/{simulation}/evaluations"));
    let run = project.client.post(&path, &json!({ "judge": "offline" }), 200).await;
    assert_eq!(run["conversations"]["target"], 2, "runs leave it out");
}

/// The results of the simulation. The usage counts every judge.
async fn results_without_usage(finished: &Finished<'_>) -> Value {
    let mut results = finished.project.results(&finished.simulation).await;
    results.as_object_mut().unwrap().remove("usage");
    results
}
