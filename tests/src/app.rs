//! The application in this process: the real routes, engine, store and key check, without a socket.
//!
//! The test controls time and background work. The clock advances only when a test moves it, jobs
//! run only when a test runs them, and ids come from a seed. Nothing waits, and nothing depends on
//! the machine's speed.

#[cfg(feature = "dynamodb")]
mod capacity;
mod client;
#[cfg(feature = "dynamodb")]
mod meter;
mod model;
mod served;
mod store;
mod target;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use onerun_api::{App, Authenticator, ROUTES, Route, Router};
use onerun_auth::{KeyRing, RootKey};
use onerun_domain::{Clock, JobKind, Random, Redaction, later};
use onerun_engine::{Engine, EngineParts, JOB_HIDDEN, JOB_LIMIT, JobError, JobOutcome, Settings};
use onerun_store::{ClaimedJob, Store, with_causes};

pub use client::{Client, CreatedKey, Reply, documentation};
#[cfg(feature = "dynamodb")]
pub use meter::{Load, Meter, Units};
use model::TestModels;
pub use model::{Behavior, JUDGE_VERSION, TestModel};
pub use served::ServedApp;
pub use target::{Received, TestTarget};

/// The key that is accepted.
pub const ROOT_KEY: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";

/// A key of the right form that is not accepted.
pub const OTHER_KEY: &str = "q3V8ZtL0yJm5RcXe7oNwB2kHs9GdFuTa4iP1xWvEzMI=";

/// The key that [`ROOT_KEY`] replaced: accepted until [`PREVIOUS_KEY_ENDS`], and expired from then on.
pub const PREVIOUS_KEY: &str = "0hH2m7yTq4fVJx9b3kRzW8sLcN5pUeGdA1oXiKtMw6Y=";

/// The time at which [`PREVIOUS_KEY`] expires.
pub const PREVIOUS_KEY_ENDS: &str = "2026-02-01T00:00:00Z";

/// The initial time of a new application's clock.
pub const START: &str = "2026-01-05T09:00:00Z";

/// Deliveries before a job is buried. Fewer than in production, so that tests move the clock less.
const MAX_DELIVERIES: u32 = 5;

const JOBS_AT_ONCE: u32 = 32;

/// More rounds than any test needs. Reaching it means that jobs enqueue jobs without end.
const MAX_ROUNDS: u32 = 10_000;

/// An application with its own empty store.
pub struct TestApp {
    app: App,
    router: Router,
    clock: Arc<TestClock>,
    model: Arc<TestModel>,
    target: Arc<TestTarget>,
    requests: AtomicU64,
    /// The secrets of managed keys that tests created. Each may occur only in the reply that
    /// created it.
    secrets: Mutex<Vec<String>>,
    /// The buried jobs with their reasons. A test fails if it does not read one with
    /// [`TestApp::take_buried`].
    buried: Mutex<Vec<String>>,
    random: Arc<SeededRandom>,
    /// Declared last, so that the store is closed before its directory or table is removed.
    backing: Arc<store::Backing>,
}

impl TestApp {
    /// An application over an empty store.
    pub fn start() -> Self {
        Self::start_with(ROUTES, Box::new(keys()), Self::settings())
    }

    /// An application that stores no message with what `patterns` match, and deletes transcripts some time after a
    /// simulation's end.
    pub fn private(patterns: &str, retention: Option<SignedDuration>) -> Self {
        let redaction = Redaction::parse(patterns).expect("patterns");
        let settings = Settings { retention, ..Self::settings() };
        Self::open(ROUTES, Box::new(keys()), settings, Arc::new(redaction))
    }

    /// The default settings.
    pub fn settings() -> Settings {
        Settings { max_deliveries: MAX_DELIVERIES, ..Settings::default() }
    }

