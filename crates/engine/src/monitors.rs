//! Monitors: simulations that are started again and again. Callers change them, the tick records the runs that are due,
//! and jobs create the runs' simulations and store their results.

use jiff::Timestamp;
use onerun_domain::{
    Alert, AlertRates, EventSource, GateBasis, Job, Limit, Metadata, Monitor, MonitorGate, MonitorId,
    MonitorPatch, MonitorRun, MonitorRunId, MonitorRunRef, MonitorState, Name, NewSimulation, PageRequest,
    ProjectId, Resource, RunOutcomes, RunResults, RunVerdict, Schedule, ScheduleError, SimulationId,
    SimulationStatus, Work,
};
use onerun_report::{Basis, Gate, Plan, Report, Subject, Verdict, plan_problems};
use onerun_store::{
    IdempotencyRecord, MonitorChange, MonitorRunChange, NewMonitorRun, ProjectStore, SimulationDetail,
    StoreError,
};

use crate::{
    Engine, JobError, OperationError,
    error::ignore_refusal,
    reports::planned_case,
    simulations::{Prepared, SimulationOrigin},
    webhooks::notify,
};

/// How many of a monitor's latest runs decide its alert.
pub(crate) const ALERT_RUNS: u32 = 500;

/// How many reasons of a verdict a run stores.
const MAX_REASONS: usize = 5;

/// The input of [`Engine::create_monitor`].
#[derive(Clone, Debug, PartialEq)]
pub struct NewMonitor {
    /// The display name.
    pub name: Name,
    /// The simulation of each run.
    pub simulation: NewSimulation,
    /// When it runs; `None` if only callers and events from outside start runs.
    pub schedule: Option<Schedule>,
    /// The condition of the verdict `pass`.
    pub gate: Option<MonitorGate>,
    /// The rates that its alert tells apart; `None` without an alert.
    pub alert: Option<AlertRates>,
    /// Whether its schedule starts runs.
    pub state: MonitorState,
    /// The caller's own data.
    pub metadata: Metadata,
}

impl Engine {
    /// Creates a monitor, unless its simulation could not be created or its schedule never fires. The idempotency
    /// record that `record` builds is written in the same transaction.
    pub async fn create_monitor(
        &self,
        project: &dyn ProjectStore,
        new: NewMonitor,
        created_by: &str,
        record: impl FnOnce(&Monitor) -> Option<IdempotencyRecord> + Send,
    ) -> Result<Monitor, OperationError> {
        let now = self.now();
        let mut monitor = Monitor {
            id: MonitorId::generate(self.random()),
            project_id: project.project_id().clone(),
            name: new.name,
            simulation: new.simulation,
            schedule: new.schedule,
            gate: new.gate,
            alert: new.alert,
            state: new.state,
            metadata: new.metadata,
            created_by: created_by.into(),
            scheduled_since: now,
            next_run_at: None,
            created_at: now,
            updated_at: now,
        };
        monitor.next_run_at = monitor.next_after(now);
        self.check_monitor(project, &monitor).await?;
        project.insert_monitor(monitor.clone(), record(&monitor)).await?;
        Ok(monitor)
    }

    /// Changes a monitor, under the conditions of its creation.
    pub async fn update_monitor(
        &self,
        project: &dyn ProjectStore,
        id: &MonitorId,
        patch: MonitorPatch,
    ) -> Result<Monitor, OperationError> {
        let not_found = || OperationError::NotFound(Resource::Monitor);
        let now = self.now();
        let before = project.monitor(id).await?.ok_or_else(not_found)?;
        self.check_monitor(project, &before.patched(patch.clone(), now)).await?;
        let decide =
            Box::new(move |monitor: Monitor| Ok(MonitorChange::to(monitor.patched(patch.clone(), now))));
        project.change_monitor(id, decide).await?.ok_or_else(not_found)
    }

