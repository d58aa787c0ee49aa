use std::{
    collections::BTreeMap,
    sync::{Mutex as StdMutex, MutexGuard},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use onerun_auth::{Access, Scope};
use tokio::time::Instant;

use super::*;
use crate::secret::Content;

const FIRST: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";
const SECOND: &str = "0hH2m7yTq4fVJx9b3kRzW8sLcN5pUeGdA1oXiKtMw6Y=";
const UNKNOWN: &str = "q3V8ZtL0yJm5RcXe7oNwB2kHs9GdFuTa4iP1xWvEzMI=";

const TTL: SignedDuration = SignedDuration::from_secs(300);
const REFRESH: SignedDuration = SignedDuration::from_secs(7);
const OVERLAP: SignedDuration = SignedDuration::from_secs(3_600);

/// A secret whose versions and labels a test sets, and which records the calls that read it.
#[derive(Default)]
struct FakeSecret {
    versions: BTreeMap<&'static str, (&'static str, Timestamp)>,
    labels: BTreeMap<&'static str, &'static str>,
    is_down: bool,
    calls: Vec<String>,
}

/// An environment of the function: its keys, its clock, and the secret that it reads.
struct Environment {
    keys: SecretKeys,
    clock: Arc<TestClock>,
    secret: Arc<StdMutex<FakeSecret>>,
}

/// Follows the runtime's time, which stands still while an environment is frozen. A test can move it as well.
struct TestClock {
    started_at: Instant,
    moved: StdMutex<SignedDuration>,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-01-05T09:00:00Z".parse().unwrap();
        let ran = SignedDuration::try_from(self.started_at.elapsed()).unwrap();
        start + ran + *self.moved.lock().unwrap()
    }
}

struct FakeSource(Arc<StdMutex<FakeSecret>>);

impl FakeSource {
    fn call(&self, call: String) -> Result<MutexGuard<'_, FakeSecret>, SecretError> {
        let mut secret = self.0.lock().unwrap();
        secret.calls.push(call);
        if secret.is_down { Err(SecretError::Unavailable("down".to_owned())) } else { Ok(secret) }
    }
}

impl FakeSecret {
    fn read(&self, id: &str) -> Result<Version, SecretError> {
        let (text, created_at) = self.versions.get(id).ok_or_else(|| SecretError::NotFound(id.to_owned()))?;
        Ok(Version { id: id.to_owned(), created_at: *created_at, content: Content::parse(text)? })
    }
}

#[async_trait]
impl KeySource for FakeSource {
    async fn current(&self) -> Result<Version, SecretError> {
        let secret = self.call("current".to_owned())?;
        secret.read(secret.labels[CURRENT])
    }

    async fn labels(&self) -> Result<Labels, SecretError> {
        let secret = self.call("labels".to_owned())?;
        Ok(secret.labels.iter().map(|(label, id)| ((*id).to_owned(), (*label).to_owned())).collect())
    }

    async fn version(&self, id: &str) -> Result<Version, SecretError> {
        self.call(format!("version {id}"))?.read(id)
    }
}

impl Environment {
    /// An environment that started with [`FIRST`] as the current key.
    async fn start() -> Self {
        let clock = Arc::new(TestClock { started_at: Instant::now(), moved: StdMutex::default() });
        let secret = Arc::new(StdMutex::new(FakeSecret::default()));
        let keys = SecretKeys::new(FakeSource(secret.clone()), clock.clone(), TTL, REFRESH, OVERLAP);
        let environment = Self { keys, clock, secret };
        environment.put("1", FIRST);
        environment.label(CURRENT, "1");
        environment.keys.start().await;
        environment
    }

