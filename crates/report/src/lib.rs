//! OneRun's gates, verdicts and reports.
//!
//! A [`Plan`] says which trials are expected and which gates they must pass. [`evaluate()`] holds the
//! observed [`CaseRun`]s against it and returns a [`Report`], which [`render`] writes for people
//! and for other programs. Expected numbers come from the plan alone, so data that is missing never
//! improves a verdict.
//!
//! Nothing here reads a clock, a file or the network.

mod compare;
mod evaluate;
#[cfg(test)]
mod fixtures;
mod plan;
pub mod render;
mod report;
mod run;
mod severity;
mod text;
mod trials;

pub use compare::{
    ALPHA, ChangedTrial, ComparedObjective, ComparedSide, ComparedTrials, Comparison, MAX_CHANGED, Side,
    SideObjective, compare,
};
pub use evaluate::{baseline_problems, evaluate, plan_problems};
pub use plan::{
    Against, Basis, Gate, Plan, PlannedCase, PlannedObjective, Quarantine, RegressionMode, Subject,
};
pub use report::{
    CaseReport, EvaluationReport, GateReport, GateStatus, ObjectiveReport, Planned, QuarantineReport, Rate,
    Report, TrialCounts, TrialOutcome, TrialReport, VERSION, Verdict,
};
pub use run::{CaseRun, Held, Trial, TrialEnd, TrialEvaluation, persona_key};
pub use trials::Trials;
