//! A server killed repeatedly under load: every acknowledged write is stored exactly once.
//!
//! The workers are careful. They repeat unanswered calls, use an `Idempotency-Key` for each turn,
//! and record all messages and replies. Leases are long, so no conversation loses its first
//! attempt: a second one is a defect.

mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use onerun_tests::{Client, eventually, process::Server};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

const KILLS: usize = 20;

/// After this many kills the load pauses until every job is done, so that no job meets more of
/// them. A job is buried after twelve deliveries, and a kill costs one.
const KILLS_A_JOB: usize = 10;

const CONVERSATIONS: usize = 60;
const PERSONAS: usize = 30;
const MAX_TURNS: usize = 9;
const WORKERS: usize = 16;

/// Kills are spread over this many events. Each sent call and each reply is one event. The run has
/// more: finding, starting and holding a conversation takes at least five calls.
const EVENTS: u64 = 10 * CONVERSATIONS as u64;

/// How long a call is repeated: far longer than a restart takes.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// Sets the seed of a failed run.
const SEED_VARIABLE: &str = "ONERUN_CRASH_SEED";

#[tokio::test]
async fn twenty_kills_under_load_lose_and_repeat_nothing() {
    let mut dice = Generator::thrown();
    let mut running = Running { server: Server::start().await, seed: dice.0 };
    let simulation = RefundSimulation::open(&running.server.client()).await;
    let created = simulation.created.clone();
    // The first kill happens when the creation of the simulation is acknowledged.
    let (up, is_up) = watch::channel(false);
    running.server.restart().await;
    up.send_replace(true);

    let load = Arc::new(Load {
        simulation,
        events: watch::Sender::new(0),
        is_up,
        taken: Mutex::default(),
        over: AtomicBool::new(false),
    });
    let mut events = load.events.subscribe();
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(Arc::clone(&load)));
    }
    let observer = tokio::spawn(observe(Arc::clone(&load)));

    for (kills, moment) in (1..).zip(dice.moments(KILLS - 1, EVENTS)) {
        if kills % KILLS_A_JOB == 0 {
            up.send_replace(false);
            load.simulation.jobs_are_done().await;
            up.send_replace(true);
        }
        tokio::select! {
            seen = events.wait_for(|events| *events >= moment) => drop(seen.expect("`load` has the sender")),
            Some(worker) = workers.join_next() => panic!("a worker is done before the last kill: {worker:?}"),
        }
        // At a random point before the next event.
        for _ in 0..dice.below(40) {
            tokio::task::yield_now().await;
        }
        up.send_replace(false);
        running.server.kill_9();
        running.server.restart().await;
        up.send_replace(true);
    }

    let held: Vec<Held> = workers.join_all().await.into_iter().flatten().collect();
    let path = load.simulation.path("");
    eventually("completed simulation", || async {
        let seen = load.simulation.client.get(&path, 200).await;
        if seen["status"] == "completed" { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    load.over.store(true, Ordering::Relaxed);
    let seen = observer.await.expect("the observer has nothing to complain of");

    // Compare data that was read from the disk.
    running.server.restart().await;
    load.simulation.assert_all_is_there_once(&created, &held, &seen).await;
    let log = running.server.final_log().await;
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "the server complained");
}

/// A server that prints its log if the test fails.
struct Running {
    server: Server,
    seed: u64,
}

impl Drop for Running {
    #[expect(clippy::print_stderr, reason = "this is what a failure can be understood by")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{SEED_VARIABLE}={}\n--- the server's log\n{}", self.seed, self.server.log());
        }
    }
}

/// A simulation, and the inputs of its creation.
struct RefundSimulation {
    client: Client,
    project_id: String,
    objectives: Vec<String>,
    /// The reply to the simulation's creation.
    created: Value,
}

impl RefundSimulation {
    async fn open(client: &Client) -> Self {
        let project = text(&client.post("/v1/projects", &json!({ "name": "Refund desk" }), 200).await, "id");
        let path = |resource: &str| format!("/v1/{resource}?project_id={project}");
        let agent = client.post(&path("agents"), &json!({ "name": "Desk" }), 200).await;
        let mut objectives = Vec::new();
        for (name, criteria) in [
            ("Starts the refund", "check: agent says /refund/i"),
            ("Is brief", "check: agent replies <= 2"),
            ("Contents the customer", "The customer is content.\ncheck: persona ended"),
        ] {
            let body = json!({ "name": name, "criteria": criteria });
            objectives.push(text(&client.post(&path("objectives"), &body, 200).await, "id"));
        }
        let simulation = json!({
            "agent_id": agent["id"],
            "name": "Refunds",
            "scenario": "A customer asks for a refund of a kettle that arrived broken.",
            "target_conversations": CONVERSATIONS,
            "target_personas": PERSONAS,
            "auto_approve": true,
            "max_turns": MAX_TURNS,
            "seed": 1,
            "objective_ids": objectives,
        });
        let created = client.post(&path("simulations"), &simulation, 200).await;
        Self { client: client.clone(), project_id: project, objectives, created }
    }

