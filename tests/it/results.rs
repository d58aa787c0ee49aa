//! The results of a simulation: counts, means, and intervals calculated by hand.

use onerun_engine::Reply;
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, extend};

/// Whether two numbers are the same but for rounding.
#[track_caller]
fn assert_near(value: &Value, expected: f64) {
    let number = value.as_f64().unwrap_or_else(|| panic!("no number: {value}"));
    assert!((number - expected).abs() < 1e-9, "{number} and not {expected}");
}

/// Checks counts and numbers of a score; the interval is `(low, high)`.
#[track_caller]
fn assert_scores(scores: &Value, counts: [u64; 4], mean: Option<f64>, rate: Option<(f64, f64, f64)>) {
    for (name, expected) in ["evaluated", "passed", "failed", "inconclusive"].into_iter().zip(counts) {
        assert_eq!(scores[name], expected, "{name} of {scores}");
    }
    match mean {
        Some(mean) => assert_near(&scores["mean_score"], mean),
        None => assert_eq!(scores["mean_score"], Value::Null, "{scores}"),
    }
    if let Some((rate, low, high)) = rate {
        assert_near(&scores["pass_rate"], rate);
        assert_near(&scores["pass_rate_interval"]["low"], low);
        assert_near(&scores["pass_rate_interval"]["high"], high);
    } else {
        assert_eq!(scores["pass_rate"], Value::Null);
        assert_eq!(scores["pass_rate_interval"], Value::Null);
    }
}

#[tokio::test]
async fn results_without_conversations_are_zeros_and_nulls() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Helps", "check: persona ended").await;
    let simulation = project.create(json!({ "target_conversations": 3, "objective_ids": [objective] })).await;
    let scores = json!({
        "evaluated": 0,
        "passed": 0,
        "failed": 0,
        "inconclusive": 0,
        "mean_score": null,
        "pass_rate": null,
        "pass_rate_interval": null,
    });
    let mut of_objective = json!({ "objective_id": objective, "version": 1, "name": "Helps" });
    extend(&mut of_objective, &scores);
    let mut expected = json!({
        "simulation_id": simulation,
        "status": "pending",
        "overall": scores,
        "objectives": [of_objective],
        "personas": { "target": 1, "pending": 0, "approved": 0, "rejected": 0 },
        "conversations": { "target": 3, "queued": 0, "in_progress": 0, "ended": 0, "failed": 0, "retried": 0 },
        "endings": { "persona_ended": 0, "agent_ended": 0, "turn_limit": 0 },
        "evaluations": { "pending": 0, "in_progress": 0, "completed": 0, "failed": 0, "not_applicable": 0 },
        "persona_faults": { "critical": 0, "minor": 0 },
        "failures": { "lease_expired": 0, "reply_late": 0, "agent_failed": 0, "stopped": 0, "evaluations": 0, "last_failure_reason": null },
        "models": { "persona": "offline", "reply": "offline", "judge": "offline" },
        "usage": { "total": no_usage(), "models": [] },
    });
    assert_eq!(project.results(&simulation).await, expected);

    app.run_jobs().await;
    project.test_conversations(&simulation).await[0].start(200).await;
    expected["status"] = "in_progress".into();
    expected["personas"]["approved"] = 1.into();
    expected["conversations"]["queued"] = 2.into();
    expected["conversations"]["in_progress"] = 1.into();
    expected["evaluations"]["pending"] = 3.into();
    assert_eq!(project.results(&simulation).await, expected);
}

