//! The root keys in Secrets Manager: a cache that follows rotations without a restart.
//!
//! The cache's age is measured *by the wall clock*. A monotonic clock stands still while an
//! environment is frozen, so a key that was replaced yesterday would be accepted today. The secret
//! is read again in these cases:
//!
//! - The cache is older than `AUTH_KEY_CACHE_SECONDS`, the longest time that a revocation may take.
//!   Only labels are read, because versions never change. So a key whose label was removed is
//!   refused within seconds. If reading fails, the cached keys stay valid until
//!   `AUTH_SECRET_TTL_SECONDS`; after that every request gets 503.
//! - A caller presents an unknown but well-formed key: a rotation may have created it.
//! - A caller presents the pending key: it may be current by now.
//!
//! It is read at most once in [`PAUSE`], however many keys callers try. Rotations are still
//! noticed. The next key has the label `AWSPENDING` before it becomes current. So either the cache,
//! read within the last pause, knows it as pending, or the pause is over and the secret is read at
//! once. A request with the pending key waits for the pause to end; only the key's holder can cause
//! such a wait.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onerun_api::Authenticator;
use onerun_auth::{Credential, InvalidCause, KeyDigest, KeyRing, Principal, Refusal, recognize};
use onerun_domain::{Clock, later};
use tokio::{sync::Mutex, time::sleep};

use crate::secret::{CURRENT, Labels, PENDING, PREVIOUS, SecretError, Version};

/// The shortest time between the starts of two reads.
pub(crate) const PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// The source of keys: Secrets Manager, or a fake in tests.
#[async_trait]
pub(crate) trait KeySource: Send + Sync {
    /// The version with the label `AWSCURRENT`.
    async fn current(&self) -> Result<Version, SecretError>;

    /// All labels with their versions.
    async fn labels(&self) -> Result<Labels, SecretError>;

    async fn version(&self, id: &str) -> Result<Version, SecretError>;
}

/// The cached keys of a secret.
pub(crate) struct SecretKeys {
    source: Box<dyn KeySource>,
    clock: Arc<dyn Clock>,
    ttl: SignedDuration,
    /// The age from which the secret is read again.
    refresh: SignedDuration,
    overlap: SignedDuration,
    // Held while the secret is read, so that concurrent requests share one read.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last keys that were read; `None` before the first successful read.
    keys: Option<CachedKeys>,
    /// When the last read began, apart from the one at the start.
    last_refresh_at: Option<Timestamp>,
    /// Whether the last read failed.
    last_read_failed: bool,
}

/// The keys of one read.
struct CachedKeys {
    ring: KeyRing,
    read_at: Timestamp,
    /// Versions by id. They never change, so they are not read again.
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
    /// Caches keys for `ttl`, and reads them again after `refresh` (at least [`PAUSE`]) or four
    /// fifths of `ttl`, whichever is shorter. The previous key is accepted for `overlap`.
    pub(crate) fn new(
        source: impl KeySource + 'static,
        clock: Arc<dyn Clock>,
        ttl: SignedDuration,
        refresh: SignedDuration,
        overlap: SignedDuration,
    ) -> Self {
        // A function that read the secret just before a rotation ended accepts the old key as
        // current for `ttl`. A rotation ends within half of the overlap, so `ttl` must not exceed
        // the other half.
        let ttl = ttl.min(overlap / 2).max(PAUSE);
        let refresh = refresh.max(PAUSE).min(ttl * 4 / 5);
        Self { source: Box::new(source), clock, ttl, refresh, overlap, state: Mutex::default() }
    }

    /// Reads the current key with one call while the function starts. If that fails, the first
    /// request reads it.
    pub(crate) async fn start(&self) {
        let mut state = self.state.lock().await;
        let read_at = self.clock.now();
        match self.source.current().await {
            Ok(version) => {
                let known = KnownVersion::from(&version);
                let ring = KeyRing::new(known.digest.clone());
                state.keys =
                    Some(CachedKeys { ring, read_at, versions: HashMap::from([(version.id, known)]) });
            }
            Err(error) => {
                state.last_read_failed = true;
                log_failure(&error);
            }
        }
    }

    /// Reads the secret into the cache.
    async fn refresh(&self, state: &mut State) -> Result<(), Refusal> {
        let read_at = self.clock.now();
        state.last_refresh_at = Some(read_at);
        match self.fetch(state.keys.as_ref(), read_at).await {
            Ok(keys) => {
                state.keys = Some(keys);
                state.last_read_failed = false;
                Ok(())
            }
            Err(error) => {
                state.last_read_failed = true;
                log_failure(&error);
                Err(Refusal::AuthUnavailable)
            }
        }
    }

