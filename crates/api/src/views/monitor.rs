//! Monitors and their runs in responses.

use onerun_domain::{
    Alert, AlertEvent, AlertRates, AlertState, Monitor, MonitorGate, MonitorRun, NanoDollars, NewPersonas,
    NewSimulation, PersonaAttributes, PersonaDraft, RequestedModels, RunResults, Seed, wilson_interval,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    App,
    openapi::examples::{CHANGED, MADE, MONITOR, MONITOR_RUN, PROJECT, SIMULATION, new_monitor_example},
    operation::Example,
    views::{
        AlertChangeOut, AlertStateOut, GateBasisOut, IntervalOut, MonitorStateOut, MonitorTriggerOut,
        RunVerdictOut, SimulationStatusOut, Time,
    },
};

/// How many planned times are shown.
const NEXT_RUNS: usize = 5;

/// A monitor.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Monitor")]
pub(crate) struct MonitorOut {
    id: String,
    project_id: String,
    name: String,
    state: MonitorStateOut,
    /// The simulation of each run.
    simulation: MonitoredSimulationOut,
    /// When runs start; null if only requests and events from outside start them.
    schedule: Option<ScheduleOut>,
    /// The condition of the verdict `pass`; null if runs have no verdict.
    gate: Option<GateOut>,
    /// The rates that its alert tells apart; null if it has no alert.
    alert: Option<AlertRatesOut>,
    /// Your own data.
    metadata: Map<String, Value>,
    /// The id of the API key that created the monitor, which the usage of its runs is counted for.
    created_by: String,
    created_at: Time,
    updated_at: Time,
    /// Why its runs will fail soon, each with the reason; usually empty.
    warnings: Vec<String>,
}

/// The schedule of a monitor.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Schedule")]
struct ScheduleOut {
    expression: String,
    timezone: String,
    /// The expression in words.
    description: String,
    /// The next planned times; none while the monitor is paused.
    next_runs: Vec<Time>,
}

/// The gate of a monitor.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MonitorGate")]
struct GateOut {
    /// The smallest share of all conversations that must pass.
    min_pass_rate: f64,
    /// The figure that is compared with it.
    on: GateBasisOut,
}

impl From<MonitorGate> for GateOut {
    fn from(gate: MonitorGate) -> Self {
        Self { min_pass_rate: gate.min_pass_rate, on: GateBasisOut(gate.on) }
    }
}

/// The rates that the alert of a monitor tells apart.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AlertRates")]
struct AlertRatesOut {
    /// The pass rate of the agent as it should be.
    expected_pass_rate: f64,
    /// The lower pass rate that the alert must notice.
    low_pass_rate: f64,
}

impl From<AlertRates> for AlertRatesOut {
    fn from(rates: AlertRates) -> Self {
        Self { expected_pass_rate: rates.expected(), low_pass_rate: rates.low() }
    }
}

/// The alert of a monitor after its latest runs.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MonitorAlert")]
pub(crate) struct AlertOut {
    monitor_id: String,
    #[serde(flatten)]
    rates: AlertRatesOut,
    /// `alerting` if the pass rate has dropped.
    state: AlertStateOut,
    /// The planned time of the run that opened the alert; null if it is not open.
    since: Option<Time>,
    /// The evidence of the next change: that the rate has dropped or, of an open alert, that it has recovered.
    score: f64,
    /// The score above which the next change happens.
    threshold: f64,
    /// The number of runs that were counted, of the latest 500. Runs without passed and failed conversations are not.
    runs: usize,
    /// The runs that opened or ended an alert, the latest first.
    events: Vec<AlertEventOut>,
}

/// A run that opened or ended an alert.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AlertEvent")]
struct AlertEventOut {
    change: AlertChangeOut,
    run_id: String,
    planned_at: Time,
}

impl AlertOut {
    pub(crate) fn new(monitor: &Monitor, alert: &Alert) -> Self {
        let events: Vec<_> = alert.events().iter().rev().map(AlertEventOut::from).collect();
        let opening = events.first().filter(|_| alert.state() == AlertState::Alerting);
        Self {
            monitor_id: monitor.id.as_str().to_owned(),
            rates: alert.rates().into(),
            state: AlertStateOut(alert.state()),
            since: opening.map(|event| event.planned_at),
            score: alert.score(),
            threshold: alert.threshold(),
            runs: alert.runs(),
            events,
        }
    }
}

impl From<&AlertEvent> for AlertEventOut {
    fn from(event: &AlertEvent) -> Self {
        Self {
            change: AlertChangeOut(event.change),
            run_id: event.run.as_str().to_owned(),
            planned_at: Time(event.planned_at),
        }
    }
}