    /// A path below the simulation, with its query.
    fn path(&self, rest: &str) -> String {
        format!("/v1/simulations/{}{rest}?project_id={}", text(&self.created, "id"), self.project_id)
    }

    fn conversation_path(&self, id: &str, rest: &str) -> String {
        self.path(&format!("/conversations/{id}{rest}"))
    }

    /// Waits until all conversations are queued and the ended ones are judged.
    async fn jobs_are_done(&self) {
        let path = format!("{}&limit=100", self.path("/conversations"));
        eventually("queued and judged conversations", || async {
            let page = self.client.get(&path, 200).await;
            let conversations = list(&page["data"]);
            let is_judged = |one: &Value| one["status"] != "ended" || one["evaluation_status"] == "completed";
            if conversations.len() == CONVERSATIONS && conversations.iter().all(is_judged) {
                Ok(())
            } else {
                Err(page.to_string())
            }
        })
        .await;
    }

    async fn assert_all_is_there_once(&self, created: &Value, held: &[Held], seen: &BTreeMap<String, Value>) {
        let simulation = self.client.get(&self.path(""), 200).await;
        for field in ["id", "name", "seed", "created_at", "expires_at", "objectives"] {
            assert_eq!(simulation[field], created[field], "{field}");
        }
        // The workers have polled since then.
        let agent = |of: &Value| {
            let mut agent = of["agent"].clone();
            agent["last_polled_at"].take();
            agent
        };
        assert_eq!(agent(&simulation), agent(created));

        let page = self.client.get(&format!("{}&limit=100", self.path("/conversations")), 200).await;
        let conversations = by_id(&page);
        assert_numbered(&page, CONVERSATIONS);
        assert_eq!(held.len(), CONVERSATIONS, "held by the workers");
        for (id, earlier) in seen {
            assert_follows(earlier, &conversations[id]);
        }
        let mut messages = BTreeSet::new();
        let mut evaluations = BTreeSet::new();
        for held in held {
            let conversation = &conversations[&held.id];
            let transcript = self.assert_was_held(conversation, held).await;
            assert!(
                transcript.into_iter().all(|id| messages.insert(id)),
                "a message is in two conversations"
            );
            for evaluation in list(&conversation["evaluations"]) {
                assert!(evaluations.insert(text(evaluation, "id")), "an evaluation is of two conversations");
            }
        }

        let page = self.client.get(&self.path("/personas"), 200).await;
        assert_numbered(&page, PERSONAS);
        for persona in by_id(&page).keys() {
            let with = conversations.values().filter(|conversation| conversation["persona_id"] == **persona);
            assert_eq!(with.count(), CONVERSATIONS / PERSONAS, "conversations with {persona}");
        }
        self.assert_results(&conversations).await;
    }

    /// Checks that a conversation ended as its worker saw it, has one evaluation on each objective,
    /// and has exactly the acknowledged messages. Returns their ids.
    async fn assert_was_held(&self, conversation: &Value, held: &Held) -> Vec<String> {
        assert_eq!(conversation["status"], "ended", "{conversation}");
        assert_eq!(conversation["attempt"], 1, "{conversation}");
        assert_eq!(conversation["evaluation_status"], "completed", "{conversation}");
        assert_eq!(conversation["end_reason"] == "agent_decided", held.ended_by_agent, "{conversation}");
        let judged: Vec<String> =
            list(&conversation["evaluations"]).iter().map(|one| text(one, "objective_id")).collect();
        assert_eq!(judged, self.objectives, "each objective once: {conversation}");

        let page = self.client.get(&self.conversation_path(&held.id, "/items"), 200).await;
        assert_eq!(page["has_more"], false);
        let transcript: Vec<(String, String)> =
            list(&page["data"]).iter().map(|item| (text(item, "role"), said(item))).collect();
        assert_eq!(transcript, held.said, "the transcript of {}", held.id);
        assert!(transcript.windows(2).all(|two| two[0].0 != two[1].0), "turns alternate: {transcript:?}");
        assert_eq!(conversation["item_count"], transcript.len());
        list(&page["data"]).iter().map(|item| text(item, "id")).collect()
    }

