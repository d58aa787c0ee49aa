//! Who calls: from the headers of a request to the key behind it.
//!
//! The root key is the host's to recognise ([`Authenticator`]); managed keys are in the store. What was read of a managed
//! key is believed for a few seconds ([`KeyCache`]); how often and when it was used is written seldom, beside the answer
//! and never before it.
//!
//! Invariant: whatever cannot be read or counted lets nobody in. That is a 503, and neither a 2xx nor a 401.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{
    Credential, Instants, KeyCache, KeyId, KeyRecord, KeyUse, Lookup, Principal, RateLimit, RateStatus,
    Refusal, Scope, UseLog, recognize_managed,
};
use onerun_engine::Engine;
use onerun_store::{ChangeKey, KeyChange, KeyError, Store, StoreError, with_causes};
use tokio_util::task::TaskTracker;

use crate::{
    ApiError, Authenticator,
    ends::{Ends, MakeChange, is_full},
};

/// The most keys of which it is remembered that their window is full.
const MAX_FULL: usize = 10_000;

/// The keys of this process: what is known of them for now, and what of their uses is yet to be written.
pub(crate) struct Callers {
    root: Box<dyn Authenticator>,
    cache: Mutex<KeyCache>,
    /// Ends of keys that are in force before they are stored.
    ends: Ends,
    uses: Arc<Mutex<UseLog>>,
    writes: TaskTracker,
    /// Windows in which a key has no request left. Nothing is counted in them any more.
    full: Mutex<HashMap<KeyId, (RateLimit, i64)>>,
    started: Instant,
}

/// The key behind a request.
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    /// How it stands with its limit, if it has one.
    pub(crate) rate: Option<RateStatus>,
    /// What is kept of it; a root key is in no store.
    record: Option<Arc<KeyRecord>>,
}

