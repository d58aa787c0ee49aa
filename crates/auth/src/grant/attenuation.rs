//! Checks with 100,000 random families of keys that no key creates or changes a key beyond itself.
//!
//! Keys of a family create, change and rotate each other as the API does, if the decision allows
//! it. Every request that a resulting key gets through must be accepted from its ancestors too.
//! This is asked of single requests, not of the rules: one scope, one project, one address, one
//! time, one number of requests.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Metadata, Name, Patch, ProjectId};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRunner};

use super::{Grant, ProjectAccess};
use crate::address::{AddressAccess, parse_block};
use crate::decision::recognize_managed;
use crate::key::KeyId;
use crate::limit::RateLimit;
use crate::managed::ManagedKey;
use crate::principal::{Access, Principal};
use crate::record::{KeyPatch, KeyRecord, NewKeySpec};
use crate::refusal::Refusal;
use crate::scope::{Scope, ScopeSet};

/// The number of families.
const FAMILIES: u32 = 100_000;

/// The maximum number of steps in a family.
const MAX_CHANGES: u8 = 3;

/// Projects that keys name, and one that no key names.
const PROJECTS: [&str; 4] = ["AbCdEf012345", "BbCdEf012345", "CbCdEf012345", "ZyXwVu987654"];

/// Blocks that keys name: nested, disjoint, at the edges, and in other notations.
const BLOCKS: [&str; 12] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3",
    "10.128.0.0/9",
    "192.0.2.0/24",
    "::ffff:10.1.0.0/112",
    "::/0",
    "2001:db8::/32",
    "2001:db8:8000::/33",
    "2001:db8::1",
    "::ffff:0:0/95",
];

/// Rate limits: requests and seconds.
const LIMITS: [(u32, u32); 8] =
    [(1, 1), (10, 60), (10, 10), (5, 30), (60, 60), (11, 60), (10, 3_600), (1_000_000, 86_400)];

/// Expiries, in seconds after the first key was created.
const ENDS: [i64; 5] = [1, 1_000, 1_001, 2_000, 1_000_000];

/// A change that one key requests.
#[derive(Clone, Debug)]
enum Change {
    /// Create a key.
    Create(Grant),
    /// Change the last created key.
    Update(GrantPatch),
    /// Rotate the last created key; the new key ends at this second.
    Rotate(Option<i64>),
}

/// A change of a key's grant.
#[derive(Clone, Debug)]
struct GrantPatch {
    scopes: Option<ScopeSet>,
    projects: Option<ProjectAccess>,
    addresses: Option<AddressAccess>,
    rate_limit: Patch<RateLimit>,
    expires_at: Patch<i64>,
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn project(id: &str) -> ProjectId {
    id.parse().unwrap()
}

/// The keys of a family, in the order of their creation.
static KEYS: LazyLock<Vec<ManagedKey>> = LazyLock::new(|| {
    let generate = |number| {
        ManagedKey::generate(|bytes| {
            bytes.fill(number);
            Ok::<(), Infallible>(())
        })
    };
    (0..=MAX_CHANGES).map(|number| generate(number).unwrap()).collect()
});

/// Addresses at and beside the edges of all blocks, and an unknown one.
static ADDRESSES: LazyLock<Vec<Option<IpAddr>>> = LazyLock::new(|| {
    let mut addresses = vec![None];
    for block in BLOCKS {
        let block: IpNet = parse_block(block).unwrap();
        for edge in [block.network(), block.broadcast()] {
            addresses.push(Some(edge));
            addresses.extend([-1, 1].map(|by| Some(beside(edge, by))));
        }
    }
    addresses.extend(["::ffff:10.1.2.3", "203.0.113.9", "::1"].map(|address| Some(address.parse().unwrap())));
    addresses
});

fn scopes() -> impl Strategy<Value = ScopeSet> {
    prop_oneof![
        Just(ScopeSet::ALL),
        Just(ScopeSet::NONE),
        prop::collection::vec(0..Scope::ALL.len(), 1..Scope::ALL.len())
            .prop_map(|picked| picked.into_iter().map(|index| Scope::ALL[index]).collect()),
    ]
}

fn projects() -> impl Strategy<Value = ProjectAccess> {
    let some = prop::collection::btree_set(0..3_usize, 0..3).prop_map(|picked| {
        ProjectAccess::Only(picked.into_iter().map(|index| project(PROJECTS[index])).collect())
    });
    prop_oneof![1 => Just(ProjectAccess::All), 2 => some]
}

fn addresses() -> impl Strategy<Value = AddressAccess> {
    let some = prop::collection::vec(0..BLOCKS.len(), 0..4).prop_map(|picked| {
        AddressAccess::Only(picked.into_iter().map(|index| parse_block(BLOCKS[index]).unwrap()).collect())
    });
    prop_oneof![1 => Just(AddressAccess::Any), 2 => some]
}

fn rate_limit() -> impl Strategy<Value = Option<RateLimit>> {
    prop_oneof![
        1 => Just(None),
        2 => (0..LIMITS.len()).prop_map(|index| RateLimit::new(LIMITS[index].0, LIMITS[index].1)),
    ]
}

fn end() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![1 => Just(None), 2 => (0..ENDS.len()).prop_map(|index| Some(ENDS[index]))]
}