    fn secret(&self) -> MutexGuard<'_, FakeSecret> {
        self.secret.lock().unwrap()
    }

    fn put(&self, id: &'static str, text: &'static str) {
        let now = self.clock.now();
        self.secret().versions.insert(id, (text, now));
    }

    fn label(&self, label: &'static str, id: &'static str) {
        self.secret().labels.insert(label, id);
    }

    /// Makes a version current, as Secrets Manager does.
    fn finish_rotation(&self, id: &'static str) {
        let mut secret = self.secret();
        if let Some(before) = secret.labels.insert(CURRENT, id) {
            secret.labels.insert(PREVIOUS, before);
        }
        secret.labels.remove(PENDING);
    }

    /// Moves the wall clock, but not the monotonic clock.
    fn thaw_after(&self, frozen: SignedDuration) {
        *self.clock.moved.lock().unwrap() += frozen;
    }

    async fn authenticate(&self, key: &str) -> Result<Principal, Refusal> {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_str(key).unwrap(),
        )]);
        self.keys.authenticate(&Credential::of_request(&headers)?, self.clock.now()).await
    }

    /// The id of the accepted key, or the code of the refusal.
    async fn outcome(&self, key: &str) -> String {
        match self.authenticate(key).await {
            Ok(principal) => principal.key_id().to_string(),
            Err(refusal) => refusal.code().to_owned(),
        }
    }

    fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.secret().calls)
    }
}