    /// Starts a run at once, also of a paused monitor. The idempotency record that `record` builds is written in the
    /// same transaction.
    pub async fn create_monitor_run(
        &self,
        project: &dyn ProjectStore,
        id: &MonitorId,
        record: impl Fn(&MonitorRun) -> Option<IdempotencyRecord> + Send + 'static,
    ) -> Result<MonitorRun, OperationError> {
        let not_found = || OperationError::NotFound(Resource::Monitor);
        let run_id = MonitorRunId::generate(self.random());
        let monitor = project.monitor(id).await?.ok_or_else(not_found)?;
        let run = MonitorRun::requested(run_id, &monitor, self.now());
        let record = record(&run);
        add_run(project, run, record).await
    }

    /// Starts the run of a monitor for a time that a schedule outside planned, unless that time has a run. Returns the
    /// run; `None` if the monitor is paused.
    pub async fn run_monitor(
        &self,
        project: &ProjectId,
        id: &MonitorId,
        planned_at: Timestamp,
    ) -> Result<Option<MonitorRun>, OperationError> {
        let store = self.store().open_project(project).await?;
        let store = store.ok_or(OperationError::NotFound(Resource::Project))?;
        let not_found = || OperationError::NotFound(Resource::Monitor);
        let monitor = store.monitor(id).await?.ok_or_else(not_found)?;
        if monitor.state == MonitorState::Paused {
            return Ok(None);
        }
        let run = MonitorRun::planned(&monitor, planned_at, self.now());
        add_run(store.as_ref(), run, None).await.map(Some)
    }

    /// The alert of a monitor after its latest `ALERT_RUNS` runs.
    pub async fn monitor_alert(
        &self,
        project: &dyn ProjectStore,
        id: &MonitorId,
        rates: AlertRates,
    ) -> Result<Alert, StoreError> {
        let runs = project.monitor_runs(id, PageRequest::first(Limit::clamped(ALERT_RUNS))).await?;
        Ok(Alert::after(rates, runs.data.iter().rev()))
    }

    /// One sentence for each of a monitor's models that is about to retire or is no longer allowed.
    pub fn monitor_warnings(&self, monitor: &Monitor) -> Vec<String> {
        let new = &monitor.simulation;
        match self.choose_models(new.models.clone(), new.max_cost_usd) {
            Ok(models) => self.retirements(&models),
            Err(error) => vec![format!("Runs will fail: {error}.")],
        }
    }

    /// Refuses a monitor whose simulations could not be created, whose schedule never fires, or whose gate no run
    /// could pass.
    async fn check_monitor(
        &self,
        project: &dyn ProjectStore,
        monitor: &Monitor,
    ) -> Result<(), OperationError> {
        if monitor.schedule.is_some()
            && monitor.state == MonitorState::Active
            && monitor.next_run_at.is_none()
        {
            return Err(OperationError::Field {
                field: "schedule",
                detail: ScheduleError::Never.to_string(),
            });
        }
        let new = &monitor.simulation;
        let Prepared { agent, objectives, .. } = self.prepare(project, new).await.map_err(in_simulation)?;
        if let Some(gate) = monitor.gate {
            let counts = (new.target_conversations, new.personas.target());
            let case = planned_case(&new.name, &new.scenario, counts, &agent, &objectives);
            let plan = Plan {
                name: case.key.clone(),
                cases: vec![case],
                gates: vec![gate_of(gate)],
                quarantine: Vec::new(),
            };
            if let Some(problem) = plan_problems(&plan, None, self.now()).into_iter().next() {
                return Err(OperationError::Field {
                    field: "gate",
                    detail: format!("could not be passed by any run: {problem}"),
                });
            }
        }
        Ok(())
    }

    /// Records the run of a monitor that is due, and plans the next one. Whoever is first records it.
    pub(crate) async fn start_due_run(&self, project: &ProjectId, id: &MonitorId) -> Result<(), StoreError> {
        let Some(store) = self.store().open_project(project).await? else { return Ok(()) };
        let (now, project) = (self.now(), project.clone());
        let decide = Box::new(move |monitor: Monitor| {
            let (planned, monitor) = monitor.take_due(now)?;
            let run = MonitorRun::planned(&monitor, planned, now);
            let jobs = vec![start_job(&project, &run)];
            Ok(MonitorChange { monitor, run: Some(NewMonitorRun { run, jobs, record: None }) })
        });
        ignore_refusal(store.change_monitor(id, decide).await)?;
        Ok(())
    }

