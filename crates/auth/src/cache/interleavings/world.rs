//! The model of one store and its environments.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Change, Disturbance, KEY, Script, TICK, change, record, time};
use crate::cache::{Instants, KeyCache, Lookup};
use crate::decision::recognize_managed;
use crate::record::KeyRecord;

#[derive(Clone)]
struct Environment {
    cache: KeyCache,
    times: Times,
    /// The highest revision that was cached, and whether a revoked state was.
    known: u64,
    knows_revoked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Waits,
    /// Began at this time, with this revision known, and must read the store.
    Began(i64, Times, u64),
    /// As above, and the read found this revision; 0 means no key.
    Read(i64, Times, u64, u64),
    Decided,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Writing {
    Waits,
    Timed(Times),
    /// The store applied it as this revision; it is not cached yet.
    Stored(Times, u64),
}

/// The progress of a writer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Writer {
    writing: Writing,
    changed: usize,
}

/// Both clocks of an environment. They do not advance between two steps, like coarse clocks.
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
pub(super) struct World<'a> {
    script: &'a Script,
    now: i64,
    /// The states of the key from revision 1, each with its time.
    states: Vec<(Rc<KeyRecord>, i64)>,
    environments: Vec<Environment>,
    requests: Vec<Step>,
    writers: Vec<Writer>,
    ticked: usize,
    disturbed: usize,
    is_created: bool,
    /// The steps so far, for failure messages.
    steps: Vec<Action>,
}

/// A step in a failure message.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "printed by `Debug`")]
enum Action {
    Begins { request: usize, environment: usize },
    Reads { request: usize },
    IsDecided { request: usize },
    ChangeBegins { environment: usize },
    Changes(Change),
    ChangeIsCached { environment: usize },
    KeyIsCreated,
    TimePasses,
    Disturbance(Disturbance),
}

impl<'a> World<'a> {
    pub(super) fn new(script: &'a Script) -> World<'a> {
        let environment = Environment {
            cache: KeyCache::new(SignedDuration::from_secs(script.ttl)),
            times: Times { wall: 0, running: 0 },
            known: 0,
            knows_revoked: false,
        };
        World {
            script,
            now: 0,
            states: if script.is_created { Vec::new() } else { vec![(Rc::new(record()), 0)] },
            environments: vec![environment; script.environments],
            requests: vec![Step::Waits; script.requests.len()],
            writers: vec![Writer { writing: Writing::Waits, changed: 0 }; script.writers.len()],
            ticked: 0,
            disturbed: 0,
            is_created: !script.is_created,
            steps: Vec::new(),
        }
    }

    /// Every world that is one step away.
    pub(super) fn next(&self) -> Vec<World<'a>> {
        let mut worlds = Vec::new();
        let mut step = |action: Action, of: &dyn Fn(&mut World<'a>)| {
            let mut world = self.clone();
            world.steps.push(action);
            of(&mut world);
            worlds.push(world);
        };
        for (index, request) in self.requests.iter().enumerate() {
            let environment = self.script.requests[index];
            match *request {
                Step::Waits => {
                    step(Action::Begins { request: index, environment }, &|world| {
                        world.begin(index, environment);
                    });
                }
                Step::Began(began, moment, known) => step(Action::Reads { request: index }, &|world| {
                    let found = world.states.last().map_or(0, |(state, _)| state.revision);
                    world.requests[index] = Step::Read(began, moment, known, found);
                }),
                Step::Read(began, moment, known, found) => {
                    step(Action::IsDecided { request: index }, &|world| {
                        let counts = world.store(environment, found, moment);
                        world.decide(environment, counts, began, known);
                        world.requests[index] = Step::Decided;
                    });
                }
                Step::Decided => {}
            }
        }
        for (index, writer) in self.writers.iter().enumerate() {
            let (environment, changes) = &self.script.writers[index];
            match writer.writing {
                Writing::Waits if writer.changed < changes.len() && self.is_created => {
                    step(Action::ChangeBegins { environment: *environment }, &|world| {
                        world.writers[index].writing = Writing::Timed(world.moment(*environment));
                    });
                }
                Writing::Waits => {}
                Writing::Timed(moment) => {
                    let wanted = changes[writer.changed];
                    step(Action::Changes(wanted), &|world| world.change(index, wanted, moment));
                }
                Writing::Stored(moment, revision) => {
                    step(Action::ChangeIsCached { environment: *environment }, &|world| {
                        world.store(*environment, revision, moment);
                        world.writers[index] =
                            Writer { writing: Writing::Waits, changed: world.writers[index].changed + 1 };
                    });
                }
            }
        }
        if !self.is_created {
            step(Action::KeyIsCreated, &|world| {
                world.states.push((Rc::new(record()), world.now));
                world.is_created = true;
            });
        }
        if self.ticked < self.script.ticks {
            step(Action::TimePasses, &|world| {
                world.ticked += 1;
                world.pass(TICK, None);
            });
        }
        if let Some(disturbance) = self.script.disturbances.get(self.disturbed).copied() {
            step(Action::Disturbance(disturbance), &|world| {
                world.disturbed += 1;
                match disturbance {
                    Disturbance::Freeze(environment, seconds) => world.pass(seconds, Some(environment)),
                    Disturbance::Step(environment, seconds) => {
                        world.environments[environment].times.wall += seconds;
                    }
                }
            });
        }
        worlds
    }

