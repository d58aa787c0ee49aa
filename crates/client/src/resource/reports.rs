//! Reports on simulations, and comparisons of two.

use serde::{Deserialize, Serialize};

/// The verdict on a simulation, or on its comparison with an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The gate passed, and the simulation is over.
    Pass,
    /// The gate failed, whatever the missing results would have been.
    Fail,
    /// Inconclusive evaluations could decide the gate.
    Inconclusive,
    /// Missing results could decide the gate, or the simulation is not over.
    Infra,
    /// The gate cannot be evaluated.
    Config,
    /// A value that this client does not know.
    #[serde(other)]
    Unknown,
}

/// The smallest share of all conversations that must pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinPassRate {
    /// The share: above 0, at most 1.
    pub min: f64,
    /// Whether the lower end of the 95% interval is compared, instead of the pass rate.
    pub on_lower_bound: bool,
}

/// The report on a simulation. Its JSON has the results that the verdict follows from.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The name of the simulation.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the verdict is not `pass`, and warnings.
    pub reasons: Vec<String>,
    /// Whether the simulation is over, and every conversation was held and judged.
    pub complete: bool,
}

/// The comparison of a simulation with an earlier one. Its JSON has the conversations that changed.
#[derive(Clone, Debug, Deserialize)]
pub struct Comparison {
    /// `Fail` if an objective regressed significantly.
    pub verdict: Verdict,
    /// The figures that decided, in words.
    pub detail: String,
    /// Differences of the simulations that make the comparison less meaningful.
    pub warnings: Vec<String>,
}