#[tokio::test(start_paused = true)]
async fn start_makes_one_call_and_a_known_key_none() {
    let environment = Environment::start().await;
    assert_eq!(environment.take_calls(), ["current"]);
    for _ in 0..3 {
        assert_eq!(environment.outcome(FIRST).await, "root");
    }
    assert!(environment.take_calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn missing_or_malformed_key_reads_nothing() {
    let environment = Environment::start().await;
    environment.secret().is_down = true;
    environment.take_calls();
    environment.thaw_after(SignedDuration::from_hours(1));
    assert_eq!(environment.authenticate("").await.unwrap_err(), Refusal::MissingKey);
    assert_eq!(environment.outcome("two,keys").await, "invalid_api_key");
    assert!(environment.take_calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn thawed_environment_reads_the_secret_before_it_accepts_a_key() {
    let environment = Environment::start().await;
    environment.put("2", SECOND);
    environment.finish_rotation("2");
    let before = Instant::now();
    environment.thaw_after(SignedDuration::from_hours(1));
    assert_eq!(before.elapsed(), Duration::ZERO, "the monotonic clock stood still");
    assert_eq!(environment.outcome(FIRST).await, "invalid_api_key", "its overlap is over");
    assert_eq!(environment.outcome(SECOND).await, "root");
}

#[tokio::test(start_paused = true)]
async fn clock_set_back_expires_the_cache() {
    let environment = Environment::start().await;
    environment.thaw_after(SignedDuration::from_hours(-1));
    environment.take_calls();
    assert_eq!(environment.outcome(FIRST).await, "root");
    assert_eq!(environment.take_calls(), ["labels"]);
}

#[tokio::test(start_paused = true)]
async fn failed_refresh_refuses_no_caller_until_the_ttl() {
    let environment = Environment::start().await;
    environment.take_calls();
    environment.thaw_after(REFRESH - SignedDuration::from_secs(1));
    assert_eq!(environment.outcome(FIRST).await, "root");
    assert!(environment.take_calls().is_empty());

    environment.secret().is_down = true;
    environment.thaw_after(SignedDuration::from_secs(1));
    assert_eq!(environment.outcome(FIRST).await, "root");
    assert_eq!(environment.outcome(FIRST).await, "root");
    assert_eq!(environment.take_calls(), ["labels"]);

    environment.thaw_after(TTL - REFRESH - SignedDuration::from_nanos(1));
    assert_eq!(environment.outcome(FIRST).await, "root");
    environment.thaw_after(SignedDuration::from_nanos(1));
    assert_eq!(environment.outcome(FIRST).await, "auth_unavailable");
    environment.secret().is_down = false;
    environment.thaw_after(PAUSE);
    assert_eq!(environment.outcome(FIRST).await, "root");
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_cause_at_most_one_read_in_a_pause() {
    let environment = Environment::start().await;
    environment.take_calls();
    for _ in 0..100 {
        assert_eq!(environment.outcome(UNKNOWN).await, "invalid_api_key");
    }
    assert_eq!(environment.take_calls(), ["labels"]);
    environment.thaw_after(PAUSE - SignedDuration::from_millis(1));
    assert_eq!(environment.outcome(UNKNOWN).await, "invalid_api_key");
    assert!(environment.take_calls().is_empty());
    environment.thaw_after(SignedDuration::from_millis(1));
    assert_eq!(environment.outcome(UNKNOWN).await, "invalid_api_key");
    assert_eq!(environment.take_calls(), ["labels"]);
    for text in ["hunter2", "onr_x", &FIRST[1..20]] {
        environment.thaw_after(PAUSE);
        assert_eq!(environment.outcome(text).await, "invalid_api_key");
    }
    assert!(environment.take_calls().is_empty(), "a malformed key causes no read");
}

#[tokio::test(start_paused = true)]
async fn previous_key_is_accepted_until_the_overlap_ends() {
    let environment = Environment::start().await;
    environment.put("2", SECOND);
    environment.finish_rotation("2");
    assert_eq!(environment.outcome(SECOND).await, "root");
    assert_eq!(environment.outcome(FIRST).await, "root-previous");
    environment.thaw_after(OVERLAP - SignedDuration::from_nanos(1));
    assert_eq!(environment.outcome(FIRST).await, "root-previous");
    environment.thaw_after(SignedDuration::from_nanos(1));
    assert_eq!(environment.outcome(FIRST).await, "expired_api_key");
    environment.thaw_after(REFRESH);
    assert_eq!(environment.outcome(FIRST).await, "invalid_api_key");
    assert_eq!(environment.outcome(SECOND).await, "root");
}

#[tokio::test(start_paused = true)]
async fn unnoticed_rotation_does_not_extend_the_overlap() {
    for overlap in [30, 60, 599, 3_600] {
        let overlap = SignedDuration::from_secs(overlap);
        let mut environment = Environment::start().await;
        let (source, clock) = (FakeSource(environment.secret.clone()), environment.clock.clone());
        environment.keys = SecretKeys::new(source, clock, TTL, REFRESH, overlap);
        environment.put("2", SECOND);
        // The latest possible end of a rotation. The secret is read just before it.
        environment.thaw_after(overlap / 2);
        environment.keys.start().await;
        environment.finish_rotation("2");
        environment.thaw_after(overlap / 2 - SignedDuration::from_nanos(1));
        assert!(environment.outcome(FIRST).await.starts_with("root"), "{overlap:?}");
        environment.thaw_after(SignedDuration::from_nanos(1));
        assert_ne!(environment.outcome(FIRST).await, "root", "{overlap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn old_key_without_an_overlap_ends_within_a_pause() {
    let mut environment = Environment::start().await;
    let (source, clock) = (FakeSource(environment.secret.clone()), environment.clock.clone());
    environment.keys = SecretKeys::new(source, clock, TTL, REFRESH, SignedDuration::ZERO);
    environment.keys.start().await;
    environment.put("2", SECOND);
    environment.finish_rotation("2");
    environment.thaw_after(PAUSE);
    assert_eq!(environment.outcome(FIRST).await, "invalid_api_key");
    assert_eq!(environment.outcome(SECOND).await, "root");
    environment.thaw_after(SignedDuration::from_secs(-60));
    assert_eq!(environment.outcome(FIRST).await, "invalid_api_key", "the clock was set back");
    assert_eq!(environment.outcome(SECOND).await, "root");
}

#[tokio::test(start_paused = true)]
async fn previous_key_without_its_label_ends_within_seconds() {
    let environment = Environment::start().await;
    environment.put("2", SECOND);
    environment.finish_rotation("2");
    assert_eq!(environment.outcome(SECOND).await, "root");
    assert_eq!(environment.outcome(FIRST).await, "root-previous");
    environment.secret().labels.remove(PREVIOUS);
    environment.thaw_after(REFRESH);
    assert_eq!(environment.outcome(FIRST).await, "invalid_api_key");
    assert_eq!(environment.outcome(SECOND).await, "root");
}

#[tokio::test(start_paused = true)]
async fn unnoticed_rotation_ends_the_old_key_within_seconds() {
    let environment = Environment::start().await;
    assert_eq!(environment.outcome(FIRST).await, "root");
    environment.put("2", SECOND);
    environment.finish_rotation("2");
    environment.secret().labels.remove(PREVIOUS);
    environment.thaw_after(REFRESH);
    assert_eq!(environment.outcome(FIRST).await, "invalid_api_key");
}

#[tokio::test(start_paused = true)]
async fn key_in_constant_use_costs_one_read_of_labels_per_refresh() {
    let environment = Environment::start().await;
    environment.take_calls();
    for _ in 0..700 {
        assert_eq!(environment.outcome(FIRST).await, "root");
        environment.thaw_after(SignedDuration::from_millis(100));
    }
    assert_eq!(environment.take_calls(), ["labels"; 9]);
}

#[tokio::test(start_paused = true)]
async fn environment_started_in_the_overlap_accepts_the_old_key() {
    let environment = Environment::start().await;
    environment.put("2", SECOND);
    environment.finish_rotation("2");
    environment.keys.start().await;
    assert_eq!(environment.outcome(FIRST).await, "root-previous");
}

#[tokio::test(start_paused = true)]
async fn pending_key_is_authorized_for_whoami_only() {
    let environment = Environment::start().await;
    environment.put("2", SECOND);
    environment.label(PENDING, "2");
    let principal = environment.authenticate(SECOND).await.unwrap();
    assert_eq!(principal.key_id().as_str(), "root-pending");
    assert!(principal.authorize(Access::AnyKey).is_ok());
    assert!(principal.authorize(Access::Requires(Scope::ProjectsRead)).is_err());
    assert_eq!(environment.outcome(FIRST).await, "root");
}

#[tokio::test(start_paused = true)]
async fn new_key_is_never_refused_however_recent_the_last_read() {
    for since in [0, 1, 4_999, 5_000, 60_000] {
        let environment = Environment::start().await;
        environment.put("2", SECOND);
        environment.label(PENDING, "2");
        // An unknown key has used up the read of the present pause.
        assert_eq!(environment.outcome(UNKNOWN).await, "invalid_api_key");
        environment.thaw_after(SignedDuration::from_millis(since));
        environment.finish_rotation("2");
        environment.take_calls();
        assert_eq!(environment.outcome(SECOND).await, "root", "{since} ms");
        assert_eq!(environment.take_calls(), ["labels"]);
        assert_eq!(environment.outcome(FIRST).await, "root-previous");
    }
}

#[tokio::test(start_paused = true)]
async fn versions_without_a_key_are_ignored() {
    let environment = Environment::start().await;
    environment.label(PENDING, "not-yet");
    environment.put("0", "changeme");
    environment.label(PREVIOUS, "0");
    assert_eq!(environment.outcome(UNKNOWN).await, "invalid_api_key");
    assert_eq!(environment.outcome(FIRST).await, "root");
}

#[tokio::test(start_paused = true)]
async fn unreadable_secret_gives_503_until_it_is_read() {
    let environment = Environment::start().await;
    for text in ["", "changeme", "{}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        environment.put("broken", text);
        environment.label(CURRENT, "broken");
        *environment.keys.state.lock().await = State::default();
        environment.keys.start().await;
        for key in [FIRST, UNKNOWN] {
            assert_eq!(environment.outcome(key).await, "auth_unavailable", "{text}");
        }
        environment.label(CURRENT, "1");
        assert_eq!(environment.outcome(FIRST).await, "auth_unavailable", "not before the pause is over");
        environment.thaw_after(PAUSE);
        assert_eq!(environment.outcome(FIRST).await, "root");
        assert_eq!(environment.outcome(UNKNOWN).await, "invalid_api_key");
        environment.thaw_after(PAUSE);
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_key_gets_503_after_a_failed_read() {
    let environment = Environment::start().await;
    environment.secret().is_down = true;
    assert_eq!(environment.outcome(SECOND).await, "auth_unavailable");
    assert_eq!(environment.outcome(SECOND).await, "auth_unavailable");
    assert_eq!(environment.outcome(FIRST).await, "root", "the cached key is still fresh");
    environment.secret().is_down = false;
    environment.put("2", SECOND);
    environment.finish_rotation("2");
    environment.thaw_after(PAUSE);
    assert_eq!(environment.outcome(SECOND).await, "root");
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_share_one_read() {
    let environment = Environment::start().await;
    environment.put("2", SECOND);
    environment.finish_rotation("2");
    environment.take_calls();
    let outcomes = futures_util::future::join_all((0..20).map(|_| environment.outcome(SECOND))).await;
    assert!(outcomes.iter().all(|id| id == "root"), "{outcomes:?}");
    assert_eq!(environment.take_calls(), ["labels", "version 2"]);
}
