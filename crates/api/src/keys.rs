//! Managed keys: made, listed, changed, rotated and revoked by other keys, and revoked by whoever holds them.
//!
//! Invariants: a secret is in the one response to the call that made its key, and nowhere else. No key makes or changes a
//! key that is more than itself ([`Principal::authorize_grant`]), and each change is in the audit trail.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use http::StatusCode;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{
    Access, AddressAccess, AuditAction, AuditEvent, Grant, KeyChangeError, KeyId, KeyKind, KeyPatch,
    KeyRecord, KeyStatus, KeyUsage, MAX_OVERLAP, ManagedKey, NewKeySpec, Preset, Principal, ProjectAccess,
    RateLimit, Scope, ScopeSet, find_managed_keys, recognize_again,
};
use onerun_domain::{Metadata, Name, PageRequest, Patch, ProjectId, Resource, later, sha256_hex};
use onerun_store::{
    ChangeKey, DecideKey, DecideNewKey, ExactFilter, KeyChange, KeyError, KeyList, KeyView, NewKey,
    StoreError,
};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::{
    ApiError, App, FieldError, Place, Response,
    ends::MakeChange,
    fields::{Distinct, Fields, Input, Integer, List, Nested, Optional, input},
    openapi::examples::{KEY_ID, new_key_example, rotated_key_example, secret_example},
    operation::operations,
    out::{KeyOut, MadeKeyOut, PageOut, wire_time},
    query::{Params, Reader, Whole, exact, page},
    request::{Call, DoneOut, reply},
};

const NOT_FOUND: ApiError = ApiError::NotFound(Resource::Key);

/// How long a key lives if nothing else is said.
const DEFAULT_DAYS: u32 = 90;
const MAX_DAYS: u32 = 3_650;

/// How long the old key goes on after a rotation if nothing else is said.
const DEFAULT_OVERLAP_SECONDS: u32 = 86_400;
const MAX_OVERLAP_SECONDS: u32 = 604_800;
const _: () = assert!(MAX_OVERLAP_SECONDS as i64 == MAX_OVERLAP.as_secs());

/// How many projects and blocks of addresses a key may name.
const MAX_PROJECTS: usize = 100;
const MAX_BLOCKS: usize = 20;

/// How many keys one report of a leak may name.
const MAX_LEAKED: usize = 100;

/// How many reports of leaks are taken from a part of all addresses: many parts, so that one reporter does not stand in
/// the way of the others, and no more than that, so that reporters make the store keep no more.
const REPORT_PARTS: u32 = 256;
const REPORT_LIMIT: RateLimit = match RateLimit::new(60, 60) {
    Some(limit) => limit,
    None => panic!("60 requests in 60 s are a limit"),
};

const READ: Access = Access::Requires(Scope::KeysRead);
const WRITE: Access = Access::Requires(Scope::KeysWrite);

const LEAK_RECEIVED: &str = "Keys that were right are revoked";

