//! Use cases of managed keys: create, list, update, rotate, disable, enable and revoke.
//!
//! Invariants: no key creates or changes a key that exceeds it ([`Principal::authorize_grant`]), and every change is
//! written together with its entry in the audit trail.

mod audit;
mod change;
mod create;
mod ends;
mod events;
mod leaks;
mod rotate;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};
use onerun_auth::{
    Access, Actor, Instants, KEY_CACHE_TTL, KeyCache, KeyChangeError, KeyId, KeyKind, KeyRecord, KeyStatus,
    Lookup, ManagedKey, Principal, ProjectAccess, RateStatus, Refusal, Scope, recognize_again,
};
use onerun_domain::{Clock, Page, PageRequest, ProjectId, Random, later};
use onerun_store::{
    ExactFilter, IdempotencyRecord, KeyError, KeyLimits, KeyView, ListKeys, Store, StoreError,
};

use self::ends::Ends;

pub(crate) use self::events::key_event;
pub use self::{change::KeyUpdate, create::NewKeyInput, rotate::Rotation};

/// The number of days a key lives by default.
const DEFAULT_DAYS: u32 = 90;

/// The scope that every change of a key needs, except the report of a leak.
const WRITE: Access = Access::Requires(Scope::KeysWrite);

/// Managed keys, with the records and ends of keys that this process knows.
pub struct Keys {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    limits: KeyLimits,
    cache: Mutex<KeyCache>,
    ends: Ends,
    started: Instant,
}

/// Why a use case of keys failed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The key does not exist, or the caller cannot access all of its projects.
    #[error("Key not found")]
    NotFound,
    /// The new grant names a project that does not exist.
    #[error("Project not found: `{0}`")]
    NoProject(ProjectId),
    /// The key would expire before it is accepted for the first time.
    #[error("the key would expire before it begins")]
    ExpiresBeforeStart,
    /// The disk is full. The end of the key is in force in this process and written later.
    #[error("the disk is full: the end of the key is in force but not stored")]
    EndUnwritten,
    /// Too many reports without a valid key came from this part of the addresses.
    #[error("too many reports of leaked keys")]
    TooManyReports(RateStatus),
    /// The change is refused, or the store failed.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<KeyChangeError> for KeysError {
    fn from(error: KeyChangeError) -> Self {
        Self::Key(error.into())
    }
}

impl From<StoreError> for KeysError {
    fn from(error: StoreError) -> Self {
        Self::Key(error.into())
    }
}

/// Where a request comes from, for the audit trail.
#[derive(Clone, Debug)]
pub struct RequestOrigin {
    /// The request's id, which is also in the log.
    pub request_id: String,
    /// The address of the client, as the host knows it.
    pub address: Option<IpAddr>,
    /// The name that the client gives itself.
    pub user_agent: Option<String>,
}

impl RequestOrigin {
    /// The address as text: IPv4 addresses mapped to IPv6 are shown as IPv4.
    fn address_text(&self) -> Option<String> {
        self.address.map(|address| address.to_canonical().to_string())
    }

    /// The actor of an audit event: this origin with a key.
    fn actor(&self, key: &KeyId) -> Actor {
        Actor {
            key_id: key.to_string(),
            address: self.address_text(),
            user_agent: self.user_agent.clone(),
            request_id: self.request_id.clone(),
        }
    }
}

/// The key that requests a change of keys.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key, as it was when the request was authenticated.
    pub principal: Principal,
    /// The origin of the request.
    pub origin: RequestOrigin,
}

impl Caller {
    /// The id of the caller's record; a root key has none.
    fn record_id(&self) -> Option<KeyId> {
        (self.principal.kind() == KeyKind::Managed).then(|| self.principal.key_id().clone())
    }

    /// The caller according to its record at the time of the write, which may differ from the one that authenticated
    /// the request.
    fn as_stored(&self, record: Option<&KeyRecord>, now: Timestamp) -> Result<Principal, Refusal> {
        if self.principal.kind() == KeyKind::Root {
            return Ok(self.principal.clone());
        }
        let principal = recognize_again(record, self.origin.address, now)?;
        principal.authorize(WRITE)?;
        Ok(principal)
    }
}

/// The lifetime of a key, from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It expires after this number of days.
    Days(u32),
    /// It does not expire.
    Unlimited,
}

impl Lifetime {
    /// The expiry of a key with this lifetime.
    fn expiry(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Days(days) => Some(later(now, SignedDuration::from_hours(24 * i64::from(days)))),
            Self::Unlimited => None,
        }
    }
}

