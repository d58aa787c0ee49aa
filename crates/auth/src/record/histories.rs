//! Runs 20,000 random key histories in simulated time: keys are created, rotated, disabled, enabled
//! and revoked, and get new expiries. After every step, and around every moment at which something
//! ends, each key must be accepted or refused exactly as a model predicts. The model knows only
//! which changes were generated and when.

use std::cell::Cell;
use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Metadata, Name};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRunner};

use super::{KeyPatch, KeyRecord, MAX_OVERLAP, NewKeySpec};
use crate::change::KeyChangeError;
use crate::decision::recognize_managed;
use crate::grant::Grant;
use crate::key::KeyId;
use crate::managed::ManagedKey;
use crate::scope::{Scope, ScopeSet};

/// The maximum overlap in microseconds, the model's unit.
const WEEK: i64 = 7 * 24 * 3_600 * 1_000_000;

/// A change of a key.
#[derive(Clone, Debug)]
enum Change {
    Rotate { overlap: i64, life: Option<i64> },
    Disable,
    Enable,
    Revoke,
    SetExpiry { life: Option<i64> },
}

/// The time of a change: this long after the last one, or this close to the end of a key in the
/// chain.
#[derive(Clone, Debug)]
enum When {
    After(i64),
    NearEndOf(prop::sample::Index, i64),
}

type History = Vec<(When, prop::sample::Index, Change)>;

/// The model of a key: the changes and their times, not their consequences.
#[derive(Clone, Debug, Default)]
struct Model {
    begins: i64,
    /// Every expiry that the key was given.
    ends: Vec<Option<i64>>,
    overlap_end: Option<i64>,
    is_disabled: bool,
    is_revoked: bool,
}

impl Model {
    /// The first moment at which it is refused because of its age.
    fn end(&self) -> Option<i64> {
        let end = *self.ends.last().unwrap();
        [end, self.overlap_end].into_iter().flatten().min()
    }

    /// The expected refusal code at `at` if nothing changes until then; `None` if accepted.
    fn answer(&self, at: i64) -> Option<&'static str> {
        if self.is_revoked {
            Some("revoked_api_key")
        } else if self.end().is_some_and(|end| end <= at) {
            Some("expired_api_key")
        } else if self.is_disabled || at < self.begins {
            Some("inactive_api_key")
        } else {
            None
        }
    }
}

/// A key in a chain of rotations: its record and its model.
struct Link {
    key: ManagedKey,
    record: KeyRecord,
    model: Model,
    /// The end at the time of its rotation. Nothing may move it later.
    bound: Option<i64>,
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_000_000 + micros).unwrap()
}

fn key(number: usize) -> ManagedKey {
    let generated = ManagedKey::generate(|bytes| {
        for (position, byte) in (0_u8..).zip(bytes) {
            *byte = position.wrapping_mul(31).wrapping_add(u8::try_from(number).unwrap());
        }
        Ok::<(), Infallible>(())
    });
    let Ok(key) = generated;
    key
}

fn root() -> KeyId {
    KeyId::restore("root").unwrap()
}

fn first(begins: i64, life: Option<i64>) -> Link {
    let key = key(0);
    let spec = NewKeySpec {
        name: Name::parse("ci").unwrap(),
        grant: Grant {
            scopes: ScopeSet::from_iter([Scope::AgentsRead]),
            expires_at: life.map(time),
            ..Grant::everything()
        },
        not_before: (begins > 0).then(|| time(begins)),
        metadata: Metadata::default(),
    };
    let record = KeyRecord::new(&key, spec, root(), time(0));
    Link { key, record, model: Model { begins, ends: vec![life], ..Model::default() }, bound: None }
}

