//! The evaluation of a plan's gates.

use jiff::Timestamp;

use crate::{CaseRun, Plan, Planned, Report, TrialCounts, VERSION, Verdict};

/// The report on `runs`, held against `plan` and, if a gate asks for it, against a `baseline`.
pub fn evaluate(plan: &Plan, runs: &[CaseRun], baseline: Option<&Report>, at: Timestamp) -> Report {
    let _ = (runs, baseline);
    Report {
        version: VERSION,
        name: plan.name.clone(),
        verdict: Verdict::Config,
        reasons: vec!["gates are not evaluated yet".to_owned()],
        complete: false,
        at,
        planned: Planned::default(),
        counts: TrialCounts::default(),
        rate: None,
        cost_usd: None,
        gates: Vec::new(),
        cases: Vec::new(),
        quarantined: Vec::new(),
        reasons_left_out: 0,
    }
}