/// The simulation of a monitor's runs, as it was requested.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MonitoredSimulation")]
struct MonitoredSimulationOut {
    agent_id: String,
    name: String,
    scenario: String,
    target_conversations: u32,
    target_personas: u32,
    /// The personas that the caller wrote; null otherwise.
    personas: Option<Vec<PersonaDraftOut>>,
    /// The simulation whose personas are copied; null otherwise.
    personas_from: Option<String>,
    auto_approve: bool,
    max_turns: u32,
    objective_ids: Vec<String>,
    /// The seed of each run; null if each has its own.
    seed: Option<u64>,
    metadata: Map<String, Value>,
    expires_in_seconds: u32,
    models: RequestedModelsOut,
    max_cost_usd: Option<f64>,
    max_tokens: Option<u64>,
}

/// A persona that a caller wrote.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PersonaDraft")]
struct PersonaDraftOut {
    summary: String,
    story: String,
    purpose: String,
    /// Traits by name; an empty text is an unknown trait.
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    attributes: PersonaAttributes,
}

impl From<PersonaDraft> for PersonaDraftOut {
    fn from(draft: PersonaDraft) -> Self {
        let PersonaDraft { summary, story, purpose, attributes } = draft;
        Self { summary, story, purpose, attributes }
    }
}

/// The models that a caller names, each `offline` or `provider:model`; null for the deployment's.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RequestedModels")]
struct RequestedModelsOut {
    persona: Option<String>,
    reply: Option<String>,
    judge: Option<String>,
}

impl From<&RequestedModels> for RequestedModelsOut {
    fn from(models: &RequestedModels) -> Self {
        let name = |model: &Option<onerun_domain::ModelName>| model.as_ref().map(ToString::to_string);
        Self { persona: name(&models.persona), reply: name(&models.reply), judge: name(&models.judge) }
    }
}

impl From<&NewSimulation> for MonitoredSimulationOut {
    fn from(new: &NewSimulation) -> Self {
        let (personas, personas_from) = match &new.personas {
            NewPersonas::Generated(_) => (None, None),
            NewPersonas::Explicit(personas) => {
                (Some(personas.drafts().iter().cloned().map(PersonaDraftOut::from).collect()), None)
            }
            NewPersonas::Copied { from, .. } => (None, Some(from.as_str().to_owned())),
        };
        Self {
            agent_id: new.agent_id.as_str().to_owned(),
            name: new.name.as_str().to_owned(),
            scenario: new.scenario.as_str().to_owned(),
            target_conversations: new.target_conversations.get(),
            target_personas: new.personas.target().get(),
            personas,
            personas_from,
            auto_approve: new.auto_approve,
            max_turns: new.max_turns.get(),
            objective_ids: new.objective_ids.iter().map(|id| id.as_str().to_owned()).collect(),
            seed: new.seed.map(Seed::get),
            metadata: new.metadata.as_map().clone(),
            expires_in_seconds: new.expires_in_seconds,
            models: (&new.models).into(),
            max_cost_usd: new.max_cost_usd.map(NanoDollars::dollars),
            max_tokens: new.max_tokens,
        }
    }
}

impl MonitorOut {
    /// A monitor with the warnings of this deployment.
    pub(crate) fn of(app: &App, monitor: &Monitor) -> Self {
        Self::new(monitor, app.engine().monitor_warnings(monitor))
    }

    pub(crate) fn new(monitor: &Monitor, warnings: Vec<String>) -> Self {
        let schedule = monitor.schedule.as_ref().map(|schedule| ScheduleOut {
            expression: schedule.expression().to_owned(),
            timezone: schedule.zone().name().to_owned(),
            description: schedule.describe(),
            next_runs: monitor.upcoming(NEXT_RUNS).into_iter().map(Time).collect(),
        });
        Self {
            id: monitor.id.as_str().to_owned(),
            project_id: monitor.project_id.as_str().to_owned(),
            name: monitor.name.as_str().to_owned(),
            state: MonitorStateOut(monitor.state),
            simulation: (&monitor.simulation).into(),
            schedule,
            gate: monitor.gate.map(GateOut::from),
            alert: monitor.alert.map(AlertRatesOut::from),
            metadata: monitor.metadata.as_map().clone(),
            created_by: monitor.created_by.to_string(),
            created_at: Time(monitor.created_at),
            updated_at: Time(monitor.updated_at),
            warnings,
        }
    }
}

/// A run of a monitor.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MonitorRun")]
pub(crate) struct MonitorRunOut {
    id: String,
    monitor_id: String,
    /// Its cause: the schedule, or a request.
    trigger: MonitorTriggerOut,
    /// The time for which it was planned; of a request, when it came.
    planned_at: Time,
    created_at: Time,
    /// When its simulation was created; null before, and if it could not be created.
    started_at: Option<Time>,
    /// When its simulation had ended, or could not be created; null before.
    ended_at: Option<Time>,
    /// The status of its simulation. `failed` also if it could not be created.
    status: SimulationStatusOut,
    /// Its simulation; null before it is created, and if it could not be created.
    simulation_id: Option<String>,
    /// Why it failed or expired; null otherwise.
    failure_reason: Option<String>,
    /// The gate in force when it was planned.
    gate: Option<GateOut>,
    /// The verdict by the gate; null without one, and before the end. `infra` if missing results could decide it.
    verdict: Option<RunVerdictOut>,
    /// Why the verdict is not `pass`: at most five reasons.
    reasons: Vec<String>,
    /// The conversations by outcome; null before the end.
    outcomes: Option<OutcomesOut>,
}