/// Checks every key of the chain now and around every future moment at which a key starts or ends.
fn check(chain: &[Link], now: i64, counts: &Counts) -> Result<(), TestCaseError> {
    let mut moments = vec![now];
    for link in chain {
        for edge in link.model.end().into_iter().chain([link.model.begins]) {
            moments.extend([edge - 1, edge, edge + 1].into_iter().filter(|moment| *moment >= now));
        }
    }
    for link in chain {
        for at in &moments {
            let answer = recognize_managed(&link.key, Some(&link.record), None, time(*at));
            let code = answer.as_ref().err().map(crate::Refusal::code);
            prop_assert_eq!(code, link.model.answer(*at), "at {}: {:?}", at, link.model);
            if let Ok(principal) = answer {
                prop_assert_eq!(principal.expires_at(), link.model.end().map(time));
                prop_assert_eq!(principal.scopes(), ScopeSet::from_iter([Scope::AgentsRead]));
            }
            // The purpose of an overlap, stated independently: during it, the old and the new key
            // are both accepted, unless one was disabled or revoked.
            if let Some(replaced) = &link.record.replaced {
                let new = chain.iter().find(|other| other.record.id == replaced.by).unwrap();
                let may_be_used = |model: &Model| {
                    let is_alive = model.ends.iter().all(|end| end.is_none_or(|end| *at < end));
                    !model.is_disabled && !model.is_revoked && *at >= model.begins && is_alive
                };
                if may_be_used(&link.model)
                    && may_be_used(&new.model)
                    && link.model.overlap_end.is_some_and(|end| *at < end)
                    && new.record.replaced.is_none()
                {
                    counts.overlaps.set(counts.overlaps.get() + 1);
                    for link in [link, new] {
                        prop_assert!(
                            recognize_managed(&link.key, Some(&link.record), None, time(*at)).is_ok()
                        );
                    }
                }
            }
            if link.bound.is_some_and(|bound| *at >= bound) {
                prop_assert!(is_refused(link, *at), "an end was moved later");
            }
        }
    }
    Ok(())
}

fn is_refused(link: &Link, at: i64) -> bool {
    recognize_managed(&link.key, Some(&link.record), None, time(at)).is_err()
}

/// Applies a change to the record and to the model, which must agree on whether it is allowed.
fn apply(chain: &mut Vec<Link>, position: usize, change: &Change, now: i64) -> Result<(), TestCaseError> {
    let number = chain.len();
    let link = &mut chain[position];
    let before = link.record.clone();
    let (model, record) = (&mut link.model, link.record.clone());
    let is_over = model.is_revoked || model.end().is_some_and(|end| end <= now);
    let is_replaced = model.overlap_end.is_some();
    let refused = |outcome: Result<KeyRecord, KeyChangeError>,
                   expected: bool|
     -> Result<Option<KeyRecord>, TestCaseError> {
        prop_assert_eq!(outcome.is_err(), expected, "{:?} at {}: {:?}", change, now, &outcome);
        Ok(outcome.ok())
    };
    let changed = match change {
        Change::Revoke => {
            model.is_revoked = true;
            Some(record.revoke(time(now)))
        }
        Change::Disable => {
            let changed = refused(record.disable(time(now)), is_over)?;
            model.is_disabled |= !is_over;
            changed
        }
        Change::Enable => {
            let changed = refused(record.enable(time(now)), is_over)?;
            model.is_disabled &= is_over;
            changed
        }
        Change::SetExpiry { life } => {
            let end = life.map(|life| now + life);
            let patch = KeyPatch { expires_at: end.map(time).into(), ..KeyPatch::default() };
            let changed = refused(record.update(patch, time(now)), is_over || is_replaced)?;
            if changed.is_some() {
                model.ends.push(end);
            }
            changed
        }
        Change::Rotate { overlap, life } => {
            let (new_key, end) = (key(number), life.map(|life| now + life));
            let micros = SignedDuration::from_micros(*overlap);
            let outcome = record.rotate(&new_key, micros, end.map(time), root(), time(now));
            let can = !is_over && !is_replaced && !model.is_disabled;
            prop_assert_eq!(outcome.is_ok(), can, "{:?}", outcome);
            let Ok((old, new)) = outcome else { return Ok(()) };
            prop_assert_eq!(new.replaces.as_ref(), Some(&old.id));
            prop_assert_eq!(&new.grant, &Grant { expires_at: end.map(time), ..before.grant.clone() });
            model.overlap_end = Some(now + (*overlap).clamp(0, WEEK));
            model.is_revoked = *overlap <= 0;
            link.bound = model.end();
            let begins = model.begins;
            link.record = old;
            let model = Model {
                begins: if begins > now { begins } else { now },
                ends: vec![end],
                ..Model::default()
            };
            chain.push(Link { key: new_key, record: new, model, bound: None });
            return Ok(());
        }
    };
    if let Some(changed) = changed {
        prop_assert!(changed.revision >= before.revision);
        prop_assert_eq!(
            changed.revision == before.revision,
            changed == before,
            "a change must increment the revision"
        );
        link.record = changed;
    }
    Ok(())
}

