//! The counts of a simulation's personas and conversations, updated by the write that changes what
//! they count.
//!
//! They are spread over 8 to 64 items, the counter shards, by the ids of personas and conversations.
//! Every call of every worker would write to a single item, and
//! DynamoDB cancels transactions that meet at one item. Everything that one conversation adds to
//! the counts is in one shard, so a sum over the shards counts an end in every number or in none. A
//! counter shard also holds its simulation's revision: a conversation is written only if its
//! simulation has not changed since the decision, and a shard is a less contended place to check
//! this than the simulation itself.

use std::collections::BTreeMap;

use onerun_domain::{
    ApprovalStatus, ConversationStatus, EndReason, EvaluationStatus, FaultSeverity, ObjectiveRef, Outcome,
    Progress,
};
use onerun_store::{ConversationCounts, CountedOutcome, ObjectiveCounts, SimulationCounts, StoreError};

use crate::{
    item::Item,
    record::{StoredConversation, StoredEvaluation},
    write::Write,
};

/// The number of conversations that are not settled.
pub(crate) const UNSETTLED: &str = "unsettled";

const SETTLED: &str = "settled";
const FAILED: &str = "settled_failed";
const UNJUDGED: &str = "settled_unjudged";
const RETRIED: &str = "retried";

/// Numbers by their attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts(BTreeMap<String, i128>);

impl Counts {
    pub(crate) fn of_persona(approval: ApprovalStatus) -> Self {
        let mut counts = Self::default();
        counts.count(persona(approval));
        counts
    }

    pub(crate) fn of_conversation(stored: &StoredConversation, pinned: &[ObjectiveRef]) -> Self {
        let conversation = &stored.conversation;
        let mut counts = Self::default();
        counts.count(status(conversation.status));
        counts.count(evaluation(conversation.evaluation_status));
        if let Some(reason) = conversation.end_reason {
            counts.count(end(reason));
        }
        if conversation.attempt > 1 {
            counts.count(RETRIED.into());
        }
        if let Some(severity) = conversation.worst_fault() {
            counts.count(worst_fault(severity));
        }
        if !conversation.is_settled() {
            counts.count(UNSETTLED.into());
            return counts;
        }
        counts.count(SETTLED.into());
        if conversation.status == ConversationStatus::Failed {
            counts.count(FAILED.into());
            return counts;
        }
        if conversation.evaluation_status == EvaluationStatus::Failed {
            counts.count(UNJUDGED.into());
        }
        if let Some(outcome) = counted_outcome(stored) {
            counts.count(together(outcome));
            counts.count_evaluations(&stored.evaluations, pinned);
        }
        counts
    }

    fn count_evaluations(&mut self, evaluations: &[StoredEvaluation], pinned: &[ObjectiveRef]) {
        for evaluation in evaluations {
            let Some(place) = pinned.iter().position(|objective| *objective == evaluation.objective) else {
                continue;
            };
            self.count(count_of_outcome(place, evaluation.outcome));
            if let Some(score) = evaluation.score {
                self.count(scores(place));
                self.add(score_sum(place), to_units(score.get()));
            }
        }
    }

    fn count(&mut self, name: String) {
        self.add(name, 1);
    }

    fn add(&mut self, name: String, number: i128) {
        *self.0.entry(name).or_default() += number;
    }

    /// The sum of both.
    pub(crate) fn plus(mut self, other: Self) -> Self {
        for (name, number) in other.0 {
            self.add(name, number);
        }
        self
    }

    /// The difference from `before`.
    pub(crate) fn since(mut self, before: Self) -> Self {
        for (name, number) in before.0 {
            self.add(name, -number);
        }
        self.0.retain(|_, number| *number != 0);
        self
    }

    /// Whether all numbers are 0.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a conversation settles.
    pub(crate) fn settles(&self) -> bool {
        self.0.get(SETTLED).is_some_and(|number| *number > 0)
    }

    /// Adds the numbers to a counter shard.
    pub(crate) fn write(&self, counter_shard: Write) -> Write {
        self.0.iter().fold(counter_shard, |counter_shard, (name, number)| counter_shard.add(name, *number))
    }
}

/// The outcome that a conversation is counted with.
fn counted_outcome(stored: &StoredConversation) -> Option<Outcome> {
    let conversation = &stored.conversation;
    let is_counted = conversation.status == ConversationStatus::Ended
        && conversation.evaluation_status == EvaluationStatus::Completed
        && conversation.worst_fault() != Some(FaultSeverity::Critical);
    is_counted.then(|| Outcome::all(stored.evaluations.iter().map(|evaluation| evaluation.outcome)))
}

/// Whether a conversation is counted with an outcome.
pub(crate) fn is_counted_as(stored: &StoredConversation, wanted: &CountedOutcome) -> bool {
    let Some(together) = counted_outcome(stored) else { return false };
    match &wanted.objective {
        None => together == wanted.outcome,
        Some(objective) => stored
            .evaluations
            .iter()
            .any(|evaluation| evaluation.objective.id == *objective && evaluation.outcome == wanted.outcome),
    }
}

/// The counter shards of a simulation.
pub(crate) struct Totals<'a>(pub(crate) &'a [Item]);