    async fn fetch(
        &self,
        cached: Option<&CachedKeys>,
        read_at: Timestamp,
    ) -> Result<CachedKeys, SecretError> {
        let labels = self.source.labels().await?;
        let mut versions = HashMap::new();
        let id = labels.version(CURRENT).ok_or_else(|| SecretError::NotFound(CURRENT.to_owned()))?;
        let current = self.cached_or_read(cached, id).await?;
        let mut ring = KeyRing::new(current.digest.clone());
        let previous_ends = later(current.created_at, self.overlap);
        versions.insert(id.to_owned(), current);
        // Without an overlap the clock is ignored: a clock that was set back would accept the old key again.
        let in_overlap = !self.overlap.is_zero() && read_at < previous_ends;
        if let Some(id) = labels.version(PREVIOUS).filter(|_| in_overlap)
            && let Some(previous) = self.cached_or_read_key(cached, id).await?
        {
            ring = ring.with_previous(previous.digest.clone(), previous_ends);
            versions.insert(id.to_owned(), previous);
        }
        // A finished rotation may leave `AWSPENDING` on the current version.
        if let Some(id) = labels.version(PENDING).filter(|id| labels.version(CURRENT) != Some(*id))
            && let Some(pending) = self.cached_or_read_key(cached, id).await?
        {
            ring = ring.with_pending(pending.digest.clone());
            versions.insert(id.to_owned(), pending);
        }
        Ok(CachedKeys { ring, read_at, versions })
    }

    async fn cached_or_read(
        &self,
        cached: Option<&CachedKeys>,
        id: &str,
    ) -> Result<KnownVersion, SecretError> {
        match cached.and_then(|keys| keys.versions.get(id)) {
            Some(version) => Ok(version.clone()),
            None => Ok(KnownVersion::from(&self.source.version(id).await?)),
        }
    }

    /// The previous or pending version. `None` if it has no value yet, or one that is not a key.
    async fn cached_or_read_key(
        &self,
        cached: Option<&CachedKeys>,
        id: &str,
    ) -> Result<Option<KnownVersion>, SecretError> {
        match self.cached_or_read(cached, id).await {
            Ok(version) => Ok(Some(version)),
            Err(SecretError::NotFound(_)) => Ok(None),
            Err(error @ (SecretError::NoText | SecretError::NoMember | SecretError::Weak(_))) => {
                tracing::warn!(
                    %error,
                    version = id,
                    "a version of the secret is ignored; rotate the secret to replace it"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How long to wait until the secret may be read again; `None` if it may be read now. After a
    /// clock was set back, the last read lies in the future and is ignored.
    fn pause(state: &State, now: Timestamp) -> Option<Duration> {
        let since = now.duration_since(state.last_refresh_at?);
        if since.is_negative() {
            return None;
        }
        Duration::try_from(PAUSE - since).ok().filter(|pause| !pause.is_zero())
    }

    /// The freshness of cached keys. They count as expired after a clock was set back.
    fn freshness(&self, keys: &CachedKeys, now: Timestamp) -> Freshness {
        let age = now.duration_since(keys.read_at);
        if age.is_negative() || age >= self.ttl {
            Freshness::Expired
        } else if age >= self.refresh {
            Freshness::Stale
        } else {
            Freshness::Fresh
        }
    }
}

/// The freshness of cached keys.
enum Freshness {
    /// Used as they are.
    Fresh,
    /// Read again first; used if that fails.
    Stale,
    /// Never used again.
    Expired,
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
        match state.keys.as_ref().map_or(Freshness::Expired, |keys| self.freshness(keys, now)) {
            // Read before the keys expire, so that a short failure of Secrets Manager refuses no
            // caller. A malformed key causes no read.
            Freshness::Stale
                if Self::pause(&state, now).is_none() && could_be_a_key(&decide(&state, now)) =>
            {
                has_read = self.refresh(&mut state).await.is_ok();
            }
            Freshness::Fresh | Freshness::Stale => {}
            Freshness::Expired if state.last_read_failed && Self::pause(&state, now).is_some() => {
                return Err(Refusal::AuthUnavailable);
            }
            Freshness::Expired => {
                self.refresh(&mut state).await?;
                has_read = true;
            }
        }
        match decide(&state, now) {
            Ok(principal) if principal.is_pending() && !has_read => {
                if let Some(pause) = Self::pause(&state, now) {
                    sleep(pause).await;
                }
                self.refresh(&mut state).await?;
                decide(&state, self.clock.now())
            }
            Err(Refusal::InvalidKey { cause: InvalidCause::Unknown })
                if Self::pause(&state, now).is_none() =>
            {
                self.refresh(&mut state).await?;
                decide(&state, self.clock.now())
            }
            // The last read failed, so an unknown key may be valid.
            Err(Refusal::InvalidKey { cause: InvalidCause::Unknown }) if state.last_read_failed => {
                Err(Refusal::AuthUnavailable)
            }
            decided => decided,
        }
    }
}

/// Whether reading the secret again may change the decision about a credential.
fn could_be_a_key(decided: &Result<Principal, Refusal>) -> bool {
    !matches!(decided, Err(Refusal::InvalidKey { cause }) if *cause != InvalidCause::Unknown)
}

fn log_failure(error: &SecretError) {
    tracing::error!(
        %error,
        "the root key was not read from the secret; requests get 503 once the cached key has expired"
    );
}

#[cfg(test)]
mod tests;
