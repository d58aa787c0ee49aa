//! The bodies and the query of operations on keys.

use std::collections::BTreeSet;

use ipnet::IpNet;
use jiff::SignedDuration;
use onerun_auth::{
    AddressAccess, MAX_OVERLAP, Preset, ProjectAccess, RateLimit, Scope, ScopeSet, find_managed_keys,
};
use onerun_domain::{Metadata, Name, PageRequest, Patch, ProjectId};
use onerun_engine::{KeyFilter, KeyUpdate, Lifetime, NewKeyInput, Rotation};
use serde_json::Value;

use crate::{
    fields::{Distinct, Fields, Input, Integer, List, Nested, Optional, input},
    query::{Params, Reader, Whole, exact, page},
};

const MAX_DAYS: u32 = 3_650;

const DEFAULT_OVERLAP_SECONDS: u32 = 86_400;
const MAX_OVERLAP_SECONDS: u32 = 604_800;
const _: () = assert!(MAX_OVERLAP_SECONDS as i64 == MAX_OVERLAP.as_secs());

/// The bounds on the projects and address blocks of one key.
const MAX_PROJECTS: usize = 100;
const MAX_BLOCKS: usize = 20;

/// The bound on the keys in one report of a leak.
const MAX_LEAKED: usize = 100;

/// The fields that `create_key` and `update_key` share. `None` and `Keep` stand for a field that is left out.
struct GrantInput {
    scopes: Option<ScopeSet>,
    projects: Option<ProjectAccess>,
    addresses: Option<AddressAccess>,
    rate_limit: Patch<RateLimit>,
    lifetime: Option<Lifetime>,
}

impl GrantInput {
    fn read(fields: &mut Fields) -> Option<Self> {
        let scopes = scopes(fields);
        let projects = projects(fields);
        let addresses = addresses(fields);
        let rate_limit = rate_limit(fields);
        let lifetime = lifetime(fields);
        Some(Self {
            scopes: scopes?,
            projects: projects?,
            addresses: addresses?,
            rate_limit: rate_limit?,
            lifetime: lifetime?,
        })
    }
}

/// The name of a field and the value read from it.
type Named<T> = (&'static str, Optional<T>);

/// Merges two fields that exclude each other: a value, and a flag that stands for another value.
fn value_or_flag<T, U>(
    fields: &mut Fields,
    (value_name, value): Named<T>,
    (flag_name, flag): Named<bool>,
    of_value: impl FnOnce(T) -> U,
    of_flag: U,
) -> Optional<U> {
    Some(match (value?, flag?.unwrap_or(false)) {
        (Some(_), true) => {
            fields.refuse(flag_name, &format!("contradicts `{value_name}`; give one of them"));
            return None;
        }
        (Some(value), false) => Some(of_value(value)),
        (None, true) => Some(of_flag),
        (None, false) => None,
    })
}

fn lifetime(fields: &mut Fields) -> Optional<Lifetime> {
    let days = fields.optional::<Integer<1, MAX_DAYS>>(
        "expires_in_days",
        "The number of days until the key expires. Not together with `never_expires`.",
    );
    let never = fields.optional("never_expires", "true for a key that does not expire.");
    value_or_flag(
        fields,
        ("expires_in_days", days),
        ("never_expires", never),
        |Integer(days)| Lifetime::Days(days),
        Lifetime::Unlimited,
    )
}

fn scopes(fields: &mut Fields) -> Optional<ScopeSet> {
    let scopes = fields.optional::<Distinct<Scope, { Scope::ALL.len() }>>(
        "scopes",
        "The scopes of the key. Not together with `preset`.",
    );
    let preset = fields.optional::<Preset>("preset", "A named set of scopes, instead of `scopes`.");
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
        "The projects that the key can access. Not together with `all_projects`.",
    );
    let all = fields
        .optional("all_projects", "true for a key that can access every project, including future ones.");
    value_or_flag(
        fields,
        ("project_ids", ids),
        ("all_projects", all),
        |List(ids)| ProjectAccess::Only(BTreeSet::from_iter(ids)),
        ProjectAccess::All,
    )
}

fn addresses(fields: &mut Fields) -> Optional<AddressAccess> {
    let blocks = fields.optional::<List<IpNet, 1, MAX_BLOCKS>>(
        "allowed_cidrs",
        "The address blocks that the key is accepted from. Not together with `any_address`.",
    );
    let any = fields.optional("any_address", "true for a key that is accepted from any address.");
    value_or_flag(
        fields,
        ("allowed_cidrs", blocks),
        ("any_address", any),
        |List(blocks)| AddressAccess::Only(blocks),
        AddressAccess::Any,
    )
}