    /// An application with other routes, another key check or other settings.
    pub fn start_with(
        routes: &[&'static Route],
        authenticator: Box<dyn Authenticator>,
        settings: Settings,
    ) -> Self {
        Self::open(routes, authenticator, settings, Arc::default())
    }

    /// An application on DynamoDB, with a meter of what it consumes.
    #[cfg(feature = "dynamodb")]
    pub async fn metered() -> (Self, Meter) {
        let (store, backing, meter) = store::metered().await;
        let app = Self::over(store, backing, ROUTES, Box::new(keys()), Self::settings(), Arc::default());
        (app, meter)
    }

    fn open(
        routes: &[&'static Route],
        authenticator: Box<dyn Authenticator>,
        settings: Settings,
        redaction: Arc<Redaction>,
    ) -> Self {
        let (store, backing) = store::empty();
        Self::over(store, backing, routes, authenticator, settings, redaction)
    }

    fn over(
        store: Arc<dyn Store>,
        backing: store::Backing,
        routes: &[&'static Route],
        authenticator: Box<dyn Authenticator>,
        settings: Settings,
        redaction: Arc<Redaction>,
    ) -> Self {
        let clock = Arc::new(TestClock::at(START.parse().expect("a time")));
        let model = Arc::new(TestModel::default());
        let target = Arc::new(TestTarget::default());
        let random = Arc::new(SeededRandom(Mutex::new(1)));
        let engine = Engine::new(EngineParts {
            store,
            models: Arc::new(TestModels::new(Arc::clone(&model))),
            clock: clock.clone(),
            random: random.clone(),
            redaction,
            outbound: target::outbound(&target),
            settings,
        });
        Self {
            app: App::new(engine, authenticator),
            router: Router::new(routes).expect("routes without conflicts"),
            clock,
            model,
            target,
            requests: AtomicU64::new(1),
            secrets: Mutex::default(),
            buried: Mutex::default(),
            random,
            backing: Arc::new(backing),
        }
    }

    /// Sends a late body when the model does not reply at once.
    pub fn allow_late_bodies(&mut self) {
        self.app.allow_late_bodies(Duration::ZERO);
    }

    /// A second server on the same store and clock, which caches managed keys for `ttl`.
    pub fn beside(&self, ttl: SignedDuration) -> Self {
        let engine = Engine::new(EngineParts {
            store: Arc::clone(self.engine().store()),
            models: Arc::new(TestModels::new(Arc::clone(&self.model))),
            clock: self.clock.clone(),
            random: self.random.clone(),
            redaction: Arc::default(),
            outbound: target::outbound(&self.target),
            settings: Self::settings(),
        });
        Self {
            app: App::new(engine, Box::new(keys())).with_key_cache(ttl),
            router: Router::new(ROUTES).expect("routes without conflicts"),
            clock: self.clock.clone(),
            model: self.model.clone(),
            target: self.target.clone(),
            requests: AtomicU64::new(1_000_000),
            secrets: Mutex::default(),
            buried: Mutex::default(),
            random: self.random.clone(),
            backing: self.backing.clone(),
        }
    }

    /// All stored bytes: the data that a thief of the database would have.
    pub async fn kept(&self) -> Vec<u8> {
        self.backing.contents().await
    }

    /// A client without a key.
    pub fn anonymous(&self) -> Client<'_> {
        Client::new(self)
    }

    /// A client with the root key.
    pub fn root(&self) -> Client<'_> {
        self.anonymous().with_header("x-api-key", ROOT_KEY)
    }

    /// The model that a test controls.
    pub fn model(&self) -> &TestModel {
        &self.model
    }

    /// The target of webhooks that a test controls.
    pub fn target(&self) -> &TestTarget {
        &self.target
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time, as the wire has it.
    pub fn now_text(&self) -> String {
        wire_time(self.now())
    }

    /// Moves the clock.
    pub fn advance(&self, by: SignedDuration) {
        self.set_now(self.now().checked_add(by).expect("a time"));
    }

    /// Moves the clock by one microsecond, so that later writes have a later time.
    pub fn next_instant(&self) {
        self.advance(SignedDuration::from_micros(1));
    }

    /// Sets the clock to a time.
    pub fn set_now(&self, now: Timestamp) {
        self.clock.set(now);
    }

    /// Runs due jobs and expiries until none is due at the current time.
    pub async fn run_jobs(&self) {
        self.run_jobs_times(1).await;
    }

    /// [`TestApp::run_jobs`], but each job runs twice before it is completed, as a queue may
    /// deliver it twice.
    pub async fn run_jobs_twice(&self) {
        self.run_jobs_times(2).await;
    }

    /// [`TestApp::run_jobs`], then moves the clock to each retry of a failed job and runs it.
    pub async fn run_jobs_and_retries(&self) {
        for _ in 0..MAX_ROUNDS {
            self.run_jobs().await;
            let mut dues = Vec::new();
            for kind in JobKind::ALL {
                dues.extend(self.engine().store().next_job_due(kind).await.expect("the store answers"));
            }
            let Some(due) = dues.into_iter().min() else { return };
            assert!(due > self.now(), "a job that is due was left");
            self.set_now(due);
        }
        panic!("jobs are retried without end");
    }

    /// The jobs buried since the last call. A test that expects them must read them.
    pub fn take_buried(&self) -> Vec<String> {
        std::mem::take(&mut *self.buried.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs due jobs of one kind until none is due, without the tick, as a function that gets no others does.
    pub async fn run_jobs_only(&self, kind: JobKind) {
        let hidden_until = later(self.now(), JOB_HIDDEN);
        let store = Arc::clone(self.engine().store());
        loop {
            let claimed = store.claim_jobs(kind, JOBS_AT_ONCE, hidden_until, self.now()).await;
            let claimed = claimed.expect("the store answers");
            if claimed.is_empty() {
                return;
            }
            for job in claimed {
                self.run_job(job).await;
            }
        }
    }

    fn remember_secret(&self, key: &str) {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).push(key.to_owned());
    }

    fn assert_no_secret(&self, what: &str, reply: &Reply) {
        let whole = format!("{:?}{}", reply.headers, reply.text);
        for secret in self.secrets.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // The secret follows the prefix and the id.
            assert!(!whole.contains(&secret[16..]), "{what}: a key in an answer: {whole}");
        }
    }

    /// The engine behind the routes.
    pub fn engine(&self) -> &Engine {
        self.app.engine()
    }

    async fn run_jobs_times(&self, times: u32) {
        for _ in 0..MAX_ROUNDS {
            let engine = self.engine();
            let overdue = engine.tick().await.expect("the tick succeeds");
            let hidden_until = later(self.now(), JOB_HIDDEN);
            let mut claimed = Vec::new();
            for kind in JobKind::ALL {
                let jobs = engine.store().claim_jobs(kind, JOBS_AT_ONCE, hidden_until, self.now()).await;
                claimed.extend(jobs.expect("the store answers"));
            }
            if claimed.is_empty() && overdue == 0 {
                return;
            }
            for job in claimed {
                for _ in 1..times {
                    match engine.handle_job(&job.job).await {
                        Ok(()) | Err(JobError::Postponed { .. }) => {}
                        Err(error) => panic!("a job that is delivered twice fails: {}", with_causes(&error)),
                    }
                }
                self.run_job(job).await;
            }
        }
        panic!("jobs enqueue jobs without end");
    }

    /// Does a job and records its outcome, as every host does.
    async fn run_job(&self, claimed: ClaimedJob) {
        let work = claimed.job.work.name();
        match self.engine().run_job(claimed, JOB_LIMIT).await {
            JobOutcome::Completed | JobOutcome::Retried { .. } | JobOutcome::Postponed { .. } => {}
            JobOutcome::Buried { reason } => {
                let what = format!("{work}: {reason}");
                self.buried.lock().unwrap_or_else(PoisonError::into_inner).push(what);
            }
            JobOutcome::Unrecorded(error) => {
                panic!("a job's outcome is not recorded: {}", with_causes(&error))
            }
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let buried = self.take_buried();
        if !thread::panicking() {
            assert!(buried.is_empty(), "unexpected buried jobs: {buried:?}");
        }
    }
}

/// A time as the wire has it: in UTC, in microseconds.
pub fn wire_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// The keys that are accepted: [`ROOT_KEY`] and [`PREVIOUS_KEY`].
pub fn keys() -> KeyRing {
    let [root, previous] = [ROOT_KEY, PREVIOUS_KEY].map(|text| RootKey::parse(text).expect("a strong key"));
    let ends = PREVIOUS_KEY_ENDS.parse().expect("a time");
    KeyRing::new(&root).with_previous(&previous, ends)
}

/// A clock that advances only when a test moves it.
struct TestClock(AtomicI64);

impl TestClock {
    fn at(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.as_microsecond()))
    }

    fn set(&self, time: Timestamp) {
        self.0.store(time.as_microsecond(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::SeqCst)).expect("a time that was one before")
    }
}

/// Bytes from a seed (`SplitMix64`): the same ids in every run.
struct SeededRandom(Mutex<u64>);

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in buffer.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = *state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}
