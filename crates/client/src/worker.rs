//! The agent worker: takes queued conversations of an agent and holds them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::{
    select,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};

use crate::{
    ConversationClient, Error, ProjectClient,
    client::idempotency_key,
    resource::{ConversationStatus, PageRequest, Role, Turn},
    retry::{Retry, pause},
};

/// Why an agent has no reply.
pub type AgentError = Box<dyn std::error::Error + Send + Sync>;

/// An agent under test.
///
/// It is written as `async fn reply(…)`. One value answers all conversations, several at a time.
pub trait Agent: Send + Sync + 'static {
    /// What the agent says next, given everything said so far, oldest first; `None` if it leaves the conversation.
    ///
    /// After an error, or a panic, the conversation is left as it is: once its lease has run out the server has it held
    /// again from the start, a limited number of times.
    fn reply(
        &self,
        transcript: &[Message],
    ) -> impl Future<Output = Result<Option<String>, AgentError>> + Send;
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// How a worker works.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// How many conversations are held at once; 0 counts as 1.
    pub concurrency: usize,
    /// How long to wait after a look for conversations that found nothing new. While there is something, the next look
    /// is as soon as there is room.
    pub poll_interval: Duration,
    /// For how long a call is tried again if the server is busy or cannot be reached. It should be shorter than the
    /// server's lease: after that the conversation is somebody else's.
    pub retry_budget: Duration,
    /// How long the conversations that are being held may go on once the worker is told to stop. Those that are not over
    /// by then are given up, which costs each an attempt.
    pub grace: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 10,
            poll_interval: Duration::from_secs(1),
            retry_budget: Duration::from_mins(1),
            grace: Duration::from_secs(30),
        }
    }
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerReport {
    /// Conversations that were held to their end.
    pub held: u64,
    /// Conversations that another worker had taken, or that were over, before this one could start them.
    pub taken: u64,
    /// Conversations that were lost while they were held: their lease ran out, or the simulation was over.
    pub lost: u64,
    /// Conversations that were given up: the agent failed, or the server did, for too long.
    pub failed: u64,
}

/// Takes queued conversations of one agent and has the agent hold them.
///
/// Each call of a turn has an `Idempotency-Key`, so a call that is repeated because its answer got lost stores nothing
/// twice. Each names the attempt that was started, so a worker that was too slow does not speak in the next attempt.
#[derive(Debug)]
pub struct Worker<A> {
    project: ProjectClient,
    agent_id: String,
    agent: Arc<A>,
    options: WorkerOptions,
}

/// How work on one conversation ended.
enum Ending {
    Held,
    Taken(Error),
    Lost(Error),
    Failed(AgentError),
}

/// A conversation to be held.
struct Found {
    id: String,
    client: ConversationClient,
}

/// A look for conversations, while it lasts.
type Look<'a> = Pin<Box<dyn Future<Output = Result<Vec<Found>, Error>> + Send + 'a>>;

impl<A: Agent> Worker<A> {
    /// A worker for the agent with this id.
    pub fn new(project: ProjectClient, agent_id: &str, agent: A) -> Self {
        let options = WorkerOptions::default();
        Self { project, agent_id: agent_id.to_owned(), agent: Arc::new(agent), options }
    }

    /// The same worker, with other options.
    pub fn with_options(self, options: WorkerOptions) -> Self {
        Self { options, ..self }
    }

