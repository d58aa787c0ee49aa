//! The bound on how long a key goes on after it was revoked, disabled or narrowed, shown by going through every order in
//! which the steps of a few requests, changes and clocks can come.
//!
//! There is one store and there are two or three environments, each with a cache and clocks of its own. A request has three
//! steps: it begins, and is decided at once if the key's record is known; else the store is read; then what was read is
//! taken in and decided by. A change has three as well: the environment that makes it notes the moment, the store takes it,
//! the environment takes it in. Between any two steps time may pass, an environment may be frozen, or its wall clock may
//! be put forward or back.
//!
//! What must hold in every order, of every request that is decided by some state of the key:
//!
//! 1. That state was not superseded the time to live or more before the request began.
//! 2. Where a revocation is known, the key is not accepted any more.
//! 3. Where a state is known, no request that begins later is decided by an earlier one.
//!
//! States that were seen before are not gone through again; that is all that is left out.

use std::collections::HashSet;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Metadata, Name, Refusal};

use super::{Instants, KeyCache, Lookup};
use crate::decision::recognize_managed;
use crate::grant::Grant;
use crate::key::KeyId;
use crate::managed::ManagedKey;
use crate::record::{KeyPatch, KeyRecord, NewKeySpec};
use crate::scope::{Scope, ScopeSet};

/// The time to live, in seconds; all times are.
const TTL: i64 = 4;

/// What one step of time is: half of the time to live, so that steps meet its end exactly.
const TICK: i64 = 2;

#[derive(Clone, Copy, Debug)]
enum Change {
    Revoke,
    Disable,
    Enable,
    Narrow,
}

/// What else may happen, once, to the clocks of an environment.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// It stands still for so long, and its monotonic clock with it.
    Freeze(usize, i64),
    /// Its wall clock is moved.
    Step(usize, i64),
}

/// The steps whose orders are gone through.
#[derive(Clone)]
struct Script {
    ttl: i64,
    environments: usize,
    /// Where requests come in.
    requests: Vec<usize>,
    /// Who changes the key: where, and what one after the other.
    writers: Vec<(usize, Vec<Change>)>,
    ticks: usize,
    troubles: Vec<Trouble>,
    /// Whether the key is made by the first step, and is not there before.
    is_made: bool,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            ttl: TTL,
            environments: 2,
            requests: Vec::new(),
            writers: Vec::new(),
            ticks: 4,
            troubles: Vec::new(),
            is_made: false,
        }
    }
}

#[derive(Clone)]
struct Environment {
    cache: KeyCache,
    times: Times,
    /// The highest revision that was taken in, and whether a revoked one was.
    known: u64,
    knows_revoked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Waits,
    /// Began then, when so much was known, and has to read.
    Began(i64, Times, u64),
    /// As before, and found this revision; 0 is no key.
    Read(i64, Times, u64, u64),
    Decided,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Writing {
    Waits,
    Timed(Times),
    /// As of that moment; to be taken in where it was made.
    Stored(Times, u64),
}

/// How far a writer is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Writer {
    writing: Writing,
    changed: usize,
}

/// What both clocks of an environment show. They stand still between two steps, as coarse ones do.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Times {
    wall: i64,
    running: i64,
}

impl From<Times> for Instants {
    fn from(Times { wall, running }: Times) -> Instants {
        Instants { wall: time(wall), running: Duration::from_secs(u64::try_from(running).unwrap()) }
    }
}

#[derive(Clone)]
struct World<'a> {
    script: &'a Script,
    now: i64,
    /// The states of the key, revision 1 first, each with when it came to be.
    states: Vec<(Rc<KeyRecord>, i64)>,
    environments: Vec<Environment>,
    requests: Vec<Step>,
    writers: Vec<Writer>,
    ticked: usize,
    troubled: usize,
    is_made: bool,
    /// What was done, to tell what went wrong.
    steps: Vec<Told>,
}

/// A step as it is told.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "it is printed")]
enum Told {
    Begins { request: usize, place: usize },
    Reads { request: usize },
    IsDecided { request: usize },
    ChangeBegins { place: usize },
    Changes(Change),
    ChangeIsTakenIn { place: usize },
    KeyIsMade,
    TimePasses,
    Trouble(Trouble),
}