    /// Creates the simulation of a run, unless it exists.
    pub(crate) async fn start_monitor_run(
        &self,
        project: &dyn ProjectStore,
        monitor: &MonitorId,
        id: &MonitorRunId,
    ) -> Result<(), JobError> {
        let Some(run) = project.monitor_run(monitor, id).await? else { return Ok(()) };
        if run.status != SimulationStatus::Pending {
            return Ok(());
        }
        let simulation = run.simulation_id();
        let created = if project.simulation(&simulation).await?.is_some() {
            Ok(())
        } else if let Some(monitor) = project.monitor(monitor).await? {
            let run = MonitorRunRef { monitor: monitor.id, run: id.clone() };
            let origin = SimulationOrigin {
                id: simulation,
                created_by: monitor.created_by,
                monitor_run: Some(run),
                batch: None,
            };
            match self.create_simulation_of(project, monitor.simulation, origin, |_| None).await {
                // Another delivery of this job was faster.
                Ok(_) | Err(OperationError::Store(StoreError::Duplicate { .. })) => Ok(()),
                Err(OperationError::Store(error)) => return Err(error.into()),
                Err(error) => Err(error.to_string()),
            }
        } else {
            Err("the monitor was deleted before the run started".to_owned())
        };
        let (now, project_id) = (self.now(), project.project_id().clone());
        let decide = Box::new(move |run: MonitorRun| match &created {
            Ok(()) => Ok(MonitorRunChange::to(run.start(now)?)),
            Err(reason) => Ok(ended(&project_id, run.fail(reason.clone(), now)?)),
        });
        ignore_refusal(project.change_monitor_run(monitor, id, decide).await)?;
        Ok(())
    }

    /// Stores the results of a run whose simulation has ended.
    pub(crate) async fn finish_monitor_run(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        monitor: &MonitorId,
        id: &MonitorRunId,
    ) -> Result<(), JobError> {
        let Some(run) = project.monitor_run(monitor, id).await? else { return Ok(()) };
        let Some(detail) = project.simulation(simulation).await? else {
            let (reason, now) = ("its simulation was deleted before its results were stored", self.now());
            let project_id = project.project_id().clone();
            let decide = Box::new(move |run: MonitorRun| {
                let run = run.finish(SimulationStatus::Failed, Some(reason.to_owned()), None, now)?;
                Ok(ended(&project_id, run))
            });
            ignore_refusal(project.change_monitor_run(monitor, id, decide).await)?;
            return Ok(());
        };
        if run.status.is_final() || !detail.simulation.status.is_final() {
            return Ok(());
        }
        let has_gate = run.gate.is_some();
        let gates = run.gate.map(gate_of).into_iter().collect();
        let results =
            match self.report(project, &detail, gates, move |report| results(report, has_gate)).await {
                Ok(results) => results,
                Err(OperationError::Store(error)) => return Err(error.into()),
                Err(error) => return Err(StoreError::Unavailable(Box::new(error)).into()),
            };
        self.end_run(project, monitor, id, &detail, None, Some(results)).await?;
        Ok(())
    }

    /// Ends a run whose job is buried.
    pub(crate) async fn fail_monitor_run(
        &self,
        project: &dyn ProjectStore,
        monitor: &MonitorId,
        id: &MonitorRunId,
        work: &Work,
    ) -> Result<(), StoreError> {
        let failed = |step| format!("{step} in several attempts; the server's log has the reason");
        if let Some(simulation) = work.simulation()
            && let Some(detail) = project.simulation(simulation).await?
        {
            let reason = failed("its results could not be evaluated");
            return self.end_run(project, monitor, id, &detail, Some(reason), None).await;
        }
        let (reason, now) = (failed("its simulation could not be created"), self.now());
        let project_id = project.project_id().clone();
        let decide = Box::new(move |run: MonitorRun| Ok(ended(&project_id, run.fail(reason.clone(), now)?)));
        ignore_refusal(project.change_monitor_run(monitor, id, decide).await)?;
        Ok(())
    }

