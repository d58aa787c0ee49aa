#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

use std::path::Path;

use serde_json::json;

use super::*;
use crate::TargetSpec;

fn about() -> ConversationInfo {
    ConversationInfo {
        agent_id: "a".into(),
        conversation_id: "c".into(),
        simulation_id: "s".into(),
        attempt: 2,
        metadata: Map::new(),
    }
}

fn says(texts: &[&str]) -> Vec<Message> {
    let roles = [Role::User, Role::Assistant].into_iter().cycle();
    texts.iter().zip(roles).map(|(text, role)| Message { role, text: (*text).to_owned() }).collect()
}

/// A command that runs a shell script.
fn script(script: &str) -> Command {
    let spec = json!({ "command": {
        "run": ["sh", "-c", script], "env": { "TOKEN": "${env:TOKEN}" }, "timeout_seconds": 30,
    } });
    let TargetSpec::Command(spec) = serde_json::from_value(spec).unwrap() else { panic!("no command") };
    Command::new(&spec, &mut |_| Some("a-secret-token".to_owned())).unwrap()
}

async fn answer(text: &str) -> Result<Reply, TargetError> {
    let mut session = script(text).start(&about()).unwrap();
    session.reply(&about(), &says(&["Hi"])).await
}

#[tokio::test]
async fn command_receives_and_writes_one_line_per_turn() {
    let directory = tempfile::tempdir().unwrap();
    let heard = directory.path().join("heard");
    let text = r#"
        read -r line; printf '%s\n' "$line" > HEARD; echo '{"reply": "Hello", "more": 1}'
        read -r line; echo; echo '{"reply": "Bye", "end": true}'
        read -r line || echo done >> HEARD"#;
    let text = text.replace("HEARD", heard.to_str().unwrap());
    let mut session = script(&text).start(&about()).unwrap();
    let reply = session.reply(&about(), &says(&["Hi \"there\"\n"])).await.unwrap();
    assert_eq!(reply, Reply { text: Some("Hello".into()), end: false });
    let reply = session.reply(&about(), &says(&["Hi", "Hello", "So?"])).await.unwrap();
    assert_eq!(reply, Reply { text: Some("Bye".into()), end: true });
    session.close().await;
    let heard = std::fs::read_to_string(heard).unwrap();
    let (line, rest) = heard.split_once('\n').unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(line).unwrap(),
        json!({
            "agent_id": "a", "conversation_id": "c", "simulation_id": "s", "attempt": 2, "metadata": {},
            "turn": 1, "message": "Hi \"there\"\n",
            "messages": [{ "role": "user", "content": "Hi \"there\"\n" }],
        })
    );
    assert_eq!(rest, "done\n", "closing waits for the command's exit");
}

#[tokio::test]
async fn command_may_end_without_a_message() {
    let reply = answer(r#"read -r line; echo '{"end": true}'"#).await.unwrap();
    assert_eq!(reply, Reply { text: None, end: true });
}

#[tokio::test]
async fn unusable_answer_is_reported_with_an_excerpt() {
    for (text, expected) in [
        (
            r"read -r line; printf 'loading \033[1mmodel\n'",
            "is not JSON; write logs to standard error (expected value at line 1 column 1): `loading \\u{1b}[1mmodel`",
        ),
        (
            r#"read -r line; echo '{"reply": 7}'"#,
            "has the wrong form (invalid type: integer `7`, expected a string",
        ),
        (r"read -r line; echo '{}'", "has neither `reply` nor `\"end\": true`"),
        (r"read -r line; printf '\377\n'", "the command's output: Unable to decode input as UTF8"),
        ("read -r line; head -c 2000000 /dev/zero | tr '\\0' x", "a line of more than 1048576 bytes"),
        (
            r#"read -r line; printf '{"reply": "%s"}\n' "$(head -c 33000 /dev/zero | tr '\0' x)""#,
            "the reply must be at most 32000 characters long",
        ),
    ] {
        let error = answer(text).await.unwrap_err();
        assert_eq!(error.kind(), "unusable", "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn line_that_nothing_asked_for_is_refused() {
    let mut session =
        script(r#"printf '{"reply": "1"}\n{"reply": "2"}\n'; cat >/dev/null"#).start(&about()).unwrap();
    // Both lines arrive together, before or after the first question.
    let first = session.reply(&about(), &says(&["Hi"])).await;
    let second = session.reply(&about(), &says(&["Hi", "1", "So?"])).await;
    let error = [first, second].into_iter().find_map(Result::err).unwrap();
    assert!(error.to_string().contains("without being asked: `{\"reply\": \""), "{error}");
}

#[tokio::test]
async fn error_of_the_command_is_a_refusal_without_secrets() {
    let error = answer(r#"read -r line; echo "{\"error\": \"bad token $TOKEN\"}""#).await.unwrap_err();
    assert_eq!(error, TargetError::Refused("bad token [redacted]".into()));
}

#[tokio::test]
async fn end_of_the_command_is_reported_with_its_last_words() {
    let text = "read -r line; echo 'Traceback:' >&2; echo \"KeyError: $TOKEN\" >&2; exit 3";
    let error = answer(text).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the agent broke off: the command ended (exit status: 3); it wrote: Traceback: / KeyError: [redacted]"
    );
}

#[tokio::test(start_paused = true)]
async fn silent_command_times_out() {
    // The paused clock passes the limit as soon as everything waits.
    let error = answer("cat >/dev/null").await.unwrap_err();
    assert_eq!(error, TargetError::TimedOut(Duration::from_secs(30)));
}

#[tokio::test]
async fn missing_program_is_unreachable() {
    let spec = CommandSpec {
        run: vec!["/no/such/agent".into()],
        env: std::collections::BTreeMap::default(),
        cwd: None,
        timeout_seconds: crate::spec::Timeout::default(),
    };
    let command = Command::new(&spec, &mut |_| None).unwrap();
    let error = command.start(&about()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the agent cannot be reached: cannot start `/no/such/agent`: No such file or directory (os error 2)"
    );
    assert!(!Path::new("/no/such/agent").exists());
}

#[tokio::test]
async fn processes_of_the_command_are_killed_with_it() {
    let text = r#"sleep 1000 & read -r line; echo '{"reply": "Hello"}'; read -r line"#;
    let mut session = script(text).start(&about()).unwrap();
    session.reply(&about(), &says(&["Hi"])).await.unwrap();
    let CommandSession { group, mut errors, .. } = session;
    drop(group);
    // `sleep` holds standard error open for as long as it lives.
    assert!(errors.is_closed_within(Duration::from_mins(1)).await);
}