operations! {
    CREATE_KEY {
        route: POST "/v1/keys",
        handler: Global(create_key),
        access: WRITE,
        idempotency: RecordedKey,
        summary: "Create a key",
        description: "`key` is shown in this response and never again. Give one of `scopes` and `preset`, and one of \
            `project_ids` and `all_projects`. The key expires after 90 days by default, and never after the \
            key that creates it. A key cannot create one that exceeds it in scopes, projects, addresses, \
            rate limit or lifetime.",
        input: NewKeyInput = new_key_example(),
        output: MadeKeyOut,
        errors: ["exceeds_own_key", "too_many_keys"],
    }
    LIST_KEYS {
        route: GET "/v1/keys",
        handler: Global(list_keys),
        access: READ,
        query: KeyQuery,
        summary: "List keys",
        description: "Only keys all of whose projects the calling key can access.",
        output: PageOut<KeyOut>,
    }
    GET_KEY {
        route: GET "/v1/keys/{key_id}",
        handler: Global(get_key),
        access: READ,
        summary: "Get a key",
        output: KeyOut,
        errors: ["key_not_found"],
    }
    UPDATE_KEY {
        route: PATCH "/v1/keys/{key_id}",
        handler: Global(update_key),
        access: WRITE,
        summary: "Change a key",
        description: "A field that is left out or null stays as it is. The change is in effect everywhere within \
            `AUTH_KEY_CACHE_SECONDS`.",
        input: KeyChanges = json!({ "preset": "read_only", "expires_in_days": 30 }),
        output: KeyOut,
        errors: ["key_not_found", "exceeds_own_key", "key_revoked", "key_expired", "key_replaced"],
    }
    ROTATE_KEY {
        route: POST "/v1/keys/{key_id}/rotate",
        handler: Global(rotate_key),
        access: WRITE,
        idempotency: RecordedKey,
        summary: "Replace a key with a new one",
        description: "The old key works until the overlap ends, but no longer than it would have; its \
            `uses_since_replaced` shows whether it is still in use. The new key has the same scopes, \
            projects, addresses, rate limit and metadata, and the same lifetime as the old one. The body may \
            be left out.",
        optional_input: Rotation = json!({ "overlap_seconds": 3600 }),
        output: MadeKeyOut = rotated_key_example(),
        errors: [
            "key_not_found",
            "exceeds_own_key",
            "key_revoked",
            "key_expired",
            "key_disabled",
            "key_replaced",
            "too_many_keys",
        ],
    }
    DISABLE_KEY {
        route: POST "/v1/keys/{key_id}/disable",
        handler: Global(disable_key),
        access: WRITE,
        summary: "Disable a key until it is enabled again",
        output: KeyOut,
        errors: ["key_not_found", "exceeds_own_key", "key_revoked", "key_expired"],
    }
    ENABLE_KEY {
        route: POST "/v1/keys/{key_id}/enable",
        handler: Global(enable_key),
        access: WRITE,
        summary: "Enable a disabled key",
        output: KeyOut,
        errors: ["key_not_found", "exceeds_own_key", "key_revoked", "key_expired"],
    }
    REVOKE_KEY {
        route: POST "/v1/keys/{key_id}/revoke",
        handler: Global(revoke_key),
        access: WRITE,
        summary: "Revoke a key for good",
        description: "Changes nothing if the key is revoked already. The revocation is in effect everywhere within \
            `AUTH_KEY_CACHE_SECONDS`.",
        output: KeyOut,
        errors: ["key_not_found", "exceeds_own_key"],
    }
    REVOKE_LEAKED_KEYS {
        route: POST "/v1/keys/revoke-leaked",
        handler: Global(revoke_leaked_keys),
        access: Access::Public,
        summary: "Revoke leaked keys",
        description: "For anyone who finds keys: each valid key is revoked for good. Needs no API key. A report may \
            have 16 KiB and must arrive within 5 seconds, as `application/json`. A report with a valid key \
            is always accepted. Other reports, malformed ones included, are counted by address: 60 a minute \
            get the same answer as a valid one.",
        input: Leak = json!({ "keys": [secret_example(KEY_ID)] }),
        status: ACCEPTED,
        output: DoneOut = json!({ "message": LEAK_RECEIVED }),
        errors: ["rate_limited", "unavailable"],
    }
}

/// What a caller says of a key's scopes, projects, addresses, rate and end. `None` where nothing was said.
struct Said {
    scopes: Option<ScopeSet>,
    projects: Option<ProjectAccess>,
    addresses: Option<AddressAccess>,
    rate_limit: Patch<RateLimit>,
    lifetime: Option<Lifetime>,
}

/// How long a key is to live from now.
#[derive(Clone, Copy)]
enum Lifetime {
    Days(u32),
    Endless,
}

impl Lifetime {
    fn end(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Lifetime::Days(days) => Some(later(now, SignedDuration::from_hours(24 * i64::from(days)))),
            Lifetime::Endless => None,
        }
    }

    fn read(fields: &mut Fields) -> Optional<Self> {
        let days = fields.optional::<Integer<1, MAX_DAYS>>(
            "expires_in_days",
            "For how many days from now the key is accepted. Not together with `never_expires`.",
        );
        let never = fields.optional("never_expires", "true for a key that does not expire.");
        Some(match (days?, never?.unwrap_or(false)) {
            (Some(_), true) => {
                fields.refuse("never_expires", "contradicts `expires_in_days`; give one of them");
                return None;
            }
            (Some(Integer(days)), false) => Some(Lifetime::Days(days)),
            (None, true) => Some(Lifetime::Endless),
            (None, false) => None,
        })
    }
}

