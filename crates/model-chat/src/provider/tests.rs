use std::{collections::VecDeque, sync::atomic::AtomicUsize};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::{
    chat::{ChatMessage, ChatRole},
    schema::Schema,
    secret::Secret,
    wire::OpenAi,
};

mod limits;

static SCHEMA: Schema = Schema { name: "answer", properties: &[] };

/// A clock for signatures, which OpenAI's wire does not have.
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        "2026-11-30T12:00:00Z".parse().unwrap()
    }
}

/// The next step of a scripted transport.
enum Step {
    Respond(u16, Value),
    RetryAfter(u16, &'static str),
    Fail(TransportError),
    /// Never answers.
    Hang,
    /// Answers after the notice.
    Wait(Arc<Notify>),
}

/// A transport that follows a script, and answers `ok` when that is finished.
#[derive(Default)]
struct Script {
    steps: Mutex<VecDeque<Step>>,
    requests: Mutex<Vec<Value>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self { steps: Mutex::new(steps.into_iter().collect()), ..Self::default() })
    }

    fn sent(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn request(&self, index: usize) -> Value {
        self.requests.lock().unwrap()[index].clone()
    }
}

fn says(text: &str) -> Value {
    json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
}

fn ok() -> Value {
    says("{}")
}

fn answer(status: u16, body: &Value) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::from(body.to_string())).unwrap()
}

#[async_trait]
impl Transport for Script {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        self.requests.lock().unwrap().push(serde_json::from_slice(request.body()).unwrap());
        let now = self.at_once.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
        let step = self.steps.lock().unwrap().pop_front();
        let result = match step {
            None => Ok(answer(200, &ok())),
            Some(Step::Respond(status, body)) => Ok(answer(status, &body)),
            Some(Step::RetryAfter(status, wait)) => {
                let mut response = answer(status, &json!({"error": "later"}));
                response.headers_mut().insert("retry-after", wait.parse().unwrap());
                Ok(response)
            }
            Some(Step::Fail(error)) => Err(error),
            Some(Step::Hang) => {
                sleep(timeout * 2).await;
                Ok(answer(200, &ok()))
            }
            Some(Step::Wait(notify)) => {
                notify.notified().await;
                Ok(answer(200, &ok()))
            }
        };
        self.at_once.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        result
    }
}

fn limited(script: &Arc<Script>, limits: Limits) -> Provider {
    let wire = Wire::OpenAi(OpenAi::new(None, Secret::parse("sk-test")).unwrap());
    let circuit = CircuitConfig { failures: 3, pause: Duration::from_secs(30) };
    Provider::new(wire, Arc::clone(script) as Arc<dyn Transport>, Arc::new(FixedClock), limits, circuit)
}

fn provider(script: &Arc<Script>) -> Provider {
    limited(script, Limits::default())
}

fn request() -> ChatRequest {
    ChatRequest {
        system: "Be Ann.".into(),
        messages: vec![ChatMessage { role: ChatRole::User, text: "Hi".into() }],
        questions: Vec::new(),
        schema: Some(&SCHEMA),
        max_tokens: 10,
        temperature: Some(0.1),
        seed: Some(1),
    }
}