fn grant() -> impl Strategy<Value = Grant> {
    (scopes(), projects(), addresses(), rate_limit(), end()).prop_map(
        |(scopes, projects, addresses, rate_limit, end)| Grant {
            scopes,
            projects,
            addresses,
            rate_limit,
            expires_at: end.map(time),
        },
    )
}

fn maybe<S: Strategy>(value: S) -> impl Strategy<Value = Option<S::Value>> {
    prop::option::weighted(0.3, value)
}

fn patch() -> impl Strategy<Value = GrantPatch> {
    (maybe(scopes()), maybe(projects()), maybe(addresses()), maybe(rate_limit()), maybe(end())).prop_map(
        |(scopes, projects, addresses, rate_limit, expires_at)| GrantPatch {
            scopes,
            projects,
            addresses,
            rate_limit: rate_limit.map_or(Patch::Keep, Patch::from),
            expires_at: expires_at.map_or(Patch::Keep, Patch::from),
        },
    )
}

/// The steps of a family: the requesting key and the change.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Change)>> {
    let change = prop_oneof![
        3 => grant().prop_map(Change::Create),
        2 => patch().prop_map(Change::Update),
        1 => end().prop_map(Change::Rotate),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), change), 1..=usize::from(MAX_CHANGES))
}

/// Restricts a random grant to the caller's in some dimensions, because unrestricted ones are
/// rarely allowed.
fn narrowed(wanted: &Grant, own: &Grant, keep: u8) -> Grant {
    let pick = |bit: u8| keep & (1 << bit) != 0;
    Grant {
        scopes: if pick(0) { own.scopes.without(own.scopes.without(wanted.scopes)) } else { wanted.scopes },
        projects: if pick(1) { own.projects.clone() } else { wanted.projects.clone() },
        addresses: if pick(2) { own.addresses.clone() } else { wanted.addresses.clone() },
        rate_limit: if pick(3) { own.rate_limit } else { wanted.rate_limit },
        expires_at: if pick(4) { own.expires_at } else { wanted.expires_at },
    }
}

/// A key of a family.
#[derive(Clone)]
struct Member {
    number: usize,
    record: KeyRecord,
}

impl Member {
    fn principal(&self, address: Option<IpAddr>, second: i64) -> Result<Principal, Refusal> {
        recognize_managed(&KEYS[self.number], Some(&self.record), address, time(second))
    }

    /// Whether a request with the key is accepted.
    fn may(&self, scope: Scope, project: &ProjectId, address: Option<IpAddr>, second: i64) -> bool {
        self.principal(address, second).is_ok_and(|principal| {
            principal.authorize(Access::Requires(scope)).is_ok()
                && principal.authorize_project(project).is_ok()
        })
    }
}

fn beside(address: IpAddr, by: i8) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_add_signed(by.into())).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().wrapping_add_signed(by.into())).into(),
    }
}

/// The maximum number of accepted requests in this many seconds from the start of a window.
fn most(limit: Option<RateLimit>, seconds: u64) -> u64 {
    limit.map_or(u64::MAX, |limit| {
        seconds.div_ceil(limit.window_seconds().into()).saturating_mul(limit.requests().into())
    })
}

