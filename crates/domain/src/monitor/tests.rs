use super::*;
use crate::{MaxTurns, NewPersonas, RequestedModels, Scenario, Target, Zone, fixtures::at};

fn monitor(expression: &str) -> Monitor {
    let one = Target::parse(1).unwrap();
    let mut monitor = Monitor {
        id: "monitor00001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        name: Name::parse("Monitor").unwrap(),
        simulation: NewSimulation {
            agent_id: "agent0000001".parse().unwrap(),
            name: Name::parse("Refunds").unwrap(),
            scenario: Scenario::parse("A parcel is late.").unwrap(),
            target_conversations: one,
            personas: NewPersonas::Generated(one),
            max_turns: MaxTurns::default(),
            auto_approve: true,
            objective_ids: Vec::new(),
            seed: None,
            metadata: Metadata::default(),
            expires_in_seconds: 60,
            models: RequestedModels::default(),
            max_cost_usd: None,
            max_tokens: None,
        },
        schedule: Some(Schedule::parse(expression, Zone::default()).unwrap()),
        gate: None,
        alert: None,
        state: MonitorState::Active,
        metadata: Metadata::default(),
        created_by: "root".into(),
        scheduled_since: at(0),
        next_run_at: None,
        created_at: at(0),
        updated_at: at(0),
    };
    monitor.next_run_at = monitor.next_after(at(0));
    monitor
}

#[test]
fn only_the_latest_missed_time_is_taken() {
    let before = monitor("rate(1 minute)");
    assert_eq!(before.next_run_at, Some(at(60)));
    assert_eq!(before.clone().take_due(at(59)), Err(Refusal::MonitorNotDue));
    let (planned, after) = before.clone().take_due(at(60)).unwrap();
    assert_eq!((planned, after.next_run_at), (at(60), Some(at(120))));
    assert_eq!(after.take_due(at(60)), Err(Refusal::MonitorNotDue));
    let (planned, after) = before.take_due(at(305)).unwrap();
    assert_eq!((planned, after.next_run_at), (at(300), Some(at(360))));
    assert_eq!(after.updated_at, at(0), "a run is no change by a caller");
}

#[test]
fn paused_monitor_is_never_due_and_resumes_with_the_next_time() {
    let state = |state| MonitorPatch { state: Some(state), ..MonitorPatch::default() };
    let paused = monitor("rate(1 minute)").patched(state(MonitorState::Paused), at(10));
    assert_eq!((paused.next_run_at, paused.updated_at), (None, at(10)));
    assert_eq!(paused.clone().take_due(at(500)), Err(Refusal::MonitorNotDue));
    assert_eq!(paused.upcoming(5), []);
    let resumed = paused.patched(state(MonitorState::Active), at(500));
    assert_eq!(resumed.upcoming(2), [at(540), at(600)]);
    assert_eq!(resumed.clone().patched(state(MonitorState::Active), at(599)), resumed);
}

#[test]
fn new_schedule_counts_from_its_change() {
    let schedule = |text: &str| MonitorPatch {
        schedule: Some(Schedule::parse(text, Zone::default()).unwrap()),
        ..MonitorPatch::default()
    };
    let before = monitor("rate(1 minute)");
    assert_eq!(before.clone().patched(schedule("rate(1 minute)"), at(30)), before);
    let changed = before.patched(schedule("rate(2 minutes)"), at(30));
    assert_eq!((changed.next_run_at, changed.scheduled_since), (Some(at(150)), at(30)));
    let never = changed.patched(schedule("0 0 31 2 *"), at(40));
    assert_eq!(never.next_run_at, None);
}

#[test]
fn planned_time_decides_the_ids_of_run_and_simulation() {
    let monitor = monitor("rate(1 minute)");
    let run = |planned, now| MonitorRun::planned(&monitor, at(planned), at(now));
    assert_eq!(run(60, 61).id, run(60, 99).id);
    assert_eq!(run(60, 61).simulation_id(), run(60, 99).simulation_id());
    assert_ne!(run(60, 61).id, run(120, 121).id);
    let other = Monitor { id: "monitor00002".parse().unwrap(), ..monitor.clone() };
    assert_ne!(MonitorRun::planned(&other, at(60), at(61)).id, run(60, 61).id);
}

#[test]
fn run_follows_its_simulation_to_one_end() {
    let run = MonitorRun::planned(&monitor("rate(1 minute)"), at(60), at(61));
    let failed = run.clone().fail("the agent is gone".into(), at(62)).unwrap();
    assert_eq!(
        (failed.status, failed.ended_at, failed.started_at),
        (SimulationStatus::Failed, Some(at(62)), None)
    );
    assert_eq!(failed.clone().start(at(63)), Err(Refusal::MonitorRunOver));
    let started = run.clone().start(at(62)).unwrap();
    assert_eq!(started.clone().start(at(63)), Err(Refusal::MonitorRunOver));
    assert_eq!(started.clone().fail(String::new(), at(63)), Err(Refusal::MonitorRunOver));
    let finish = |run: MonitorRun| run.finish(SimulationStatus::Canceled, None, None, at(70));
    let finished = finish(started).unwrap();
    assert_eq!((finished.status, finished.started_at), (SimulationStatus::Canceled, Some(at(62))));
    assert_eq!(finish(finished), Err(Refusal::MonitorRunOver));
    assert_eq!(finish(run).unwrap().started_at, Some(at(70)), "the end may be noticed before the start");
    assert_eq!(finish(failed), Err(Refusal::MonitorRunOver));
}
