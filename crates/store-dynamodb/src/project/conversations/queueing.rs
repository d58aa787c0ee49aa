//! Adding queued conversations, each number once.

use std::collections::{BTreeMap, BTreeSet};

use onerun_domain::{Conversation, SimulationId};
use onerun_store::{ChangeError, StoreError};

use crate::{
    counts::Counts,
    database::Written,
    item::{self, Item, REVISION},
    keys::{Key, SimulationKeys},
    record::{self, StoredConversation, StoredSimulation},
    retry::RetryPolicy,
    write::Write,
};

use super::{
    super::{
        ProjectTable, contended, duplicate, personas,
        simulations::{self, COUNTS},
    },
    WHAT, entries, put,
};

/// How many conversations one transaction adds at most, so that it stays within DynamoDB's bound
/// of 100 items with the numbers, and a counter shard for each.
const MAX_ADDED: usize = 24;

/// The taken numbers: one bit each.
const TAKEN: &str = "taken";

/// The bound of numbers, which share one item. It is far above any target.
const MAX_NUMBER: u32 = 1_000_000;

/// Adds the conversations whose numbers are free.
pub(in super::super) async fn add(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    conversations: &[Conversation],
) -> Result<(), ChangeError> {
    let keys = table.keys(simulation);
    require_personas(table, &keys, conversations).await?;
    if conversations.is_empty() {
        return add_some(table, &keys, conversations).await;
    }
    for some in conversations.chunks(MAX_ADDED) {
        add_some(table, &keys, some).await?;
    }
    Ok(())
}

/// Fails unless the personas belong to the simulation. Personas are never removed.
async fn require_personas(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    conversations: &[Conversation],
) -> Result<(), StoreError> {
    let wanted: BTreeSet<Key> =
        conversations.iter().map(|conversation| keys.persona(&conversation.persona_id)).collect();
    let count = wanted.len();
    if table.database.count(personas::WHAT, wanted).await? == count {
        return Ok(());
    }
    Err(StoreError::Corrupt { what: WHAT, reason: "it names an unknown persona".into() })
}

async fn add_some(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    conversations: &[Conversation],
) -> Result<(), ChangeError> {
    let mut retry = RetryPolicy::new();
    loop {
        let wanted = [keys.simulation(), keys.numbers()];
        let mut items = table.database.snapshot(simulations::WHAT, &wanted, &mut retry).await?.into_iter();
        let (simulation, numbers) = (items.next().flatten(), items.next().flatten());
        let simulation = simulation.ok_or_else(|| StoreError::Corrupt {
            what: simulations::WHAT,
            reason: "conversations were added to an unknown one".into(),
        })?;
        let stored = record::simulation(&simulation)?;
        stored.simulation.require_running()?;
        let mut taken = Numbers::read(numbers.as_ref())?;
        let mut added = Vec::new();
        for conversation in conversations {
            if taken.take(conversation.seq)? {
                added.push(conversation);
            }
        }
        if added.is_empty() {
            return Ok(());
        }
        let writes = additions(keys, &stored, &added, taken.write(keys));
        match table.database.write(&writes, &mut retry).await? {
            Written::All => return Ok(()),
            // Only ids that exist already failed; reading again would not help.
            Written::Failed(failed) if failed.iter().all(|index| *index < added.len()) => {
                return Err(duplicate(&writes, &failed).into());
            }
            Written::Failed(_) if retry.wait().await => {}
            Written::Failed(_) => return Err(contended(WHAT)),
        }
    }
}

/// The conversations, then their numbers, their counts and their entries.
fn additions(
    keys: &SimulationKeys,
    stored: &StoredSimulation,
    added: &[&Conversation],
    numbers: Write,
) -> Vec<Write> {
    let put_new = |conversation: &&Conversation| {
        let stored = StoredConversation::new((*conversation).clone());
        put(keys, &stored).set(REVISION, item::number(stored.revision)).if_new()
    };
    let mut writes: Vec<Write> = added.iter().map(put_new).collect();
    writes.push(numbers);
    let mut counts: BTreeMap<Key, Counts> = BTreeMap::new();
    for conversation in added {
        let stored_conversation = StoredConversation::new((*conversation).clone());
        let one = Counts::of_conversation(&stored_conversation, &stored.pinned);
        let sum = counts
            .entry(keys.counter_shard_of(&conversation.id, stored.simulation.target_conversations))
            .or_default();
        *sum = std::mem::take(sum).plus(one);
    }
    let update = |(counter_shard, counts): (Key, Counts)| {
        counts.write(Write::update(COUNTS, counter_shard)).if_revision(stored.revision)
    };
    writes.extend(counts.into_iter().map(update));
    writes.extend(added.iter().flat_map(|conversation| entries(keys, conversation)));
    writes
}

/// The taken numbers of a simulation's conversations.
struct Numbers {
    bits: Vec<u8>,
    revision: Option<u64>,
}

impl Numbers {
    fn read(item: Option<&Item>) -> Result<Self, StoreError> {
        let Some(item) = item else { return Ok(Self { bits: Vec::new(), revision: None }) };
        Ok(Self { bits: item.bytes(TAKEN)?.to_vec(), revision: Some(item.revision()?) })
    }

    /// Takes a number. Returns `false` if it was taken.
    fn take(&mut self, seq: u32) -> Result<bool, StoreError> {
        let byte = usize::try_from(seq / 8).ok().filter(|_| seq <= MAX_NUMBER);
        let byte = byte.ok_or_else(|| StoreError::Corrupt {
            what: WHAT,
            reason: format!("its number is above {MAX_NUMBER}"),
        })?;
        if self.bits.len() <= byte {
            self.bits.resize(byte + 1, 0);
        }
        let bit = 1 << (seq % 8);
        let Some(bits) = self.bits.get_mut(byte) else { return Ok(false) };
        let free = *bits & bit == 0;
        *bits |= bit;
        Ok(free)
    }

    fn write(self, keys: &SimulationKeys) -> Write {
        let bits = aws_sdk_dynamodb::types::AttributeValue::B(self.bits.into());
        let write = Write::put_bare("taken numbers", keys.numbers()).set(TAKEN, bits);
        match self.revision {
            Some(revision) => write.revise(revision),
            None => write.set(REVISION, item::number(1)).if_new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_taken_once() {
        let mut numbers = Numbers { bits: Vec::new(), revision: None };
        for seq in [1, 8, 7, 10_000, 0, MAX_NUMBER] {
            assert!(numbers.take(seq).unwrap());
            assert!(!numbers.take(seq).unwrap());
        }
        assert!(numbers.take(9).unwrap());
        assert!(numbers.take(MAX_NUMBER + 1).is_err());
        // An item can hold far more.
        assert!(numbers.bits.len() < 400 * 1024 / 2);
    }
}
