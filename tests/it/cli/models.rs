//! `onerun models check`.

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