impl Said {
    fn read(fields: &mut Fields) -> Option<Self> {
        let scopes = scopes(fields);
        let projects = projects(fields);
        let addresses = addresses(fields);
        let rate_limit = rate_limit(fields);
        let lifetime = Lifetime::read(fields);
        Some(Self {
            scopes: scopes?,
            projects: projects?,
            addresses: addresses?,
            rate_limit: rate_limit?,
            lifetime: lifetime?,
        })
    }
}

fn scopes(fields: &mut Fields) -> Optional<ScopeSet> {
    let scopes = fields.optional::<Distinct<Scope, { Scope::ALL.len() }>>(
        "scopes",
        "What the key may do. Not together with `preset`.",
    );
    let preset = fields.optional::<Preset>(
        "preset",
        "A name for the scopes that a kind of caller needs, instead of `scopes`.",
    );
    Some(match (scopes?, preset?) {
        (Some(_), Some(_)) => {
            fields.refuse("preset", "contradicts `scopes`; give one of them");
            return None;
        }
        (Some(Distinct(scopes)), None) => Some(scopes.into_iter().collect()),
        (None, preset) => preset.map(Preset::scopes),
    })
}

fn projects(fields: &mut Fields) -> Optional<ProjectAccess> {
    let ids = fields.optional::<List<ProjectId, 1, MAX_PROJECTS>>(
        "project_ids",
        "The projects that the key reaches. Not together with `all_projects`.",
    );
    let all = fields.optional(
        "all_projects",
        "true for a key that reaches every project, those that are yet to be created included.",
    );
    Some(match (ids?, all?.unwrap_or(false)) {
        (Some(_), true) => {
            fields.refuse("all_projects", "contradicts `project_ids`; give one of them");
            return None;
        }
        (Some(List(ids)), false) => Some(ProjectAccess::Only(BTreeSet::from_iter(ids))),
        (None, true) => Some(ProjectAccess::All),
        (None, false) => None,
    })
}

fn addresses(fields: &mut Fields) -> Optional<AddressAccess> {
    let blocks = fields.optional::<List<IpNet, 1, MAX_BLOCKS>>(
        "allowed_cidrs",
        "The blocks of addresses that the key is accepted from. Not together with `any_address`.",
    );
    let any = fields.optional("any_address", "true for a key that is accepted from anywhere.");
    Some(match (blocks?, any?.unwrap_or(false)) {
        (Some(_), true) => {
            fields.refuse("any_address", "contradicts `allowed_cidrs`; give one of them");
            return None;
        }
        (Some(List(blocks)), false) => Some(AddressAccess::Only(blocks)),
        (None, true) => Some(AddressAccess::Any),
        (None, false) => None,
    })
}

fn rate_limit(fields: &mut Fields) -> Option<Patch<RateLimit>> {
    let limit = fields.optional::<Nested<RateLimit>>(
        "rate_limit",
        "How many requests the key may make in each window. Not together with `no_rate_limit`.",
    );
    let none = fields.optional("no_rate_limit", "true for a key that may make any number of requests.");
    Some(match (limit?, none?.unwrap_or(false)) {
        (Some(_), true) => {
            fields.refuse("no_rate_limit", "contradicts `rate_limit`; give one of them");
            return None;
        }
        (Some(Nested(limit)), false) => Patch::Set(limit),
        (None, true) => Patch::Clear,
        (None, false) => Patch::Keep,
    })
}

impl Input for RateLimit {
    fn read(fields: &mut Fields) -> Option<Self> {
        let requests = fields.required::<Integer<1, { RateLimit::MAX_REQUESTS }>>(
            "requests",
            "How many requests a window has.",
        );
        let seconds = fields.required::<Integer<1, { RateLimit::MAX_WINDOW_SECONDS }>>(
            "window_seconds",
            "How long a window is, in seconds.",
        );
        RateLimit::new(requests?.0, seconds?.0)
    }
}

/// Refuses a key where a name is asked for: names are shown, and a secret is not.
fn refuse_secrets(fields: &mut Fields, name: Option<&Name>, metadata: Option<&Metadata>) {
    const ADVICE: &str =
        "has an API key in it, which is a secret; leave it out, and revoke the key if others saw it";
    let has_key = |text: &str| find_managed_keys(text.as_bytes()).next().is_some();
    if name.is_some_and(|name| has_key(name.as_str())) {
        fields.refuse("name", ADVICE);
    }
    let metadata = metadata.map(|metadata| Value::Object(metadata.as_map().clone()).to_string());
    if metadata.is_some_and(|metadata| has_key(&metadata)) {
        fields.refuse("metadata", ADVICE);
    }
}