/// The conversations of a run, by outcome.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MonitorRunOutcomes")]
struct OutcomesOut {
    /// Every objective passed.
    passed: u64,
    /// An objective failed.
    failed: u64,
    /// None failed, and at least one is inconclusive.
    inconclusive: u64,
    /// Not held or not judged. They count neither for nor against the agent.
    infra: u64,
    /// Passed divided by judged: passed, failed and inconclusive; null if none is judged.
    pass_rate: Option<f64>,
    /// The 95% confidence interval of the pass rate (Wilson score); null without a pass rate.
    pass_rate_interval: Option<IntervalOut>,
}

impl From<&RunResults> for OutcomesOut {
    fn from(results: &RunResults) -> Self {
        let outcomes = results.outcomes;
        let judged = outcomes.passed + outcomes.failed + outcomes.inconclusive;
        Self {
            passed: outcomes.passed,
            failed: outcomes.failed,
            inconclusive: outcomes.inconclusive,
            infra: outcomes.infra,
            pass_rate: (judged > 0).then(|| outcomes.passed as f64 / judged as f64),
            pass_rate_interval: wilson_interval(outcomes.passed, judged).map(IntervalOut::from),
        }
    }
}

impl From<&MonitorRun> for MonitorRunOut {
    fn from(run: &MonitorRun) -> Self {
        let results = run.results.as_ref();
        Self {
            id: run.id.as_str().to_owned(),
            monitor_id: run.monitor_id.as_str().to_owned(),
            trigger: MonitorTriggerOut(run.trigger),
            planned_at: Time(run.planned_at),
            created_at: Time(run.created_at),
            started_at: run.started_at.map(Time),
            ended_at: run.ended_at.map(Time),
            status: SimulationStatusOut(run.status),
            simulation_id: run.started_at.map(|_| run.simulation_id().into()),
            failure_reason: run.failure_reason.clone(),
            gate: run.gate.map(GateOut::from),
            verdict: results.and_then(|results| results.verdict).map(RunVerdictOut),
            reasons: results.map(|results| results.reasons.clone()).unwrap_or_default(),
            outcomes: results.map(OutcomesOut::from),
        }
    }
}

impl Example for MonitorOut {
    fn example() -> Value {
        let mut monitor = new_monitor_example();
        if let Some(simulation) = monitor["simulation"].as_object_mut() {
            for (name, value) in [
                ("personas", json!(null)),
                ("personas_from", json!(null)),
                ("metadata", json!({})),
                ("expires_in_seconds", json!(86_400)),
                ("models", json!({ "persona": null, "reply": null, "judge": null })),
                ("max_cost_usd", json!(null)),
                ("max_tokens", json!(null)),
            ] {
                simulation.insert(name.to_owned(), value);
            }
        }
        monitor["schedule"]["description"] =
            json!("At 09:00, on Monday, Tuesday, Wednesday, Thursday, and Friday (Europe/Berlin)");
        monitor["schedule"]["next_runs"] =
            json!(["2026-11-24T08:00:00.000000Z", "2026-11-25T08:00:00.000000Z"]);
        monitor["id"] = json!(MONITOR);
        monitor["project_id"] = json!(PROJECT);
        monitor["state"] = json!("active");
        monitor["metadata"] = json!({});
        monitor["created_by"] = json!("root");
        monitor["created_at"] = json!(MADE);
        monitor["updated_at"] = json!(CHANGED);
        monitor["warnings"] = json!([]);
        monitor
    }
}

impl Example for AlertOut {
    fn example() -> Value {
        json!({
            "monitor_id": MONITOR,
            "expected_pass_rate": 0.9,
            "low_pass_rate": 0.7,
            "state": "alerting",
            "since": "2026-11-24T08:00:00.000000Z",
            "score": 1.25,
            "threshold": 4.0,
            "runs": 42,
            "events": [
                { "change": "opened", "run_id": MONITOR_RUN, "planned_at": "2026-11-24T08:00:00.000000Z" },
            ],
        })
    }
}

impl Example for MonitorRunOut {
    fn example() -> Value {
        json!({
            "id": MONITOR_RUN,
            "monitor_id": MONITOR,
            "trigger": "schedule",
            "planned_at": "2026-11-24T08:00:00.000000Z",
            "created_at": "2026-11-24T08:00:12.250000Z",
            "started_at": "2026-11-24T08:00:13.000000Z",
            "ended_at": "2026-11-24T08:09:41.000000Z",
            "status": "completed",
            "simulation_id": SIMULATION,
            "failure_reason": null,
            "gate": { "min_pass_rate": 0.9, "on": "rate" },
            "verdict": "pass",
            "reasons": [],
            "outcomes": {
                "passed": 18,
                "failed": 2,
                "inconclusive": 0,
                "infra": 0,
                "pass_rate": 0.9,
                "pass_rate_interval": { "low": 0.699, "high": 0.972 },
            },
        })
    }
}
