//! The evaluation of a plan's gates.
//!
//! Every gate is evaluated twice: with each missing result counted as failed, and with each counted as
//! passed. If both agree, the missing results do not matter. Otherwise the gate is undecided.

mod baseline;
mod cases;
mod check;
mod gates;
mod regression;

#[cfg(test)]
mod tests;

use jiff::Timestamp;

use crate::{
    Against, Basis, CaseRun, Gate, GateReport, GateStatus, Plan, Planned, Report, Subject, TrialCounts,
    TrialOutcome, VERSION, Verdict,
    text::{cut, plural},
};

/// Why a report cannot be a baseline. It is empty for a complete report that has lost nothing.
pub fn baseline_problems(report: &Report) -> Vec<String> {
    baseline::problems(report, &report.cases)
}

/// The maximum number of reasons in a report.
const MAX_REASONS: usize = 50;

/// The maximum number of characters of a text from outside in a reason.
const MAX_FAILURE: usize = 300;

/// Why no results could pass: the problems of the plan, of the baseline, and of gates that cannot be evaluated.
pub fn plan_problems(plan: &Plan, baseline: Option<&Report>, at: Timestamp) -> Vec<String> {
    let (report, mut problems) = assess(plan, &[], baseline, at);
    let several_agents = report.gates.iter().any(|gate| gate.agent != report.gates[0].agent);
    let gates = report.gates.iter().filter(|gate| gate.status == GateStatus::Config);
    problems.extend(gates.map(|gate| gate.reason(several_agents)));
    limit(&mut problems);
    problems
}

/// The report on `runs`, held against `plan` and, if a gate asks for it, against a `baseline`.
pub fn evaluate(plan: &Plan, runs: &[CaseRun], baseline: Option<&Report>, at: Timestamp) -> Report {
    assess(plan, runs, baseline, at).0
}

/// The report, and the problems of plan, data and baseline.
fn assess(plan: &Plan, runs: &[CaseRun], baseline: Option<&Report>, at: Timestamp) -> (Report, Vec<String>) {
    let default = [Gate::PassRate { of: Subject::All, min: 1.0, on: Basis::Rate }];
    let gates = if plan.gates.is_empty() { &default[..] } else { &plan.gates };
    let mut report = Report {
        version: VERSION,
        name: plan.name.clone(),
        verdict: Verdict::Config,
        reasons: check::plan_problems(plan),
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
    };
    // The numbers of a wrong plan may be beyond all bounds.
    if !report.reasons.is_empty() {
        let problems = report.reasons.clone();
        limit(&mut report.reasons);
        return (report, problems);
    }
    let mut problems = check::data_problems(plan, runs);
    cases::fill(&mut report, plan, runs);
    let needs_baseline =
        gates.iter().any(|gate| matches!(gate, Gate::NoRegression { against: Against::Baseline, .. }));
    if needs_baseline {
        match baseline {
            Some(baseline) => problems.extend(baseline::problems(baseline, &report.cases)),
            None => problems.push(
                "there is no baseline: approve the report of an earlier run, or remove the gate that needs one"
                    .to_owned(),
            ),
        }
    }
    let agents = gated_agents(&report, gates);
    if agents.is_empty() {
        problems.push("every agent is compared with another one, so that no agent has a gate".to_owned());
    }
    report.gates = agents
        .iter()
        .flat_map(|agent| gates.iter().map(|gate| gates::evaluate(gate, agent, &report.cases, baseline)))
        .collect();
    let running: Vec<String> = runs.iter().filter(|run| !run.is_over()).map(running).collect();
    report.complete = problems.is_empty() && running.is_empty() && is_complete(&report);
    report.verdict = match verdict(&report.gates) {
        _ if !problems.is_empty() => Verdict::Config,
        Verdict::Pass if !running.is_empty() => Verdict::Infra,
        verdict => verdict,
    };
    let several_agents = agents.len() > 1;
    report.reasons.clone_from(&problems);
    report.reasons.extend(running);
    report.reasons.extend(
        report
            .gates
            .iter()
            .filter(|gate| gate.status != GateStatus::Passed)
            .map(|gate| gate.reason(several_agents)),
    );
    report.reasons.extend(warnings(&report, needs_baseline.then_some(baseline).flatten()));
    limit(&mut report.reasons);
    (report, problems)
}

/// The agents with gates, in the order of the plan: those that no gate compares others with.
fn gated_agents(report: &Report, gates: &[Gate]) -> Vec<String> {
    let is_reference = |agent: &str| {
        gates.iter().any(|gate| {
            matches!(gate, Gate::NoRegression { against: Against::Agent(other), .. } if other == agent)
        })
    };
    let mut agents: Vec<String> = Vec::new();
    for case in &report.cases {
        if !agents.contains(&case.agent) && !is_reference(&case.agent) {
            agents.push(case.agent.clone());
        }
    }
    agents
}

/// The verdict that follows from the gates.
fn verdict(gates: &[GateReport]) -> Verdict {
    let any = |status| gates.iter().any(|gate| gate.status == status);
    if gates.is_empty() || any(GateStatus::Config) {
        Verdict::Config
    } else if any(GateStatus::Failed) {
        Verdict::Fail
    } else if any(GateStatus::Infra) {
        Verdict::Infra
    } else if any(GateStatus::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    }
}

fn running(run: &CaseRun) -> String {
    format!(
        "the simulation of case `{}` is not over (its status is `{}`), so its results are not final",
        run.case,
        cut(&run.status, MAX_FAILURE)
    )
}

/// Whether every trial that counts was held and judged.
fn is_complete(report: &Report) -> bool {
    report.cases.iter().all(|case| {
        case.objectives.iter().filter(|objective| !objective.quarantined).all(|one| one.counts.infra == 0)
    })
}

/// Facts that a reader must know beside the verdict.
fn warnings(report: &Report, baseline: Option<&Report>) -> Vec<String> {
    let mut warnings = Vec::new();
    for quarantine in report.quarantined.iter().filter(|quarantine| quarantine.expired) {
        warnings.push(format!(
            "the quarantine of {} ended on {}, so that its results count: mend it or renew the quarantine ({})",
            quarantine.place(),
            quarantine.until,
            quarantine.owner,
        ));
    }
    for case in &report.cases {
        if let Some(failure) = &case.failure {
            warnings.push(format!("the simulation of case `{}`: {}", case.key, cut(failure, MAX_FAILURE)));
        }
        let infra =
            u64::try_from(case.trials.iter().filter(|trial| trial.outcome == TrialOutcome::Infra).count());
        if let Some(infra) = infra.ok().filter(|infra| *infra > 0) {
            let first = case.trials.iter().find_map(|trial| trial.failure.as_deref());
            warnings.push(format!(
                "case `{}`: {} of {} not held or not judged{}",
                case.key,
                infra,
                plural(case.planned_trials.into(), "trial"),
                first.map(|first| format!(", the first: {}", cut(first, MAX_FAILURE))).unwrap_or_default(),
            ));
        }
    }
    if let Some(baseline) = baseline {
        for case in &report.cases {
            if !baseline.cases.iter().any(|other| other.key == case.key) {
                warnings.push(format!("case `{}` is new: the baseline does not have it", case.key));
            }
        }
    }
    warnings
}

fn limit(reasons: &mut Vec<String>) {
    let more = reasons.len().saturating_sub(MAX_REASONS);
    if more > 0 {
        reasons.truncate(MAX_REASONS);
        reasons.push(format!("and {more} more"));
    }
}