    /// Checks that the results match the conversations.
    async fn assert_results(&self, conversations: &BTreeMap<String, Value>) {
        let results = self.client.get(&self.path("/results"), 200).await;
        let ended_by =
            |reason: &str| conversations.values().filter(|one| one["end_reason"] == reason).count();
        assert_eq!(
            results["conversations"],
            json!({ "target": CONVERSATIONS, "queued": 0, "in_progress": 0, "ended": CONVERSATIONS, "failed": 0,
                "retried": 0 }),
        );
        assert_eq!(
            results["endings"],
            json!({ "persona_ended": ended_by("persona_decided"), "agent_ended": ended_by("agent_decided"),
                "turn_limit": ended_by("max_turns_reached") }),
        );
        assert_eq!(results["evaluations"]["completed"], CONVERSATIONS);
        assert_eq!(results["overall"]["evaluated"], CONVERSATIONS);
        for (at, objective) in self.objectives.iter().enumerate() {
            let counted = &results["objectives"][at];
            assert_eq!(counted["objective_id"], **objective);
            assert_eq!(counted["evaluated"], CONVERSATIONS);
            for outcome in ["passed", "failed", "inconclusive"] {
                let with = |one: &&Value| one["evaluations"][at]["outcome"] == outcome;
                assert_eq!(counted[outcome], conversations.values().filter(with).count(), "{outcome}");
            }
        }
    }
}

/// The state that workers share.
struct Load {
    simulation: RefundSimulation,
    events: watch::Sender<u64>,
    is_up: watch::Receiver<bool>,
    taken: Mutex<BTreeSet<String>>,
    over: AtomicBool,
}

/// A conversation as its worker recorded it.
#[derive(Debug)]
struct Held {
    id: String,
    /// Role and text of every acknowledged message.
    said: Vec<(String, String)>,
    ended_by_agent: bool,
}

/// A reply.
struct CallReply {
    status: u16,
    body: Value,
    /// Whether an earlier, unanswered call may have had the effect.
    repeated: bool,
}

impl Load {
    /// Repeats a call until it gets a reply.
    async fn ask(&self, client: &Client, method: Method, path: &str, body: Option<&Value>) -> CallReply {
        let deadline = Instant::now() + DEADLINE;
        let mut is_up = self.is_up.clone();
        let mut repeated = false;
        loop {
            is_up.wait_for(|up| *up).await.expect("the server comes up again");
            self.events.send_modify(|events| *events += 1);
            if let Some((status, body)) = client.attempt(method.clone(), path, body).await {
                self.events.send_modify(|events| *events += 1);
                assert!(status < 500, "{method} {path}: {status} {body}");
                return CallReply { status, body, repeated };
            }
            assert!(Instant::now() < deadline, "{method} {path}: no answer within {DEADLINE:?}");
            repeated = true;
            tokio::task::yield_now().await;
        }
    }