/// The body of `create_key`.
pub(crate) struct NewKeyInput {
    name: Name,
    scopes: ScopeSet,
    projects: ProjectAccess,
    addresses: AddressAccess,
    rate_limit: Option<RateLimit>,
    lifetime: Option<Lifetime>,
    not_before: Option<Timestamp>,
    metadata: Option<Metadata>,
}

impl Input for NewKeyInput {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.required("name", "What people call the key.");
        let said = Said::read(fields);
        let not_before =
            fields.optional("not_before", "From when on the key is accepted; at once if left out.");
        let metadata = fields.optional("metadata", "What you note with the key.");
        refuse_secrets(fields, name.as_ref(), metadata.as_ref().and_then(Option::as_ref));
        let Said { scopes, projects, addresses, rate_limit, lifetime } = said?;
        // What is left out gives nothing: there is no key that may do everything because nothing was said.
        if scopes.is_none() {
            fields.refuse("scopes", "is required, or `preset`");
        }
        if projects.is_none() {
            fields.refuse("project_ids", "is required, or `all_projects`");
        }
        Some(Self {
            name: name?,
            scopes: scopes?,
            projects: projects?,
            addresses: addresses.unwrap_or(AddressAccess::Any),
            rate_limit: rate_limit.apply(None),
            lifetime,
            not_before: not_before?,
            metadata: metadata?,
        })
    }
}

/// The body of `update_key`.
pub(crate) struct KeyChanges {
    name: Option<Name>,
    said: Said,
    metadata: Option<Metadata>,
}

impl Input for KeyChanges {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.optional("name", "Another name; null leaves it as it is.");
        let said = Said::read(fields);
        let metadata =
            fields.optional("metadata", "Other metadata in place of all of it; null leaves it as it is.");
        refuse_secrets(
            fields,
            name.as_ref().and_then(Option::as_ref),
            metadata.as_ref().and_then(Option::as_ref),
        );
        Some(Self { name: name?, said: said?, metadata: metadata? })
    }
}

/// The body of `rotate_key`.
pub(crate) struct Rotation {
    overlap: SignedDuration,
    lifetime: Option<Lifetime>,
}

impl Input for Rotation {
    fn read(fields: &mut Fields) -> Option<Self> {
        let overlap = fields.optional::<Integer<0, MAX_OVERLAP_SECONDS>>(
            "overlap_seconds",
            "For how long the old key is accepted beside the new one, but no longer than it would have been: a day if \
             nothing is said, 0 for a key that has leaked.",
        );
        let lifetime = Lifetime::read(fields);
        let seconds = overlap?.map_or(DEFAULT_OVERLAP_SECONDS, |seconds| seconds.0);
        Some(Self { overlap: SignedDuration::from_secs(seconds.into()), lifetime: lifetime? })
    }
}

input! {
    /// The body of `revoke_leaked_keys`.
    pub(crate) struct Leak {
        keys: Vec<String> = required("The complete keys. Anyone who holds a key may revoke it.")
            => |keys: List<String, 1, MAX_LEAKED>| keys.0,
    }
}

/// The query of `list_keys`.
pub(crate) struct KeyQuery {
    exact: ExactFilter,
    status: Option<KeyStatus>,
    project: Option<ProjectId>,
    expiring_within_days: Option<u32>,
    idle_for_days: Option<u32>,
    page: PageRequest,
}

impl Params for KeyQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let exact = exact(reader);
        let status = reader.optional("status", "Only keys of this status.");
        let project = reader.optional("project_id", "Only keys that reach this project.");
        let expiring = reader.optional::<Whole<0, MAX_DAYS>>(
            "expiring_within_days",
            "Only keys that are not over, and are over in so many days from now.",
        );
        let idle = reader.optional::<Whole<0, MAX_DAYS>>(
            "idle_for_days",
            "Only active keys that were not used for so many days; those that were never used count from when they were \
             made.",
        );
        let page = page(reader);
        Some(Self {
            exact: exact?,
            status: status?,
            project: project?,
            expiring_within_days: expiring?.map(|days| days.0),
            idle_for_days: idle?.map(|days| days.0),
            page: page?,
        })
    }
}

