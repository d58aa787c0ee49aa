//! One gate for one agent.

use onerun_domain::{pass_power, wilson_interval};

use super::{check::unreachable_minimum, regression};
use crate::{
    Basis, CaseReport, Gate, GateReport, GateStatus, Report, Subject, TrialOutcome, TrialReport,
    text::percent,
};

/// Sums of ratios may be off by rounding.
const TOLERANCE: f64 = 1e-12;

/// The result of a gate and the figures that decided.
pub(super) type Decided = (GateStatus, String);

/// Evaluates a gate over the cases of one agent that count.
pub(super) fn evaluate(
    gate: &Gate,
    agent: &str,
    cases: &[CaseReport],
    baseline: Option<&Report>,
) -> GateReport {
    let counted: Vec<&CaseReport> =
        cases.iter().filter(|case| case.agent == agent && !case.quarantined).collect();
    let (status, detail) = match gate {
        Gate::PassRate { of, min, on } => pass_rate(&Tasks::of(&counted, of), *min, *on),
        Gate::PassPower { of, k, min } => power(&Tasks::of(&counted, of), u64::from(*k), *min),
        Gate::NoRegression { against, mode } => {
            regression::evaluate(&counted, cases, baseline, against, *mode)
        }
    };
    GateReport { gate: gate.clone(), agent: agent.to_owned(), text: gate.text(), status, detail }
}

/// The trials of one task: one persona of one case.
#[derive(Clone, Copy, Default)]
struct Task {
    trials: u64,
    passed: u64,
    inconclusive: u64,
    infra: u64,
}

impl Task {
    fn add(&mut self, outcome: TrialOutcome) {
        self.trials += 1;
        match outcome {
            TrialOutcome::Passed => self.passed += 1,
            TrialOutcome::Failed => {}
            TrialOutcome::Inconclusive => self.inconclusive += 1,
            TrialOutcome::Infra => self.infra += 1,
        }
    }

    /// The passed trials, if every missing result passed.
    fn passed_at_best(self) -> u64 {
        self.passed + self.inconclusive + self.infra
    }
}

/// The tasks that a gate covers.
struct Tasks(Vec<Task>);

impl Tasks {
    fn of(cases: &[&CaseReport], subject: &Subject) -> Self {
        let mut tasks = Vec::new();
        for case in cases {
            let personas = usize::try_from(case.planned_personas.max(1)).unwrap_or(usize::MAX);
            let first = tasks.len();
            for (place, trial) in case.trials.iter().enumerate() {
                let Some(outcome) = outcome_of(case, trial, subject) else { continue };
                let task = first + place % personas;
                if tasks.len() <= task {
                    tasks.resize(task + 1, Task::default());
                }
                tasks[task].add(outcome);
            }
        }
        Self(tasks)
    }

    fn together(&self) -> Task {
        self.0.iter().fold(Task::default(), |sum, task| Task {
            trials: sum.trials + task.trials,
            passed: sum.passed + task.passed,
            inconclusive: sum.inconclusive + task.inconclusive,
            infra: sum.infra + task.infra,
        })
    }
}

/// The outcome of a trial for a gate; `None` if the gate does not cover it.
fn outcome_of(case: &CaseReport, trial: &TrialReport, subject: &Subject) -> Option<TrialOutcome> {
    match subject {
        Subject::All => Some(trial.outcome),
        Subject::Scenario(key) => (case.scenario_key == *key).then_some(trial.outcome),
        Subject::Objective(key) => {
            let place = case
                .objectives
                .iter()
                .position(|objective| objective.key == *key && !objective.quarantined)?;
            trial.evaluations.get(place).map(|evaluation| evaluation.outcome)
        }
    }
}

const COVERS_NOTHING: &str = "it covers no trial that counts";

fn pass_rate(tasks: &Tasks, min: f64, on: Basis) -> Decided {
    let all = tasks.together();
    let figure = |passed: u64| match on {
        Basis::Rate => passed as f64 / all.trials as f64,
        Basis::LowerBound => wilson_interval(passed, all.trials).map_or(0.0, |interval| interval.low),
    };
    if all.trials == 0 {
        return (GateStatus::Config, COVERS_NOTHING.to_owned());
    }
    if let Some(problem) = unreachable_minimum(on, min, all.trials) {
        return (GateStatus::Config, problem);
    }
    let (worst, best) = (figure(all.passed), figure(all.passed_at_best()));
    let status = decide(worst >= min, best >= min, all.infra > 0);
    let name = match on {
        Basis::Rate => String::new(),
        Basis::LowerBound => "lower bound ".to_owned(),
    };
    (
        status,
        format!(
            "{} of {} trials passed ({name}{}){}",
            all.passed,
            all.trials,
            range(worst, best),
            missing(all)
        ),
    )
}

fn power(tasks: &Tasks, k: u64, min: f64) -> Decided {
    let all = tasks.together();
    if all.trials == 0 {
        return (GateStatus::Config, COVERS_NOTHING.to_owned());
    }
    let mean = |passed: fn(&Task) -> u64| {
        let sum: Option<f64> = tasks.0.iter().map(|task| pass_power(passed(task), task.trials, k)).sum();
        sum.map(|sum| sum / tasks.0.len() as f64)
    };
    let (Some(worst), Some(best)) = (mean(|task| task.passed), mean(|task| task.passed_at_best())) else {
        return (GateStatus::Config, format!("a persona has fewer than {k} trials"));
    };
    let status = decide(worst + TOLERANCE >= min, best + TOLERANCE >= min, all.infra > 0);
    let tasks = tasks.0.len();
    (status, format!("pass^{k} is {} over {tasks} personas{}", range(worst, best), missing(all)))
}

/// The result of a gate that holds or not with every missing result failed, and with each passed.
pub(super) fn decide(at_worst: bool, at_best: bool, infra: bool) -> GateStatus {
    match (at_worst, at_best) {
        (true, _) => GateStatus::Passed,
        (_, false) => GateStatus::Failed,
        _ if infra => GateStatus::Infra,
        _ => GateStatus::Inconclusive,
    }
}

fn range(worst: f64, best: f64) -> String {
    if worst < best { format!("{} to {}", percent(worst), percent(best)) } else { percent(worst) }
}

fn missing(all: Task) -> String {
    match (all.inconclusive, all.infra) {
        (0, 0) => String::new(),
        (inconclusive, 0) => format!(", {inconclusive} inconclusive"),
        (0, infra) => format!(", {infra} not held or not judged"),
        (inconclusive, infra) => format!(", {inconclusive} inconclusive, {infra} not held or not judged"),
    }
}