fn rate_limit(fields: &mut Fields) -> Option<Patch<RateLimit>> {
    let limit = fields.optional::<Nested<RateLimit>>(
        "rate_limit",
        "How many requests the key may make in each window. Not together with `no_rate_limit`.",
    );
    let none = fields.optional("no_rate_limit", "true for a key without a rate limit.");
    let patch = value_or_flag(
        fields,
        ("rate_limit", limit),
        ("no_rate_limit", none),
        |Nested(limit)| Patch::Set(limit),
        Patch::Clear,
    );
    patch.map(|patch| patch.unwrap_or(Patch::Keep))
}

impl Input for RateLimit {
    fn read(fields: &mut Fields) -> Option<Self> {
        let requests = fields.required::<Integer<1, { RateLimit::MAX_REQUESTS }>>(
            "requests",
            "The number of requests in a window.",
        );
        let seconds = fields.required::<Integer<1, { RateLimit::MAX_WINDOW_SECONDS }>>(
            "window_seconds",
            "The length of a window, in seconds.",
        );
        RateLimit::new(requests?.0, seconds?.0)
    }
}

/// Refuses a key in a name or in metadata: both are shown to others, and a key is a secret.
fn refuse_secrets(fields: &mut Fields, name: Option<&Name>, metadata: Option<&Metadata>) {
    const ADVICE: &str =
        "contains an API key, which is a secret; leave it out, and revoke the key if others saw it";
    let has_key = |text: &str| find_managed_keys(text.as_bytes()).next().is_some();
    if name.is_some_and(|name| has_key(name.as_str())) {
        fields.refuse("name", ADVICE);
    }
    let metadata = metadata.map(|metadata| Value::Object(metadata.as_map().clone()).to_string());
    if metadata.is_some_and(|metadata| has_key(&metadata)) {
        fields.refuse("metadata", ADVICE);
    }
}

impl Input for NewKeyInput {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.required("name", "The name of the key, for people.");
        let grant = GrantInput::read(fields);
        let not_before =
            fields.optional("not_before", "The time from which the key is accepted; at once by default.");
        let metadata = fields.optional("metadata", "Your own data.");
        refuse_secrets(fields, name.as_ref(), metadata.as_ref().and_then(Option::as_ref));
        let GrantInput { scopes, projects, addresses, rate_limit, lifetime } = grant?;
        // There is no default: a key gets only permissions that the request names.
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
            metadata: metadata?.unwrap_or_default(),
        })
    }
}

impl Input for KeyUpdate {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.optional("name", "A new name; null keeps the old one.");
        let grant = GrantInput::read(fields);
        let metadata =
            fields.optional("metadata", "New metadata, which replaces all of the old; null keeps the old.");
        refuse_secrets(
            fields,
            name.as_ref().and_then(Option::as_ref),
            metadata.as_ref().and_then(Option::as_ref),
        );
        let GrantInput { scopes, projects, addresses, rate_limit, lifetime } = grant?;
        Some(Self { name: name?, scopes, projects, addresses, rate_limit, lifetime, metadata: metadata? })
    }
}

impl Input for Rotation {
    fn read(fields: &mut Fields) -> Option<Self> {
        let overlap = fields.optional::<Integer<0, MAX_OVERLAP_SECONDS>>(
            "overlap_seconds",
            "How long the old key is accepted beside the new one, in seconds. It does not extend the old key's life. A \
             day by default; 0 for a leaked key.",
        );
        let lifetime = lifetime(fields);
        let seconds = overlap?.map_or(DEFAULT_OVERLAP_SECONDS, |seconds| seconds.0);
        Some(Self { overlap: SignedDuration::from_secs(seconds.into()), lifetime: lifetime? })
    }
}

/// The body of `revoke_leaked_keys`.
pub(crate) struct LeakReport {
    pub(super) keys: Vec<String>,
}

input! {
    impl LeakReport {
        keys = required("The complete keys. Anyone who holds a key may revoke it.")
            => |keys: List<String, 1, MAX_LEAKED>| keys.0,
    }
}

/// The query of `list_keys`.
pub(crate) struct KeyQuery {
    pub(super) filter: KeyFilter,
    pub(super) page: PageRequest,
}

impl Params for KeyQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let exact = exact(reader);
        let status = reader.optional("status", "Only keys of this status.");
        let project = reader.optional("project_id", "Only keys that can access this project.");
        let expiring = reader.optional::<Whole<0, MAX_DAYS>>(
            "expiring_within_days",
            "Only keys that are neither revoked nor expired, and end within this number of days.",
        );
        let idle = reader.optional::<Whole<0, MAX_DAYS>>(
            "idle_for_days",
            "Only active keys that were not used for this number of days. A key that was never used counts from its \
             creation.",
        );
        let page = page(reader);
        let filter = KeyFilter {
            exact: exact?,
            status: status?,
            project: project?,
            expiring_within_days: expiring?.map(|days| days.0),
            idle_for_days: idle?.map(|days| days.0),
        };
        Some(Self { filter, page: page? })
    }
}