    async fn end_run(
        &self,
        project: &dyn ProjectStore,
        monitor: &MonitorId,
        id: &MonitorRunId,
        detail: &SimulationDetail,
        failure: Option<String>,
        results: Option<RunResults>,
    ) -> Result<(), StoreError> {
        let simulation = &detail.simulation;
        let (status, now) = (simulation.status, self.now());
        let failure = failure.or_else(|| simulation.last_failure_reason.clone());
        let project_id = project.project_id().clone();
        let decide = Box::new(move |run: MonitorRun| {
            let run = run.finish(status, failure.clone(), results.clone(), now)?;
            Ok(ended(&project_id, run))
        });
        ignore_refusal(project.change_monitor_run(monitor, id, decide).await)?;
        Ok(())
    }
}

/// The error of a monitor's simulation, with the field's place in the monitor.
fn in_simulation(error: OperationError) -> OperationError {
    match error {
        OperationError::Field { field, detail } => {
            let field = match field {
                "models/persona" => "simulation/models/persona",
                "models/reply" => "simulation/models/reply",
                "personas_from" => "simulation/personas_from",
                "scenario" => "simulation/scenario",
                "target_personas" => "simulation/target_personas",
                _ => "simulation",
            };
            OperationError::Field { field, detail }
        }
        other => other,
    }
}

/// A run that has ended, with the job that tells webhooks.
fn ended(project: &ProjectId, run: MonitorRun) -> MonitorRunChange {
    let event = EventSource::MonitorRun {
        simulation: run.simulation_id(),
        monitor: run.monitor_id.clone(),
        run: run.id.clone(),
    };
    MonitorRunChange { jobs: vec![notify(project, event)], run }
}

/// Adds a run, unless it exists, with the job that starts it.
async fn add_run(
    project: &dyn ProjectStore,
    run: MonitorRun,
    record: Option<IdempotencyRecord>,
) -> Result<MonitorRun, OperationError> {
    let new = NewMonitorRun { jobs: vec![start_job(project.project_id(), &run)], run: run.clone(), record };
    let decide = Box::new(move |monitor| Ok(MonitorChange { monitor, run: Some(new.clone()) }));
    let changed = project.change_monitor(&run.monitor_id, decide).await?;
    changed.ok_or(OperationError::NotFound(Resource::Monitor))?;
    Ok(run)
}

fn start_job(project: &ProjectId, run: &MonitorRun) -> Job {
    let work = Work::StartMonitorRun {
        simulation: run.simulation_id(),
        monitor: run.monitor_id.clone(),
        run: run.id.clone(),
    };
    Job::new(project.clone(), work)
}

fn gate_of(gate: MonitorGate) -> Gate {
    let on = match gate.on {
        GateBasis::Rate => Basis::Rate,
        GateBasis::LowerBound => Basis::LowerBound,
    };
    Gate::PassRate { of: Subject::All, min: gate.min_pass_rate, on }
}

fn results(report: Report, has_gate: bool) -> RunResults {
    let outcomes = RunOutcomes {
        passed: report.counts.passed,
        failed: report.counts.failed,
        inconclusive: report.counts.inconclusive,
        infra: report.counts.infra,
    };
    let verdict = match report.verdict {
        Verdict::Pass => RunVerdict::Pass,
        Verdict::Fail => RunVerdict::Fail,
        Verdict::Inconclusive => RunVerdict::Inconclusive,
        Verdict::Infra => RunVerdict::Infra,
        Verdict::Config => RunVerdict::Config,
    };
    let mut reasons = report.reasons;
    reasons.truncate(MAX_REASONS);
    if !has_gate {
        // They are about the default gate of a report.
        reasons.clear();
    }
    RunResults { outcomes, verdict: has_gate.then_some(verdict), reasons }
}
