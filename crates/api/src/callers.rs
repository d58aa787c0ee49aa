//! Authentication of callers: from the headers of a request to the key behind it.
//!
//! The host recognises the root key ([`Authenticator`]); [`Keys`] has the records of managed keys. The usage
//! of a key is collected in memory and written after the answer, at most once a minute.
//!
//! Invariant: a request whose key cannot be read or counted is refused with 503, and neither accepted nor
//! refused as unauthenticated.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderMap;
use jiff::Timestamp;
use onerun_auth::{
    Credential, KeyId, KeyRecord, KeyUse, Principal, RateLimit, RateStatus, Refusal, Scope, UseLog,
    recognize_managed,
};
use onerun_domain::Clock;
use onerun_engine::{Engine, Keys};
use onerun_store::{Store, StoreError, with_causes};
use tokio_util::task::TaskTracker;

use crate::Authenticator;

/// The bound on keys whose window is known to be full.
const MAX_FULL: usize = 10_000;

/// Authenticates callers, applies their rate limits and records their usage.
pub(crate) struct Callers {
    root: Box<dyn Authenticator>,
    keys: Arc<Keys>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    uses: Arc<Mutex<UseLog>>,
    writes: TaskTracker,
    /// The windows in which a key has no request left. Requests in them are refused without counting.
    full: Mutex<HashMap<KeyId, (RateLimit, i64)>>,
}

/// The key behind a request.
pub(crate) struct Authenticated {
    pub(crate) principal: Principal,
    /// The state of the key's rate limit, if it has one.
    pub(crate) rate: Option<RateStatus>,
    /// The record of a managed key. A root key has none.
    record: Option<Arc<KeyRecord>>,
}

impl Callers {
    pub(crate) fn new(engine: &Engine, root: Box<dyn Authenticator>) -> Self {
        Self {
            root,
            keys: Arc::clone(engine.keys()),
            store: Arc::clone(engine.store()),
            clock: Arc::clone(engine.clock()),
            uses: Arc::default(),
            writes: TaskTracker::new(),
            full: Mutex::default(),
        }
    }

    /// Finds the key of a request and counts the request against its rate limit.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Authenticated, Refusal> {
        let (principal, record) = self.recognize(headers, address).await?;
        let rate = match &record {
            Some(_) => self.count(&principal).await?,
            None => None,
        };
        Ok(Authenticated { principal, rate, record })
    }

    /// Finds the key of a request without counting, for a request that was counted before its body was read.
    pub(crate) async fn recognize(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<(Principal, Option<Arc<KeyRecord>>), Refusal> {
        let credential = Credential::of_request(headers)?;
        let Some(key) = credential.managed()? else {
            return Ok((self.root.authenticate(&credential, self.clock.now()).await?, None));
        };
        let record = self.keys.record(key.id()).await.map_err(|error| unavailable(&error))?;
        // Read the clock now, because reading the record may have taken time.
        let principal = recognize_managed(&key, record.as_deref(), address, self.clock.now())?;
        Ok((principal, record))
    }

    /// Records the use of a key for a route with this scope; `None` if the route refused the key.
    pub(crate) fn record_usage(&self, caller: &Authenticated, scope: Option<Scope>) {
        let Some(record) = &caller.record else { return };
        let now = self.clock.now();
        let due = lock(&self.uses).note(record, scope, now);
        if let Some(uses) = due {
            self.write(record.id.clone(), uses, now);
        }
    }

    /// Writes the usage that is due. A host calls this regularly, so that usage is written without further
    /// requests.
    pub(crate) fn write_due(&self) {
        let now = self.clock.now();
        let due = lock(&self.uses).take_due(now);
        for (id, uses) in due {
            self.write(id, uses, now);
        }
    }

    /// The writes that run beside answers. [`drain`](Self::drain) waits for all of them.
    pub(crate) fn writes(&self) -> &TaskTracker {
        &self.writes
    }

    /// Waits for the writes that run beside answers. Any number of tasks may wait at once; one that stops
    /// waiting stops no write.
    pub(crate) async fn drain(&self) {
        // The wait ends only on a closed tracker. A closed tracker still accepts writes.
        self.writes.close();
        self.writes.wait().await;
    }

    /// Writes all collected usage, and waits for it.
    pub(crate) async fn flush(&self) {
        let now = self.clock.now();
        let rest = lock(&self.uses).take_all();
        for (id, uses) in rest {
            self.write(id, uses, now);
        }
        self.drain().await;
    }

    async fn count(&self, principal: &Principal) -> Result<Option<RateStatus>, Refusal> {
        let Some(limit) = principal.grant().rate_limit else { return Ok(None) };
        let (id, now) = (principal.key_id(), self.clock.now());
        let window = (limit, limit.window(now));
        let is_full = lock(&self.full).get(id) == Some(&window);
        let count = if is_full {
            u64::from(limit.requests()) + 1
        } else {
            let counted = self.store.count_request(id.as_str(), limit, now).await;
            counted.map_err(|error| unavailable(&error))?
        };
        let status = limit.status(count, now);
        if !status.is_exceeded {
            return Ok(Some(status));
        }
        let mut full = lock(&self.full);
        if full.len() >= MAX_FULL {
            full.clear();
        }
        full.insert(id.clone(), window);
        Err(Refusal::RateLimited { key_id: id.clone(), status })
    }

    /// Writes the usage of a key in a task, which no answer waits for. Usage that cannot be written returns
    /// to the log.
    fn write(&self, id: KeyId, uses: KeyUse, now: Timestamp) {
        let (store, log) = (Arc::clone(&self.store), Arc::clone(&self.uses));
        self.writes.spawn(async move {
            let written = store.add_key_use(&id, &uses, now).await.unwrap_or_else(|error| {
                let error = with_causes(&error);
                tracing::warn!(error, key_id = id.as_str(), "the usage of a key was not written");
                false
            });
            if !written {
                lock(&log).give_back(&id, &uses);
            }
        });
    }
}

fn unavailable(error: &StoreError) -> Refusal {
    tracing::error!(error = with_causes(error), "a key cannot be read or its requests not counted");
    Refusal::AuthUnavailable
}

/// Every holder changes the value by one call, so it is consistent even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
