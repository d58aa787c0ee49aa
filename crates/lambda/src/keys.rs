//! Who may call: the key in Secrets Manager, read when the function starts and kept up to date without a restart.
//!
//! What was read is used for as long as it is young enough *by the wall clock*: a monotonic clock stands still while
//! an environment is frozen, and a key that was replaced yesterday would be accepted today. It is read again
//!
//! - once it is older than what a revocation may take (`AUTH_KEY_CACHE_SECONDS`): labels alone, because versions never
//!   change. So a key whose label was taken off ends within seconds. From then on a failure shuts nobody out; once the
//!   time to live (`AUTH_SECRET_TTL_SECONDS`) is over it lets nobody in, and calls nobody wrong: 503,
//! - when a key comes that could be one and is not known: it may be the one of a rotation,
//! - when the key of a rotation under way comes: it may be in force by now,
//!
//! but never more often than once in [`PAUSE`], however many keys are tried. A rotation is noticed all the same. The key
//! that it is about to put in force carries a label before that, so it is either known to be pending from a reading
//! within the last pause, or there was none and it is read for now; and one that is known to be pending may be waited
//! for, since only its holder can present it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onerun_api::Authenticator;
use onerun_auth::{Credential, InvalidCause, KeyDigest, KeyRing, Principal, Refusal, recognize};
use onerun_domain::{Clock, later};
use tokio::{sync::Mutex, time::sleep};

use crate::secret::{CURRENT, Labels, PENDING, PREVIOUS, SecretError, Version};

/// How long after one reading the next may begin.
pub(crate) const PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// Where keys are read from: Secrets Manager.
#[async_trait]
pub(crate) trait KeySource: Send + Sync {
    /// The version in force.
    async fn current(&self) -> Result<Version, SecretError>;

    /// Which version each label is on.
    async fn labels(&self) -> Result<Labels, SecretError>;

    /// A version by its id.
    async fn version(&self, id: &str) -> Result<Version, SecretError>;
}

/// The keys in a secret.
pub(crate) struct SecretKeys {
    source: Box<dyn KeySource>,
    clock: Arc<dyn Clock>,
    ttl: SignedDuration,
    /// How old what was read may be before it is read again, if it can be.
    refresh: SignedDuration,
    overlap: SignedDuration,
    // Held while the secret is read, so that those who come meanwhile wait for that reading and make none.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was read last; `None` until it could be.
    keys: Option<Keys>,
    /// When the last reading began, but for the one at the start.
    read_again_at: Option<Timestamp>,
    /// Whether the last reading failed.
    is_in_doubt: bool,
}

/// What was read, and when.
struct Keys {
    ring: KeyRing,
    read_at: Timestamp,
    /// Versions that are known: they never change.
    versions: HashMap<String, KnownVersion>,
}

#[derive(Clone)]
struct KnownVersion {
    digest: KeyDigest,
    created_at: Timestamp,
}

impl From<&Version> for KnownVersion {
    fn from(version: &Version) -> Self {
        Self { digest: version.content.key.digest(), created_at: version.created_at }
    }
}

impl SecretKeys {
    /// Keys that are used for up to `ttl` after they were read, and read again after `refresh` (at least [`PAUSE`]) or
    /// four fifths of `ttl`, whichever is sooner. The previous key is accepted for `overlap`.
    pub(crate) fn new(
        source: impl KeySource + 'static,
        clock: Arc<dyn Clock>,
        ttl: SignedDuration,
        refresh: SignedDuration,
        overlap: SignedDuration,
    ) -> Self {
        // Whoever read the secret just before a rotation ended takes the old key for the one in force as long as that is
        // believed. A rotation ends within half of the overlap, so half of it is how long that may be.
        let ttl = ttl.min(overlap / 2).max(PAUSE);
        let refresh = refresh.max(PAUSE).min(ttl * 4 / 5);
        Self { source: Box::new(source), clock, ttl, refresh, overlap, state: Mutex::default() }
    }

    /// Reads the key in force, with one call, while the function starts: there the processor is free and nobody waits.
    /// If it cannot be read now, it is when somebody calls.
    pub(crate) async fn start(&self) {
        let mut state = self.state.lock().await;
        let read_at = self.clock.now();
        match self.source.current().await {
            Ok(version) => {
                let known = KnownVersion::from(&version);
                let ring = KeyRing::new(known.digest.clone());
                state.keys = Some(Keys { ring, read_at, versions: HashMap::from([(version.id, known)]) });
            }
            Err(error) => {
                state.is_in_doubt = true;
                tell(&error);
            }
        }
    }