async fn create_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let input: NewKeyInput = call.body()?;
    let now = app.engine().now();
    let grant = Grant {
        scopes: input.scopes,
        projects: input.projects,
        addresses: input.addresses,
        rate_limit: input.rate_limit,
        expires_at: end(input.lifetime, Lifetime::Days(DEFAULT_DAYS).end(now), caller, now),
    };
    caller.authorize_grant(&grant)?;
    refuse_unknown_projects(app, &grant.projects).await?;
    if let (Some(begin), Some(end)) = (input.not_before, grant.expires_at)
        && begin >= end
    {
        return Err(wrong_field("/not_before", "must be before the key expires"));
    }
    let spec = NewKeySpec {
        name: input.name,
        grant,
        not_before: input.not_before,
        metadata: input.metadata.unwrap_or_default(),
    };
    let key = generate(app);
    let record = KeyRecord::new(&key, spec, caller.key_id().clone(), now);
    let mut details = described(&record);
    if let Some(begin) = record.not_before {
        details.insert("not_before".to_owned(), wire_time(begin));
    }
    let event = event(&call, caller.key_id(), AuditAction::Create, &record.id, details, now);
    let recorded = call.record(&without_secret(&record, now));
    let new = NewKey { record, event, call: recorded, max_live: app.engine().max_live_keys() };
    let asker = Asker::of(&call, caller, now);
    let by = asker.id();
    let decide: DecideNewKey = Box::new(move |record| {
        asker.as_stored(record.as_ref())?.authorize_grant(&new.record.grant)?;
        Ok(new.clone())
    });
    let made = app.engine().store().insert_key(by.as_ref(), decide).await?;
    shown_once(&made.record, &key, now)
}

async fn list_keys(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let KeyQuery { exact, status, project, expiring_within_days, idle_for_days, page } = call.query()?;
    let now = app.engine().now();
    let days = |days: u32| SignedDuration::from_hours(24 * i64::from(days));
    let list = KeyList {
        exact,
        within: caller.projects().clone(),
        status,
        project,
        ends_by: expiring_within_days.map(|within| later(now, days(within))),
        idle_since: idle_for_days.map(|idle| later(now, -days(idle))),
        now,
        page,
    };
    let keys = app.engine().store().keys(list).await?;
    reply(&call.page_of(keys, |view| KeyOut::of(view, now)))
}

async fn get_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let id = call.id(Resource::Key)?;
    let view = visible(app, caller, &id).await?;
    reply(&KeyOut::of(view, app.engine().now()))
}

async fn update_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let id: KeyId = call.id(Resource::Key)?;
    let KeyChanges { name, said, metadata } = call.body()?;
    let now = app.engine().now();
    let patch = KeyPatch {
        name,
        scopes: said.scopes,
        projects: said.projects,
        addresses: said.addresses,
        rate_limit: said.rate_limit,
        expires_at: said.lifetime.map_or(Patch::Keep, |lifetime| lifetime.end(now).into()),
        metadata,
    };
    let view = visible(app, caller, &id).await?;
    if let Some(projects) = &patch.projects {
        // First what the key may, so that it learns of no project beyond it.
        let grant = Grant { projects: projects.clone(), ..caller.grant().clone() };
        caller.authorize_grant(&grant)?;
        refuse_unknown_projects(app, projects).await?;
    }
    let takes = if takes_away_only(&view.record, &patch, now) { Takes::Away } else { Takes::Nothing };
    change(app, &call, caller, view, (AuditAction::Update, takes), now, move |caller, record| {
        caller.authorize_grant(&record.grant)?;
        let before = described(&record);
        let changed = record.update(patch.clone(), now)?;
        caller.authorize_grant(&changed.grant)?;
        let mut details = described(&changed);
        details.retain(|name, value| before.get(name) != Some(value));
        Ok((changed, details))
    })
    .await
}

async fn disable_key(app: &App, call: Call) -> Result<Response, ApiError> {
    take_away(app, &call, AuditAction::Disable, KeyRecord::disable).await
}

async fn revoke_key(app: &App, call: Call) -> Result<Response, ApiError> {
    take_away(app, &call, AuditAction::Revoke, |record, now| Ok(record.revoke(now))).await
}

async fn enable_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let id = call.id(Resource::Key)?;
    let view = visible(app, caller, &id).await?;
    let now = app.engine().now();
    change(app, &call, caller, view, (AuditAction::Enable, Takes::Nothing), now, move |caller, record| {
        caller.authorize_grant(&record.grant)?;
        Ok((record.enable(now)?, BTreeMap::new()))
    })
    .await
}