/// Mostly whole seconds, sometimes microseconds.
fn micros(seconds: std::ops::Range<i64>) -> impl Strategy<Value = i64> {
    prop_oneof![4 => seconds.clone().prop_map(|second| second * 1_000_000), 1 => seconds]
}

fn life() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![1 => Just(None), 4 => micros(1..60 * 86_400).prop_map(Some)]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (prop_oneof![Just(0), Just(-1), micros(0..9 * 86_400)], life())
            .prop_map(|(overlap, life)| Change::Rotate { overlap, life }),
        1 => Just(Change::Disable),
        2 => Just(Change::Enable),
        1 => Just(Change::Revoke),
        1 => life().prop_map(|life| Change::SetExpiry { life }),
    ]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        2 => micros(0..4 * 86_400).prop_map(When::After),
        1 => (any::<prop::sample::Index>(), -1..=1_i64).prop_map(|(index, off)| When::NearEndOf(index, off)),
    ]
}

fn changes() -> impl Strategy<Value = History> {
    prop::collection::vec((when(), any::<prop::sample::Index>(), change()), 1..16)
}

/// Counts over all histories, to prove that the interesting cases occurred.
#[derive(Default)]
struct Counts {
    /// Successful rotations.
    rotations: Cell<u32>,
    /// The number of keys in the longest chain.
    longest: Cell<usize>,
    /// Checked moments at which both keys of a rotation had to be accepted.
    overlaps: Cell<u32>,
}

#[test]
fn key_is_accepted_exactly_during_its_life() {
    assert_eq!(MAX_OVERLAP, SignedDuration::from_micros(WEEK));
    let counts = Counts::default();
    let begins = prop_oneof![3 => Just(0), 1 => micros(0..86_400)];
    let config = ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        // The default generator takes longer than the test itself.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    };
    let histories = (begins, life(), changes());
    let outcome = TestRunner::new(config).run(&histories, |(begins, life, changes)| {
        prop_assume!(life.is_none_or(|life| life > begins));
        let mut chain = vec![first(begins, life)];
        let mut now = 0;
        check(&chain, now, &counts)?;
        for (when, index, change) in &changes {
            now = match when {
                When::After(micros) => now + micros,
                When::NearEndOf(index, off) => {
                    let end = chain[index.index(chain.len())].model.end();
                    end.map_or(now, |end| now.max(end + off))
                }
            };
            check(&chain, now, &counts)?;
            // Mostly the last key, which is the one that people rotate.
            let position = index.index(chain.len() * 2).min(chain.len() - 1);
            let before = chain.len();
            apply(&mut chain, position, change, now)?;
            counts.rotations.set(counts.rotations.get() + u32::from(chain.len() > before));
            counts.longest.set(counts.longest.get().max(chain.len()));
            check(&chain, now, &counts)?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(counts.rotations.get() > 20_000, "{} rotations", counts.rotations.get());
    assert!(counts.longest.get() > 4, "{} keys in the longest chain", counts.longest.get());
    assert!(counts.overlaps.get() > 10_000, "{} moments in overlaps", counts.overlaps.get());
}