/// Asserts that every request that `member` gets through is accepted from `other`.
fn is_within(member: &Member, other: &Member) -> Result<(), TestCaseError> {
    // The dimensions are independent, so each is checked with values of the others that are
    // accepted.
    let seconds = || ENDS.iter().flat_map(|end| [end - 1, *end]).chain([0]);
    let working = |member: &Member| {
        let second = seconds()
            .find(|second| ADDRESSES.iter().any(|address| member.principal(*address, *second).is_ok()))?;
        let address = ADDRESSES.iter().find(|address| member.principal(**address, second).is_ok())?;
        Some((*address, second))
    };
    // A key that is never accepted is within every other.
    let Some((address, second)) = working(member) else { return Ok(()) };
    for at in seconds() {
        if member.principal(address, at).is_ok() {
            prop_assert!(other.principal(address, at).is_ok(), "at {at} s");
        }
    }
    for from in ADDRESSES.iter() {
        if member.principal(*from, second).is_ok() {
            prop_assert!(other.principal(*from, second).is_ok(), "from {from:?}");
        }
    }
    for id in PROJECTS {
        let project = project(id);
        for scope in Scope::ALL {
            if member.may(scope, &project, address, second) {
                prop_assert!(other.may(scope, &project, address, second), "{scope} in {id}");
            }
        }
        let reaches = |member: &Member| {
            member
                .principal(address, second)
                .is_ok_and(|principal| principal.authorize_project(&project).is_ok())
        };
        prop_assert!(!reaches(member) || reaches(other), "{id}");
    }
    let (limit, others) = (member.record.grant.rate_limit, other.record.grant.rate_limit);
    // One second for bursts, and 30 days, a multiple of every window, for the long run.
    for seconds in [1, 30 * 86_400] {
        prop_assert!(most(limit, seconds) <= most(others, seconds), "{limit:?} {others:?} in {seconds} s");
    }
    Ok(())
}

/// The exceeded dimensions, computed independently, in the words of the refusal.
fn excess(grant: &Grant, own: &Grant) -> BTreeSet<&'static str> {
    let mut excess = BTreeSet::new();
    if Scope::ALL.into_iter().any(|scope| grant.scopes.contains(scope) && !own.scopes.contains(scope)) {
        excess.insert("scope");
    }
    let reaches = |access: &ProjectAccess, id: &str| access.allows(&project(id));
    if PROJECTS.into_iter().any(|id| reaches(&grant.projects, id) && !reaches(&own.projects, id)) {
        excess.insert("projects");
    }
    // Compares blocks as numbers: first and last address.
    let ends = |block: &IpNet| match block {
        IpNet::V4(block) => (4, block.network().to_bits().into(), block.broadcast().to_bits().into()),
        IpNet::V6(block) => (6, block.network().to_bits(), block.broadcast().to_bits()),
    };
    let holds = |outer: &IpNet, inner: &IpNet| {
        let ((outer_kind, first, last), (kind, from, to)): ((u8, u128, u128), (u8, u128, u128)) =
            (ends(outer), ends(inner));
        outer_kind == kind && first <= from && to <= last
    };
    let is_narrower = match (&grant.addresses, &own.addresses) {
        (_, AddressAccess::Any) => true,
        (AddressAccess::Any, AddressAccess::Only(_)) => false,
        (AddressAccess::Only(blocks), AddressAccess::Only(others)) => {
            blocks.iter().all(|block| others.iter().any(|other| holds(other, block)))
        }
    };
    if !is_narrower {
        excess.insert("addresses");
    }
    if [1, 30 * 86_400]
        .into_iter()
        .any(|seconds| most(grant.rate_limit, seconds) > most(own.rate_limit, seconds))
    {
        excess.insert("rate limit");
    }
    let end = |grant: &Grant| grant.expires_at.unwrap_or(Timestamp::MAX);
    if end(grant) > end(own) {
        excess.insert("lifetime");
    }
    excess
}