    /// Works until `stop` is ready; then the conversations that are being held go on to their end, for a while.
    ///
    /// Ends with an error only if the server refuses to say what there is to do, for a reason that does not pass: a
    /// wrong key, an unknown project. Whatever happens to a single conversation is logged and counted.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<WorkerReport, Error> {
        let mut stop = pin!(stop);
        let mut desk = Desk::default();
        let room = |desk: &Desk| desk.held.len() < self.options.concurrency.max(1);
        let mut look: Look = Box::pin(self.look(Duration::ZERO));
        let mut failed_looks = 0;
        loop {
            while room(&desk)
                && let Some(found) = desk.waiting.pop_front()
            {
                desk.hold(found, Arc::clone(&self.agent), Retry { budget: self.options.retry_budget });
            }
            select! {
                // In this order, or a busy worker would notice late that it is to stop.
                biased;
                () = &mut stop => break,
                Some(ended) = desk.tasks.join_next_with_id() => {
                    desk.settle(ended, self.options.poll_interval);
                }
                // By reference: begun anew with every conversation that ends, it would never end itself.
                seen = &mut look, if room(&desk) => {
                    let wait = match seen {
                        Ok(found) => {
                            failed_looks = 0;
                            if desk.take(found) { Duration::ZERO } else { self.options.poll_interval }
                        }
                        Err(error) if error.is_transient() => {
                            tracing::warn!(%error, "the server does not say which conversations are queued");
                            failed_looks += 1;
                            self.options.poll_interval + pause(failed_looks, error.retry_after())
                        }
                        Err(error) => return Err(error),
                    };
                    look = Box::pin(self.look(wait));
                }
            }
        }
        desk.finish(self.options).await;
        Ok(desk.report)
    }

    /// Looks, after a while, for queued conversations: about as many as can be held at once.
    async fn look(&self, wait: Duration) -> Result<Vec<Found>, Error> {
        sleep(wait).await;
        let enough = PageRequest::first(self.options.concurrency);
        let simulations =
            self.project.simulations_in_progress(&self.agent_id, PageRequest::first(usize::MAX)).await?;
        let mut found = Vec::new();
        for simulation in simulations.data {
            let simulation = self.project.simulation(&simulation.id);
            let queued = simulation.conversations(Some(ConversationStatus::Queued), enough.clone()).await?;
            // Those with queued conversations come first: after one that has none, none has.
            if queued.data.is_empty() {
                break;
            }
            found.extend(queued.data.iter().map(|conversation| Found {
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

/// What a worker has at hand.
#[derive(Default)]
struct Desk {
    /// Found, and not begun.
    waiting: VecDeque<Found>,
    tasks: JoinSet<Ending>,
    /// Which conversation each task holds.
    held: HashMap<Id, String>,
    /// Those that came to nothing, and until when they are left alone: the server may go on listing them for a moment.
    avoided: HashMap<String, Instant>,
    report: WorkerReport,
}

impl Desk {
    /// Puts what was found with what waits; whether there is anything in it that is new.
    fn take(&mut self, found: Vec<Found>) -> bool {
        let now = Instant::now();
        self.avoided.retain(|_, until| *until > now);
        let known: HashSet<&str> = self
            .held
            .values()
            .chain(self.waiting.iter().map(|waiting| &waiting.id))
            .map(String::as_str)
            .collect();
        let new: Vec<_> = found
            .into_iter()
            .filter(|found| !known.contains(found.id.as_str()) && !self.avoided.contains_key(&found.id))
            .collect();
        let any = !new.is_empty();
        self.waiting.extend(new);
        any
    }

    fn hold<A: Agent>(&mut self, found: Found, agent: Arc<A>, retry: Retry) {
        let Found { id, client } = found;
        let key = id.clone();
        let task = self.tasks.spawn(async move { hold(&client, &key, agent.as_ref(), retry).await });
        self.held.insert(task.id(), id);
    }

    /// Counts how a conversation ended.
    fn settle(&mut self, ended: Result<(Id, Ending), JoinError>, avoid_for: Duration) {
        let (task, ending) = match ended {
            Ok((task, ending)) => (task, ending),
            Err(error) => (error.id(), Ending::Failed("the agent panicked".into())),
        };
        let Some(conversation) = self.held.remove(&task) else { return };
        let count = match ending {
            Ending::Held => {
                self.report.held += 1;
                return;
            }
            Ending::Taken(error) => {
                tracing::debug!(conversation, %error, "a conversation is not to be had");
                &mut self.report.taken
            }
            Ending::Lost(error) => {
                tracing::info!(conversation, %error, "a conversation was lost while it was held");
                &mut self.report.lost
            }
            Ending::Failed(error) => {
                tracing::warn!(conversation, %error, "a conversation was given up; it will be queued again");
                &mut self.report.failed
            }
        };
        *count += 1;
        self.avoided.insert(conversation, Instant::now() + avoid_for);
    }

    /// Lets what is being held come to its end.
    async fn finish(&mut self, options: WorkerOptions) {
        let all = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.settle(ended, options.poll_interval);
            }
        };
        if timeout(options.grace, all).await.is_err() {
            tracing::warn!(conversations = self.tasks.len(), "conversations were given up unfinished");
            self.tasks.shutdown().await;
        }
    }
}

/// Holds one conversation from its start to its end.
async fn hold<A: Agent>(client: &ConversationClient, id: &str, agent: &A, retry: Retry) -> Ending {
    let key = match idempotency_key() {
        Ok(key) => key,
        Err(error) => return Ending::Failed(error.into()),
    };
    let started = retry.call("starting a conversation", Error::is_transient, || client.start(&key)).await;
    let attempt = match started {
        Ok(started) => started.attempt,
        Err(error) if is_refused(&error) => return Ending::Taken(error),
        Err(error) => return Ending::Failed(error.into()),
    };
    match converse(client, id, attempt, agent, retry).await {
        Ok(()) => Ending::Held,
        Err(Stop::Call(error)) if is_refused(&error) => Ending::Lost(error),
        Err(Stop::Call(error)) => Ending::Failed(error.into()),
        Err(Stop::Agent(error)) => Ending::Failed(error),
    }
}

/// Why a conversation was not held to its end.
enum Stop {
    Call(Error),
    Agent(AgentError),
}

async fn converse<A: Agent>(
    client: &ConversationClient,
    id: &str,
    attempt: u32,
    agent: &A,
    retry: Retry,
) -> Result<(), Stop> {
    let mut transcript: Vec<Message> = Vec::new();
    for turn in 0_u32.. {
        let key = format!("{id}.{attempt}.{turn}");
        let says = transcript.last().map(|message| message.text.as_str());
        let turn = Turn { attempt, idempotency_key: &key, says };
        let response = retry.call("a turn", may_pass, || client.respond(&turn)).await.map_err(Stop::Call)?;
        if response.ended {
            return Ok(());
        }
        transcript.extend(
            response.output.iter().map(|message| Message { role: Role::Persona, text: message.text() }),
        );
        match agent.reply(&transcript).await.map_err(Stop::Agent)? {
            Some(text) => transcript.push(Message { role: Role::Agent, text }),
            None => break,
        }
    }
    retry.call("ending a conversation", may_pass, || client.end(attempt)).await.map_err(Stop::Call)
}

/// Whether a call within a conversation may succeed a little later. A turn that is still being answered is most likely
/// this worker's own, whose answer got lost.
fn may_pass(error: &Error) -> bool {
    error.is_transient() || error.code() == Some("turn_in_progress")
}

/// Whether the server says that the conversation is not this worker's to hold.
fn is_refused(error: &Error) -> bool {
    matches!(error.status(), Some(400 | 404 | 409))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    };

    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;
    use crate::testing;

    const SIMULATIONS: &str = r#"{"data":[{"id":"s","name":"S","status":"in_progress",
        "last_failure_reason":null,"target_conversations":1,"seed":1,"agent":{"id":"a","name":"A"},"scenario":"",
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

    /// Answers with what it counted so far, until it has answered `most` times.
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

    /// Works until nothing was asked for a while, with a server that lists one conversation once and otherwise gives
    /// `answers` in this order.
    async fn work<A: Agent>(agent: A, answers: Vec<String>) -> (WorkerReport, Vec<String>) {
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
        let options = WorkerOptions { poll_interval: Duration::from_millis(5), ..WorkerOptions::default() };
        let worker = Worker::new(client.project("p"), "a", agent).with_options(options);
        let report = worker.run(sleep(Duration::from_millis(300))).await.unwrap();
        (report, posts(requests))
    }

    /// The calls that changed something: path, `Idempotency-Key` and body.
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
                // Its key is drawn by lot: only whether it is the same again can be told.
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
    async fn a_conversation_is_held_to_its_end() {
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
    async fn an_agent_that_leaves_ends_the_conversation() {
        let answers = vec![ok(r#"{"attempt":2}"#), says("Hello", false), ok("{}")];
        let (report, posts) = work(Counting::new(0), answers).await;
        assert_eq!(posts, ["start", "responses c.2.0", "end"]);
        assert_eq!(report.held, 1);
    }

    #[tokio::test]
    async fn calls_are_repeated_under_the_same_key() {
        let answers = vec![
            refusal(503, "unavailable"),
            ok(r#"{"attempt":1}"#),
            // The answer is lost on the way, and the call is still at work when it is repeated.
            String::new(),
            refusal(409, "turn_in_progress"),
            says("Hello", true),
        ];
        let (report, posts) = work(Counting::new(9), answers).await;
        assert_eq!(posts, ["start", "start again", "responses c.1.0", "responses c.1.0", "responses c.1.0"]);
        assert_eq!(report.held, 1);
    }

    #[tokio::test]
    async fn what_another_worker_took_is_passed_over() {
        for code in [409, 400] {
            let (report, posts) =
                work(Counting::new(9), vec![refusal(code, "conversation_not_queued")]).await;
            assert_eq!(posts, ["start"]);
            assert_eq!(report, WorkerReport { taken: 1, ..WorkerReport::default() });
        }
    }

    #[tokio::test]
    async fn a_lost_attempt_is_not_spoken_in() {
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
            assert!(!self.panics, "asked to");
            Err("out of tokens".into())
        }
    }

    #[tokio::test]
    async fn an_agent_that_fails_costs_its_conversation_alone() {
        for panics in [false, true] {
            let (report, posts) =
                work(Failing { panics }, vec![ok(r#"{"attempt":1}"#), says("Hello", false)]).await;
            assert_eq!(posts, ["start", "responses c.1.0"]);
            assert_eq!(report, WorkerReport { failed: 1, ..WorkerReport::default() });
        }
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_asked_again() {
        let mut looks = 0;
        let (client, _requests) = testing::serving(move |_| {
            looks += 1;
            if looks < 3 { String::new() } else { refusal(401, "revoked_api_key") }
        })
        .await;
        let options = WorkerOptions { poll_interval: Duration::from_millis(5), ..WorkerOptions::default() };
        let worker = Worker::new(client.project("p"), "a", Counting::new(9)).with_options(options);
        let error = worker.run(std::future::pending()).await.unwrap_err();
        assert_eq!(error.code(), Some("revoked_api_key"));
    }

    #[tokio::test]
    async fn conversations_in_the_list_for_ever_are_not_asked_for_in_a_loop() {
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
