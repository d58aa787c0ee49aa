//! The comparison of two simulations, trial by trial.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use onerun_domain::{PairCounts, holm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Against, CaseReport, CaseRun, Gate, Plan, PlannedCase, PlannedObjective, Rate, RegressionMode,
    TrialCounts, TrialOutcome, TrialReport, Verdict, evaluate, text::cut,
};

/// The maximum number of changed trials that a comparison names.
pub const MAX_CHANGED: usize = 100;

/// The largest corrected p-value of a significant difference.
pub const ALPHA: f64 = 0.05;

/// The maximum number of characters of a persona's summary.
const MAX_SUMMARY: usize = 300;

/// The agents of the two cases that are compared.
const BEFORE: &str = "before";
const AFTER: &str = "after";

/// One side of a comparison: a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// The simulation's name.
    pub name: String,
    /// The name of its agent.
    pub agent: String,
    /// Its scenario.
    pub scenario: String,
    /// Its judge.
    pub judge: String,
    /// Its objectives.
    pub objectives: Vec<SideObjective>,
    /// The number of conversations.
    pub trials: u32,
    /// The number of personas.
    pub personas: u32,
    /// Its results. Objectives are named by their ids.
    pub run: CaseRun,
}

/// An objective of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideObjective {
    /// Its id.
    pub id: String,
    /// The judged version.
    pub version: u32,
    /// Its name.
    pub name: String,
}

/// The comparison of two simulations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// `fail` if an objective regressed significantly, `pass` if none did and both simulations are
    /// over; `inconclusive` or `infra` if inconclusive or missing results could decide it; `config`
    /// if there are too few pairs to decide it.
    pub verdict: Verdict,
    /// The figures that decided, in words.
    pub detail: String,
    /// Differences of the simulations that make the comparison less meaningful.
    pub warnings: Vec<String>,
    /// The simulation that the other one is compared with.
    pub before: ComparedSide,
    /// The other simulation.
    pub after: ComparedSide,
    /// Conversations as a whole.
    pub overall: ComparedTrials,
    /// The objectives that both simulations have.
    pub objectives: Vec<ComparedObjective>,
    /// Conversations with another outcome, broken ones first: at most 100.
    pub changed: Vec<ChangedTrial>,
    /// The number of changed conversations that are left out.
    pub changed_left_out: u64,
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedSide {
    /// The simulation.
    pub simulation_id: String,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: String,
    /// The name of its agent.
    pub agent: String,
    /// Its conversations by outcome, over the objectives that both simulations have.
    pub counts: TrialCounts,
    /// The pass rate; null if no conversation was judged.
    pub rate: Option<Rate>,
}

/// Pairs of conversations with the same number and the same persona that were judged on both sides.
/// An inconclusive one has not passed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedTrials {
    /// Pairs that pass only after the change.
    pub fixed: u64,
    /// Pairs that passed only before the change.
    pub broken: u64,
    /// Pairs that pass on both sides.
    pub still_passed: u64,
    /// Pairs that pass on neither side.
    pub still_not_passed: u64,
    /// Conversations without a pair: of different personas, or not judged on one side.
    pub unpaired: u64,
    /// The two-sided p-value of McNemar's exact test.
    pub p_value: f64,
}

/// The comparison of one objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedObjective {
    /// The objective.
    pub objective_id: String,
    /// Its name.
    pub name: String,
    /// The pass rate before the change; null if no conversation was judged.
    pub before: Option<Rate>,
    /// The pass rate after the change; null if no conversation was judged.
    pub after: Option<Rate>,
    /// The pairs.
    #[serde(flatten)]
    pub trials: ComparedTrials,
    /// The p-value after Holm's correction over the objectives.
    pub corrected_p_value: f64,
}

/// A conversation whose outcome changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedTrial {
    /// Its number in both simulations.
    pub number: u32,
    /// The persona in a sentence.
    pub persona_summary: String,
    /// The conversation before the change.
    pub before_conversation_id: String,
    /// The conversation after the change.
    pub after_conversation_id: String,
    /// The outcome before the change.
    pub before: TrialOutcome,
    /// The outcome after the change.
    pub after: TrialOutcome,
    /// The ids of the objectives that pass only after the change.
    pub fixed: Vec<String>,
    /// The ids of the objectives that passed only before the change.
    pub broken: Vec<String>,
}