/// A change that makes a key less. It asks for what the key may do, and not for how long, how often and from where: who
/// is called to a leak must be able to end it.
async fn take_away(
    app: &App,
    call: &Call,
    action: AuditAction,
    change_to: fn(KeyRecord, Timestamp) -> Result<KeyRecord, KeyChangeError>,
) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let id = call.id(Resource::Key)?;
    let view = visible(app, caller, &id).await?;
    let now = app.engine().now();
    change(app, call, caller, view, (action, Takes::Away), now, move |caller, record| {
        let grant = Grant {
            scopes: record.grant.scopes,
            projects: record.grant.projects.clone(),
            ..caller.grant().clone()
        };
        caller.authorize_grant(&grant)?;
        Ok((change_to(record, now)?, BTreeMap::new()))
    })
    .await
}

async fn rotate_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let id: KeyId = call.id(Resource::Key)?;
    let Rotation { overlap, lifetime } = call.optional_body()?;
    let now = app.engine().now();
    visible(app, caller, &id).await?;
    let key = Arc::new(generate(app));
    let (recorder, max_live) = (call.recorder(), app.engine().max_live_keys());
    let template = event(&call, caller.key_id(), AuditAction::Rotate, &id, BTreeMap::new(), now);
    let (asker, shown) = (Asker::of(&call, caller, now), Arc::clone(&key));
    let by = asker.id();
    let decide: DecideKey = Box::new(move |record: KeyRecord, caller: Option<KeyRecord>| {
        let by = asker.as_stored(caller.as_ref())?;
        by.authorize_grant(&record.grant)?;
        let as_long = record.lifetime().map(|lifetime| later(now, lifetime));
        let expires_at = end(lifetime, as_long, &by, now);
        by.authorize_grant(&Grant { expires_at, ..record.grant.clone() })?;
        let (record, new) = record.rotate(&shown, overlap, expires_at, by.key_id().clone(), now)?;
        let mut details = described(&new);
        details.insert("new_key_id".to_owned(), new.id.to_string());
        if let Some(replaced) = &record.replaced {
            details.insert("overlap_ends_at".to_owned(), wire_time(replaced.overlap_ends_at));
        }
        let event = AuditEvent { details, ..template.clone() };
        let call = recorder(&without_secret(&new, now));
        Ok(KeyChange::Rotation { record: record.into(), new: new.into(), event, call, max_live })
    });
    app.callers().write_end(app.engine(), &id).await?;
    let change = ChangeKey { caller: by, is_ending: overlap.is_zero(), decide };
    match app.callers().change(app.engine(), &id, change).await? {
        Some(KeyChange::Rotation { new, .. }) => shown_once(&new, &key, now),
        _ => Err(NOT_FOUND),
    }
}