#[tokio::test]
async fn counts_rates_and_wilson_intervals_are_right() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    // Passed by three of four; by one of two checks or by both; and never decided, or failed by its check.
    let refund = project.objective("Refund", "check: agent says /refund/i").await;
    let both = project.objective("Both", "check: agent says /refund/i\ncheck: agent says /sorry/i").await;
    let prose = project.objective("Prose", "Is kind.").await;
    let mixed = project.objective("Mixed", "Is kind.\ncheck: agent says /hello/i").await;
    let simulation = project
        .simulate(json!({
            "target_conversations": 4,
            "target_personas": 2,
            "max_turns": 200,
            "objective_ids": [refund, both, prose, mixed],
        }))
        .await;
    let conversations = project.test_conversations(&simulation).await;
    for (conversation, line) in conversations.iter().zip([
        "Hello, sorry, a refund.",
        "Hello, a refund.",
        "Hello, a refund, sorry.",
        "No.",
    ]) {
        conversation.start(200).await;
        conversation.say(Some(line), 200).await;
        conversation.end(200).await;
    }
    app.run_jobs().await;
    let results = project.results(&simulation).await;
    assert_eq!(results["status"], "completed");
    let objectives = results["objectives"].as_array().unwrap();
    let names: Vec<_> = objectives.iter().map(|scores| scores["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Refund", "Both", "Prose", "Mixed"]);

    // 3 of 4: (0.75 + z²/8 ± z √(0.1875/4 + z²/64)) / (1 + z²/4) with z = 1.959963984540054.
    let three_of_four = (0.75, 0.300_641_842_582_402_04, 0.954_412_739_190_299_5);
    assert_scores(&objectives[0], [4, 3, 1, 0], Some(0.75), Some(three_of_four));
    // 2 of 4, which score 1, ½, 1 and 0.
    let two_of_four = (0.5, 0.150_038_989_152_149_47, 0.849_961_010_847_850_6);
    assert_scores(&objectives[1], [4, 2, 2, 0], Some(0.625), Some(two_of_four));
    // Inconclusive evaluations count as not passed: 0 of 4, without a score.
    let none_of_four = (0.0, 0.0, 0.489_890_836_454_597_3);
    assert_scores(&objectives[2], [4, 0, 0, 4], None, Some(none_of_four));
    // One failed its check; the others are inconclusive.
    assert_scores(&objectives[3], [4, 0, 1, 3], Some(0.0), Some(none_of_four));
    // Overall, two are inconclusive because of prose, and two failed.
    assert_scores(&results["overall"], [4, 0, 2, 2], Some(5.5 / 9.0), Some(none_of_four));
    let by_outcome = async |outcome: &str| {
        let page = project.get(&format!("/simulations/{simulation}/conversations?outcome={outcome}")).await;
        page["data"].as_array().unwrap().iter().map(|row| row["seq_id"].clone()).collect::<Vec<_>>()
    };
    for outcome in ["passed", "failed", "inconclusive"] {
        let found = by_outcome(outcome).await;
        assert_eq!(json!(found.len()), results["overall"][outcome], "{outcome}: {found:?}");
    }
    assert_eq!(by_outcome("failed").await, [4, 2]);
    assert_eq!(results["evaluations"]["completed"], 4);
    assert_eq!(results["endings"], json!({ "persona_ended": 0, "agent_ended": 4, "turn_limit": 0 }));
}

#[tokio::test]
async fn endings_are_counted_by_their_cause() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_conversations": 6, "max_turns": 2 })).await;
    let conversations = project.test_conversations(&simulation).await;
    conversations[0].hold(&[]).await;
    for conversation in &conversations[1..3] {
        app.model().on_reply(Behavior::Says(Reply { text: Some("Bye.".to_owned()), ends: true }));
        conversation.say(None, 200).await;
    }
    app.model().on_reply(Behavior::Offline);
    for conversation in &conversations[3..] {
        assert_eq!(conversation.say(Some("Hello."), 200).await["ended"], true);
        // Said again by the worker, which does not know it.
        conversation.end(200).await;
    }
    app.run_jobs().await;
    let results = project.results(&simulation).await;
    assert_eq!(results["endings"], json!({ "persona_ended": 2, "agent_ended": 1, "turn_limit": 3 }));
    assert_eq!(
        results["conversations"],
        json!({ "target": 6, "queued": 0, "in_progress": 0, "ended": 6, "failed": 0, "retried": 0 })
    );
}

fn no_usage() -> Value {
    json!({
        "calls": 0, "failed_calls": 0, "unpriced_calls": 0, "input_tokens": 0, "cached_input_tokens": 0,
        "cache_write_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0, "cost_usd": 0.0,
    })
}