/// The decision. A refusal must name exactly the exceeded dimensions.
fn is_allowed(caller: &Principal, grant: &Grant) -> Result<bool, TestCaseError> {
    let expected = excess(grant, caller.grant());
    match caller.authorize_grant(grant) {
        Ok(()) => prop_assert_eq!(&expected, &BTreeSet::new()),
        Err(refusal) => {
            let message = refusal.to_string();
            prop_assert!(!expected.is_empty(), "{message}");
            for word in ["the scope", "its projects", "the addresses", "its rate limit", "its lifetime"] {
                let dimension = word.split_once(' ').map_or(word, |(_, dimension)| dimension);
                prop_assert_eq!(
                    message.contains(word),
                    expected.contains(dimension),
                    "{}: {}",
                    message,
                    dimension
                );
            }
        }
    }
    Ok(expected.is_empty())
}

/// Counts of allowed and refused changes, to prove that both occurred.
#[derive(Default)]
struct Counts {
    allowed: Cell<u32>,
    refused: Cell<u32>,
}

fn family(
    first: &Grant,
    changes: &[(prop::sample::Index, Change)],
    keep: u8,
    counts: &Counts,
) -> Result<(), TestCaseError> {
    let member_with = |number: usize, grant: Grant, by: &KeyId| {
        let spec = NewKeySpec {
            name: Name::parse("ci").unwrap(),
            grant,
            not_before: None,
            metadata: Metadata::default(),
        };
        Member { number, record: KeyRecord::new(&KEYS[number], spec, by.clone(), time(0)) }
    };
    let mut members = vec![member_with(0, first.clone(), &KeyId::ROOT)];
    for (index, change) in changes {
        let caller = members[index.index(members.len())].clone();
        let from = ADDRESSES.iter().find(|address| caller.principal(**address, 0).is_ok());
        let Some(principal) = from.and_then(|address| caller.principal(*address, 0).ok()) else { continue };
        let number = members.len();
        // Like the API: the caller needs the grant before and the grant after the change.
        let after = match change {
            Change::Create(wanted) => {
                let grant = narrowed(wanted, principal.grant(), keep);
                is_allowed(&principal, &grant)?.then(|| member_with(number, grant, principal.key_id()))
            }
            Change::Update(patch) => {
                let last = members[number - 1].clone();
                let GrantPatch { scopes, projects, addresses, rate_limit, expires_at } = patch.clone();
                let patch = KeyPatch {
                    scopes,
                    projects,
                    addresses,
                    rate_limit,
                    expires_at: expires_at.map(time),
                    ..KeyPatch::default()
                };
                let may = is_allowed(&principal, &last.record.grant)?;
                let changed = last.record.update(patch, time(0)).ok();
                match changed {
                    Some(record) if may && is_allowed(&principal, &record.grant)? => {
                        Some(Member { number: last.number, record })
                    }
                    _ => None,
                }
            }
            Change::Rotate(end) => {
                let last = members[number - 1].clone();
                let grant = Grant { expires_at: end.map(time), ..last.record.grant.clone() };
                let may = is_allowed(&principal, &last.record.grant)? && is_allowed(&principal, &grant)?;
                let overlap = SignedDuration::from_secs(1_000);
                let rotated =
                    last.record.rotate(&KEYS[number], overlap, grant.expires_at, KeyId::ROOT, time(0));
                match rotated {
                    Ok((old, new)) if may => {
                        let old = Member { number: last.number, record: old };
                        is_within(&old, &members[number - 1])?;
                        members[number - 1] = old;
                        Some(Member { number, record: new })
                    }
                    _ => None,
                }
            }
        };
        let Some(member) = after else {
            counts.refused.set(counts.refused.get() + 1);
            continue;
        };
        counts.allowed.set(counts.allowed.get() + 1);
        // Within the caller, as it was at that time.
        is_within(&member, &caller)?;
        // Therefore within the family's first key.
        is_within(&member, &member_with(0, first.clone(), &KeyId::ROOT))?;
        members.push(member);
    }
    Ok(())
}

#[test]
fn no_key_creates_or_changes_a_key_beyond_itself() {
    let counts = Counts::default();
    let config = ProptestConfig {
        cases: FAMILIES,
        failure_persistence: None,
        // The default generator takes longer than the test itself.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config)
        .run(&(grant(), changes(), any::<u8>()), |(first, changes, keep)| {
            family(&first, &changes, keep, &counts)
        });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(counts.allowed.get() > FAMILIES / 4, "{} were allowed", counts.allowed.get());
    assert!(counts.refused.get() > FAMILIES / 4, "{} were refused", counts.refused.get());
}