/// Compares `after` with `before`.
pub fn compare(before: &Side, after: &Side, at: Timestamp) -> Comparison {
    let shared: Vec<PlannedObjective> = after
        .objectives
        .iter()
        .filter(|objective| before.objectives.iter().any(|other| other.id == objective.id))
        .map(|objective| PlannedObjective { key: objective.id.clone(), name: objective.name.clone() })
        .collect();
    // Trials beyond the smaller number have no pair.
    let trials = before.trials.min(after.trials);
    let cases = [(BEFORE, before), (AFTER, after)];
    let mode = RegressionMode::Significant { alpha: ALPHA };
    let plan = Plan {
        name: after.name.clone(),
        cases: cases.iter().map(|(agent, side)| planned(agent, side, &shared, trials)).collect(),
        gates: vec![Gate::NoRegression { against: Against::Agent(BEFORE.to_owned()), mode }],
        quarantine: Vec::new(),
    };
    let runs: Vec<CaseRun> =
        cases.iter().map(|(agent, side)| observed(agent, side, &shared, trials)).collect();
    let report = evaluate(&plan, &runs, None, at);
    let mut warnings = warnings(before, after);
    let [first, second] = report.cases.as_slice() else {
        return Comparison {
            verdict: Verdict::Config,
            detail: report.reasons.join("; "),
            warnings,
            before: compared_side(before, None),
            after: compared_side(after, None),
            overall: ComparedTrials::new(PairCounts::default(), 0),
            objectives: Vec::new(),
            changed: Vec::new(),
            changed_left_out: 0,
        };
    };
    let unpaired_trials = u64::from(before.trials.max(after.trials) - trials);
    let pairs: Vec<(&TrialReport, &TrialReport)> = first.trials.iter().zip(&second.trials).collect();
    let different = pairs.iter().filter(|(one, other)| differ(one, other)).count();
    if different > 0 {
        warnings.push(format!("{different} conversations have different personas and are no pairs"));
    }
    let mut objectives: Vec<ComparedObjective> = shared
        .iter()
        .enumerate()
        .map(|(place, objective)| ComparedObjective {
            objective_id: objective.key.clone(),
            name: objective.name.clone(),
            before: first.objectives[place].rate,
            after: second.objectives[place].rate,
            trials: compared(&pairs, unpaired_trials, |trial| trial.evaluations[place].outcome),
            corrected_p_value: 1.0,
        })
        .collect();
    let p_values: Vec<f64> = objectives.iter().map(|objective| objective.trials.p_value).collect();
    for (objective, p) in objectives.iter_mut().zip(holm(&p_values)) {
        objective.corrected_p_value = p;
    }
    let mut changed = changed(&pairs);
    let changed_left_out = u64::try_from(changed.len().saturating_sub(MAX_CHANGED)).unwrap_or_default();
    changed.truncate(MAX_CHANGED);
    Comparison {
        verdict: report.verdict,
        detail: match report.gates.first() {
            Some(gate) if report.verdict != Verdict::Config => gate.detail.clone(),
            _ => report.reasons.join("; "),
        },
        warnings,
        before: compared_side(before, Some(first)),
        after: compared_side(after, Some(second)),
        overall: compared(&pairs, unpaired_trials, |trial| trial.outcome),
        objectives,
        changed,
        changed_left_out,
    }
}

fn planned(agent: &str, side: &Side, objectives: &[PlannedObjective], trials: u32) -> PlannedCase {
    PlannedCase {
        key: agent.to_owned(),
        agent: agent.to_owned(),
        scenario_key: "scenario".to_owned(),
        scenario: side.scenario.clone(),
        objectives: objectives.to_vec(),
        trials,
        // Tasks play no part in a comparison, and the sides may have different numbers of personas.
        personas: 1,
    }
}

/// The results on the objectives and trials that are compared.
fn observed(agent: &str, side: &Side, objectives: &[PlannedObjective], trials: u32) -> CaseRun {
    let mut run = CaseRun { case: agent.to_owned(), ..side.run.clone() };
    run.trials.retain(|trial| trial.number <= trials);
    for trial in &mut run.trials {
        trial.evaluations.retain(|evaluation| objectives.iter().any(|one| one.key == evaluation.objective));
    }
    run
}

fn compared_side(side: &Side, case: Option<&CaseReport>) -> ComparedSide {
    ComparedSide {
        simulation_id: side.run.simulation_id.clone(),
        name: side.name.clone(),
        status: side.run.status.clone(),
        agent: side.agent.clone(),
        counts: case.map(|case| case.counts).unwrap_or_default(),
        rate: case.and_then(|case| case.rate),
    }
}

