//! Checks the cache's guarantee by exploring every interleaving of a few requests, key changes and
//! clock changes.
//!
//! The model has one store and two or three environments, each with its own cache and clocks. A
//! request has three steps: it begins, and is decided at once if the record is cached; otherwise
//! the store is read; then the result is cached and decides the request. A change has three steps
//! as well: its environment notes the time, the store applies it, the environment caches the
//! result. Between any two steps time may pass, an environment may be frozen, or its wall clock may
//! be moved.
//!
//! For every request that is decided by some state of the key, in every order:
//!
//! 1. That state was not superseded the time to live or more before the request began.
//! 2. Where a revocation is known, the key is refused.
//! 3. Where a state is known, no later request is decided by an earlier state.
//!
//! Worlds that were already explored are skipped; nothing else is left out.

mod world;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::LazyLock;

use jiff::Timestamp;
use onerun_domain::{Metadata, Name};

use crate::change::KeyChangeError;
use crate::grant::Grant;
use crate::key::KeyId;
use crate::managed::ManagedKey;
use crate::record::{KeyPatch, KeyRecord, NewKeySpec};
use crate::scope::{Scope, ScopeSet};
use world::World;

/// The time to live. All times are in seconds.
const TTL: i64 = 4;

/// The length of one tick: half of the time to live, so that ticks meet its end exactly.
const TICK: i64 = 2;

#[derive(Clone, Copy, Debug)]
enum Change {
    Revoke,
    Disable,
    Enable,
    Narrow,
}

/// A disturbance of an environment's clocks, which happens once.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// The environment and its monotonic clock stop for this long.
    Freeze(usize, i64),
    /// The wall clock is moved by this much.
    Step(usize, i64),
}

/// The steps to interleave.
#[derive(Clone)]
struct Script {
    ttl: i64,
    environments: usize,
    /// The environment of each request.
    requests: Vec<usize>,
    /// The writers: the environment and the changes, in order.
    writers: Vec<(usize, Vec<Change>)>,
    ticks: usize,
    disturbances: Vec<Disturbance>,
    /// Whether the key does not exist at first and is created by a step.
    is_created: bool,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            ttl: TTL,
            environments: 2,
            requests: Vec::new(),
            writers: Vec::new(),
            ticks: 4,
            disturbances: Vec::new(),
            is_created: false,
        }
    }
}

static KEY: LazyLock<ManagedKey> = LazyLock::new(|| {
    let generated = ManagedKey::generate(|bytes| {
        bytes.fill(7);
        Ok::<(), Infallible>(())
    });
    let Ok(key) = generated;
    key
});

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn record() -> KeyRecord {
    let spec = NewKeySpec {
        name: Name::parse("ci").unwrap(),
        grant: Grant::everything(),
        not_before: None,
        metadata: Metadata::default(),
    };
    KeyRecord::new(&KEY, spec, KeyId::restore("root").unwrap(), time(0))
}

fn change(record: KeyRecord, change: Change, now: Timestamp) -> Result<KeyRecord, KeyChangeError> {
    let narrow =
        || KeyPatch { scopes: Some(ScopeSet::from_iter([Scope::AgentsRead])), ..KeyPatch::default() };
    match change {
        Change::Revoke => Ok(record.revoke(now)),
        Change::Disable => record.disable(now),
        Change::Enable => record.enable(now),
        Change::Narrow => record.update(narrow(), now),
    }
}

/// Explores every order of a script's steps and returns the number of worlds.
fn explore(script: &Script) -> usize {
    let mut seen = HashSet::new();
    let mut open = vec![World::new(script)];
    let mut ends = 0;
    while let Some(world) = open.pop() {
        if !seen.insert(world.state_of_all()) {
            continue;
        }
        world.probe();
        let next = world.next();
        ends += usize::from(next.is_empty());
        open.extend(next);
    }
    assert!(ends > 0, "no order ends");
    seen.len()
}

/// Two requests in one or two environments, and a writer in one of them.
fn scripts(changes: &[Change], disturbances: &[Disturbance]) -> Vec<Script> {
    let script = |requests: [usize; 2], from| Script {
        environments: 2,
        requests: requests.to_vec(),
        writers: vec![(from, changes.to_vec())],
        disturbances: disturbances.to_vec(),
        ..Script::default()
    };
    vec![script([0, 0], 0), script([0, 0], 1), script([0, 1], 0)]
}

fn explore_all(scripts: impl IntoIterator<Item = Script>) {
    let worlds: usize = scripts.into_iter().map(|script| explore(&script)).sum();
    // Detects a script that has no effect.
    assert!(worlds > 1_000, "{worlds}");
}

#[test]
fn revoked_key_is_refused_after_the_ttl_and_stays_refused() {
    explore_all(scripts(&[Change::Revoke], &[]));
}

#[test]
fn disabled_or_narrowed_key_is_refused_after_the_ttl() {
    explore_all(scripts(&[Change::Disable, Change::Enable], &[]));
    explore_all(scripts(&[Change::Narrow], &[]));
}

#[test]
fn key_revoked_after_being_enabled_is_refused_after_the_ttl() {
    let short = |script| Script { ticks: 3, ..script };
    explore_all(scripts(&[Change::Disable, Change::Enable, Change::Revoke], &[]).into_iter().map(short));
}

#[test]
fn frozen_environment_refuses_after_the_ttl() {
    let short = |script| Script { ticks: 3, ..script };
    for environment in [0, 1] {
        let scripts = scripts(&[Change::Revoke], &[Disturbance::Freeze(environment, TTL)]);
        explore_all(scripts.into_iter().map(short));
    }
    explore_all(scripts(&[Change::Disable], &[Disturbance::Freeze(0, TTL)]).into_iter().map(short));
}

#[test]
fn moved_wall_clock_does_not_extend_the_ttl() {
    let short = |script| Script { ticks: 3, ..script };
    for by in [-6, 6] {
        let scripts = scripts(&[Change::Revoke], &[Disturbance::Step(0, by)]);
        explore_all(scripts.into_iter().map(short));
    }
    let there_and_back = [Disturbance::Step(0, -4), Disturbance::Step(0, 4)];
    explore_all(scripts(&[Change::Disable], &there_and_back).into_iter().map(short));
}

#[test]
fn zero_ttl_refuses_a_revoked_key_at_once() {
    let at_once = |script| Script { ttl: 0, ticks: 2, ..script };
    explore_all(scripts(&[Change::Disable, Change::Revoke], &[]).into_iter().map(at_once));
}

#[test]
fn three_environments_refuse_after_the_ttl() {
    explore_all([Script {
        environments: 3,
        requests: vec![0, 1],
        writers: vec![(2, vec![Change::Disable, Change::Revoke])],
        ticks: 3,
        ..Script::default()
    }]);
}

#[test]
fn key_requested_before_its_creation_is_known_after_the_ttl() {
    let writers = vec![(1, vec![Change::Revoke])];
    explore_all([Script { requests: vec![0, 0], writers, is_created: true, ..Script::default() }]);
}

#[test]
fn concurrent_changes_are_effective_after_the_ttl() {
    for (one, other) in [(Change::Narrow, Change::Revoke), (Change::Disable, Change::Narrow)] {
        explore_all([Script {
            requests: vec![0],
            writers: vec![(0, vec![one]), (1, vec![other])],
            ..Script::default()
        }]);
    }
}
