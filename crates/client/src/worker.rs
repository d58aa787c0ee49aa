//! The agent worker: claims queued conversations of an agent and holds them.

mod hold;
mod workload;

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::{select, time::sleep};

use crate::{
    Error, ProjectClient,
    resource::{ConversationStatus, PageRequest, Role},
    retry::pause,
};
use workload::{QueuedConversation, Workload};

/// Why an agent failed to reply.
pub type AgentError = Box<dyn std::error::Error + Send + Sync>;

/// An agent under test.
///
/// Implement it with `async fn reply(…)`. One value serves all conversations, several at once.
pub trait Agent: Send + Sync + 'static {
    /// The agent's next message, given the transcript so far, oldest message first. `None` ends the
    /// conversation.
    ///
    /// After an error or a panic the worker abandons the attempt. When the lease has expired, the
    /// server queues the conversation again, up to its limit of attempts.
    fn reply(
        &self,
        transcript: &[Message],
    ) -> impl Future<Output = Result<Option<String>, AgentError>> + Send;
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who wrote the message.
    pub role: Role,
    /// The text.
    pub text: String,
}

/// Options of a [`Worker`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// How many conversations the worker holds at once; 0 counts as 1.
    pub concurrency: usize,
    /// How long to wait after a poll that found nothing new. Otherwise the worker polls again as
    /// soon as it has capacity.
    pub poll_interval: Duration,
    /// How long a call is retried if the server is busy or unreachable. Keep it shorter than the
    /// server's lease: after that, another worker may hold the conversation.
    pub retry_budget: Duration,
    /// How long a turn is repeated while the server reports that the persona's model is slow. The server
    /// generates the reply only once.
    pub reply_budget: Duration,
    /// How long open conversations may continue once the worker is asked to stop. Those that are
    /// still open then are abandoned, which costs each an attempt.
    pub grace: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 10,
            poll_interval: Duration::from_secs(1),
            retry_budget: Duration::from_mins(1),
            reply_budget: Duration::from_secs(150),
            grace: Duration::from_secs(30),
        }
    }
}

/// Counts of the conversations that a worker handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerReport {
    /// Conversations held to their end.
    pub held: u64,
    /// Conversations that another worker had started, or that had ended, before this worker could start them.
    pub taken: u64,
    /// Conversations lost while they were held: the lease expired or the simulation ended.
    pub lost: u64,
    /// Conversations abandoned because the agent failed, or the server failed for too long.
    pub failed: u64,
}

/// Claims queued conversations of one agent and lets the agent hold them.
///
/// Each turn has an `Idempotency-Key`, so that a retry stores nothing twice. Each turn names its
/// attempt, so that a worker whose lease has expired cannot add messages to the next attempt.
#[derive(Debug)]
pub struct Worker<A> {
    project: ProjectClient,
    agent_id: String,
    agent: Arc<A>,
    options: WorkerOptions,
}

/// A poll in progress.
type Poll<'a> = Pin<Box<dyn Future<Output = Result<Vec<QueuedConversation>, Error>> + Send + 'a>>;

impl<A: Agent> Worker<A> {
    /// Creates a worker for the agent with this id.
    pub fn new(project: ProjectClient, agent_id: &str, agent: A) -> Self {
        let options = WorkerOptions::default();
        Self { project, agent_id: agent_id.to_owned(), agent: Arc::new(agent), options }
    }

    /// Sets the options.
    pub fn with_options(self, options: WorkerOptions) -> Self {
        Self { options, ..self }
    }

