//! Monitors: simulations that are started again and again, on a schedule or on demand.
//!
//! A run of a monitor starts one simulation and follows it to its end:
//!
//! ```text
//! pending → in_progress → completed | failed | canceled | expired
//!         ↘ failed
//! ```
//!
//! The id of a scheduled run follows from the monitor and the planned time, so one planned time has one run, however
//! often and wherever it is noticed.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    AlertRates, Metadata, MonitorId, MonitorRunId, Name, NewSimulation, ProjectId, Refusal, Schedule,
    SimulationId, SimulationStatus,
};

/// How long a run is stored after its planned time.
pub const MONITOR_RUN_RETENTION: SignedDuration = SignedDuration::from_hours(400 * 24);

/// Whether a monitor follows its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorState {
    /// Its schedule starts runs.
    Active,
    /// Its schedule starts no runs.
    Paused,
}

impl MonitorState {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Active, Self::Paused];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// The figure that a gate compares with its minimum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateBasis {
    /// The pass rate.
    #[default]
    Rate,
    /// The lower end of its 95% interval.
    LowerBound,
}

impl GateBasis {
    /// Every basis.
    pub const ALL: [Self; 2] = [Self::Rate, Self::LowerBound];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::LowerBound => "lower_bound",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|basis| basis.as_str() == word)
    }
}

/// The smallest pass rate of all conversations of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorGate {
    /// The minimum: above 0, at most 1.
    pub min_pass_rate: f64,
    /// The figure that is compared with it.
    #[serde(default)]
    pub on: GateBasis,
}

/// A monitor. Every backend stores it as one JSON document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    /// Its id.
    pub id: MonitorId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// The name that people use.
    pub name: Name,
    /// The simulation of each run.
    pub simulation: NewSimulation,
    /// When it runs; `None` if only callers and events from outside start runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The condition of the verdict `pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<MonitorGate>,
    /// The rates that its alert tells apart; `None` without an alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertRates>,
    /// Whether its schedule starts runs.
    pub state: MonitorState,
    /// The caller's own data.
    pub metadata: Metadata,
    /// The id of the API key that created it, which the usage of its simulations is counted for.
    pub created_by: Box<str>,
    /// When its schedule was set: a rate counts from here.
    pub scheduled_since: Timestamp,
    /// The next planned time. `None` while the monitor is paused, without a schedule, and after the schedule's last
    /// time.
    pub next_run_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed by a caller.
    pub updated_at: Timestamp,
}

/// A partial update of a monitor. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MonitorPatch {
    /// The new name.
    pub name: Option<Name>,
    /// The new settings of its simulations.
    pub simulation: Option<NewSimulation>,
    /// The new schedule.
    pub schedule: Option<Schedule>,
    /// The new gate.
    pub gate: Option<MonitorGate>,
    /// The new rates of its alert.
    pub alert: Option<AlertRates>,
    /// The new state.
    pub state: Option<MonitorState>,
}

impl Monitor {
    /// Applies the changes. A new schedule and an end of a pause plan the next run after `now`: missed times are not
    /// caught up. `updated_at` moves only if something changed.
    #[must_use]
    pub fn patched(self, patch: MonitorPatch, now: Timestamp) -> Self {
        let MonitorPatch { name, simulation, schedule, gate, alert, state } = patch;
        let before = self.clone();
        let mut monitor = self;
        monitor.name = name.unwrap_or(monitor.name);
        monitor.simulation = simulation.unwrap_or(monitor.simulation);
        monitor.gate = gate.or(monitor.gate);
        monitor.alert = alert.or(monitor.alert);
        monitor.state = state.unwrap_or(monitor.state);
        if let Some(schedule) = schedule.filter(|new| monitor.schedule.as_ref() != Some(new)) {
            monitor.schedule = Some(schedule);
            monitor.scheduled_since = now;
        }
        if monitor.state != before.state || monitor.schedule != before.schedule {
            monitor.next_run_at = monitor.next_after(now);
        }
        if monitor != before {
            monitor.updated_at = now;
        }
        monitor
    }

    /// The next planned time after `after`; `None` if it is paused or nothing follows.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let schedule = self.schedule.as_ref().filter(|_| self.state == MonitorState::Active)?;
        schedule.next_after(after, self.scheduled_since)
    }

    /// The next `count` planned times.
    pub fn upcoming(&self, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_run_at, |time| self.next_after(*time)).take(count).collect()
    }

    /// The planned time that is due, with the monitor after it. Earlier times that were missed are skipped. Refused
    /// if none is due, because another process was faster or the monitor changed.
    pub fn take_due(self, now: Timestamp) -> Result<(Timestamp, Self), Refusal> {
        let due = self.next_run_at.filter(|due| *due <= now).ok_or(Refusal::MonitorNotDue)?;
        let schedule = self.schedule.as_ref().ok_or(Refusal::MonitorNotDue)?;
        let planned = schedule.latest(due, now, self.scheduled_since);
        let next_run_at = self.next_after(now);
        Ok((planned, Self { next_run_at, ..self }))
    }
}

