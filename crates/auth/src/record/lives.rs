//! 20,000 random lives of keys, with time that is only a number: made, rotated again and again, disabled and enabled,
//! revoked, given another end. At every step, and around every moment at which something ends, each key is accepted or
//! refused exactly as a model says that knows nothing but what was done and when.

use std::cell::Cell;
use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Metadata, Name, Refusal};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRunner};

use super::{KeyPatch, KeyRecord, MAX_OVERLAP, NewKeySpec};
use crate::decision::recognize_managed;
use crate::grant::Grant;
use crate::key::KeyId;
use crate::managed::ManagedKey;
use crate::scope::{Scope, ScopeSet};

/// How long the longest overlap is, in microseconds, in which the model counts.
const WEEK: i64 = 7 * 24 * 3_600 * 1_000_000;

/// What is done next.
#[derive(Clone, Debug)]
enum Deed {
    Rotate { overlap: i64, life: Option<i64> },
    Disable,
    Enable,
    Revoke,
    End { life: Option<i64> },
}

/// When it is done: so long after the last deed, or so near to a moment at which a key of the chain ends.
#[derive(Clone, Debug)]
enum When {
    After(i64),
    NearEndOf(prop::sample::Index, i64),
}

type Life = Vec<(When, prop::sample::Index, Deed)>;

/// What the model knows of a key: what was done to it and when, and not what that comes to.
#[derive(Clone, Debug, Default)]
struct Model {
    begins: i64,
    /// The ends that it was given, each with when.
    ends: Vec<Option<i64>>,
    overlap_over: Option<i64>,
    is_disabled: bool,
    is_revoked: bool,
}

impl Model {
    /// From when on it is refused for its age.
    fn over(&self) -> Option<i64> {
        let end = *self.ends.last().unwrap();
        [end, self.overlap_over].into_iter().flatten().min()
    }

    /// The code of the answer at a time, if nothing is done until then; `None` for yes.
    fn answer(&self, at: i64) -> Option<&'static str> {
        if self.is_revoked {
            Some("revoked_api_key")
        } else if self.over().is_some_and(|over| over <= at) {
            Some("expired_api_key")
        } else if self.is_disabled || at < self.begins {
            Some("inactive_api_key")
        } else {
            None
        }
    }
}

/// A key of the chain: as it is kept, and as the model has it.
struct Link {
    key: ManagedKey,
    record: KeyRecord,
    model: Model,
    /// The earliest of all ends it ever had once it was replaced: nothing may put it later.
    bound: Option<i64>,
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(1_700_000_000_000_000 + micros).unwrap()
}