/// Whoever sends a key whole may revoke it. What comes of it is told to nobody: the answer to a guess must teach nothing.
///
/// The keys are looked at before the report is counted, so that no number of reports keeps a right one out. Reports without
/// a right key are counted, also those that cannot be read.
async fn revoke_leaked_keys(app: &App, call: Call) -> Result<Response, ApiError> {
    let report = call.body::<Leak>();
    let mut was_right = false;
    for text in report.iter().flat_map(|report| &report.keys) {
        was_right |= revoke_if_right(app, &call, text).await?;
    }
    if !was_right {
        refuse_too_many_reports(app, &call).await?;
    }
    report?;
    let mut response = reply(&DoneOut { message: LEAK_RECEIVED })?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Revokes a key if the text is one; whether it is.
async fn revoke_if_right(app: &App, call: &Call, text: &str) -> Result<bool, ApiError> {
    let (engine, callers, now) = (app.engine(), app.callers(), app.engine().now());
    let Ok(key) = ManagedKey::parse(text) else { return Ok(false) };
    let Some(record) = engine.store().key(key.id()).await? else { return Ok(false) };
    if !bool::from(key.digest().ct_eq(&record.digest)) {
        return Ok(false);
    }
    let record = callers.in_force(record);
    if record.revoked_at.is_some() {
        return Ok(true);
    }
    let event = event(call, key.id(), AuditAction::RevokeLeaked, key.id(), BTreeMap::new(), now);
    let again: MakeChange = Arc::new(move || {
        let event = event.clone();
        let decide: DecideKey = Box::new(move |record: KeyRecord, _| {
            if record.revoked_at.is_some() {
                return Ok(KeyChange::None(record));
            }
            Ok(KeyChange::To { record: record.revoke(now).into(), event: event.clone() })
        });
        ChangeKey { caller: None, is_ending: true, decide }
    });
    callers.end(engine, record.revoke(now), again(), again).await?;
    Ok(true)
}

async fn refuse_too_many_reports(app: &App, call: &Call) -> Result<(), ApiError> {
    let hash = sha256_hex([call.address().unwrap_or_default().as_str()]);
    let part = u32::from_str_radix(&hash[..8], 16).unwrap_or_default() % REPORT_PARTS;
    let now = app.engine().now();
    let count = app.engine().store().count_request(&format!("reports#{part}"), REPORT_LIMIT, now).await?;
    let status = REPORT_LIMIT.status(count, now);
    if status.is_exceeded { Err(ApiError::TooManyReports(status)) } else { Ok(()) }
}

/// The key that asks for a change of keys.
#[derive(Clone)]
struct Asker {
    principal: Principal,
    address: Option<IpAddr>,
    now: Timestamp,
}

impl Asker {
    fn of(call: &Call, caller: &Principal, now: Timestamp) -> Self {
        Self { principal: caller.clone(), address: call.ip(), now }
    }

    /// The id of its record; a root key has none.
    fn id(&self) -> Option<KeyId> {
        (self.principal.kind() == KeyKind::Managed).then(|| self.principal.key_id().clone())
    }

    /// What it may do by the record that is stored as the change is written, whatever was known when the request came.
    fn as_stored(&self, record: Option<&KeyRecord>) -> Result<Principal, onerun_auth::Refusal> {
        if self.principal.kind() == KeyKind::Root {
            return Ok(self.principal.clone());
        }
        let principal = recognize_again(record, self.address, self.now)?;
        principal.authorize(WRITE)?;
        Ok(principal)
    }
}

/// Whether a change takes away what a key may do, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Away,
    Nothing,
}

/// Whether a key is to do less, and nothing else of it is to change.
fn takes_away_only(record: &KeyRecord, patch: &KeyPatch, now: Timestamp) -> bool {
    if patch.name.is_some() || patch.metadata.is_some() {
        return false;
    }
    let Ok(changed) = record.clone().update(patch.clone(), now) else { return false };
    changed.grant != record.grant && changed.grant.excess_over(&record.grant).is_empty()
}

/// What a decision about a key comes to: its new state, and what the audit trail says besides.
type Decided = Result<(KeyRecord, BTreeMap<String, String>), KeyChangeError>;

/// Changes a key that the caller may know of by a decision, unless it is that way already, and shows it.
async fn change(
    app: &App,
    call: &Call,
    caller: &Principal,
    mut view: KeyView,
    (action, takes): (AuditAction, Takes),
    now: Timestamp,
    decision: impl Fn(&Principal, KeyRecord) -> Decided + Send + Sync + 'static,
) -> Result<Response, ApiError> {
    let (engine, callers) = (app.engine(), app.callers());
    let id = view.record.id.clone();
    let template = event(call, caller.key_id(), action, &id, BTreeMap::new(), now);
    let decide = Arc::new(move |by: &Principal, record: KeyRecord| -> Result<KeyChange, KeyError> {
        let revision = record.revision;
        let (record, details) = decision(by, record)?;
        if record.revision == revision {
            return Ok(KeyChange::None(record));
        }
        let event = AuditEvent { details, ..template.clone() };
        Ok(KeyChange::To { record: record.into(), event })
    });
    let (asker, asked) = (Asker::of(call, caller, now), Arc::clone(&decide));
    let change = ChangeKey {
        caller: asker.id(),
        is_ending: takes == Takes::Away,
        decide: Box::new(move |record, caller| asked(&asker.as_stored(caller.as_ref())?, record)),
    };
    // What is decided next is decided from the ends that wait.
    match callers.write_end(engine, &id).await {
        Err(StoreError::Full(_)) if takes == Takes::Away => {}
        written => written?,
    }
    let changed = match takes {
        Takes::Nothing => callers.change(engine, &id, change).await?,
        Takes::Away => match decide(caller, view.record.clone())? {
            KeyChange::To { record: ended, .. } => {
                let by = caller.clone();
                let again: MakeChange = Arc::new(move || {
                    let (decide, by) = (Arc::clone(&decide), by.clone());
                    let decide: DecideKey = Box::new(move |record, _| decide(&by, record));
                    ChangeKey { caller: None, is_ending: true, decide }
                });
                callers.end(engine, *ended, change, again).await?
            }
            _ => callers.change(engine, &id, change).await?,
        },
    };
    view.record = match changed.ok_or(NOT_FOUND)? {
        KeyChange::None(record) => record,
        KeyChange::To { record, .. } | KeyChange::Rotation { record, .. } => *record,
    };
    reply(&KeyOut::of(view, engine.now()))
}