    /// The store applies a change, unless an earlier change left nothing to do.
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
        for (index, environment) in self.environments.iter_mut().enumerate() {
            environment.times.wall += seconds;
            environment.times.running += if frozen == Some(index) { 0 } else { seconds };
        }
    }

    fn moment(&self, environment: usize) -> Times {
        self.environments[environment].times
    }

    fn begin(&mut self, index: usize, environment: usize) {
        let moment = self.moment(environment);
        let known = self.environments[environment].known;
        match self.environments[environment].cache.lookup(KEY.id(), moment.into()) {
            Lookup::Known(counts) => {
                self.decide(environment, counts.map_or(0, |counts| counts.revision), self.now, known);
                self.requests[index] = Step::Decided;
            }
            Lookup::Unknown => self.requests[index] = Step::Began(self.now, moment, known),
        }
    }

    /// Caches a state that was read or written, and returns the revision that wins.
    fn store(&mut self, environment: usize, found: u64, began: Times) -> u64 {
        let now = self.moment(environment);
        let state = self.state(found).cloned();
        let is_revoked = state.as_ref().is_some_and(|state| state.revoked_at.is_some());
        let environment = &mut self.environments[environment];
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

    /// Asserts the three rules for one decided request.
    fn decide(&self, environment: usize, revision: u64, began: i64, known_at_begin: u64) {
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
        let environment = &self.environments[environment];
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

    /// Asserts the rules for a request that would begin now in each environment.
    pub(super) fn probe(&self) {
        for (index, environment) in self.environments.iter().enumerate() {
            let moment = self.moment(index).into();
            let newest = self.states.last().map_or(0, |(state, _)| state.revision);
            let revision = |counts: Option<Arc<KeyRecord>>| counts.map_or(0, |counts| counts.revision);
            let counts = match environment.cache.lookup(KEY.id(), moment) {
                Lookup::Known(counts) => revision(counts),
                Lookup::Unknown => {
                    let mut cache = environment.cache.clone();
                    let counts = revision(cache.fill(KEY.id(), self.state(newest).cloned(), moment, moment));
                    assert_eq!(
                        counts, newest,
                        "environment {index} does not use the stored state: {:#?}",
                        self.steps
                    );
                    counts
                }
            };
            self.decide(index, counts, self.now, environment.known);
        }
    }

    /// The part of the world that determines the future: everything except the history.
    pub(super) fn state_of_all(&self) -> impl Eq + std::hash::Hash + use<> {
        let environment = |environment: &Environment| {
            let Environment { cache, times, known, knows_revoked } = environment;
            let record = cache.records.get(KEY.id()).cloned();
            let record = record
                .map(|entry| (entry.record.revision, entry.read_at.wall, entry.read_at.running, entry.since));
            let absent = cache.absent.get(KEY.id()).map(|moment| (moment.wall, moment.running));
            (record, absent, *times, *known, *knows_revoked)
        };
        (
            (self.now, self.ticked, self.disturbed, self.is_created),
            self.states.iter().map(|(state, at)| (state.revision, *at)).collect::<Vec<_>>(),
            self.environments.iter().map(environment).collect::<Vec<_>>(),
            self.requests.clone(),
            self.writers.clone(),
        )
    }
}
