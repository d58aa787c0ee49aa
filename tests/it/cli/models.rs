//! `onerun models check`.

use onerun_tests::decisions::DecisionServer;

use super::{CliOutput, run_with};

async fn check(arguments: &[&str], environment: &[(&str, &str)]) -> CliOutput {
    run_with("http://127.0.0.1:1", "", &[&["models", "check"], arguments].concat(), environment).await
}

#[tokio::test]
async fn offline_model_is_checked_without_variables() {
    let ran = check(&[], &[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for purpose in ["ok   persona  offline", "ok   reply    offline", "ok   verdict  offline"] {
        assert!(ran.stdout.contains(purpose), "{ran:?}");
    }
}

#[tokio::test]
async fn missing_credentials_are_named_with_the_next_step() {
    for (model, named) in [
        ("openai:gpt-5.4-mini", "OPENAI_API_KEY: must be set, or OPENAI_BASE_URL"),
        ("anthropic:claude-sonnet-5-5", "ANTHROPIC_API_KEY: must be set, or ANTHROPIC_BASE_URL"),
        ("bedrock:eu.amazon.nova-lite-v1:0", "AWS_REGION: must be set"),
    ] {
        let ran = check(&["--model", model], &[]).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(named), "{ran:?}");
    }
    let ran = check(&["--model", "gpt-5"], &[]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("`provider:model`"), "{ran:?}");
}

#[tokio::test]
async fn unreachable_provider_fails_each_check() {
    let environment = [("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"), ("OPENAI_API_KEY", "sk-secret-0123")];
    let ran = check(&["--model", "openai:gpt-5.4-mini"], &environment).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.stdout.matches("FAIL").count(), 3, "{ran:?}");
    assert!(ran.stdout.contains("could not be reached; check the base URL"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("sk-secret"), "{ran:?}");
}

#[tokio::test]
async fn decision_model_is_asked_for_a_verdict_alone() {
    let judge = DecisionServer::start([0.9, 0.1, 0.0]).await;
    let variables = judge.variables();
    let ran = check(&[], &variables.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("ok   verdict  openai-decisions:gpt-6-luna"), "{ran:?}");

    let ran = check(&["--model", "openai-decisions:gpt-6-luna"], &[("OPENAI_API_KEY", "sk-test")]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    for variable in ["ONERUN_PERSONA_MODEL", "ONERUN_REPLY_MODEL"] {
        let said = format!("{variable}: must name a model that writes text");
        assert!(ran.stderr.contains(&said), "{ran:?}");
    }
}
