//! Monitors, which start simulations on a schedule.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Interval, NewSimulation, SimulationStatus};

/// The fields of a new monitor.
#[derive(Clone, Debug, Serialize)]
pub struct NewMonitor {
    /// The name for people.
    pub name: String,
    /// The simulation of each run.
    pub simulation: NewSimulation,
    /// When runs start; `None` if only requests and events from outside start them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<NewSchedule>,
    /// The condition of the verdict `pass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<MonitorGate>,
    /// The rates that its alert tells apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertRates>,
    /// Values to attach.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// When a monitor runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewSchedule {
    /// A rate or a cron expression.
    pub expression: String,
    /// The IANA time zone of a cron expression; `None` is UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// A condition of the verdict `pass`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorGate {
    /// The smallest share of all conversations that must pass.
    pub min_pass_rate: f64,
    /// The figure that is compared with it: `rate` or `lower_bound`.
    pub on: String,
}

/// The rates that the alert of a monitor tells apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRates {
    /// The pass rate of the agent as it should be.
    pub expected_pass_rate: f64,
    /// The lower pass rate that the alert must notice.
    pub low_pass_rate: f64,
}

/// The changes of a monitor. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MonitorChange {
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The simulation of later runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulation: Option<NewSimulation>,
    /// The new schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<NewSchedule>,
    /// The gate of later runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<MonitorGate>,
    /// The new rates of its alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertRates>,
    /// Whether the schedule starts runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MonitorState>,
}

/// Whether a monitor follows its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorState {
    /// Its schedule starts runs.
    Active,
    /// Its schedule starts no runs.
    Paused,
    /// A value that this client does not know.
    #[serde(other)]
    Unknown,
}

impl MonitorState {
    /// The value in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        }
    }
}

/// A monitor.
#[derive(Clone, Debug, Deserialize)]
pub struct Monitor {
    /// Its id.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// Whether it follows its schedule.
    pub state: MonitorState,
    /// When runs start.
    pub schedule: Option<Schedule>,
    /// The condition of the verdict `pass`.
    pub gate: Option<MonitorGate>,
    /// The rates that its alert tells apart.
    pub alert: Option<AlertRates>,
    /// When it was created (RFC 3339, UTC).
    pub created_at: String,
    /// Why its runs will fail soon.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The schedule of a monitor.
#[derive(Clone, Debug, Deserialize)]
pub struct Schedule {
    /// A rate or a cron expression.
    pub expression: String,
    /// The IANA time zone of a cron expression.
    pub timezone: String,
    /// The expression in words.
    pub description: String,
    /// The next planned times (RFC 3339, UTC).
    pub next_runs: Vec<String>,
}

/// The alert of a monitor after its latest runs.
#[derive(Clone, Debug, Deserialize)]
pub struct MonitorAlert {
    /// The rates that it tells apart.
    #[serde(flatten)]
    pub rates: AlertRates,
    /// `ok`, or `alerting` if the pass rate has dropped.
    pub state: String,
    /// The planned time of the run that opened the alert (RFC 3339, UTC).
    pub since: Option<String>,
    /// The evidence of the next change.
    pub score: f64,
    /// The score above which the next change happens.
    pub threshold: f64,
    /// The number of runs that were counted.
    pub runs: u64,
    /// The runs that opened or ended an alert, the latest first.
    pub events: Vec<AlertEvent>,
}

/// A run that opened or ended an alert.
#[derive(Clone, Debug, Deserialize)]
pub struct AlertEvent {
    /// `opened` or `recovered`.
    pub change: String,
    /// The run.
    pub run_id: String,
    /// The time for which the run was planned (RFC 3339, UTC).
    pub planned_at: String,
}

/// A run of a monitor.
#[derive(Clone, Debug, Deserialize)]
pub struct MonitorRun {
    /// Its id.
    pub id: String,
    /// Its cause: `schedule` or `request`.
    pub trigger: String,
    /// The time for which it was planned (RFC 3339, UTC).
    pub planned_at: String,
    /// When its simulation was created.
    pub started_at: Option<String>,
    /// When its simulation had ended, or could not be created.
    pub ended_at: Option<String>,
    /// The status of its simulation.
    pub status: SimulationStatus,
    /// Its simulation, once it is created.
    pub simulation_id: Option<String>,
    /// Why it failed or expired.
    pub failure_reason: Option<String>,
    /// The verdict by the gate, as in reports.
    pub verdict: Option<String>,
    /// Why the verdict is not `pass`.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// The conversations by outcome, once it has ended.
    pub outcomes: Option<MonitorRunOutcomes>,
}

/// The conversations of a run by outcome.
#[derive(Clone, Debug, Deserialize)]
pub struct MonitorRunOutcomes {
    /// Every objective passed.
    pub passed: u64,
    /// An objective failed.
    pub failed: u64,
    /// None failed, and at least one is inconclusive.
    pub inconclusive: u64,
    /// Not held or not judged.
    pub infra: u64,
    /// Passed divided by judged.
    pub pass_rate: Option<f64>,
    /// The 95% confidence interval of the pass rate.
    pub pass_rate_interval: Option<Interval>,
}
