//! The function that EventBridge schedules invoke to start a run of a monitor.
//!
//! The event names the monitor and the schedule's own time, `<aws.scheduler.scheduled-time>`. A repeated event has the
//! same time, and so finds the run that the first one started.

use jiff::Timestamp;
use lambda_runtime::LambdaEvent;
use onerun_domain::{MonitorId, ProjectId};
use onerun_engine::Engine;
use serde::{Deserialize, Serialize};

use crate::EventError;

/// The input of the schedule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduledRun {
    project_id: ProjectId,
    monitor_id: MonitorId,
    scheduled_time: Timestamp,
}

/// The run of the scheduled time.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StartedRun {
    /// `None` if the monitor is paused.
    run_id: Option<String>,
}

/// Starts the run of the scheduled time, unless it was started.
pub(crate) async fn start(
    engine: &Engine,
    event: LambdaEvent<ScheduledRun>,
) -> Result<StartedRun, EventError> {
    let ScheduledRun { project_id, monitor_id, scheduled_time } = event.payload;
    let run = engine.run_monitor(&project_id, &monitor_id, scheduled_time).await?;
    let run_id = run.as_ref().map(|run| run.id.as_str().to_owned());
    tracing::info!(
        project_id = project_id.as_str(), monitor = %monitor_id, run = run_id, planned_at = %scheduled_time,
        "a schedule asked for a run"
    );
    Ok(StartedRun { run_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_of_a_schedule_is_read() {
        let read = |json: &str| serde_json::from_str::<ScheduledRun>(json);
        let input = r#"{"project_id":"p3Xk81LmQzTb","monitor_id":"m4Wf93TcNqRs","scheduled_time":"2026-11-25T09:30:00Z"}"#;
        let run = read(input).unwrap();
        assert_eq!(run.scheduled_time, "2026-11-25T09:30:00Z".parse().unwrap());
        for (wrong, by) in [
            ("p3Xk81LmQzTb", "p3Xk81LmQzTb#x"),
            ("m4Wf93TcNqRs", ""),
            ("2026-11-25T09:30:00Z", "<aws.scheduler.scheduled-time>"),
            ("monitor_id", "monitor"),
        ] {
            assert!(read(&input.replace(wrong, by)).is_err(), "{by}");
        }
    }

    #[test]
    fn answer_has_the_id_of_the_run() {
        let answer = |run_id| serde_json::to_string(&StartedRun { run_id }).unwrap();
        assert_eq!(answer(Some("r".to_owned())), r#"{"run_id":"r"}"#);
        assert_eq!(answer(None), r#"{"run_id":null}"#);
    }
}