/// The key, if the caller may know of it: all of its projects are among the caller's.
async fn visible(app: &App, caller: &Principal, id: &KeyId) -> Result<KeyView, ApiError> {
    let view = app.engine().store().key_view(id).await?;
    let mut view =
        view.filter(|view| view.record.grant.projects.is_within(caller.projects())).ok_or(NOT_FOUND)?;
    view.record = app.callers().in_force(view.record);
    Ok(view)
}

/// The one response that has the secret.
fn shown_once(record: &KeyRecord, key: &ManagedKey, now: Timestamp) -> Result<Response, ApiError> {
    reply(&MadeKeyOut { key: Some(key.expose().to_owned()), ..without_secret(record, now) })
}

/// What a repetition of the call is answered with.
fn without_secret(record: &KeyRecord, now: Timestamp) -> MadeKeyOut {
    let view = KeyView { record: record.clone(), usage: KeyUsage::NONE };
    MadeKeyOut { made: KeyOut::of(view, now), key: None }
}

fn generate(app: &App) -> ManagedKey {
    let random = app.engine().random();
    let made: Result<ManagedKey, std::convert::Infallible> = ManagedKey::generate(|buffer| {
        random.fill(buffer);
        Ok(())
    });
    let Ok(key) = made;
    key
}

/// When a key ends, `None` for never: as was said; else as it does by default, or with its maker if that is sooner.
fn end(
    said: Option<Lifetime>,
    default: Option<Timestamp>,
    caller: &Principal,
    now: Timestamp,
) -> Option<Timestamp> {
    match said {
        Some(lifetime) => lifetime.end(now),
        None => match (default, caller.expires_at()) {
            (Some(end), Some(own)) => Some(end.min(own)),
            (end, own) => end.or(own),
        },
    }
}

async fn refuse_unknown_projects(app: &App, projects: &ProjectAccess) -> Result<(), ApiError> {
    let ProjectAccess::Only(ids) = projects else { return Ok(()) };
    for id in ids {
        if app.engine().store().open_project(id).await?.is_none() {
            return Err(wrong_field("/project_ids", &format!("names a project that there is not: `{id}`")));
        }
    }
    Ok(())
}

fn wrong_field(pointer: &str, detail: &str) -> ApiError {
    let place = Place::Body(pointer.to_owned());
    ApiError::Invalid(vec![FieldError { place, detail: detail.to_owned() }])
}

fn event(
    call: &Call,
    by: &KeyId,
    action: AuditAction,
    key: &KeyId,
    details: BTreeMap<String, String>,
    now: Timestamp,
) -> AuditEvent {
    AuditEvent {
        at: wire_time(now),
        action: action.as_str().to_owned(),
        key_id: key.to_string(),
        actor: call.actor(by),
        details,
    }
}

/// A key's public members as texts, for the audit trail.
fn described(record: &KeyRecord) -> BTreeMap<String, String> {
    fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
        values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
    }
    let grant = &record.grant;
    let details = [
        ("name", record.name.to_string()),
        ("scopes", list(grant.scopes.iter())),
        (
            "projects",
            match &grant.projects {
                ProjectAccess::All => "all".to_owned(),
                ProjectAccess::Only(ids) => list(ids),
            },
        ),
        (
            "allowed_cidrs",
            match &grant.addresses {
                AddressAccess::Any => "any".to_owned(),
                AddressAccess::Only(blocks) => list(blocks),
            },
        ),
        (
            "rate_limit",
            match grant.rate_limit {
                None => "none".to_owned(),
                Some(limit) => format!("{} in {} s", limit.requests(), limit.window_seconds()),
            },
        ),
        ("expires_at", grant.expires_at.map_or_else(|| "never".to_owned(), wire_time)),
        (
            "metadata_sha256",
            sha256_hex([Value::Object(record.metadata.as_map().clone()).to_string().as_str()]),
        ),
    ];
    details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
