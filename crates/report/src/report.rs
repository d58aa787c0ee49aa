//! Reports: the verdict on a run and the results that it follows from.

use std::fmt;

use jiff::{Timestamp, civil::Date};
use onerun_domain::Outcome;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Gate;

/// The version of the report's format.
pub const VERSION: u32 = 1;

/// The verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every gate passed, and every simulation is over.
    Pass,
    /// A gate failed, whatever the missing results would have been.
    Fail,
    /// A gate is undecided, because evaluations are inconclusive.
    Inconclusive,
    /// A gate is undecided, because results are missing, or a simulation is not over.
    Infra,
    /// The plan, the data or the baseline do not fit together.
    Config,
}

impl Verdict {
    /// The value in reports and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Infra => "infra",
            Self::Config => "config",
        }
    }

    /// The exit code of a command that ends with this verdict.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Inconclusive => 2,
            Self::Infra => 3,
            Self::Config => 4,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The report on a run. Stored, it is a baseline for later runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The version of this format.
    pub version: u32,
    /// The name of the run.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the verdict is not `pass`, and warnings.
    pub reasons: Vec<String>,
    /// Whether every simulation is over, and every planned trial was held and judged.
    pub complete: bool,
    /// When the report was made.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The planned numbers. They show whether something is missing from the report.
    pub planned: Planned,
    /// The trials that count, by outcome, and the others.
    pub counts: TrialCounts,
    /// The pass rate of the trials that count; null if none was judged.
    pub rate: Option<Rate>,
    /// The cost of calls to models, in US dollars; null if unknown.
    pub cost_usd: Option<f64>,
    /// The gates, each for each agent.
    pub gates: Vec<GateReport>,
    /// The cases, in the order of the plan.
    pub cases: Vec<CaseReport>,
    /// The quarantined cases and objectives.
    pub quarantined: Vec<QuarantineReport>,
    /// The number of evaluations that did not pass and whose reasons are left out, because the
    /// report would be too long.
    pub reasons_left_out: u64,
}

/// Planned numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Cases.
    pub cases: u64,
    /// Trials of all cases.
    pub trials: u64,
    /// Evaluations of all trials.
    pub evaluations: u64,
}

/// Trials by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrialCounts {
    /// Every objective passed.
    pub passed: u64,
    /// An objective failed.
    pub failed: u64,
    /// No objective failed, and at least one is inconclusive.
    pub inconclusive: u64,
    /// Not held or not judged. They count neither for nor against the agent.
    pub infra: u64,
    /// Trials of quarantined cases, which are in none of the other numbers.
    pub quarantined: u64,
}

/// A pass rate with its 95% confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// Passed trials.
    pub passed: u64,
    /// Judged trials: passed, failed and inconclusive.
    pub judged: u64,
    /// Passed divided by judged.
    pub rate: f64,
    /// The lower end of the interval (Wilson score).
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
    /// Whether the interval is wide: more trials are needed for a reliable rate.
    pub low_evidence: bool,
}

/// A gate and its result for one agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateReport {
    /// The gate.
    pub gate: Gate,
    /// The key of the agent.
    pub agent: String,
    /// The gate in words.
    pub text: String,
    /// The result.
    pub status: GateStatus,
    /// The figures that decided, in words.
    pub detail: String,
}

impl GateReport {
    /// Why the gate did not pass, in words. With several agents, it names the gate's one.
    pub fn reason(&self, several_agents: bool) -> String {
        let of = if several_agents { format!(" for agent `{}`", self.agent) } else { String::new() };
        let status = match self.status {
            GateStatus::Passed => "passed",
            GateStatus::Failed => "failed",
            GateStatus::Inconclusive => "is undecided, because evaluations are inconclusive",
            GateStatus::Infra => "is undecided, because results are missing",
            GateStatus::Config => "cannot be evaluated",
        };
        format!("the gate \"{}\" {status}{of}: {}", self.text, self.detail)
    }
}