impl Callers {
    pub(crate) fn new(root: Box<dyn Authenticator>, ttl: SignedDuration) -> Self {
        Self {
            root,
            cache: Mutex::new(KeyCache::new(ttl)),
            ends: Ends::default(),
            uses: Arc::default(),
            writes: TaskTracker::new(),
            full: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// The same callers, believing managed keys for another time. For a host that is being put together.
    pub(crate) fn with_ttl(self, ttl: SignedDuration) -> Self {
        Self { cache: Mutex::new(KeyCache::new(ttl)), ..self }
    }

    /// Says whose key a request has, and counts it.
    pub(crate) async fn identify(
        &self,
        engine: &Engine,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Caller, Refusal> {
        let (principal, record) = self.recognize(engine, headers, address).await?;
        let rate = match &record {
            Some(_) => self.count(engine, &principal).await?,
            None => None,
        };
        Ok(Caller { principal, rate, record })
    }

    /// Says whose key a request has, and counts nothing: also for a request that was counted when it came.
    pub(crate) async fn recognize(
        &self,
        engine: &Engine,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<(Principal, Option<Arc<KeyRecord>>), Refusal> {
        let credential = Credential::of_request(headers)?;
        let Some(key) = credential.managed()? else {
            return Ok((self.root.authenticate(&credential, engine.now()).await?, None));
        };
        let record = self.record(engine, key.id()).await.map_err(|error| unreadable(&error))?;
        // The time is asked once more, because reading may have taken some.
        let principal = recognize_managed(&key, record.as_deref(), address, engine.now())?;
        Ok((principal, record))
    }

    /// Notes that a caller was let in, for what a route asks; `None` where it was let in and then refused.
    pub(crate) fn note(&self, engine: &Engine, caller: &Caller, scope: Option<Scope>) {
        let Some(record) = &caller.record else { return };
        let now = engine.now();
        let due = lock(&self.uses).note(record, scope, now);
        if let Some(uses) = due {
            self.write(engine.store(), record.id.clone(), uses, now);
        }
    }

    /// Takes in what this process has made of a key by a write that began at `began`, so that it counts here at once.
    fn learn(&self, engine: &Engine, record: &KeyRecord, began: Instants) {
        let now = self.moment(engine);
        lock(&self.cache).fill(&record.id, Some(record.clone()), began, now);
    }

    /// Writes the uses that are due, for a host that goes on while nobody calls.
    pub(crate) fn write_due(&self, engine: &Engine) {
        let now = engine.now();
        let due = lock(&self.uses).take_due(now);
        for (id, uses) in due {
            self.write(engine.store(), id, uses, now);
        }
    }

    /// What is being written beside answers. A host waits for all of it.
    pub(crate) fn writes(&self) -> &TaskTracker {
        &self.writes
    }

    /// Waits for the uses that are being written, for a host that may be frozen once an answer is out. Any number of callers
    /// may wait at once; one that stops waiting stops no write.
    pub(crate) async fn settle(&self) {
        // A closed tracker still takes new writes. It only has to be closed for an empty one to end the wait.
        self.writes.close();
        self.writes.wait().await;
    }

    /// Writes all uses that are not written yet, and waits for those that are being written.
    pub(crate) async fn finish(&self, engine: &Engine) {
        let now = engine.now();
        let rest = lock(&self.uses).take_all();
        for (id, uses) in rest {
            self.write(engine.store(), id, uses, now);
        }
        self.settle().await;
    }

    /// What counts of a key: what was read of it a moment ago or is read now, or an end that is yet to be written.
    async fn record(&self, engine: &Engine, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let began = self.moment(engine);
        let looked = lock(&self.cache).lookup(id, began);
        let found = match looked {
            Lookup::Known(record) => record,
            Lookup::Unknown => {
                let found = engine.store().key(id).await?;
                let now = self.moment(engine);
                lock(&self.cache).fill(id, found, began, now)
            }
        };
        Ok(found.map(|found| self.ends.apply(found)))
    }

    /// Applies an unwritten end to a key's stored record.
    pub(crate) fn in_force(&self, stored: KeyRecord) -> KeyRecord {
        KeyRecord::clone(&self.ends.apply(Arc::new(stored)))
    }

    /// Changes a key, and has the change count here at once.
    pub(crate) async fn change(
        &self,
        engine: &Engine,
        id: &KeyId,
        change: ChangeKey,
    ) -> Result<Option<KeyChange>, KeyError> {
        let began = self.moment(engine);
        let changed = engine.store().change_key(id, change).await?;
        if let Some(KeyChange::To { record, .. } | KeyChange::Rotation { record, .. }) = &changed {
            self.learn(engine, record, began);
        }
        Ok(changed)
    }

    /// Ends a key: `ended` is what it comes to, and counts here before it is written. If the disk is full it goes on
    /// counting, and `again` writes it later.
    pub(crate) async fn end(
        &self,
        engine: &Engine,
        ended: KeyRecord,
        change: ChangeKey,
        again: MakeChange,
    ) -> Result<Option<KeyChange>, ApiError> {
        let id = ended.id.clone();
        let is_in_force = self.ends.begin(ended);
        // Behind those that wait already, which are decided first.
        let waits = self.ends.unwritten(&id).is_some();
        let changed = if waits { None } else { Some(self.change(engine, &id, change).await) };
        if is_in_force && changed.as_ref().is_none_or(is_full) && self.ends.keep(&id, again) {
            tracing::error!(key_id = id.as_str(), "the disk is full: the end of a key is not written yet");
            return Err(ApiError::EndUnwritten);
        }
        self.ends.finish(&id);
        match changed {
            Some(changed) => Ok(changed?),
            None => Err(StoreError::Full("too many ends of the key wait to be written".into()).into()),
        }
    }

    /// Writes the ends of a key that wait for room on the disk. What is done to the key next is decided from them.
    pub(crate) async fn write_end(&self, engine: &Engine, id: &KeyId) -> Result<(), StoreError> {
        while let Some(change) = self.ends.unwritten(id) {
            match self.change(engine, id, change).await {
                Err(KeyError::Store(error @ StoreError::Full(_))) => return Err(error),
                Ok(_) => tracing::info!(key_id = id.as_str(), "the end of a key is written"),
                Err(error) => {
                    tracing::error!(error = with_causes(&error), key_id = id.as_str(), "a key's end is lost");
                }
            }
            self.ends.drop_oldest(id);
        }
        Ok(())
    }

    /// Writes the ends of keys that wait for room on the disk.
    pub(crate) async fn write_ends(&self, engine: &Engine) {
        for id in self.ends.waiting() {
            // The others would find no room either.
            if self.write_end(engine, &id).await.is_err() {
                return;
            }
        }
    }

    async fn count(&self, engine: &Engine, principal: &Principal) -> Result<Option<RateStatus>, Refusal> {
        let Some(limit) = principal.grant().rate_limit else { return Ok(None) };
        let (id, now) = (principal.key_id(), engine.now());
        let window = (limit, limit.window(now));
        let is_full = lock(&self.full).get(id) == Some(&window);
        let count = if is_full {
            u64::from(limit.requests()) + 1
        } else {
            let counted = engine.store().count_request(id.as_str(), limit, now).await;
            counted.map_err(|error| unreadable(&error))?
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

    /// Writes uses of a key in a task of its own: no answer waits for it. What cannot be written waits for the next time.
    fn write(&self, store: &Arc<dyn Store>, id: KeyId, uses: KeyUse, now: Timestamp) {
        let (store, log) = (Arc::clone(store), Arc::clone(&self.uses));
        self.writes.spawn(async move {
            let written = store.add_key_use(&id, &uses, now).await.unwrap_or_else(|error| {
                tracing::warn!(
                    error = with_causes(&error),
                    key_id = id.as_str(),
                    "a key's use is not written"
                );
                false
            });
            if !written {
                lock(&log).give_back(&id, &uses);
            }
        });
    }

    /// Now, as the age of what is known of keys is measured.
    pub(crate) fn moment(&self, engine: &Engine) -> Instants {
        Instants { wall: engine.now(), running: self.started.elapsed() }
    }
}

fn unreadable(error: &StoreError) -> Refusal {
    tracing::error!(error = with_causes(error), "a key cannot be read or its requests not counted");
    Refusal::AuthUnavailable
}

/// What one holder left is whole, even if it panicked: each sets it by one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