fn after(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

async fn send(provider: &Provider, seconds: u64) -> Result<ChatAnswer, ChatError> {
    provider.send("m", &request(), after(seconds), &Sent::default()).await
}

fn refusal(parameter: &str) -> Step {
    let error = json!({"message": "unsupported", "param": parameter, "code": "unsupported_parameter"});
    Step::Respond(400, json!({"error": error}))
}

fn down() -> Step {
    Step::Respond(500, json!({"error": {"message": "internal"}}))
}

fn broken() -> TransportError {
    TransportError::Broken("reset".into())
}

#[tokio::test(start_paused = true)]
async fn refused_parameters_are_left_out_from_then_on() {
    let script =
        Script::new([refusal("temperature"), refusal("response_format"), refusal("response_format")]);
    let provider = provider(&script);
    assert_eq!(send(&provider, 20).await.unwrap().text.as_deref(), Some("{}"));
    assert_eq!(script.sent(), 4);
    assert_eq!(script.request(0)["response_format"]["type"], "json_schema");
    assert_eq!(script.request(2)["response_format"]["type"], "json_object");
    let last = script.request(3);
    assert!(last.get("response_format").is_none() && last.get("temperature").is_none(), "{last}");
    assert_eq!(last["seed"], 1);

    send(&provider, 20).await.unwrap();
    assert_eq!((script.sent(), script.request(4)), (5, last));
    // Another model may accept them.
    provider.send("other", &request(), after(20), &Sent::default()).await.unwrap();
    assert_eq!(script.request(5)["temperature"], 0.1);
}

#[tokio::test(start_paused = true)]
async fn ignored_schema_is_conveyed_in_another_way() {
    let prose = || Step::Respond(200, says("Hello!"));
    let script = Script::new([prose(), Step::Respond(200, says("```json\n{}\n```")), prose(), prose()]);
    let provider = provider(&script);
    for _ in 0..5 {
        send(&provider, 20).await.unwrap();
    }
    let formats: Vec<Value> =
        (0..5).map(|index| script.request(index)["response_format"]["type"].clone()).collect();
    let expected =
        ["json_schema".into(), "json_object".into(), "json_object".into(), Value::Null, Value::Null];
    assert_eq!(formats, expected);
}

#[tokio::test(start_paused = true)]
async fn prose_that_was_asked_for_or_cut_off_changes_nothing() {
    let cut = json!({"choices": [{"message": {"content": "{\"a"}, "finish_reason": "length"}]});
    let refused = json!({"choices": [{"message": {"content": null, "refusal": "no"}}]});
    let script =
        Script::new([Step::Respond(200, says("Hi")), Step::Respond(200, cut), Step::Respond(200, refused)]);
    let provider = provider(&script);
    let prose = ChatRequest { schema: None, ..request() };
    provider.send("m", &prose, after(20), &Sent::default()).await.unwrap();
    for _ in 0..3 {
        send(&provider, 20).await.unwrap();
    }
    assert_eq!(script.request(3)["response_format"]["type"], "json_schema");
}

#[tokio::test(start_paused = true)]
async fn endless_refusals_are_a_wrong_configuration() {
    let script = Script::new(std::iter::repeat_with(|| refusal("max_tokens")).take(50));
    let error = send(&provider(&script), 20).await.unwrap_err();
    assert!(matches!(error, ChatError::Configuration(_)), "{error:?}");
    assert_eq!(script.sent(), MAX_NEGOTIATION);
}

#[tokio::test(start_paused = true)]
async fn refusal_of_an_unused_parameter_changes_nothing() {
    let script = Script::new([refusal("response_format")]);
    let provider = provider(&script);
    let prose = ChatRequest { schema: None, ..request() };
    let error = provider.send("m", &prose, after(20), &Sent::default()).await.unwrap_err();
    assert!(matches!(error, ChatError::Configuration(_)), "{error:?}");
    send(&provider, 20).await.unwrap();
    assert_eq!(script.request(1)["response_format"]["type"], "json_schema");
}

#[tokio::test(start_paused = true)]
async fn rate_limit_is_waited_for_within_the_deadline() {
    let script = Script::new([Step::RetryAfter(429, "3")]);
    let start = Instant::now();
    send(&provider(&script), 20).await.unwrap();
    assert_eq!((script.sent(), start.elapsed()), (2, Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn rate_limit_past_the_deadline_is_reported_at_once() {
    let script = Script::new([Step::RetryAfter(429, "60")]);
    let provider = provider(&script);
    let start = Instant::now();
    let error = send(&provider, 20).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_mins(1)));
    assert!(error.was_sent() && error.is_temporary());
    // The next caller leaves the parameter out at once.
    let error = send(&provider, 20).await.unwrap_err();
    assert_eq!(error, ChatError::Busy { retry_after: Some(Duration::from_mins(1)) });
    assert_eq!((script.sent(), start.elapsed()), (1, Duration::ZERO));
    // Other models are not affected.
    provider.send("other", &request(), after(20), &Sent::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn call_that_waits_for_a_pause_leaves_room_to_other_models() {
    let script = Script::new([Step::RetryAfter(429, "10")]);
    let provider = Arc::new(limited(&script, Limits { concurrency: 1, per_minute: None }));
    send(&provider, 5).await.unwrap_err();
    let waiting = {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { send(&provider, 20).await })
    };
    tokio::task::yield_now().await;
    let start = Instant::now();
    provider.send("other", &request(), after(5), &Sent::default()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    waiting.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn overload_with_a_time_to_try_again_is_no_failure() {
    let script = Script::new(std::iter::repeat_with(|| Step::RetryAfter(503, "2")).take(9));
    let provider = provider(&script);
    for _ in 0..9 {
        let error = send(&provider, 1).await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)), "{error:?}");
        sleep(Duration::from_secs(2)).await;
    }
    send(&provider, 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn second_rate_limit_is_reported() {
    let script = Script::new([Step::RetryAfter(429, "1"), Step::RetryAfter(503, "1"), down()]);
    let error = send(&provider(&script), 20).await.unwrap_err();
    assert!(matches!(error, ChatError::Overloaded { .. }), "{error:?}");
    assert_eq!(script.sent(), 2);
}

#[tokio::test(start_paused = true)]
async fn refused_connection_is_tried_again_once() {
    let refused = || Step::Fail(TransportError::Connect("refused".into()));
    let script = Script::new([refused()]);
    send(&provider(&script), 20).await.unwrap();
    assert_eq!(script.sent(), 2);

    let script = Script::new([refused(), refused(), refused()]);
    let error = send(&provider(&script), 20).await.unwrap_err();
    assert!(matches!(error, ChatError::Connect(_)) && !error.was_sent(), "{error:?}");
    assert_eq!(script.sent(), 2);
}

#[tokio::test(start_paused = true)]
async fn call_that_may_be_billed_is_not_repeated() {
    for step in [
        Step::Hang,
        Step::Fail(TransportError::Timeout),
        Step::Fail(broken()),
        Step::Fail(TransportError::TooLarge),
        Step::Respond(200, json!({"choices": []})),
        down(),
        Step::Respond(503, json!({"error": "no Retry-After"})),
        Step::Respond(429, json!({"error": "no Retry-After"})),
    ] {
        let script = Script::new([step]);
        send(&provider(&script), 20).await.unwrap_err();
        assert_eq!(script.sent(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn long_rate_limit_is_checked_again_after_a_minute() {
    let script = Script::new([Step::RetryAfter(429, "86400")]);
    let provider = provider(&script);
    let error = send(&provider, 20).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_hours(24)));
    sleep(LONGEST_PAUSE).await;
    send(&provider, 20).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn missing_recording_is_no_failure_of_the_provider() {
    let missing = || Step::Fail(TransportError::NotRecorded("trial 1 is not in the recording".into()));
    let script = Script::new(std::iter::repeat_with(missing).take(1000));
    let provider = provider(&script);
    for _ in 0..4 {
        let error = send(&provider, 20).await.unwrap_err();
        assert_eq!(error.detail(), Some("trial 1 is not in the recording"));
        assert!(!error.was_sent() && !error.is_temporary());
    }
}

/// Sends the requests in this order through a new provider.
async fn talk(transport: Arc<dyn Transport>, texts: &[&str]) -> Vec<Result<ChatAnswer, ChatError>> {
    let wire = Wire::OpenAi(OpenAi::new(None, Secret::parse("sk-test")).unwrap());
    let provider =
        Provider::new(wire, transport, Arc::new(FixedClock), Limits::default(), CircuitConfig::default());
    let mut results = Vec::new();
    for text in texts {
        let message = ChatMessage { role: ChatRole::User, text: (*text).into() };
        let request = ChatRequest { messages: vec![message], ..request() };
        results.push(provider.send("m", &request, after(20), &Sent::default()).await);
    }
    results
}

#[tokio::test]
async fn recording_is_replayed_in_another_order() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("calls.jsonl");
    let steps = Script::new([refusal("temperature"), refusal("response_format")]);
    // `a` finds out what the model supports; `b` and `c` are recorded in their final form only.
    let recording = crate::RecordingTransport::new(steps, &path).unwrap();
    let recorded = talk(Arc::new(recording), &["a", "b", "c", "b"]).await;
    for order in [["a", "b", "b", "c"], ["c", "b", "b", "a"], ["b", "a", "c", "b"]] {
        let replay = Arc::new(crate::ReplayingTransport::open(&path).unwrap());
        assert_eq!(talk(Arc::clone(&replay) as Arc<dyn Transport>, &order).await, recorded, "{order:?}");
        let error = talk(replay, &["d"]).await.remove(0).unwrap_err();
        assert!(matches!(error, ChatError::NotRecorded(_)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn transport_that_hangs_is_cut_off_at_the_deadline() {
    let script = Script::new([Step::Hang]);
    let start = Instant::now();
    assert_eq!(send(&provider(&script), 20).await, Err(ChatError::Timeout));
    assert_eq!(start.elapsed(), Duration::from_secs(20));
}