impl Totals<'_> {
    fn of(&self, name: &str) -> Result<i128, StoreError> {
        let mut total = 0;
        for counter_shard in self.0 {
            total += counter_shard.optional_number::<i128>(name)?.unwrap_or(0);
        }
        Ok(total)
    }

    fn counted(&self, name: &str) -> Result<u64, StoreError> {
        let total = self.of(name)?;
        u64::try_from(total).map_err(|_| StoreError::Corrupt {
            what: "count",
            reason: format!("attribute `{name}`: a number out of range"),
        })
    }

    fn small(&self, name: &str) -> Result<u32, StoreError> {
        Ok(u32::try_from(self.counted(name)?).unwrap_or(u32::MAX))
    }

    pub(crate) fn progress(&self) -> Result<Progress, StoreError> {
        Ok(Progress {
            settled: self.small(SETTLED)?,
            conversations_failed: self.small(FAILED)?,
            evaluations_failed: self.small(UNJUDGED)?,
        })
    }

    /// The counts that results are computed from.
    pub(crate) fn counts(&self, pinned: Vec<ObjectiveRef>) -> Result<SimulationCounts, StoreError> {
        let conversations = ConversationCounts {
            by_status: self.all(ConversationStatus::ALL.map(|word| (word.as_str(), status(word))))?,
            by_end_reason: self.all(EndReason::ALL.map(|word| (word.as_str(), end(word))))?,
            by_evaluation_status: self
                .all(EvaluationStatus::ALL.map(|word| (word.as_str(), evaluation(word))))?,
            by_outcome: self.all(Outcome::ALL.map(|word| (word.as_str(), together(word))))?,
            by_worst_fault: self.all(FaultSeverity::ALL.map(|word| (word.as_str(), worst_fault(word))))?,
            retried: self.counted(RETRIED)?,
        };
        let mut objectives: Vec<ObjectiveCounts> = Vec::new();
        for (place, objective) in pinned.into_iter().enumerate() {
            objectives.push(ObjectiveCounts {
                objective,
                outcomes: self
                    .all(Outcome::ALL.map(|word| (word.as_str(), count_of_outcome(place, word))))?,
                score_sum: from_units(self.of(&score_sum(place))?),
                score_count: self.counted(&scores(place))?,
            });
        }
        Ok(SimulationCounts {
            progress: self.progress()?,
            conversations,
            objectives,
            personas: self.all(ApprovalStatus::ALL.map(|word| (word.as_str(), persona(word))))?,
        })
    }

    /// The counts of some attributes. Counts of 0 are left out.
    fn all<const N: usize>(
        &self,
        words: [(&'static str, String); N],
    ) -> Result<BTreeMap<&'static str, u64>, StoreError> {
        let mut counts = BTreeMap::new();
        for (word, name) in words {
            let count = self.counted(&name)?;
            if count > 0 {
                counts.insert(word, count);
            }
        }
        Ok(counts)
    }
}

fn persona(approval: ApprovalStatus) -> String {
    format!("persona_{}", approval.as_str())
}

fn status(status: ConversationStatus) -> String {
    format!("status_{}", status.as_str())
}

fn evaluation(status: EvaluationStatus) -> String {
    format!("evaluation_{}", status.as_str())
}

fn end(reason: EndReason) -> String {
    format!("end_{}", reason.as_str())
}

fn worst_fault(severity: FaultSeverity) -> String {
    format!("fault_{}", severity.as_str())
}

fn together(outcome: Outcome) -> String {
    format!("outcome_{}", outcome.as_str())
}

fn count_of_outcome(place: usize, outcome: Outcome) -> String {
    format!("objective_{place}_{}", outcome.as_str())
}

fn scores(place: usize) -> String {
    format!("objective_{place}_scores")
}

fn score_sum(place: usize) -> String {
    format!("objective_{place}_score_sum")
}

/// The unit in which scores are summed: 2^-60. A sum of integers is the same in any order; a sum of
/// fractions is not.
const UNIT: f64 = 1.0 / 1_152_921_504_606_846_976.0;

#[expect(clippy::cast_possible_truncation, reason = "a score is from 0 to 1, so this is at most 2^60")]
fn to_units(score: f64) -> i128 {
    (score / UNIT) as i128
}

fn from_units(units: i128) -> f64 {
    units as f64 * UNIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_scores_are_exact_in_any_order() {
        for score in [0.0, 0.25, 1.0 / 3.0, 0.1, 1.0] {
            assert_eq!(from_units(to_units(score)).to_bits(), f64::to_bits(score));
        }
        let sum: i128 = (0..10_000).map(|_| to_units(0.1)).sum();
        assert!((from_units(sum) - 1_000.0).abs() < 1e-9);
    }

    #[test]
    fn change_counts_its_differences() {
        let pending = Counts::of_persona(ApprovalStatus::Pending);
        let approved = Counts::of_persona(ApprovalStatus::Approved);
        let change = approved.clone().since(pending.clone());
        assert_eq!(pending.clone().plus(change).0.get("persona_approved"), Some(&1));
        assert!(approved.clone().since(approved).is_empty());
    }
}