    /// Reads what the secret holds now.
    async fn read(&self, state: &mut State) -> Result<(), Refusal> {
        let read_at = self.clock.now();
        state.read_again_at = Some(read_at);
        match self.fetch(state.keys.as_ref(), read_at).await {
            Ok(keys) => {
                state.keys = Some(keys);
                state.is_in_doubt = false;
                Ok(())
            }
            Err(error) => {
                state.is_in_doubt = true;
                tell(&error);
                Err(Refusal::AuthUnavailable)
            }
        }
    }

    async fn fetch(&self, known: Option<&Keys>, read_at: Timestamp) -> Result<Keys, SecretError> {
        let labels = self.source.labels().await?;
        let mut versions = HashMap::new();
        let id = labels.version(CURRENT).ok_or_else(|| SecretError::NotFound(CURRENT.to_owned()))?;
        let current = self.known(known, id).await?;
        let mut ring = KeyRing::new(current.digest.clone());
        let previous_ends = later(current.created_at, self.overlap);
        versions.insert(id.to_owned(), current);
        // Without an overlap the clock is not asked: one that was put back would accept the old key again.
        let in_overlap = !self.overlap.is_zero() && read_at < previous_ends;
        if let Some(id) = labels.version(PREVIOUS).filter(|_| in_overlap)
            && let Some(previous) = self.known_or_none(known, id).await?
        {
            ring = ring.with_previous(previous.digest.clone(), previous_ends);
            versions.insert(id.to_owned(), previous);
        }
        // A finished rotation may leave the label where it was.
        if let Some(id) = labels.version(PENDING).filter(|id| labels.version(CURRENT) != Some(*id))
            && let Some(pending) = self.known_or_none(known, id).await?
        {
            ring = ring.with_pending(pending.digest.clone());
            versions.insert(id.to_owned(), pending);
        }
        Ok(Keys { ring, read_at, versions })
    }

    async fn known(&self, known: Option<&Keys>, id: &str) -> Result<KnownVersion, SecretError> {
        match known.and_then(|keys| keys.versions.get(id)) {
            Some(version) => Ok(version.clone()),
            None => Ok(KnownVersion::from(&self.source.version(id).await?)),
        }
    }

