//! Targets over HTTP, with a scripted transport.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use onerun_transport::TransportError;
use serde_json::json;

use super::*;

type Answer = Result<Response<Bytes>, TransportError>;

/// Gives prepared answers and records the requests.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<Request<Bytes>>>,
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request<Bytes>, _: Duration) -> Answer {
        self.requests.lock().unwrap().push(request);
        self.answers.lock().unwrap().pop_front().unwrap()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "answers may also be errors")]
fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    Ok(Response::builder().status(status).body(body.into()).unwrap())
}

fn variables(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("a-secret-token".into()),
        "HOST" => Some("agents.example.com".into()),
        _ => None,
    }
}

fn target(spec: Value, answers: Vec<Answer>) -> (Target, Arc<Script>) {
    let script = Arc::new(Script { answers: Mutex::new(answers.into()), ..Script::default() });
    let spec: TargetSpec = serde_json::from_value(spec).unwrap();
    (Target::new(&spec, &mut variables, Arc::clone(&script) as Arc<dyn Transport>).unwrap(), script)
}

fn chat() -> Value {
    json!({ "openai": {
        "url": "https://${env:HOST}/v1/", "model": "m", "api_key_env": "TOKEN", "system": "Be brief.",
        "headers": { "X-Team": "a" },
    } })
}

fn endpoint() -> Value {
    json!({ "http": {
        "url": "http://localhost:8000/chat?v=1", "method": "PUT",
        "headers": { "Authorization": "Token ${env:TOKEN}" },
        "body": { "message": "{{ message }}", "session": "{{ conversation_id }}", "history": "{{ messages }}" },
        "reply": "$.output[-1].text", "end": "$.done",
    } })
}

fn transcript() -> Vec<Message> {
    [(Role::User, "Hi"), (Role::Assistant, "Hello"), (Role::User, "Say \"so\"")]
        .map(|(role, text)| Message { role, text: text.into() })
        .into()
}

async fn reply(spec: Value, answers: Vec<Answer>) -> (Result<Reply, TargetError>, Vec<Request<Bytes>>) {
    let (target, script) = target(spec, answers);
    let about = ConversationInfo {
        conversation_id: "c1".into(),
        simulation_id: "s1".into(),
        attempt: 1,
        ..ConversationInfo::default()
    };
    let mut session = target.open(&about).await.unwrap();
    let reply = session.reply(&transcript()).await;
    session.close().await;
    let requests = std::mem::take(&mut *script.requests.lock().unwrap());
    (reply, requests)
}

fn message(text: &str) -> Reply {
    Reply { text: Some(text.into()), end: false }
}

#[tokio::test]
async fn chat_api_receives_the_whole_conversation() {
    let body = json!({ "choices": [{ "message": { "role": "assistant", "content": "So." }, "finish_reason": "x" }] });
    let (replied, requests) = reply(chat(), vec![answer(200, body.to_string())]).await;
    assert_eq!(replied.unwrap(), message("So."));
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri(), "https://agents.example.com/v1/chat/completions");
    for (name, value) in [
        ("authorization", "Bearer a-secret-token"),
        ("content-type", "application/json"),
        ("x-team", "a"),
        ("x-onerun-conversation-id", "c1"),
        ("x-onerun-simulation-id", "s1"),
    ] {
        assert_eq!(request.headers()[name], value);
    }
    assert_eq!(
        serde_json::from_slice::<Value>(request.body()).unwrap(),
        json!({ "model": "m", "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Hi" },
            { "role": "assistant", "content": "Hello" },
            { "role": "user", "content": "Say \"so\"" },
        ] })
    );
}

#[tokio::test]
async fn chat_reply_in_parts_is_joined() {
    let parts = json!([{ "type": "text", "text": "So" }, { "type": "text", "text": "." }]);
    let body = json!({ "choices": [{ "message": { "content": parts } }] });
    assert_eq!(reply(chat(), vec![answer(200, body.to_string())]).await.0.unwrap(), message("So."));
}

#[tokio::test]
async fn endpoint_receives_the_rendered_document() {
    let body = json!({ "output": [{ "text": "a" }, { "text": "So." }], "done": true });
    let (replied, requests) = reply(endpoint(), vec![answer(201, body.to_string())]).await;
    assert_eq!(replied.unwrap(), Reply { text: Some("So.".into()), end: true });
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(
        (request.method().as_str(), request.uri().to_string().as_str()),
        ("PUT", "http://localhost:8000/chat?v=1")
    );
    assert_eq!(request.headers()["authorization"], "Token a-secret-token");
    assert_eq!(
        serde_json::from_slice::<Value>(request.body()).unwrap(),
        json!({
            "message": "Say \"so\"",
            "session": "c1",
            "history": [
                { "role": "user", "content": "Hi" },
                { "role": "assistant", "content": "Hello" },
                { "role": "user", "content": "Say \"so\"" },
            ],
        })
    );
}