static KEY: LazyLock<ManagedKey> = LazyLock::new(|| {
    let made = ManagedKey::generate(|bytes| {
        bytes.fill(7);
        Ok::<(), Infallible>(())
    });
    let Ok(key) = made;
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

fn change(record: KeyRecord, change: Change, now: Timestamp) -> Result<KeyRecord, Refusal> {
    let narrow =
        || KeyPatch { scopes: Some(ScopeSet::from_iter([Scope::AgentsRead])), ..KeyPatch::default() };
    match change {
        Change::Revoke => Ok(record.revoke(now)),
        Change::Disable => record.disable(now),
        Change::Enable => record.enable(now),
        Change::Narrow => record.update(narrow(), now),
    }
}

impl<'a> World<'a> {
    fn new(script: &'a Script) -> World<'a> {
        let environment = Environment {
            cache: KeyCache::new(SignedDuration::from_secs(script.ttl)),
            times: Times { wall: 0, running: 0 },
            known: 0,
            knows_revoked: false,
        };
        World {
            script,
            now: 0,
            states: if script.is_made { Vec::new() } else { vec![(Rc::new(record()), 0)] },
            environments: vec![environment; script.environments],
            requests: vec![Step::Waits; script.requests.len()],
            writers: vec![Writer { writing: Writing::Waits, changed: 0 }; script.writers.len()],
            ticked: 0,
            troubled: 0,
            is_made: !script.is_made,
            steps: Vec::new(),
        }
    }

    /// All worlds that one step makes of this one.
    fn next(&self) -> Vec<World<'a>> {
        let mut worlds = Vec::new();
        let mut step = |told: Told, of: &dyn Fn(&mut World<'a>)| {
            let mut world = self.clone();
            world.steps.push(told);
            of(&mut world);
            worlds.push(world);
        };
        for (index, request) in self.requests.iter().enumerate() {
            let place = self.script.requests[index];
            match *request {
                Step::Waits => {
                    step(Told::Begins { request: index, place }, &|world| world.begin(index, place));
                }
                Step::Began(began, moment, known) => step(Told::Reads { request: index }, &|world| {
                    let found = world.states.last().map_or(0, |(state, _)| state.revision);
                    world.requests[index] = Step::Read(began, moment, known, found);
                }),
                Step::Read(began, moment, known, found) => {
                    step(Told::IsDecided { request: index }, &|world| {
                        let counts = world.take_in(place, found, moment);
                        world.decide(place, counts, began, known);
                        world.requests[index] = Step::Decided;
                    });
                }
                Step::Decided => {}
            }
        }
        for (index, writer) in self.writers.iter().enumerate() {
            let (place, changes) = &self.script.writers[index];
            match writer.writing {
                Writing::Waits if writer.changed < changes.len() && self.is_made => {
                    step(Told::ChangeBegins { place: *place }, &|world| {
                        world.writers[index].writing = Writing::Timed(world.moment(*place));
                    });
                }
                Writing::Waits => {}
                Writing::Timed(moment) => {
                    let wanted = changes[writer.changed];
                    step(Told::Changes(wanted), &|world| world.change(index, wanted, moment));
                }
                Writing::Stored(moment, revision) => {
                    step(Told::ChangeIsTakenIn { place: *place }, &|world| {
                        world.take_in(*place, revision, moment);
                        world.writers[index] =
                            Writer { writing: Writing::Waits, changed: world.writers[index].changed + 1 };
                    });
                }
            }
        }
        if !self.is_made {
            step(Told::KeyIsMade, &|world| {
                world.states.push((Rc::new(record()), world.now));
                world.is_made = true;
            });
        }
        if self.ticked < self.script.ticks {
            step(Told::TimePasses, &|world| {
                world.ticked += 1;
                world.pass(TICK, None);
            });
        }
        if let Some(trouble) = self.script.troubles.get(self.troubled).copied() {
            step(Told::Trouble(trouble), &|world| {
                world.troubled += 1;
                match trouble {
                    Trouble::Freeze(place, seconds) => world.pass(seconds, Some(place)),
                    Trouble::Step(place, seconds) => world.environments[place].times.wall += seconds,
                }
            });
        }
        worlds
    }

    /// The store takes a change, unless another came before it that leaves nothing to change.
    fn change(&mut self, writer: usize, wanted: Change, moment: Times) {
        let Some((state, _)) = self.states.last() else { return };
        let revision = state.revision;
        let changed = change(KeyRecord::clone(state), wanted, time(self.now));
        let changed = changed.ok().filter(|changed| changed.revision > revision);
        let writer = &mut self.writers[writer];
        match changed {
            Some(state) => {
                writer.writing = Writing::Stored(moment, state.revision);
                self.states.push((Rc::new(state), self.now));
            }
            None => *writer = Writer { writing: Writing::Waits, changed: writer.changed + 1 },
        }
    }

    fn pass(&mut self, seconds: i64, frozen: Option<usize>) {
        self.now += seconds;
        for (place, environment) in self.environments.iter_mut().enumerate() {
            environment.times.wall += seconds;
            environment.times.running += if frozen == Some(place) { 0 } else { seconds };
        }
    }

    fn moment(&self, place: usize) -> Times {
        self.environments[place].times
    }

    fn begin(&mut self, index: usize, place: usize) {
        let moment = self.moment(place);
        let known = self.environments[place].known;
        match self.environments[place].cache.lookup(KEY.id(), moment.into()) {
            Lookup::Known(counts) => {
                self.decide(place, counts.map_or(0, |counts| counts.revision), self.now, known);
                self.requests[index] = Step::Decided;
            }
            Lookup::Unknown => self.requests[index] = Step::Began(self.now, moment, known),
        }
    }

    /// Takes in a state that was read or made, and gives the one that counts.
    fn take_in(&mut self, place: usize, found: u64, began: Times) -> u64 {
        let now = self.moment(place);
        let state = self.state(found).cloned();
        let is_revoked = state.as_ref().is_some_and(|state| state.revoked_at.is_some());
        let environment = &mut self.environments[place];
        let counts = environment.cache.fill(KEY.id(), state, began.into(), now.into());
        let revision = counts.as_ref().map_or(0, |counts| counts.revision);
        environment.known = environment.known.max(found).max(revision);
        environment.knows_revoked |= is_revoked;
        revision
    }

    fn state(&self, revision: u64) -> Option<&KeyRecord> {
        let index = usize::try_from(revision).unwrap().checked_sub(1)?;
        self.states.get(index).map(|(state, _)| state.as_ref())
    }

    /// What must hold of every request that is decided.
    fn decide(&self, place: usize, revision: u64, began: i64, known_at_begin: u64) {
        let steps = || format!("{:#?}", self.steps);
        let superseded = self.states.get(usize::try_from(revision).unwrap()).map(|(_, at)| *at);
        if let Some(superseded) = superseded {
            let ttl = self.script.ttl;
            assert!(
                began < superseded + ttl || (ttl == 0 && began == superseded),
                "a request that began at {began} s is decided by a state that was superseded at {superseded} s:\n{}",
                steps()
            );
        }
        let environment = &self.environments[place];
        let principal = recognize_managed(&KEY, self.state(revision), None, time(self.now));
        assert!(
            !(environment.knows_revoked && principal.is_ok()),
            "a key is accepted where it is known to be revoked:\n{}",
            steps()
        );
        assert!(
            revision >= known_at_begin,
            "a request is decided by state {revision} where state {known_at_begin} was known when it began:\n{}",
            steps()
        );
    }

    /// What a request that came now would be decided by in each environment, if it were served at once.
    fn probe(&self) {
        for (place, environment) in self.environments.iter().enumerate() {
            let moment = self.moment(place).into();
            let newest = self.states.last().map_or(0, |(state, _)| state.revision);
            let revision = |counts: Option<Arc<KeyRecord>>| counts.map_or(0, |counts| counts.revision);
            let counts = match environment.cache.lookup(KEY.id(), moment) {
                Lookup::Known(counts) => revision(counts),
                Lookup::Unknown => {
                    let mut cache = environment.cache.clone();
                    let counts = revision(cache.fill(KEY.id(), self.state(newest).cloned(), moment, moment));
                    assert_eq!(counts, newest, "what the store has now counts in {place}: {:#?}", self.steps);
                    counts
                }
            };
            self.decide(place, counts, self.now, environment.known);
        }
    }

    /// All that decides about what can come, which is all but how it came to be.
    fn state_of_all(&self) -> impl Eq + std::hash::Hash + use<> {
        let environment = |environment: &Environment| {
            let Environment { cache, times, known, knows_revoked } = environment;
            let record = cache.records.get(KEY.id()).cloned();
            let record = record
                .map(|kept| (kept.record.revision, kept.read_at.wall, kept.read_at.running, kept.since));
            let absent = cache.absent.get(KEY.id()).map(|moment| (moment.wall, moment.running));
            (record, absent, *times, *known, *knows_revoked)
        };
        (
            (self.now, self.ticked, self.troubled, self.is_made),
            self.states.iter().map(|(state, at)| (state.revision, *at)).collect::<Vec<_>>(),
            self.environments.iter().map(environment).collect::<Vec<_>>(),
            self.requests.clone(),
            self.writers.clone(),
        )
    }
}

/// Goes through all orders of a script's steps, and says how many states of the world there were.
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
    assert!(ends > 0, "no order comes to an end");
    seen.len()
}

/// Two requests in one environment or in two, and changes that are made in one of them.
fn scripts(changes: &[Change], troubles: &[Trouble]) -> Vec<Script> {
    let script = |requests: [usize; 2], from| Script {
        environments: 2,
        requests: requests.to_vec(),
        writers: vec![(from, changes.to_vec())],
        troubles: troubles.to_vec(),
        ..Script::default()
    };
    vec![script([0, 0], 0), script([0, 0], 1), script([0, 1], 0)]
}

fn explore_all(scripts: impl IntoIterator<Item = Script>) {
    let worlds: usize = scripts.into_iter().map(|script| explore(&script)).sum();
    // So that a script which comes to nothing is noticed.
    assert!(worlds > 1_000, "{worlds}");
}

#[test]
fn a_revoked_key_is_refused_after_the_time_to_live_and_never_comes_back() {
    explore_all(scripts(&[Change::Revoke], &[]));
}

#[test]
fn so_is_one_that_was_disabled_or_narrowed() {
    explore_all(scripts(&[Change::Disable, Change::Enable], &[]));
    explore_all(scripts(&[Change::Narrow], &[]));
}

#[test]
fn so_is_one_that_was_enabled_before() {
    let short = |script| Script { ticks: 3, ..script };
    explore_all(scripts(&[Change::Disable, Change::Enable, Change::Revoke], &[]).into_iter().map(short));
}

#[test]
fn an_environment_that_was_frozen_keeps_the_bound() {
    let short = |script| Script { ticks: 3, ..script };
    for place in [0, 1] {
        let scripts = scripts(&[Change::Revoke], &[Trouble::Freeze(place, TTL)]);
        explore_all(scripts.into_iter().map(short));
    }
    explore_all(scripts(&[Change::Disable], &[Trouble::Freeze(0, TTL)]).into_iter().map(short));
}

#[test]
fn a_wall_clock_that_is_put_forward_or_back_changes_nothing() {
    let short = |script| Script { ticks: 3, ..script };
    for by in [-6, 6] {
        let scripts = scripts(&[Change::Revoke], &[Trouble::Step(0, by)]);
        explore_all(scripts.into_iter().map(short));
    }
    let there_and_back = [Trouble::Step(0, -4), Trouble::Step(0, 4)];
    explore_all(scripts(&[Change::Disable], &there_and_back).into_iter().map(short));
}

#[test]
fn with_no_time_to_live_a_revocation_counts_at_once() {
    let at_once = |script| Script { ttl: 0, ticks: 2, ..script };
    explore_all(scripts(&[Change::Disable, Change::Revoke], &[]).into_iter().map(at_once));
}

#[test]
fn three_environments_are_as_good_as_two() {
    explore_all([Script {
        environments: 3,
        requests: vec![0, 1],
        writers: vec![(2, vec![Change::Disable, Change::Revoke])],
        ticks: 3,
        ..Script::default()
    }]);
}

#[test]
fn a_key_that_was_asked_for_before_it_was_made_is_known_after_the_time_to_live() {
    let writers = vec![(1, vec![Change::Revoke])];
    explore_all([Script { requests: vec![0, 0], writers, is_made: true, ..Script::default() }]);
}

#[test]
fn two_environments_that_change_a_key_at_once_keep_the_bound() {
    for (one, other) in [(Change::Narrow, Change::Revoke), (Change::Disable, Change::Narrow)] {
        explore_all([Script {
            requests: vec![0],
            writers: vec![(0, vec![one]), (1, vec![other])],
            ..Script::default()
        }]);
    }
}