    /// A version beside the one in force. It may have no value yet, or one that was never a key: then there is none.
    async fn known_or_none(
        &self,
        known: Option<&Keys>,
        id: &str,
    ) -> Result<Option<KnownVersion>, SecretError> {
        match self.known(known, id).await {
            Ok(version) => Ok(Some(version)),
            Err(SecretError::NotFound(_)) => Ok(None),
            Err(error @ (SecretError::NoText | SecretError::NoMember | SecretError::Weak(_))) => {
                tracing::warn!(%error, version = id, "a version of the secret is passed over");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How long to wait until the secret may be read again; `None` if it may be now. A clock that was put back makes
    /// the last reading one of the future, which says nothing.
    fn pause(state: &State, now: Timestamp) -> Option<Duration> {
        let since = now.duration_since(state.read_again_at?);
        if since.is_negative() {
            return None;
        }
        Duration::try_from(PAUSE - since).ok().filter(|pause| !pause.is_zero())
    }

    /// How old what was read is. A clock that was put back says nothing about that.
    fn age(&self, keys: &Keys, now: Timestamp) -> Age {
        let age = now.duration_since(keys.read_at);
        if age.is_negative() || age >= self.ttl {
            Age::Old
        } else if age >= self.refresh {
            Age::Ripe
        } else {
            Age::Young
        }
    }
}

/// How old what was read is.
enum Age {
    /// It is used.
    Young,
    /// It is used, and read again beforehand if that is possible.
    Ripe,
    /// It is not used any more.
    Old,
}

#[async_trait]
impl Authenticator for SecretKeys {
    async fn authenticate(&self, credential: &Credential, now: Timestamp) -> Result<Principal, Refusal> {
        let decide = |state: &State, now: Timestamp| match &state.keys {
            Some(keys) => recognize(&keys.ring, credential, now),
            None => Err(Refusal::AuthUnavailable),
        };
        let mut state = self.state.lock().await;
        let mut has_read = false;
        match state.keys.as_ref().map_or(Age::Old, |keys| self.age(keys, now)) {
            // Before its time is over, so that a short failure of Secrets Manager shuts nobody out. What cannot be a key
            // has nothing read.
            Age::Ripe if Self::pause(&state, now).is_none() && could_be_a_key(&decide(&state, now)) => {
                has_read = self.read(&mut state).await.is_ok();
            }
            Age::Young | Age::Ripe => {}
            Age::Old if state.is_in_doubt && Self::pause(&state, now).is_some() => {
                return Err(Refusal::AuthUnavailable);
            }
            Age::Old => {
                self.read(&mut state).await?;
                has_read = true;
            }
        }
        match decide(&state, now) {
            Ok(principal) if principal.is_pending() && !has_read => {
                if let Some(pause) = Self::pause(&state, now) {
                    sleep(pause).await;
                }
                self.read(&mut state).await?;
                decide(&state, self.clock.now())
            }
            Err(Refusal::InvalidKey { cause: InvalidCause::Unknown })
                if Self::pause(&state, now).is_none() =>
            {
                self.read(&mut state).await?;
                decide(&state, self.clock.now())
            }
            // The last reading failed: what is not known may be right.
            Err(Refusal::InvalidKey { cause: InvalidCause::Unknown }) if state.is_in_doubt => {
                Err(Refusal::AuthUnavailable)
            }
            decided => decided,
        }
    }
}

/// Whether what was decided about a credential may change with what is in the secret.
fn could_be_a_key(decided: &Result<Principal, Refusal>) -> bool {
    !matches!(decided, Err(Refusal::InvalidKey { cause }) if *cause != InvalidCause::Unknown)
}

fn tell(error: &SecretError) {
    tracing::error!(%error, "the key cannot be read from the secret");
}

#[cfg(test)]
mod tests {
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

    /// A secret whose versions and labels a test sets, and which counts how it is read.
    #[derive(Default)]
    struct Script {
        versions: BTreeMap<&'static str, (&'static str, Timestamp)>,
        labels: BTreeMap<&'static str, &'static str>,
        is_down: bool,
        calls: Vec<String>,
    }

    /// An environment: its keys, its clock, and the secret that it reads.
    struct World {
        keys: SecretKeys,
        clock: Arc<TestClock>,
        script: Arc<StdMutex<Script>>,
    }

    /// Goes on with the runtime's time, which stands still while an environment is frozen; a test moves it besides.
    struct TestClock {
        begun: Instant,
        moved: StdMutex<SignedDuration>,
    }

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            let start: Timestamp = "2026-01-05T09:00:00Z".parse().unwrap();
            let ran = SignedDuration::try_from(self.begun.elapsed()).unwrap();
            start + ran + *self.moved.lock().unwrap()
        }
    }

    struct Scripted(Arc<StdMutex<Script>>);