/// The expiry of a new key: the requested one, or the default, but not after its creator's.
fn expiry(
    requested: Option<Lifetime>,
    default: Option<Timestamp>,
    creator: &Principal,
    now: Timestamp,
) -> Option<Timestamp> {
    match requested {
        Some(lifetime) => lifetime.expiry(now),
        None => match (default, creator.expires_at()) {
            (Some(end), Some(own)) => Some(end.min(own)),
            (end, own) => end.or(own),
        },
    }
}

/// A key that was just created, with its secret.
pub struct CreatedKey {
    /// The record.
    pub record: KeyRecord,
    /// The complete key, for the one response that contains it.
    pub key: Arc<ManagedKey>,
}

/// Creates the idempotency record of a request from the key that it created, if the request can be repeated.
pub type RecordRequest = Box<dyn Fn(&KeyRecord) -> Option<IdempotencyRecord> + Send>;

/// The filters of [`Keys::list`].
#[derive(Clone, Debug)]
pub struct KeyFilter {
    /// The exact name and metadata.
    pub exact: ExactFilter,
    /// The status.
    pub status: Option<KeyStatus>,
    /// A project that the key can access.
    pub project: Option<ProjectId>,
    /// Live keys that end within this time.
    pub expiring_within_days: Option<u32>,
    /// Active keys that were not used for this time.
    pub idle_for_days: Option<u32>,
}

impl Keys {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        limits: KeyLimits,
    ) -> Self {
        Self {
            store,
            clock,
            random,
            limits,
            cache: Mutex::new(KeyCache::new(KEY_CACHE_TTL)),
            ends: Ends::default(),
            started: Instant::now(),
        }
    }

    /// Sets how long a record that was read is valid, 5 seconds by default, and forgets all records. With zero, every
    /// request reads the record.
    pub fn set_cache_ttl(&self, ttl: SignedDuration) {
        *self.cache() = KeyCache::new(ttl);
    }

    /// The record of a key as it counts now: from the cache or the store, with an end that is not written yet.
    pub async fn record(&self, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let began = self.instants();
        let lookup = self.cache().lookup(id, began);
        let found = match lookup {
            Lookup::Known(record) => record,
            Lookup::Unknown => {
                let found = self.store.key(id).await?;
                let now = self.instants();
                self.cache().fill(id, found, began, now)
            }
        };
        Ok(found.map(|found| self.ends.apply(found)))
    }

    /// A key and its usage, if the caller can access all of its projects.
    pub async fn get(&self, caller: &Principal, id: &KeyId) -> Result<KeyView, KeysError> {
        let view = self.store.key_view(id).await?;
        let view = view.filter(|view| view.record.grant.projects.is_within(caller.projects()));
        let mut view = view.ok_or(KeysError::NotFound)?;
        view.record = self.in_force(view.record);
        Ok(view)
    }

    /// The keys all of whose projects the caller can access, newest first, by their status at `now`.
    pub async fn list(
        &self,
        caller: &Principal,
        filter: KeyFilter,
        now: Timestamp,
        page: PageRequest,
    ) -> Result<Page<KeyView>, KeysError> {
        let KeyFilter { exact, status, project, expiring_within_days, idle_for_days } = filter;
        let days = |days: u32| SignedDuration::from_hours(24 * i64::from(days));
        let list = ListKeys {
            exact,
            within: caller.projects().clone(),
            status,
            project,
            ends_by: expiring_within_days.map(|within| later(now, days(within))),
            idle_since: idle_for_days.map(|idle| later(now, -days(idle))),
            now,
            page,
        };
        Ok(self.store.keys(list).await?)
    }

    /// The time now, on both clocks by which the age of a cached record is measured.
    fn instants(&self) -> Instants {
        Instants { wall: self.now(), running: self.started.elapsed() }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn generate(&self) -> ManagedKey {
        let generated: Result<ManagedKey, std::convert::Infallible> = ManagedKey::generate(|buffer| {
            self.random.fill(buffer);
            Ok(())
        });
        let Ok(key) = generated;
        key
    }

    async fn refuse_unknown_projects(&self, projects: &ProjectAccess) -> Result<(), KeysError> {
        let ProjectAccess::Only(ids) = projects else { return Ok(()) };
        for id in ids {
            if self.store.open_project(id).await?.is_none() {
                return Err(KeysError::NoProject(id.clone()));
            }
        }
        Ok(())
    }

    /// The cache. Every holder changes it by one call, so it is consistent even if a holder panicked.
    fn cache(&self) -> MutexGuard<'_, KeyCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