#[tokio::test]
async fn endpoint_may_end_without_a_reply() {
    let (replied, _) = reply(endpoint(), vec![answer(200, r#"{"done": true}"#)]).await;
    assert_eq!(replied.unwrap(), Reply { text: None, end: true });
}

#[tokio::test]
async fn unusable_response_is_an_error_with_the_next_step() {
    for (spec, response, kind, expected) in [
        (chat(), answer(200, "<html>\u{1b}[31m"), "unusable", "it is not JSON: <html>\\u{1b}[31m"),
        (chat(), answer(204, ""), "unusable", "status 204 No Content without a body"),
        (chat(), answer(200, "{}"), "unusable", "no text at $.choices[0].message.content"),
        (
            chat(),
            answer(
                200,
                json!({ "choices": [{ "message": { "content": null, "tool_calls": [{}] } }] }).to_string(),
            ),
            "unusable",
            "the agent must run its tools itself",
        ),
        (
            chat(),
            answer(401, "bad key a-secret-token"),
            "refused",
            "status 401 Unauthorized: bad key [redacted]",
        ),
        (chat(), answer(302, ""), "refused", "status 302 Found"),
        (endpoint(), answer(200, "{}"), "unusable", "no reply at $.output[-1].text"),
        (
            endpoint(),
            answer(200, r#"{"output": [{"text": 7}]}"#),
            "unusable",
            "`reply` ($.output[-1].text) is no text",
        ),
        (
            endpoint(),
            answer(200, r#"{"done": "yes"}"#),
            "unusable",
            "`end` ($.done) is neither true nor false",
        ),
        (
            endpoint(),
            answer(200, json!({ "output": [{ "text": "x".repeat(32_001) }] }).to_string()),
            "unusable",
            "the reply must be at most 32000 characters long",
        ),
        (endpoint(), Err(TransportError::Timeout), "timed_out", "within 60 s"),
        (endpoint(), Err(TransportError::Broken("reset".into())), "broke_off", "broke off: reset"),
        (endpoint(), Err(TransportError::TooLarge), "unusable", "too large"),
    ] {
        let (replied, requests) = reply(spec, vec![response]).await;
        let error = replied.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(requests.len(), 1, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_was_not_processed_is_repeated() {
    let refused = || Err(TransportError::Connect("refused".into()));
    let done = || answer(200, r#"{"output": [{"text": "So."}]}"#);
    let (replied, requests) = reply(endpoint(), vec![refused(), answer(503, ""), done()]).await;
    assert_eq!((replied.unwrap(), requests.len()), (message("So."), 3));
    let (replied, requests) = reply(endpoint(), vec![refused(), refused(), refused()]).await;
    assert_eq!((replied.unwrap_err().kind(), requests.len()), ("unreachable", 3));
}

#[tokio::test(start_paused = true)]
async fn wait_that_the_agent_asks_for_stays_within_the_timeout() {
    let busy = |seconds: &str| {
        Ok(Response::builder().status(429).header("retry-after", seconds).body(Bytes::new()).unwrap())
    };
    let done = answer(200, r#"{"output": [{"text": "So."}]}"#);
    let started = tokio::time::Instant::now();
    let (replied, requests) = reply(endpoint(), vec![busy("20"), done]).await;
    assert_eq!((replied.unwrap(), requests.len()), (message("So."), 2));
    assert!(started.elapsed() >= Duration::from_secs(20));
    let (replied, requests) = reply(endpoint(), vec![busy("60")]).await;
    assert_eq!((replied.unwrap_err().kind(), requests.len()), ("refused", 1));
}

#[tokio::test]
async fn missing_variable_or_wrong_value_is_refused_with_its_field() {
    let transport = || Arc::new(Script::default()) as Arc<dyn Transport>;
    for (spec, variable, expected) in [
        (chat(), None, "openai.url: the environment variable HOST is not set"),
        (chat(), Some("a b"), "openai.url: is not a URL"),
        (endpoint(), None, "http.headers.Authorization: the environment variable TOKEN is not set"),
        (endpoint(), Some("a\nb"), "http.headers.Authorization: the value is not one line of text"),
        (json!("workers"), None, "the target is `workers`"),
    ] {
        let spec: TargetSpec = serde_json::from_value(spec).unwrap();
        let mut variables = |_: &str| variable.map(str::to_owned);
        let error = Target::new(&spec, &mut variables, transport()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn target_is_shown_without_secrets() {
    let (chat, _) = target(chat(), Vec::new());
    assert_eq!(chat.to_string(), "https://agents.example.com/v1/chat/completions");
    let (endpoint, _) = target(endpoint(), Vec::new());
    assert_eq!(format!("{endpoint:?}"), "http://localhost:8000/chat");
    let (command, _) = target(json!({ "command": ["python", "agent.py"] }), Vec::new());
    assert_eq!(command.to_string(), "python agent.py");
}