    /// Works until `stop` completes. Then open conversations may end within [`WorkerOptions::grace`].
    ///
    /// Fails only if the server refuses to list conversations for a permanent reason, such as a
    /// wrong key or an unknown project. Failures of single conversations are logged and counted.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<WorkerReport, Error> {
        let mut stop = pin!(stop);
        let mut workload = Workload::default();
        let has_capacity = |workload: &Workload| workload.held.len() < self.options.concurrency.max(1);
        let mut poll: Poll = Box::pin(self.poll(Duration::ZERO));
        let mut failed_polls = 0;
        loop {
            while has_capacity(&workload)
                && let Some(conversation) = workload.waiting.pop_front()
            {
                workload.start(conversation, Arc::clone(&self.agent), self.options);
            }
            select! {
                // `stop` comes first, so that a busy worker notices it at once.
                biased;
                () = &mut stop => break,
                Some(ended) = workload.tasks.join_next_with_id() => {
                    workload.record(ended, self.options.poll_interval);
                }
                // By reference: a poll that restarted whenever a conversation ends might never finish.
                polled = &mut poll, if has_capacity(&workload) => {
                    let wait = match polled {
                        Ok(found) => {
                            failed_polls = 0;
                            if workload.add(found) { Duration::ZERO } else { self.options.poll_interval }
                        }
                        Err(error) if error.is_transient() => {
                            tracing::warn!(%error, "listing queued conversations failed and will be retried");
                            failed_polls += 1;
                            self.options.poll_interval + pause(failed_polls, error.retry_after())
                        }
                        Err(error) => return Err(error),
                    };
                    poll = Box::pin(self.poll(wait));
                }
            }
        }
        workload.drain(self.options).await;
        Ok(workload.report)
    }

    /// Waits, and then lists queued conversations, about as many as the worker can hold at once.
    async fn poll(&self, wait: Duration) -> Result<Vec<QueuedConversation>, Error> {
        sleep(wait).await;
        let enough = PageRequest::first(self.options.concurrency);
        let simulations =
            self.project.simulations_in_progress(&self.agent_id, PageRequest::first(usize::MAX)).await?;
        let mut found = Vec::new();
        for simulation in simulations.data {
            let simulation = self.project.simulation(&simulation.id);
            let queued = simulation.conversations(Some(ConversationStatus::Queued), enough.clone()).await?;
            // Simulations with queued conversations come first, so none follows after one without.
            if queued.data.is_empty() {
                break;
            }
            found.extend(queued.data.iter().map(|conversation| QueuedConversation {
                client: simulation.conversation(&conversation.id),
                id: conversation.id.clone(),
            }));
            if found.len() >= self.options.concurrency {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{
            Mutex,
            atomic::{AtomicU32, Ordering},
        },
    };

    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;
    use crate::testing;

    const SIMULATIONS: &str = r#"{"data":[{"id":"s","name":"S","status":"in_progress",
        "last_failure_reason":null,"target_conversations":1,"seed":1,
        "models":{"persona":"offline","reply":"offline","judge":"offline"},"agent":{"id":"a","name":"A"},"scenario":"",
        "target_personas":1,"max_turns":12,"created_at":"2026-11-25T10:00:00Z"}],"has_more":false}"#;

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
    struct Counting {
        most: u32,
        replies: AtomicU32,
        heard: Arc<Mutex<Vec<Message>>>,
    }

    impl Counting {
        fn new(most: u32) -> Self {
            Self { most, replies: AtomicU32::new(0), heard: Arc::default() }
        }
    }

    impl Agent for Counting {
        async fn reply(&self, transcript: &[Message]) -> Result<Option<String>, AgentError> {
            *self.heard.lock().unwrap() = transcript.to_vec();
            let nth = self.replies.fetch_add(1, Ordering::Relaxed);
            Ok((nth < self.most).then(|| format!("reply {nth}")))
        }
    }

    /// Runs a worker for a while, with a server that lists one conversation once and sends
    /// `answers` to the other calls.
    async fn work<A: Agent>(agent: A, answers: Vec<String>) -> (WorkerReport, Vec<String>) {
        work_with(WorkerOptions::default(), agent, answers).await
    }

    async fn work_with<A: Agent>(
        options: WorkerOptions,
        agent: A,
        answers: Vec<String>,
    ) -> (WorkerReport, Vec<String>) {
        let mut listed = false;
        let mut answers = VecDeque::from(answers);
        let (client, requests) = testing::serving(move |request| {
            if request.starts_with("GET /v1/simulations?") {
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
        let report = worker.run(sleep(Duration::from_millis(300))).await.unwrap();
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
            let key =
                rest.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap_or_default();
            let said = rest.split_once("\"text\":\"").map_or("", |(_, said)| said.split('"').next().unwrap());
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
        let heard = Arc::clone(&agent.heard);
        let started = ok(r#"{"attempt":1}"#);
        let (report, posts) =
            work(agent, vec![started, says("Hello", false), says("So?", false), says("Bye", true)]).await;
        assert_eq!(posts, ["start", "responses c.1.0", "responses c.1.1 reply 0", "responses c.1.2 reply 1"]);
        assert_eq!(report, WorkerReport { held: 1, ..WorkerReport::default() });
        let heard: Vec<_> =
            heard.lock().unwrap().iter().map(|message| (message.role, message.text.clone())).collect();
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
            assert_eq!(posts[1..], vec!["responses c.1.0"; repeated]);
            assert_eq!((report.held, report.failed), (held, 1 - held));
        }
    }

    #[tokio::test]
    async fn conversation_of_another_worker_is_skipped() {
        for code in [409, 400] {
            let (report, posts) =
                work(Counting::new(9), vec![refusal(code, "conversation_not_queued")]).await;
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
        async fn reply(&self, _: &[Message]) -> Result<Option<String>, AgentError> {
            assert!(!self.panics, "the test asked for a panic");
            Err("out of tokens".into())
        }
    }

    #[tokio::test]
    async fn failing_agent_costs_only_its_conversation() {
        for panics in [false, true] {
            let (report, posts) =
                work(Failing { panics }, vec![ok(r#"{"attempt":1}"#), says("Hello", false)]).await;
            assert_eq!(posts, ["start", "responses c.1.0"]);
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

    #[tokio::test]
    async fn conversation_that_stays_listed_is_not_retried_in_a_loop() {
        let (client, requests) = testing::serving(|request| {
            if request.starts_with("GET /v1/simulations?") {
                ok(SIMULATIONS)
            } else if request.starts_with("GET") {
                conversations(&["c"])
            } else {
                refusal(409, "conversation_not_queued")
            }
        })
        .await;
        let options = WorkerOptions { poll_interval: Duration::from_millis(100), ..WorkerOptions::default() };
        let worker = Worker::new(client.project("p"), "a", Counting::new(9)).with_options(options);
        worker.run(sleep(Duration::from_millis(350))).await.unwrap();
        let posts = posts(requests);
        assert!((1..=4).contains(&posts.len()), "{posts:?}");
    }
}
