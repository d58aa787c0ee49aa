//! Claims and renewals.

use super::*;

/// Claims with one conversation, whose lease is a second.
fn claims() -> String {
    ok(r#"{"data":[{"conversation_id":"c","simulation_id":"s","agent_id":"a","attempt":1,"lease_seconds":1,
        "lease_expires_at":"2026-11-25T10:00:01Z","metadata":{"commit":"c0ffee"}}]}"#)
}

/// Runs a worker with a server that gives one conversation to the first claim that `answer` does not answer. `answer`
/// gets the method and path of each request. The worker stops once `stop` has a permit.
async fn work_by_claims<A: Agent>(
    agent: A,
    stop: Arc<Semaphore>,
    mut answer: impl FnMut(&str) -> Option<String> + Send + 'static,
) -> (WorkerReport, UnboundedReceiver<String>) {
    let mut has_claimed = false;
    let (client, requests) = testing::serving(move |request| {
        let path = request.split(['?', ' ']).take(2).collect::<Vec<_>>().join(" ");
        if let Some(answer) = answer(&path) {
            return answer;
        }
        assert_eq!(path, "POST /v1/conversations/claim", "{request}");
        if std::mem::replace(&mut has_claimed, true) { ok(r#"{"data":[]}"#) } else { claims() }
    })
    .await;
    let options = WorkerOptions { poll_interval: Duration::from_millis(5), ..WorkerOptions::default() };
    let worker = Worker::new(client.project("p"), "a", agent).with_options(options);
    let stopped = async move { stop.acquire().await.unwrap().forget() };
    (worker.run(stopped).await.unwrap(), requests)
}

const RESPONSES: &str = "POST /v1/simulations/s/conversations/c/responses";
const RENEW: &str = "POST /v1/simulations/s/conversations/c/renew";

#[tokio::test]
async fn claimed_conversation_is_held_without_a_start() {
    let agent = Counting::new(0);
    let stop = Arc::new(Semaphore::new(0));
    let ended = Arc::clone(&stop);
    let (report, mut requests) = work_by_claims(Arc::clone(&agent), stop, move |path| match path {
        RESPONSES => Some(says("Hello", false)),
        "POST /v1/simulations/s/conversations/c/end" => {
            ended.add_permits(1);
            Some(ok("{}"))
        }
        _ => None,
    })
    .await;
    assert_eq!(report, WorkerReport { held: 1, ..WorkerReport::default() });
    let claim = requests.recv().await.unwrap();
    assert!(claim.ends_with(r#"{"agent_ids":["a"],"limit":10,"wait_seconds":20}"#), "{claim}");
    let about = agent.about.lock().unwrap().clone();
    assert_eq!((about.simulation_id.as_str(), about.attempt), ("s", 1));
    assert_eq!(about.metadata["commit"], "c0ffee");
}

#[tokio::test]
async fn claim_without_an_answer_is_repeated_with_its_key() {
    let stop = Arc::new(Semaphore::new(0));
    let (ended, mut claims) = (Arc::clone(&stop), 0);
    let (report, mut requests) = work_by_claims(Counting::new(9), stop, move |path| {
        if path == RESPONSES {
            ended.add_permits(1);
            return Some(says("Bye", true));
        }
        claims += 1;
        // The first answer is lost, and then the server is busy.
        [String::new(), refusal(503, "unavailable")].get(claims - 1).cloned()
    })
    .await;
    assert_eq!(report.held, 1);
    let mut keys = Vec::new();
    while let Ok(request) = requests.try_recv() {
        if request.starts_with("POST /v1/conversations/claim") {
            let key = request.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
            keys.push(key.unwrap().to_owned());
        }
    }
    assert_eq!((&keys[0], &keys[1]), (&keys[1], &keys[2]));
    assert!(keys.get(3).is_none_or(|key| *key != keys[0]), "an answered claim is not repeated");
}

/// Replies once it has a permit.
struct Thinking(Arc<Semaphore>);

impl Agent for Thinking {
    type Session = Self;

    async fn open(&self, _: &ConversationInfo) -> Result<Self, AgentError> {
        Ok(Self(Arc::clone(&self.0)))
    }
}

impl AgentSession for Thinking {
    async fn reply(&mut self, _: &[Message]) -> Result<Reply, AgentError> {
        self.0.acquire().await.unwrap().forget();
        Ok(Reply::message("I am back"))
    }
}

#[tokio::test]
async fn lease_is_renewed_while_the_agent_thinks() {
    let (stop, thought) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (ended, done) = (Arc::clone(&stop), Arc::clone(&thought));
    let (mut renewals, mut turns) = (0, 0);
    let (report, _) = work_by_claims(Thinking(thought), stop, move |path| match path {
        RENEW => {
            renewals += 1;
            if renewals == 3 {
                done.add_permits(1);
            }
            // A failure of the second does not end the conversation.
            Some(if renewals == 2 { String::new() } else { ok(r#"{"attempt":1,"lease_expires_at":null}"#) })
        }
        RESPONSES => {
            turns += 1;
            if turns == 2 {
                ended.add_permits(1);
            }
            Some(says("Hello", turns == 2))
        }
        _ => None,
    })
    .await;
    assert_eq!(report, WorkerReport { held: 1, ..WorkerReport::default() });
}

#[tokio::test]
async fn refused_renewal_ends_the_work_of_the_agent() {
    let stop = Arc::new(Semaphore::new(0));
    let lost = Arc::clone(&stop);
    let (report, _) = work_by_claims(Silent(Arc::new(Semaphore::new(0))), stop, move |path| match path {
        RENEW => {
            lost.add_permits(1);
            Some(refusal(409, "stale_attempt"))
        }
        RESPONSES => Some(says("Hello", false)),
        _ => None,
    })
    .await;
    assert_eq!(report, WorkerReport { lost: 1, ..WorkerReport::default() });
}

#[tokio::test]
async fn server_without_renewals_is_asked_once() {
    let (stop, thought) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (ended, done) = (Arc::clone(&stop), Arc::clone(&thought));
    let mut turns = 0;
    let (report, mut requests) = work_by_claims(Thinking(thought), stop, move |path| match path {
        RENEW => {
            done.add_permits(1);
            Some(refusal(404, "route_not_found"))
        }
        RESPONSES => {
            turns += 1;
            if turns == 2 {
                ended.add_permits(1);
            }
            Some(says("Hello", turns == 2))
        }
        _ => None,
    })
    .await;
    assert_eq!(report.held, 1);
    let mut renewals = 0;
    while let Ok(request) = requests.try_recv() {
        renewals += u32::from(request.starts_with(RENEW));
    }
    assert_eq!(renewals, 1);
}
