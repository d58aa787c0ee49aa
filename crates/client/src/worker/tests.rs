mod claims;

use std::{
    collections::VecDeque,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::{Semaphore, mpsc::UnboundedReceiver};

use super::{
    hold::Ending,
    workload::{FoundConversation, Workload},
    *,
};
use crate::{resource::Role, testing};

const SIMULATIONS: &str = r#"{"data":[{"id":"s","name":"S","status":"in_progress",
    "last_failure_reason":null,"target_conversations":1,"seed":1,
    "models":{"persona":"offline","reply":"offline","judge":"offline"},"agent":{"id":"a","name":"A"},"scenario":"",
    "target_personas":1,"max_turns":12,"created_at":"2026-11-25T10:00:00Z",
    "metadata":{"commit":"c0ffee"}}],"has_more":false}"#;

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n\r\n{body}")
}

fn refusal(status: u16, code: &str) -> String {
    format!("HTTP/1.1 {status} Refused\r\n\r\n{{\"code\":\"{code}\",\"message\":\"no\"}}")
}

fn conversations(ids: &[&str]) -> String {
    let data: Vec<_> = ids
        .iter()
        .map(|id| {
            format!(
                r#"{{"id":"{id}","simulation_id":"s","seq_id":1,"status":"queued","attempt":1,"item_count":0,
                "end_reason":null,"evaluation_status":"pending",
                "evaluations":[],"persona":{{"id":"p","seq_id":1,"approval_status":"approved","summary":"","story":"","purpose":""}}}}"#
            )
        })
        .collect();
    ok(&format!(r#"{{"data":[{}],"has_more":false}}"#, data.join(",")))
}

fn says(text: &str, ended: bool) -> String {
    ok(&format!(
        r#"{{"ended":{ended},"output":[{{"type":"message","content":[{{"type":"text","text":"{text}"}}]}}]}}"#
    ))
}

/// Replies with a counter, `most` times.
#[derive(Default)]
struct Counting {
    most: u32,
    replies: AtomicU32,
    ends_after: Option<u32>,
    heard: Mutex<Vec<Message>>,
    about: Mutex<ConversationInfo>,
}

impl Counting {
    fn new(most: u32) -> Arc<Self> {
        Arc::new(Self { most, ..Self::default() })
    }
}

impl Agent for Arc<Counting> {
    type Session = Self;

    async fn open(&self, about: &ConversationInfo) -> Result<Self, AgentError> {
        *self.about.lock().unwrap() = about.clone();
        Ok(Arc::clone(self))
    }
}

impl AgentSession for Arc<Counting> {
    async fn reply(&mut self, transcript: &[Message]) -> Result<Reply, AgentError> {
        *self.heard.lock().unwrap() = transcript.to_vec();
        let nth = self.replies.fetch_add(1, Ordering::Relaxed);
        let text = (nth < self.most).then(|| format!("reply {nth}"));
        Ok(Reply { end: text.is_none() || self.ends_after == Some(nth), text })
    }
}

/// The refusal of a claim by a server that does not know claims.
fn refused_claim(request: &str) -> Option<String> {
    request.starts_with("POST /v1/conversations/claim").then(|| refusal(404, "route_not_found"))
}

/// Runs a worker until its conversation is over, with a server that does not know claims, lists one conversation once
/// and sends `answers` to the other calls.
async fn work<A: Agent>(agent: A, answers: Vec<String>) -> (WorkerReport, Vec<String>) {
    work_with(WorkerOptions::default(), agent, answers).await
}

async fn work_with<A: Agent>(
    options: WorkerOptions,
    agent: A,
    answers: Vec<String>,
) -> (WorkerReport, Vec<String>) {
    work_until(Arc::new(Semaphore::new(0)), options, agent, answers).await
}

/// [`work_with`], which also ends once `stop` has a permit.
async fn work_until<A: Agent>(
    stop: Arc<Semaphore>,
    options: WorkerOptions,
    agent: A,
    answers: Vec<String>,
) -> (WorkerReport, Vec<String>) {
    let status: Arc<OnceLock<Arc<WorkerStatus>>> = Arc::default();
    let (of_worker, over) = (Arc::clone(&status), Arc::clone(&stop));
    let mut listed = false;
    let mut answers = VecDeque::from(answers);
    let (client, requests) = testing::serving(move |request| {
        if let Some(refusal) = refused_claim(request) {
            refusal
        } else if request.starts_with("GET /v1/simulations?") {
            // The worker polls on, so one of its polls follows the end of the conversation.
            if of_worker.get().is_some_and(|status| status.report() != WorkerReport::default()) {
                over.add_permits(1);
            }
            ok(SIMULATIONS)
        } else if request.starts_with("GET") {
            let ids: &[&str] = if listed { &[] } else { &["c"] };
            listed = true;
            conversations(ids)
        } else {
            answers.pop_front().unwrap_or_default()
        }
    })
    .await;
    let options = WorkerOptions { poll_interval: Duration::from_millis(5), ..options };
    let worker = Worker::new(client.project("p"), "a", agent).with_options(options);
    status.set(worker.status()).unwrap();
    let report = worker.run(async { stop.acquire().await.unwrap().forget() }).await.unwrap();
    (report, posts(requests))
}

/// The POST requests: path, `Idempotency-Key` and text.
fn posts(mut requests: UnboundedReceiver<String>) -> Vec<String> {
    let (mut posts, mut starts) = (Vec::new(), Vec::new());
    while let Ok(request) = requests.try_recv() {
        let Some(rest) = request.strip_prefix("POST /v1/simulations/s/conversations/c/") else {
            continue;
        };
        let (path, rest) = rest.split_once("?project_id=p").unwrap();
        let key = rest.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap_or_default();
        let words = rest.split_once("\"text\":\"").or_else(|| rest.split_once("\"reason\":\""));
        let said = words.map_or("", |(_, said)| said.split('"').next().unwrap());
        if path == "start" {
            // The key is random, so only repetitions are compared.
            assert_eq!(key.len(), 32);
            starts.push(key.to_owned());
            let first = starts.iter().position(|start| start == key).unwrap();
            posts.push(if first + 1 == starts.len() { "start" } else { "start again" }.to_owned());
            continue;
        }
        posts.push(format!("{path} {key} {said}").trim_end().to_owned());
    }
    posts
}

#[tokio::test]
async fn conversation_is_held_to_its_end() {
    let agent = Counting::new(9);
    let asked = Arc::clone(&agent);
    let started = ok(r#"{"attempt":1}"#);
    let (report, posts) =
        work(agent, vec![started, says("Hello", false), says("So?", false), says("Bye", true)]).await;
    assert_eq!(posts, ["start", "responses c.1.0", "responses c.1.1 reply 0", "responses c.1.2 reply 1"]);
    assert_eq!(report, WorkerReport { held: 1, ..WorkerReport::default() });
    let heard: Vec<_> =
        asked.heard.lock().unwrap().iter().map(|message| (message.role, message.text.clone())).collect();
    assert_eq!(
        heard,
        [
            (Role::Persona, "Hello".to_owned()),
            (Role::Agent, "reply 0".to_owned()),
            (Role::Persona, "So?".to_owned())
        ]
    );
}

#[tokio::test]
async fn agent_learns_about_its_conversation() {
    let agent = Counting::new(0);
    work(Arc::clone(&agent), vec![ok(r#"{"attempt":2}"#), says("Hello", false), ok("{}")]).await;
    let about = agent.about.lock().unwrap().clone();
    let metadata = serde_json::json!({ "commit": "c0ffee" });
    assert_eq!(
        about,
        ConversationInfo {
            agent_id: "a".into(),
            conversation_id: "c".into(),
            simulation_id: "s".into(),
            attempt: 2,
            metadata: metadata.as_object().unwrap().clone(),
        }
    );
}

#[tokio::test]
async fn last_message_of_the_agent_is_sent_before_the_end() {
    for (persona_ends, last) in [(false, vec!["end"]), (true, vec![])] {
        let agent = Arc::new(Counting { most: 9, ends_after: Some(0), ..Counting::default() });
        let answers = vec![ok(r#"{"attempt":1}"#), says("Hello", false), says("Bye", persona_ends), ok("{}")];
        let (report, posts) = work(agent, answers).await;
        assert_eq!(posts, [vec!["start", "responses c.1.0", "responses c.1.1 reply 0"], last].concat());
        assert_eq!(report.held, 1);
    }
}

#[tokio::test]
async fn agent_without_reply_ends_the_conversation() {
    let answers = vec![ok(r#"{"attempt":2}"#), says("Hello", false), ok("{}")];
    let (report, posts) = work(Counting::new(0), answers).await;
    assert_eq!(posts, ["start", "responses c.2.0", "end"]);
    assert_eq!(report.held, 1);
}

#[tokio::test]
async fn retried_calls_keep_their_idempotency_key() {
    let answers = vec![
        refusal(503, "unavailable"),
        ok(r#"{"attempt":1}"#),
        // The response is lost, and the retry arrives while the turn is in progress.
        String::new(),
        refusal(409, "turn_in_progress"),
        says("Hello", true),
    ];
    let (report, posts) = work(Counting::new(9), answers).await;
    assert_eq!(posts, ["start", "start again", "responses c.1.0", "responses c.1.0", "responses c.1.0"]);
    assert_eq!(report.held, 1);
}

#[tokio::test]
async fn pending_turn_is_repeated_beyond_the_retry_budget() {
    for (reply_budget, held) in [(Duration::from_mins(1), 1), (Duration::ZERO, 0)] {
        let mut answers = vec![ok(r#"{"attempt":1}"#)];
        answers.extend((0..3).map(|_| refusal(503, "turn_pending")));
        answers.push(says("Hello", true));
        let options =
            WorkerOptions { retry_budget: Duration::ZERO, reply_budget, ..WorkerOptions::default() };
        let (report, posts) = work_with(options, Counting::new(9), answers).await;
        let repeated = if held == 1 { 4 } else { 1 };
        let turns: Vec<_> = posts.iter().filter(|post| post.starts_with("responses")).collect();
        assert_eq!(turns, vec!["responses c.1.0"; repeated]);
        assert_eq!((report.held, report.failed), (held, 1 - held));
    }
}

#[tokio::test]
async fn conversation_of_another_worker_is_skipped() {
    for code in [409, 400] {
        let (report, posts) = work(Counting::new(9), vec![refusal(code, "conversation_not_queued")]).await;
        assert_eq!(posts, ["start"]);
        assert_eq!(report, WorkerReport { taken: 1, ..WorkerReport::default() });
    }
}

#[tokio::test]
async fn lost_attempt_gets_no_further_message() {
    let answers = vec![ok(r#"{"attempt":1}"#), says("Hello", false), refusal(409, "stale_attempt")];
    let (report, posts) = work(Counting::new(9), answers).await;
    assert_eq!(posts, ["start", "responses c.1.0", "responses c.1.1 reply 0"]);
    assert_eq!(report, WorkerReport { lost: 1, ..WorkerReport::default() });
}

struct Failing {
    panics: bool,
}

impl Agent for Failing {
    type Session = Self;

    async fn open(&self, _: &ConversationInfo) -> Result<Self, AgentError> {
        Ok(Self { ..*self })
    }
}

impl AgentSession for Failing {
    async fn reply(&mut self, _: &[Message]) -> Result<Reply, AgentError> {
        assert!(!self.panics, "the test asked for a panic");
        Err("out of tokens".into())
    }
}

#[tokio::test]
async fn failing_agent_costs_only_its_conversation() {
    // A server without the route for failures is no obstacle.
    for (panics, answer) in [(false, ok("{}")), (false, refusal(404, "not_found")), (true, ok("{}"))] {
        let answers = vec![ok(r#"{"attempt":1}"#), says("Hello", false), answer];
        let (report, posts) = work(Failing { panics }, answers).await;
        let reason = if panics { "the agent panicked: the test asked for a panic" } else { "out of tokens" };
        assert_eq!(posts, ["start", "responses c.1.0", &format!("fail  {reason}")]);
        assert_eq!(report, WorkerReport { failed: 1, ..WorkerReport::default() });
    }
}

#[tokio::test]
async fn unreachable_server_is_polled_again() {
    let mut polls = 0;
    let (client, _requests) = testing::serving(move |_| {
        polls += 1;
        if polls < 3 { String::new() } else { refusal(401, "revoked_api_key") }
    })
    .await;
    let options = WorkerOptions { poll_interval: Duration::from_millis(5), ..WorkerOptions::default() };
    let worker = Worker::new(client.project("p"), "a", Counting::new(9)).with_options(options);
    let error = worker.run(std::future::pending()).await.unwrap_err();
    assert_eq!(error.code(), Some("revoked_api_key"));
}

#[tokio::test(start_paused = true)]
async fn conversation_that_stays_listed_is_skipped_for_a_while() {
    let (client, _requests) = testing::answering(Vec::new()).await;
    let found = || {
        let client = client.project("p").simulation("s").conversation("c");
        let about = ConversationInfo { conversation_id: "c".into(), ..ConversationInfo::default() };
        vec![FoundConversation { client, about, lease: None }]
    };
    let skip_for = Duration::from_secs(1);
    for ending in [
        Ending::Taken(testing::refused(409, "conversation_not_queued")),
        Ending::Lost(testing::refused(409, "stale_attempt")),
        Ending::Failed("out of tokens".into()),
    ] {
        let mut workload = Workload::new(Arc::default());
        assert!(workload.add(found()));
        assert!(!workload.add(found()), "it waits");
        workload.waiting.clear();
        let task = workload.tasks.spawn(async { ending }).id();
        workload.held.insert(task, "c".into());
        assert!(!workload.add(found()), "it is held");
        let ended = workload.tasks.join_next_with_id().await.unwrap();
        workload.record(ended, skip_for);
        assert!(!workload.add(found()), "it is skipped");
        tokio::time::advance(skip_for).await;
        assert!(workload.add(found()));
    }
}

#[tokio::test]
async fn agents_take_turns() {
    let (client, mut requests) = testing::serving(|request| {
        refused_claim(request).unwrap_or_else(|| ok(r#"{"data":[],"has_more":false}"#))
    })
    .await;
    let options = WorkerOptions { poll_interval: Duration::ZERO, concurrency: 1, ..WorkerOptions::default() };
    let agents = vec!["a".to_owned(), "b".to_owned()];
    let worker = Worker::for_agents(client.project("p"), agents, Counting::new(9)).with_options(options);
    let status = worker.status();
    let run = tokio::spawn(worker.run(std::future::pending()));
    let mut asked = Vec::new();
    while asked.len() < 6 {
        let request = requests.recv().await.unwrap();
        let Some((_, agent)) = request.split_once("agent_id=") else { continue };
        asked.push(agent[..1].to_owned());
    }
    run.abort();
    assert_eq!(asked, ["a", "b", "b", "a", "a", "b"]);
    assert!(status.polls() >= 2 && status.failed_polls() == 0 && status.open() == 0);
}

#[tokio::test]
async fn refused_key_is_read_again_without_a_restart() {
    let (client, mut requests) = testing::serving(|request| {
        if request.contains("x-api-key: new") {
            ok(r#"{"data":[],"has_more":false}"#)
        } else {
            refusal(401, "revoked_api_key")
        }
    })
    .await;
    // The rotation arrives only after some calls.
    let reads = AtomicU32::new(0);
    let client = client.with_key_source(move || {
        let text = if reads.fetch_add(1, Ordering::Relaxed) < 2 { "a-key" } else { "new" };
        crate::ApiKey::new(text).ok()
    });
    let options = WorkerOptions { poll_interval: Duration::ZERO, ..WorkerOptions::default() };
    let worker = Worker::new(client.project("p"), "a", Counting::new(9)).with_options(options);
    let run = tokio::spawn(worker.run(std::future::pending()));
    let mut refused = 0;
    while !requests.recv().await.unwrap().contains("x-api-key: new") {
        refused += 1;
    }
    run.abort();
    assert_eq!(refused, 3);
}

#[tokio::test]
async fn key_that_stays_refused_ends_the_worker() {
    let (client, _requests) = testing::serving(|_| refusal(401, "revoked_api_key")).await;
    let client = client.with_key_source(|| None);
    let options = WorkerOptions { key_budget: Duration::ZERO, ..WorkerOptions::default() };
    let worker = Worker::new(client.project("p"), "a", Counting::new(9)).with_options(options);
    let error = worker.run(std::future::pending()).await.unwrap_err();
    assert_eq!(error.code(), Some("revoked_api_key"));
}

/// Never replies. The semaphore gets a permit when it is asked.
struct Silent(Arc<Semaphore>);

impl Agent for Silent {
    type Session = Self;

    async fn open(&self, _: &ConversationInfo) -> Result<Self, AgentError> {
        Ok(Self(Arc::clone(&self.0)))
    }
}

impl AgentSession for Silent {
    async fn reply(&mut self, _: &[Message]) -> Result<Reply, AgentError> {
        self.0.add_permits(1);
        std::future::pending().await
    }
}

#[tokio::test]
async fn conversation_open_after_the_grace_period_is_reported() {
    let options = WorkerOptions { grace: Duration::ZERO, ..WorkerOptions::default() };
    let answers = vec![ok(r#"{"attempt":1}"#), says("Hello", false), ok("{}")];
    let asked = Arc::new(Semaphore::new(0));
    let (report, posts) = work_until(Arc::clone(&asked), options, Silent(asked), answers).await;
    assert_eq!(posts, ["start", "responses c.1.0", "fail  the worker stopped"]);
    assert_eq!(report, WorkerReport { failed: 1, ..WorkerReport::default() });
}