    async fn get(&self, path: &str) -> Value {
        let CallReply { status, body, .. } = self.ask(&self.simulation.client, Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// A queued conversation that no other worker holds; `None` when none is left.
    async fn take(&self) -> Option<(usize, String)> {
        let path = format!("{}&status=queued&limit=100", self.simulation.path("/conversations"));
        loop {
            let page = self.get(&path).await;
            {
                let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                for conversation in list(&page["data"]) {
                    let id = text(conversation, "id");
                    if taken.insert(id.clone()) {
                        return Some((taken.len(), id));
                    }
                }
                if taken.len() >= CONVERSATIONS {
                    return None;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Holds a conversation to its end. The agent opens every third one and ends every fourth.
    async fn hold(&self, number: usize, id: String) -> Held {
        self.start(&id).await;
        let mut held = Held { id, said: Vec::new(), ended_by_agent: false };
        let agent_ends_after = number.is_multiple_of(4).then_some(2);
        for turn in 1.. {
            let words = format!("Turn {turn} of {}: your refund is on its way.", held.id);
            let input = if turn == 1 && !number.is_multiple_of(3) {
                Value::Null
            } else {
                held.said.push(("assistant".to_owned(), words.clone()));
                json!([{ "type": "message", "content": [{ "type": "text", "text": words }] }])
            };
            let reply = self.turn(&held.id, turn, &json!({ "input": input })).await;
            held.said.extend(list(&reply["output"]).iter().map(|message| ("user".to_owned(), said(message))));
            if reply["ended"] == true {
                break;
            }
            if agent_ends_after == Some(turn) {
                let path = format!("{}&attempt=1", self.simulation.conversation_path(&held.id, "/end"));
                let answer = self.ask(&self.simulation.client, Method::POST, &path, None).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                held.ended_by_agent = true;
                break;
            }
        }
        held
    }

    async fn start(&self, id: &str) {
        let path = self.simulation.conversation_path(id, "/start");
        let answer = self.ask(&self.simulation.client, Method::POST, &path, None).await;
        match answer.status {
            200 => assert_eq!(answer.body["attempt"], 1, "{}", answer.body),
            // Only the unanswered call can have started it.
            409 if answer.repeated && answer.body["code"] == "conversation_not_queued" => {
                let conversation = self.get(&self.simulation.conversation_path(id, "")).await;
                assert_eq!(conversation["status"], "in_progress", "{conversation}");
                assert_eq!(conversation["attempt"], 1, "{conversation}");
            }
            status => panic!("{path}: {status} {}", answer.body),
        }
    }

    /// Takes a turn. Every other answered turn is sent again, which must change nothing.
    async fn turn(&self, id: &str, turn: usize, body: &Value) -> Value {
        let client = self.simulation.client.with_header("idempotency-key", &format!("{id}/{turn}"));
        let path = format!("{}&attempt=1", self.simulation.conversation_path(id, "/responses"));
        let first = self.ask(&client, Method::POST, &path, Some(body)).await;
        assert_eq!(first.status, 200, "{}", first.body);
        if turn.is_multiple_of(2) {
            let again = self.ask(&client, Method::POST, &path, Some(body)).await;
            assert_eq!((again.status, &again.body), (200, &first.body));
        }
        first.body
    }
}

async fn work(load: Arc<Load>) -> Vec<Held> {
    let mut held = Vec::new();
    while let Some((number, id)) = load.take().await {
        held.push(load.hold(number, id).await);
    }
    held
}

/// Reads all conversations until the run ends, and checks that none disappears or goes back to an
/// earlier status. Returns their last states.
async fn observe(load: Arc<Load>) -> BTreeMap<String, Value> {
    let path = format!("{}&limit=100", load.simulation.path("/conversations"));
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    while !load.over.load(Ordering::Relaxed) {
        let found = by_id(&load.get(&path).await);
        for (id, earlier) in &seen {
            let later = found.get(id).unwrap_or_else(|| panic!("is gone: {earlier}"));
            assert_follows(earlier, later);
        }
        seen = found;
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

/// Checks that a conversation keeps every observed fact.
fn assert_follows(earlier: &Value, later: &Value) {
    for field in ["id", "seq_id", "persona_id", "created_at", "attempt"] {
        assert_eq!(earlier[field], later[field], "{field}: {earlier} → {later}");
    }
    for (field, words) in [
        ("status", ["queued", "in_progress", "ended"]),
        ("evaluation_status", ["pending", "in_progress", "completed"]),
    ] {
        let rank = |conversation: &Value| words.iter().position(|word| conversation[field] == *word);
        let (before, after) = (rank(earlier), rank(later));
        assert!(before.is_some() && before <= after, "{field}: {earlier} → {later}");
    }
    assert!(earlier["item_count"].as_u64() <= later["item_count"].as_u64(), "{earlier} → {later}");
    for evaluation in list(&earlier["evaluations"]) {
        assert!(list(&later["evaluations"]).contains(evaluation), "{evaluation} is gone: {later}");
    }
}

/// Checks that a list is complete and numbered from 1 without gaps.
fn assert_numbered(page: &Value, count: usize) {
    assert_eq!(page["has_more"], false);
    let mut numbers: Vec<_> = list(&page["data"]).iter().filter_map(|one| one["seq_id"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=count as u64).collect::<Vec<_>>());
}

fn by_id(page: &Value) -> BTreeMap<String, Value> {
    let found: BTreeMap<_, _> =
        list(&page["data"]).iter().map(|one| (text(one, "id"), one.clone())).collect();
    assert_eq!(found.len(), list(&page["data"]).len(), "an id is there twice: {page}");
    found
}

/// The text of a message.
fn said(message: &Value) -> String {
    list(&message["content"]).iter().map(|part| text(part, "text")).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

/// Random numbers from a seed (`SplitMix64`).
struct Generator(u64);

impl Generator {
    /// A new seed in each run, unless the environment sets one.
    #[expect(clippy::disallowed_methods, reason = "a run that failed can be repeated")]
    fn thrown() -> Self {
        let named = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().expect("a seed is a number"));
        Self(named.unwrap_or_else(|| RandomState::new().hash_one(SEED_VARIABLE)))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    /// `count` different numbers below `bound`, sorted.
    fn moments(&mut self, count: usize, bound: u64) -> BTreeSet<u64> {
        let mut moments = BTreeSet::new();
        while moments.len() < count {
            moments.insert(self.below(bound));
        }
        moments
    }
}
