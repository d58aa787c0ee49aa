//! Plans: the expected trials and the gates.

use std::fmt;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::percent;

/// The expected trials of a run and the gates that they must pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The name of the run.
    pub name: String,
    /// The cases, each of one agent and one scenario.
    pub cases: Vec<PlannedCase>,
    /// The gates. Without any, every trial must pass.
    pub gates: Vec<Gate>,
    /// Results that are shown but not counted.
    pub quarantine: Vec<Quarantine>,
}

/// One agent in one scenario: one simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedCase {
    /// Its stable key, such as `refund` or `refund@candidate`.
    pub key: String,
    /// The key of the agent.
    pub agent: String,
    /// The key of the scenario.
    pub scenario_key: String,
    /// The scenario for people.
    pub scenario: String,
    /// The objectives of every trial.
    pub objectives: Vec<PlannedObjective>,
    /// The number of trials: conversations.
    pub trials: u32,
    /// The number of personas. Trial *n* belongs to persona *(n − 1) mod personas*.
    pub personas: u32,
}

/// An objective of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedObjective {
    /// Its stable key.
    pub key: String,
    /// Its name for people.
    pub name: String,
}

/// The trials that a gate is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Every trial. A trial passes if every objective of it passes.
    #[default]
    All,
    /// One objective, by its key. A trial passes if this objective of it passes.
    Objective(String),
    /// The trials of one scenario, by its key.
    Scenario(String),
}

/// The figure that a gate compares with its minimum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The pass rate.
    #[default]
    Rate,
    /// The lower end of the pass rate's 95% Wilson interval.
    LowerBound,
}

/// A condition of the verdict `pass`. It is evaluated for each agent on its own, except the agent
/// that others are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Gate {
    /// A minimum pass rate.
    PassRate {
        /// The trials.
        #[serde(default)]
        of: Subject,
        /// The minimum: above 0, at most 1.
        min: f64,
        /// The figure that is compared.
        #[serde(default)]
        on: Basis,
    },
    /// A minimum of pass^k: the probability that `k` trials of one task all pass. A task is one
    /// persona of one case.
    PassPower {
        /// The trials.
        #[serde(default)]
        of: Subject,
        /// The number of trials: at least 1, at most the trials of each persona.
        k: u32,
        /// The minimum: above 0, at most 1.
        min: f64,
    },
    /// No regression against earlier or other results.
    NoRegression {
        /// The results for comparison.
        against: Against,
        /// The differences that count as a regression.
        #[serde(default)]
        mode: RegressionMode,
    },
}

impl Gate {
    /// The gate in words.
    pub fn text(&self) -> String {
        match self {
            Self::PassRate { of, min, on } => {
                let bound = match on {
                    Basis::Rate => "",
                    Basis::LowerBound => "lower bound of the ",
                };
                format!("{bound}pass rate of {of} ≥ {}", percent(*min))
            }
            Self::PassPower { of, k, min } => format!("pass^{k} of {of} ≥ {}", percent(*min)),
            Self::NoRegression { against, mode } => {
                let against = match against {
                    Against::Baseline => "the baseline".to_owned(),
                    Against::Agent(agent) => format!("agent `{agent}`"),
                };
                match mode {
                    RegressionMode::EachTrial => format!("no trial regresses against {against}"),
                    RegressionMode::Significant { alpha } => {
                        format!("no significant regression against {against} (alpha {alpha})")
                    }
                }
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all trials"),
            Self::Objective(key) => write!(f, "objective `{key}`"),
            Self::Scenario(key) => write!(f, "scenario `{key}`"),
        }
    }
}

/// The results that a run is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The approved baseline: an earlier report.
    Baseline,
    /// Another agent of the same run, by its key, on the same personas and seeds.
    Agent(String),
}

/// The differences that count as a regression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RegressionMode {
    /// Any objective of any trial that passed before and does not pass now.
    #[default]
    EachTrial,
    /// An objective with more broken than fixed trials, if McNemar's exact test finds the
    /// difference significant. The p-values are corrected by Holm's method over the objectives.
    Significant {
        /// The largest p-value that counts: above 0, below 1.
        alpha: f64,
    },
}

/// A case or objective whose results are shown but not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The key of the case.
    pub case: String,
    /// The key of the objective; `None` for the whole case.
    pub objective: Option<String>,
    /// Who resolves it.
    pub owner: String,
    /// The last day, in UTC. Afterwards the results count again.
    pub until: Date,
    /// Why.
    pub reason: Option<String>,
}