    impl Scripted {
        fn call(&self, call: String) -> Result<MutexGuard<'_, Script>, SecretError> {
            let mut script = self.0.lock().unwrap();
            script.calls.push(call);
            if script.is_down { Err(SecretError::Unavailable("down".to_owned())) } else { Ok(script) }
        }
    }

    impl Script {
        fn read(&self, id: &str) -> Result<Version, SecretError> {
            let (text, created_at) =
                self.versions.get(id).ok_or_else(|| SecretError::NotFound(id.to_owned()))?;
            Ok(Version { id: id.to_owned(), created_at: *created_at, content: Content::parse(text)? })
        }
    }

    #[async_trait]
    impl KeySource for Scripted {
        async fn current(&self) -> Result<Version, SecretError> {
            let script = self.call("current".to_owned())?;
            script.read(script.labels[CURRENT])
        }

        async fn labels(&self) -> Result<Labels, SecretError> {
            let script = self.call("labels".to_owned())?;
            Ok(script.labels.iter().map(|(label, id)| ((*id).to_owned(), (*label).to_owned())).collect())
        }

        async fn version(&self, id: &str) -> Result<Version, SecretError> {
            self.call(format!("version {id}"))?.read(id)
        }
    }

    impl World {
        /// An environment that started with [`FIRST`] in force.
        async fn start() -> Self {
            let clock = Arc::new(TestClock { begun: Instant::now(), moved: StdMutex::default() });
            let script = Arc::new(StdMutex::new(Script::default()));
            let keys = SecretKeys::new(Scripted(script.clone()), clock.clone(), TTL, REFRESH, OVERLAP);
            let world = Self { keys, clock, script };
            world.put("1", FIRST);
            world.label(CURRENT, "1");
            world.keys.start().await;
            world
        }

        fn script(&self) -> MutexGuard<'_, Script> {
            self.script.lock().unwrap()
        }

        fn put(&self, id: &'static str, text: &'static str) {
            let now = self.clock.now();
            self.script().versions.insert(id, (text, now));
        }

        fn label(&self, label: &'static str, id: &'static str) {
            self.script().labels.insert(label, id);
        }

        /// Puts a version in force, as Secrets Manager does.
        fn finish(&self, id: &'static str) {
            let mut script = self.script();
            if let Some(before) = script.labels.insert(CURRENT, id) {
                script.labels.insert(PREVIOUS, before);
            }
            script.labels.remove(PENDING);
        }

        /// Moves the wall clock and not the monotonic one.
        fn thaw_after(&self, frozen: SignedDuration) {
            *self.clock.moved.lock().unwrap() += frozen;
        }

        /// What a key comes to: its id, or the code of the refusal.
        async fn authenticate(&self, key: &str) -> Result<Principal, Refusal> {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static("x-api-key"),
                HeaderValue::from_str(key).unwrap(),
            )]);
            self.keys.authenticate(&Credential::of_request(&headers)?, self.clock.now()).await
        }

        async fn ask(&self, key: &str) -> String {
            match self.authenticate(key).await {
                Ok(principal) => principal.key_id().to_string(),
                Err(refusal) => refusal.code().to_owned(),
            }
        }

        fn take_calls(&self) -> Vec<String> {
            std::mem::take(&mut self.script().calls)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_makes_one_call_and_a_known_key_makes_none() {
        let world = World::start().await;
        assert_eq!(world.take_calls(), ["current"]);
        for _ in 0..3 {
            assert_eq!(world.ask(FIRST).await, "root");
        }
        assert!(world.take_calls().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_be_told_without_keys_needs_none() {
        let world = World::start().await;
        world.script().is_down = true;
        world.take_calls();
        world.thaw_after(SignedDuration::from_hours(1));
        assert_eq!(world.authenticate("").await.unwrap_err(), Refusal::MissingKey);
        assert_eq!(world.ask("two,keys").await, "invalid_api_key");
        assert!(world.take_calls().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_environment_reads_the_secret_before_it_accepts_a_key_again() {
        let world = World::start().await;
        world.put("2", SECOND);
        world.finish("2");
        let before = Instant::now();
        world.thaw_after(SignedDuration::from_hours(1));
        assert_eq!(before.elapsed(), Duration::ZERO, "the monotonic clock stood still");
        assert_eq!(world.ask(FIRST).await, "invalid_api_key", "its overlap is over");
        assert_eq!(world.ask(SECOND).await, "root");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_put_back_makes_nothing_younger() {
        let world = World::start().await;
        world.thaw_after(SignedDuration::from_hours(-1));
        world.take_calls();
        assert_eq!(world.ask(FIRST).await, "root");
        assert_eq!(world.take_calls(), ["labels"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_is_read_again_after_seconds_and_a_failure_then_shuts_nobody_out() {
        let world = World::start().await;
        world.take_calls();
        world.thaw_after(REFRESH - SignedDuration::from_secs(1));
        assert_eq!(world.ask(FIRST).await, "root");
        assert!(world.take_calls().is_empty());

        world.script().is_down = true;
        world.thaw_after(SignedDuration::from_secs(1));
        assert_eq!(world.ask(FIRST).await, "root");
        assert_eq!(world.ask(FIRST).await, "root");
        assert_eq!(world.take_calls(), ["labels"]);

        world.thaw_after(TTL - REFRESH - SignedDuration::from_nanos(1));
        assert_eq!(world.ask(FIRST).await, "root");
        world.thaw_after(SignedDuration::from_nanos(1));
        assert_eq!(world.ask(FIRST).await, "auth_unavailable");
        world.script().is_down = false;
        world.thaw_after(PAUSE);
        assert_eq!(world.ask(FIRST).await, "root");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_could_be_new_has_the_secret_read_at_most_once_in_a_pause() {
        let world = World::start().await;
        world.take_calls();
        for _ in 0..100 {
            assert_eq!(world.ask(UNKNOWN).await, "invalid_api_key");
        }
        assert_eq!(world.take_calls(), ["labels"]);
        world.thaw_after(PAUSE - SignedDuration::from_millis(1));
        assert_eq!(world.ask(UNKNOWN).await, "invalid_api_key");
        assert!(world.take_calls().is_empty());
        world.thaw_after(SignedDuration::from_millis(1));
        assert_eq!(world.ask(UNKNOWN).await, "invalid_api_key");
        assert_eq!(world.take_calls(), ["labels"]);
        for text in ["hunter2", "onr_x", &FIRST[1..20]] {
            world.thaw_after(PAUSE);
            assert_eq!(world.ask(text).await, "invalid_api_key");
        }
        assert!(world.take_calls().is_empty(), "what cannot be a key has nothing read");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_rotation_both_keys_are_accepted_and_after_the_overlap_one() {
        let world = World::start().await;
        world.put("2", SECOND);
        world.finish("2");
        assert_eq!(world.ask(SECOND).await, "root");
        assert_eq!(world.ask(FIRST).await, "root-previous");
        world.thaw_after(OVERLAP - SignedDuration::from_nanos(1));
        assert_eq!(world.ask(FIRST).await, "root-previous");
        world.thaw_after(SignedDuration::from_nanos(1));
        assert_eq!(world.ask(FIRST).await, "expired_api_key");
        world.thaw_after(REFRESH);
        assert_eq!(world.ask(FIRST).await, "invalid_api_key");
        assert_eq!(world.ask(SECOND).await, "root");
    }

    #[tokio::test(start_paused = true)]
    async fn an_environment_that_knows_of_no_rotation_accepts_the_old_key_no_longer_than_the_others() {
        for overlap in [30, 60, 599, 3_600] {
            let overlap = SignedDuration::from_secs(overlap);
            let mut world = World::start().await;
            let (source, clock) = (Scripted(world.script.clone()), world.clock.clone());
            world.keys = SecretKeys::new(source, clock, TTL, REFRESH, overlap);
            world.put("2", SECOND);
            // As late as a rotation may end, and the secret is read just before.
            world.thaw_after(overlap / 2);
            world.keys.start().await;
            world.finish("2");
            world.thaw_after(overlap / 2 - SignedDuration::from_nanos(1));
            assert!(world.ask(FIRST).await.starts_with("root"), "{overlap:?}");
            world.thaw_after(SignedDuration::from_nanos(1));
            assert_ne!(world.ask(FIRST).await, "root", "{overlap:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_overlap_the_old_key_ends_within_a_pause() {
        let mut world = World::start().await;
        let (source, clock) = (Scripted(world.script.clone()), world.clock.clone());
        world.keys = SecretKeys::new(source, clock, TTL, REFRESH, SignedDuration::ZERO);
        world.keys.start().await;
        world.put("2", SECOND);
        world.finish("2");
        world.thaw_after(PAUSE);
        assert_eq!(world.ask(FIRST).await, "invalid_api_key");
        assert_eq!(world.ask(SECOND).await, "root");
        world.thaw_after(SignedDuration::from_secs(-60));
        assert_eq!(world.ask(FIRST).await, "invalid_api_key", "the clock was put back");
        assert_eq!(world.ask(SECOND).await, "root");
    }

    #[tokio::test(start_paused = true)]
    async fn a_previous_key_without_its_label_ends_within_seconds() {
        let world = World::start().await;
        world.put("2", SECOND);
        world.finish("2");
        assert_eq!(world.ask(SECOND).await, "root");
        assert_eq!(world.ask(FIRST).await, "root-previous");
        world.script().labels.remove(PREVIOUS);
        world.thaw_after(REFRESH);
        assert_eq!(world.ask(FIRST).await, "invalid_api_key");
        assert_eq!(world.ask(SECOND).await, "root");
    }

    #[tokio::test(start_paused = true)]
    async fn an_environment_that_missed_the_rotation_ends_the_old_key_within_seconds() {
        let world = World::start().await;
        assert_eq!(world.ask(FIRST).await, "root");
        world.put("2", SECOND);
        world.finish("2");
        world.script().labels.remove(PREVIOUS);
        world.thaw_after(REFRESH);
        assert_eq!(world.ask(FIRST).await, "invalid_api_key");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_in_constant_use_costs_one_reading_of_labels_a_refresh() {
        let world = World::start().await;
        world.take_calls();
        for _ in 0..700 {
            assert_eq!(world.ask(FIRST).await, "root");
            world.thaw_after(SignedDuration::from_millis(100));
        }
        assert_eq!(world.take_calls(), ["labels"; 9]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_environment_that_starts_in_the_overlap_accepts_the_old_key() {
        let world = World::start().await;
        world.put("2", SECOND);
        world.finish("2");
        world.keys.start().await;
        assert_eq!(world.ask(FIRST).await, "root-previous");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pending_key_may_ask_who_it_is_and_nothing_else() {
        let world = World::start().await;
        world.put("2", SECOND);
        world.label(PENDING, "2");
        let principal = world.authenticate(SECOND).await.unwrap();
        assert_eq!(principal.key_id().as_str(), "root-pending");
        assert!(principal.authorize(Access::AnyKey).is_ok());
        assert!(principal.authorize(Access::Requires(Scope::ProjectsRead)).is_err());
        assert_eq!(world.ask(FIRST).await, "root");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_key_is_never_called_wrong_however_recently_the_secret_was_read() {
        for since in [0, 1, 4_999, 5_000, 60_000] {
            let world = World::start().await;
            world.put("2", SECOND);
            world.label(PENDING, "2");
            // Whatever was tried, it was within the pause before the new key came into force.
            assert_eq!(world.ask(UNKNOWN).await, "invalid_api_key");
            world.thaw_after(SignedDuration::from_millis(since));
            world.finish("2");
            world.take_calls();
            assert_eq!(world.ask(SECOND).await, "root", "{since} ms");
            assert_eq!(world.take_calls(), ["labels"]);
            assert_eq!(world.ask(FIRST).await, "root-previous");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_label_without_a_value_and_a_version_that_is_no_key_are_passed_over() {
        let world = World::start().await;
        world.label(PENDING, "not-yet");
        world.put("0", "changeme");
        world.label(PREVIOUS, "0");
        assert_eq!(world.ask(UNKNOWN).await, "invalid_api_key");
        assert_eq!(world.ask(FIRST).await, "root");
    }

    #[tokio::test(start_paused = true)]
    async fn unreadable_secret_gives_503_until_it_is_read() {
        let world = World::start().await;
        for text in ["", "changeme", "{}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            world.put("broken", text);
            world.label(CURRENT, "broken");
            *world.keys.state.lock().await = State::default();
            world.keys.start().await;
            for key in [FIRST, UNKNOWN] {
                assert_eq!(world.ask(key).await, "auth_unavailable", "{text}");
            }
            world.label(CURRENT, "1");
            assert_eq!(world.ask(FIRST).await, "auth_unavailable", "not before the pause is over");
            world.thaw_after(PAUSE);
            assert_eq!(world.ask(FIRST).await, "root");
            assert_eq!(world.ask(UNKNOWN).await, "invalid_api_key");
            world.thaw_after(PAUSE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_not_called_wrong_while_the_last_reading_failed() {
        let world = World::start().await;
        world.script().is_down = true;
        assert_eq!(world.ask(SECOND).await, "auth_unavailable");
        assert_eq!(world.ask(SECOND).await, "auth_unavailable");
        assert_eq!(world.ask(FIRST).await, "root", "what is known is still young");
        world.script().is_down = false;
        world.put("2", SECOND);
        world.finish("2");
        world.thaw_after(PAUSE);
        assert_eq!(world.ask(SECOND).await, "root");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_together_wait_for_one_reading() {
        let world = World::start().await;
        world.put("2", SECOND);
        world.finish("2");
        world.take_calls();
        let asked = futures_util::future::join_all((0..20).map(|_| world.ask(SECOND))).await;
        assert!(asked.iter().all(|id| id == "root"), "{asked:?}");
        assert_eq!(world.take_calls(), ["labels", "version 2"]);
    }
}