fn key(number: usize) -> ManagedKey {
    let made = ManagedKey::generate(|bytes| {
        for (place, byte) in (0_u8..).zip(bytes) {
            *byte = place.wrapping_mul(31).wrapping_add(u8::try_from(number).unwrap());
        }
        Ok::<(), Infallible>(())
    });
    let Ok(key) = made;
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

/// Every key of the chain, now and around every moment to come at which one ends or begins, as nothing else is done.
fn check(chain: &[Link], now: i64, met: &Met) -> Result<(), TestCaseError> {
    let mut moments = vec![now];
    for link in chain {
        for edge in link.model.over().into_iter().chain([link.model.begins]) {
            moments.extend([edge - 1, edge, edge + 1].into_iter().filter(|moment| *moment >= now));
        }
    }
    for link in chain {
        for at in &moments {
            let answer = recognize_managed(&link.key, Some(&link.record), None, time(*at));
            let code = answer.as_ref().err().map(crate::Refusal::code);
            prop_assert_eq!(code, link.model.answer(*at), "at {}: {:?}", at, link.model);
            if let Ok(principal) = answer {
                prop_assert_eq!(principal.expires_at(), link.model.over().map(time));
                prop_assert_eq!(principal.scopes(), ScopeSet::from_iter([Scope::AgentsRead]));
            }
            // The point of all this, in words of its own: an overlap is no gap. Whoever holds the old key and whoever
            // holds the new one are both let in, unless somebody took a key out of use.
            if let Some(replaced) = &link.record.replaced {
                let new = chain.iter().find(|other| other.record.id == replaced.by).unwrap();
                let may_be_used = |model: &Model| {
                    let is_alive = model.ends.iter().all(|end| end.is_none_or(|end| *at < end));
                    !model.is_disabled && !model.is_revoked && *at >= model.begins && is_alive
                };
                if may_be_used(&link.model)
                    && may_be_used(&new.model)
                    && link.model.overlap_over.is_some_and(|over| *at < over)
                    && new.record.replaced.is_none()
                {
                    met.overlaps.set(met.overlaps.get() + 1);
                    for link in [link, new] {
                        prop_assert!(
                            recognize_managed(&link.key, Some(&link.record), None, time(*at)).is_ok()
                        );
                    }
                }
            }
            if link.bound.is_some_and(|bound| *at >= bound) {
                prop_assert!(answer_is_no(link, *at), "an end was put later");
            }
        }
    }
    Ok(())
}

fn answer_is_no(link: &Link, at: i64) -> bool {
    recognize_managed(&link.key, Some(&link.record), None, time(at)).is_err()
}

/// Does it to the record and to the model, which must agree on whether it can be done.
fn act(chain: &mut Vec<Link>, place: usize, deed: &Deed, now: i64) -> Result<(), TestCaseError> {
    let number = chain.len();
    let link = &mut chain[place];
    let before = link.record.clone();
    let (model, record) = (&mut link.model, link.record.clone());
    let is_over = model.is_revoked || model.over().is_some_and(|over| over <= now);
    let is_replaced = model.overlap_over.is_some();
    let refused =
        |outcome: Result<KeyRecord, Refusal>, expected: bool| -> Result<Option<KeyRecord>, TestCaseError> {
            prop_assert_eq!(outcome.is_err(), expected, "{:?} at {}: {:?}", deed, now, &outcome);
            Ok(outcome.ok())
        };
    let changed = match deed {
        Deed::Revoke => {
            model.is_revoked = true;
            Some(record.revoke(time(now)))
        }
        Deed::Disable => {
            let changed = refused(record.disable(time(now)), is_over)?;
            model.is_disabled |= !is_over;
            changed
        }
        Deed::Enable => {
            let changed = refused(record.enable(time(now)), is_over)?;
            model.is_disabled &= is_over;
            changed
        }
        Deed::End { life } => {
            let end = life.map(|life| now + life);
            let patch = KeyPatch { expires_at: Some(end.map(time)), ..KeyPatch::default() };
            let changed = refused(record.update(patch, time(now)), is_over || is_replaced)?;
            if changed.is_some() {
                model.ends.push(end);
            }
            changed
        }
        Deed::Rotate { overlap, life } => {
            let (new_key, end) = (key(number), life.map(|life| now + life));
            let micros = SignedDuration::from_micros(*overlap);
            let outcome = record.rotate(&new_key, micros, end.map(time), root(), time(now));
            let can = !is_over && !is_replaced && !model.is_disabled;
            prop_assert_eq!(outcome.is_ok(), can, "{:?}", outcome);
            let Ok((old, new)) = outcome else { return Ok(()) };
            prop_assert_eq!(new.replaces.as_ref(), Some(&old.id));
            prop_assert_eq!(&new.grant, &Grant { expires_at: end.map(time), ..before.grant.clone() });
            model.overlap_over = Some(now + (*overlap).clamp(0, WEEK));
            model.is_revoked = *overlap <= 0;
            link.bound = model.over();
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
        prop_assert_eq!(changed.revision == before.revision, changed == before, "a change counts up");
        link.record = changed;
    }
    Ok(())
}

/// Whole seconds mostly, or so many microseconds.
fn micros(seconds: std::ops::Range<i64>) -> impl Strategy<Value = i64> {
    prop_oneof![4 => seconds.clone().prop_map(|second| second * 1_000_000), 1 => seconds]
}

fn life() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![1 => Just(None), 4 => micros(1..60 * 86_400).prop_map(Some)]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => (prop_oneof![Just(0), Just(-1), micros(0..9 * 86_400)], life())
            .prop_map(|(overlap, life)| Deed::Rotate { overlap, life }),
        1 => Just(Deed::Disable),
        2 => Just(Deed::Enable),
        1 => Just(Deed::Revoke),
        1 => life().prop_map(|life| Deed::End { life }),
    ]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        2 => micros(0..4 * 86_400).prop_map(When::After),
        1 => (any::<prop::sample::Index>(), -1..=1_i64).prop_map(|(index, off)| When::NearEndOf(index, off)),
    ]
}

fn deeds() -> impl Strategy<Value = Life> {
    // Mostly to the last key of the chain, which is the one that people rotate.
    prop::collection::vec((when(), any::<prop::sample::Index>(), deed()), 1..16)
}

/// What was met in all lives, so that nothing is shown by what never happened.
#[derive(Default)]
struct Met {
    /// Rotations of a key.
    rotations: Cell<u32>,
    /// The longest chain.
    longest: Cell<usize>,
    /// Moments of an overlap in which both keys were to be accepted.
    overlaps: Cell<u32>,
}

#[test]
fn a_key_is_accepted_exactly_as_long_as_it_may_be() {
    assert_eq!(MAX_OVERLAP, SignedDuration::from_micros(WEEK));
    let met = Met::default();
    let begins = prop_oneof![3 => Just(0), 1 => micros(0..86_400)];
    let config = ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        // The other one takes longer than the test.
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    };
    let lives = (begins, life(), deeds());
    let outcome = TestRunner::new(config).run(&lives, |(begins, life, deeds)| {
        prop_assume!(life.is_none_or(|life| life > begins));
        let mut chain = vec![first(begins, life)];
        let mut now = 0;
        check(&chain, now, &met)?;
        for (when, index, deed) in &deeds {
            now = match when {
                When::After(micros) => now + micros,
                When::NearEndOf(index, off) => {
                    let over = chain[index.index(chain.len())].model.over();
                    over.map_or(now, |over| now.max(over + off))
                }
            };
            check(&chain, now, &met)?;
            let place = index.index(chain.len() * 2).min(chain.len() - 1);
            let before = chain.len();
            act(&mut chain, place, deed, now)?;
            met.rotations.set(met.rotations.get() + u32::from(chain.len() > before));
            met.longest.set(met.longest.get().max(chain.len()));
            check(&chain, now, &met)?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(met.rotations.get() > 20_000, "{} rotations", met.rotations.get());
    assert!(met.longest.get() > 4, "{} keys in the longest chain", met.longest.get());
    assert!(met.overlaps.get() > 10_000, "{} moments in overlaps", met.overlaps.get());
}