/// The result of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateStatus {
    /// It passes, even if every missing result failed.
    Passed,
    /// It fails, even if every missing result passed.
    Failed,
    /// Inconclusive evaluations could decide it.
    Inconclusive,
    /// Missing results could decide it.
    Infra,
    /// It cannot be evaluated.
    Config,
}

impl GateStatus {
    /// The value in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
            Self::Infra => "infra",
            Self::Config => "config",
        }
    }
}

/// The results of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CaseReport {
    /// Its key.
    pub key: String,
    /// The key of the agent.
    pub agent: String,
    /// The key of the scenario.
    pub scenario_key: String,
    /// The scenario.
    pub scenario: String,
    /// The simulation's id; null if the case was not run.
    pub simulation_id: Option<String>,
    /// The simulation's status; null if the case was not run.
    pub status: Option<String>,
    /// Why the simulation failed or expired.
    pub failure: Option<String>,
    /// Whether the whole case is quarantined.
    pub quarantined: bool,
    /// The number of planned trials.
    pub planned_trials: u32,
    /// The number of planned personas.
    pub planned_personas: u32,
    /// The trials by outcome.
    pub counts: TrialCounts,
    /// The pass rate; null if no trial was judged.
    pub rate: Option<Rate>,
    /// The objectives, in the order of the plan.
    pub objectives: Vec<ObjectiveReport>,
    /// The trials, by number.
    pub trials: Vec<TrialReport>,
    /// The number of trials that are left out of `trials`, because the report would be too long. The
    /// worst ones stay, and all are counted.
    #[serde(default)]
    pub trials_left_out: u64,
}

/// The results of one objective of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectiveReport {
    /// Its key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Whether it is quarantined, by itself or with its case.
    pub quarantined: bool,
    /// The trials by the outcome of this objective.
    pub counts: TrialCounts,
    /// The pass rate; null if no trial was judged.
    pub rate: Option<Rate>,
}

/// The outcome of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// Every objective that counts passed.
    Passed,
    /// An objective that counts failed.
    Failed,
    /// No objective failed, and at least one is inconclusive.
    Inconclusive,
    /// Not held or not judged.
    Infra,
}

impl TrialOutcome {
    /// The value in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
            Self::Infra => "infra",
        }
    }
}

impl From<Outcome> for TrialOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Passed,
            Outcome::Failed => Self::Failed,
            Outcome::Inconclusive => Self::Inconclusive,
        }
    }
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialReport {
    /// Its number, from 1.
    pub number: u32,
    /// The number of its persona.
    pub persona: u32,
    /// The digest of the persona's texts; null if there is no conversation.
    pub persona_key: Option<String>,
    /// The persona in a sentence.
    pub persona_summary: String,
    /// The conversation's id; null if the trial is missing.
    pub conversation_id: Option<String>,
    /// The number of messages.
    pub messages: u32,
    /// The outcome over the objectives that count; over all of them if the case is quarantined.
    pub outcome: TrialOutcome,
    /// Why it was not held or judged.
    pub failure: Option<String>,
    /// The evaluations, in the order of the objectives. A missing one is `infra`.
    pub evaluations: Vec<EvaluationReport>,
}

/// The evaluation of a trial on one objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TrialEvaluation")]
pub struct EvaluationReport {
    /// The key of the objective.
    pub objective: String,
    /// The outcome.
    pub outcome: TrialOutcome,
    /// The score from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The judge's explanation, if the objective did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The words of the transcript that support the outcome, if the objective did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotes: Vec<String>,
}

/// A quarantined case or objective.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuarantineReport {
    /// The key of the case.
    pub case: String,
    /// The key of the objective; null for the whole case.
    pub objective: Option<String>,
    /// Who resolves it.
    pub owner: String,
    /// The last day, in UTC.
    #[schemars(with = "String")]
    pub until: Date,
    /// Why.
    pub reason: Option<String>,
    /// Whether the last day is over, so that the results count again.
    pub expired: bool,
    /// The trials by outcome.
    pub counts: TrialCounts,
}