fn warnings(before: &Side, after: &Side) -> Vec<String> {
    let mut warnings = Vec::new();
    for (side, name) in [(before, "earlier"), (after, "later")] {
        if !side.run.is_over() {
            warnings.push(format!(
                "the {name} simulation is not over (its status is `{}`), so its results are not final",
                side.run.status
            ));
        }
    }
    if before.scenario != after.scenario {
        warnings.push("the scenarios differ".to_owned());
    }
    if before.judge != after.judge {
        warnings.push(format!("the judges differ: `{}` and `{}`", before.judge, after.judge));
    }
    if before.trials != after.trials {
        warnings
            .push(format!("one simulation has {} conversations, the other {}", before.trials, after.trials));
    }
    let before_versions: BTreeMap<&str, u32> =
        before.objectives.iter().map(|objective| (objective.id.as_str(), objective.version)).collect();
    for objective in &after.objectives {
        match before_versions.get(objective.id.as_str()) {
            None => {
                warnings.push(format!("only the later simulation has the objective `{}`", objective.name));
            }
            Some(version) if *version != objective.version => warnings.push(format!(
                "the objective `{}` was judged at version {version} and at version {}",
                objective.name, objective.version
            )),
            Some(_) => {}
        }
    }
    for objective in &before.objectives {
        if !after.objectives.iter().any(|other| other.id == objective.id) {
            warnings.push(format!("only the earlier simulation has the objective `{}`", objective.name));
        }
    }
    warnings
}

/// Whether both conversations are there and have different or unknown personas.
fn differ(before: &TrialReport, after: &TrialReport) -> bool {
    before.conversation_id.is_some()
        && after.conversation_id.is_some()
        && (before.persona_key.is_none() || before.persona_key != after.persona_key)
}

/// Whether the trial passed; `None` if it has no outcome.
fn has_passed(outcome: TrialOutcome) -> Option<bool> {
    match outcome {
        TrialOutcome::Passed => Some(true),
        TrialOutcome::Failed | TrialOutcome::Inconclusive => Some(false),
        TrialOutcome::Infra => None,
    }
}

fn compared(
    pairs: &[(&TrialReport, &TrialReport)],
    unpaired_trials: u64,
    outcome: impl Fn(&TrialReport) -> TrialOutcome,
) -> ComparedTrials {
    let mut counts = PairCounts::default();
    let mut unpaired = unpaired_trials;
    for (before, after) in pairs {
        match (has_passed(outcome(before)), has_passed(outcome(after))) {
            (Some(passed_before), Some(passed_after)) if !differ(before, after) => {
                counts.add(passed_before, passed_after);
            }
            _ => unpaired += 1,
        }
    }
    ComparedTrials::new(counts, unpaired)
}

impl ComparedTrials {
    fn new(counts: PairCounts, unpaired: u64) -> Self {
        let PairCounts { fixed, broken, still_passed, still_not_passed } = counts;
        Self { fixed, broken, still_passed, still_not_passed, unpaired, p_value: counts.p_value() }
    }
}

/// The pairs with a changed objective, broken ones first.
fn changed(pairs: &[(&TrialReport, &TrialReport)]) -> Vec<ChangedTrial> {
    let mut changed: Vec<ChangedTrial> = Vec::new();
    for (before, after) in pairs {
        if differ(before, after) {
            continue;
        }
        let (mut fixed, mut broken) = (Vec::new(), Vec::new());
        for (one, other) in before.evaluations.iter().zip(&after.evaluations) {
            match (has_passed(one.outcome), has_passed(other.outcome)) {
                (Some(false), Some(true)) => fixed.push(one.objective.clone()),
                (Some(true), Some(false)) => broken.push(one.objective.clone()),
                _ => {}
            }
        }
        if fixed.is_empty() && broken.is_empty() {
            continue;
        }
        changed.push(ChangedTrial {
            number: after.number,
            persona_summary: cut(&after.persona_summary, MAX_SUMMARY),
            before_conversation_id: before.conversation_id.clone().unwrap_or_default(),
            after_conversation_id: after.conversation_id.clone().unwrap_or_default(),
            before: before.outcome,
            after: after.outcome,
            fixed,
            broken,
        });
    }
    changed.sort_by_key(|trial| (std::cmp::Reverse(trial.broken.len()), trial.number));
    changed
}