/// The cause of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorTrigger {
    /// The monitor's schedule, or a schedule outside that names the planned time.
    Schedule,
    /// A caller.
    Request,
}

impl MonitorTrigger {
    /// Every trigger.
    pub const ALL: [Self; 2] = [Self::Schedule, Self::Request];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Request => "request",
        }
    }
}

/// The verdict of a run by its gate, as in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunVerdict {
    /// The gate passed.
    Pass,
    /// The gate failed, whatever the missing results would have been.
    Fail,
    /// Inconclusive evaluations could decide the gate.
    Inconclusive,
    /// Missing results could decide the gate.
    Infra,
    /// The gate cannot be evaluated.
    Config,
}

impl RunVerdict {
    /// Every verdict.
    pub const ALL: [Self; 5] = [Self::Pass, Self::Fail, Self::Inconclusive, Self::Infra, Self::Config];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Infra => "infra",
            Self::Config => "config",
        }
    }
}

/// The conversations of a run, counted by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOutcomes {
    /// Every objective passed.
    pub passed: u64,
    /// An objective failed.
    pub failed: u64,
    /// None failed, and an evaluation is inconclusive.
    pub inconclusive: u64,
    /// Not held or not judged.
    pub infra: u64,
}

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResults {
    /// The conversations by outcome.
    pub outcomes: RunOutcomes,
    /// The verdict by the gate; `None` without one.
    pub verdict: Option<RunVerdict>,
    /// Why the verdict is not `pass`.
    pub reasons: Vec<String>,
}

/// A run of a monitor. Every backend stores it as one JSON document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorRun {
    /// Its id.
    pub id: MonitorRunId,
    /// The monitor.
    pub monitor_id: MonitorId,
    /// Its cause.
    pub trigger: MonitorTrigger,
    /// The time for which it was planned; of a request, when it came.
    pub planned_at: Timestamp,
    /// When the run was recorded.
    pub created_at: Timestamp,
    /// When its simulation was created.
    pub started_at: Option<Timestamp>,
    /// When its simulation ended, or could not be started.
    pub ended_at: Option<Timestamp>,
    /// The status of its simulation; before it is created `pending`, and `failed` if it cannot be created.
    pub status: SimulationStatus,
    /// Why the simulation could not be created, failed or expired.
    pub failure_reason: Option<String>,
    /// The gate in force when the simulation was created.
    pub gate: Option<MonitorGate>,
    /// The results, once its simulation has ended.
    pub results: Option<RunResults>,
}

impl MonitorRun {
    /// The run for a planned time. The same planned time gives the same id.
    pub fn planned(monitor: &Monitor, planned_at: Timestamp, now: Timestamp) -> Self {
        let id = MonitorRunId::derive(&[monitor.id.as_str(), &planned_at.to_string()]);
        Self::new(id, monitor, MonitorTrigger::Schedule, planned_at, now)
    }

    /// A run that a caller asks for.
    pub fn requested(id: MonitorRunId, monitor: &Monitor, now: Timestamp) -> Self {
        Self::new(id, monitor, MonitorTrigger::Request, now, now)
    }

    fn new(
        id: MonitorRunId,
        monitor: &Monitor,
        trigger: MonitorTrigger,
        planned_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            monitor_id: monitor.id.clone(),
            trigger,
            planned_at,
            created_at: now,
            started_at: None,
            ended_at: None,
            status: SimulationStatus::Pending,
            failure_reason: None,
            gate: monitor.gate,
            results: None,
        }
    }

    /// The id of its simulation, which follows from its own: a repeated start creates no second simulation.
    pub fn simulation_id(&self) -> SimulationId {
        SimulationId::derive(&["simulation", self.id.as_str()])
    }

    /// Notes that the simulation was created. Refused after that.
    pub fn start(self, now: Timestamp) -> Result<Self, Refusal> {
        self.require_pending()?;
        Ok(Self { status: SimulationStatus::InProgress, started_at: Some(now), ..self })
    }

    /// Notes that the simulation cannot be created. Refused after it was created.
    pub fn fail(self, reason: String, now: Timestamp) -> Result<Self, Refusal> {
        self.require_pending()?;
        let status = SimulationStatus::Failed;
        Ok(Self { status, failure_reason: Some(reason), ended_at: Some(now), ..self })
    }

    /// Notes the end of the simulation with its results. Refused after the end.
    pub fn finish(
        self,
        status: SimulationStatus,
        failure_reason: Option<String>,
        results: Option<RunResults>,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if self.status.is_final() {
            return Err(Refusal::MonitorRunOver);
        }
        let started_at = self.started_at.or(Some(now));
        Ok(Self { status, failure_reason, results, started_at, ended_at: Some(now), ..self })
    }

    fn require_pending(&self) -> Result<(), Refusal> {
        if self.status == SimulationStatus::Pending { Ok(()) } else { Err(Refusal::MonitorRunOver) }
    }
}

#[cfg(test)]
mod tests;
