//! Monitors and their runs.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    AlertRates, Direction, EventSource, Job, MONITOR_RUN_RETENTION, Metadata, ModelName, Monitor,
    MonitorGate, MonitorId, MonitorRun, MonitorRunId, MonitorState, Name, NewPersonas, NewSimulation,
    Refusal, RequestedModels, RunOutcomes, RunResults, RunVerdict, Schedule, SimulationStatus, Work, Zone,
};

use super::fixture::{
    Fixture, ROUNDS, Task, TestProject, all, assert_duplicate, at_once, in_pages, name, odd_texts, refusal,
    target,
};
use crate::{
    IdempotencyId, IdempotencyRecord, IdempotencyScope, MonitorChange, MonitorRunChange, NewMonitorRun,
    SortBy,
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

impl TestProject {
    /// A monitor that runs each hour.
    pub(super) fn monitor(&self) -> Monitor {
        let now = self.fixture.now();
        let simulation = self.simulation(&self.agent());
        let mut monitor = Monitor {
            id: MonitorId::generate(self.fixture.random()),
            project_id: self.id.clone(),
            name: name("Monitor"),
            simulation: NewSimulation {
                agent_id: simulation.agent_id,
                name: simulation.name,
                scenario: simulation.scenario,
                target_conversations: target(10_000),
                personas: NewPersonas::Copied { from: simulation.id, target: target(7) },
                max_turns: simulation.max_turns,
                auto_approve: true,
                objective_ids: vec![self.objective().id],
                seed: Some(simulation.seed),
                metadata: Metadata::default(),
                expires_in_seconds: 86_400,
                models: RequestedModels {
                    judge: Some(ModelName::parse("openai:gpt-5.4").unwrap()),
                    ..RequestedModels::default()
                },
                max_cost_usd: simulation.options.max_cost,
                max_tokens: simulation.options.max_tokens,
            },
            schedule: Some(Schedule::parse("rate(1 hour)", Zone::parse("Europe/Berlin").unwrap()).unwrap()),
            gate: Some(MonitorGate { min_pass_rate: 0.9, on: onerun_domain::GateBasis::LowerBound }),
            alert: Some(AlertRates::parse(0.9, 0.7).unwrap()),
            state: MonitorState::Active,
            metadata: Metadata::default(),
            created_by: "root".into(),
            scheduled_since: now,
            next_run_at: None,
            created_at: now,
            updated_at: now,
        };
        monitor.next_run_at = monitor.next_after(now);
        monitor
    }

    async fn add_monitor(&self, monitor: Monitor) -> Monitor {
        self.store.insert_monitor(monitor.clone(), None).await.unwrap();
        monitor
    }

    async fn stored_monitor(&self, id: &MonitorId) -> Option<Monitor> {
        self.store.monitor(id).await.unwrap()
    }

    async fn add_monitor_run(&self, monitor: &Monitor, run: MonitorRun) -> Option<Monitor> {
        let new = NewMonitorRun { run, jobs: Vec::new(), record: None };
        let decide = Box::new(move |monitor| Ok(MonitorChange { monitor, run: Some(new.clone()) }));
        self.store.change_monitor(&monitor.id, decide).await.unwrap()
    }

    /// Takes the planned time that is due at `now`, as the tick does.
    async fn take_due(&self, id: &MonitorId, now: Timestamp) -> Result<Option<Monitor>, crate::ChangeError> {
        let project = self.id.clone();
        let decide = Box::new(move |monitor: Monitor| {
            let (planned, monitor) = monitor.take_due(now)?;
            let run = MonitorRun::planned(&monitor, planned, now);
            let jobs = vec![start(&project, &run)];
            Ok(MonitorChange { monitor, run: Some(NewMonitorRun { run, jobs, record: None }) })
        });
        self.store.change_monitor(id, decide).await
    }

    async fn runs(&self, monitor: &MonitorId) -> Vec<MonitorRun> {
        self.store.monitor_runs(monitor, all()).await.unwrap().data
    }
}

fn start(project: &onerun_domain::ProjectId, run: &MonitorRun) -> Job {
    let work = Work::StartMonitorRun {
        simulation: run.simulation_id(),
        monitor: run.monitor_id.clone(),
        run: run.id.clone(),
    };
    Job::new(project.clone(), work)
}

/// A monitor is stored once, and only in its project.
pub async fn monitor_is_read_as_added(fixture: &Fixture) {
    let (project, other) = (fixture.new_project().await, fixture.new_project().await);
    for odd in odd_texts().iter().filter_map(|text| Name::parse(text.as_str()).ok()) {
        let monitor = project.add_monitor(Monitor { name: odd, ..project.monitor() }).await;
        assert_eq!(project.stored_monitor(&monitor.id).await.as_ref(), Some(&monitor));
        assert_duplicate(&project.store.insert_monitor(monitor.clone(), None).await);
        assert_eq!(other.stored_monitor(&monitor.id).await, None);
        let unchanged = Box::new(|monitor| Ok(MonitorChange::to(monitor)));
        assert_eq!(other.store.change_monitor(&monitor.id, unchanged).await.unwrap(), None);
        assert!(!other.store.delete_monitor(&monitor.id).await.unwrap());
        assert_eq!(project.stored_monitor(&monitor.id).await.as_ref(), Some(&monitor));
    }
    let bare = Monitor { schedule: None, gate: None, next_run_at: None, ..project.monitor() };
    let bare = project.add_monitor(bare).await;
    assert_eq!(project.stored_monitor(&bare.id).await, Some(bare));
}

/// Monitors are listed by time and by name, in pages.
pub async fn monitors_are_sorted_both_ways(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let mut added = Vec::new();
    for text in ["b", "A", "c", "B", "a"] {
        added.push(project.add_monitor(Monitor { name: name(text), ..project.monitor() }).await);
    }
    fixture.new_project().await.add_monitor(fixture.new_project().await.monitor()).await;
    for (sort, order) in [
        (SortBy::CreatedAt(Direction::Ascending), [0, 1, 2, 3, 4]),
        (SortBy::CreatedAt(Direction::Descending), [4, 3, 2, 1, 0]),
        (SortBy::Name(Direction::Ascending), [1, 4, 0, 3, 2]),
        (SortBy::Name(Direction::Descending), [2, 3, 0, 4, 1]),
    ] {
        let listed = in_pages(2, async |page| project.store.monitors(sort, page).await.unwrap()).await;
        assert_eq!(listed, order.map(|place| added[place].clone()), "{sort:?}");
    }
}

/// A change of a monitor is stored, and moves it in lists and in the order of planned times.
pub async fn changed_monitor_is_stored(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let monitor = project.add_monitor(project.monitor()).await;
    let due = monitor.next_run_at.unwrap();
    let named = vec![(project.id.clone(), monitor.id.clone())];
    assert_eq!(fixture.store.due_monitors(10, due).await.unwrap(), named);
    let paused = |monitor: Monitor| Monitor {
        state: MonitorState::Paused,
        next_run_at: None,
        name: name("Paused"),
        ..monitor
    };
    let decide = Box::new(move |monitor| Ok(MonitorChange::to(paused(monitor))));
    let changed = project.store.change_monitor(&monitor.id, decide).await.unwrap();
    assert_eq!(changed, Some(paused(monitor.clone())));
    assert_eq!(project.stored_monitor(&monitor.id).await, changed);
    assert_eq!(fixture.store.due_monitors(10, due).await.unwrap(), []);
    let refuse = Box::new(|_| Err(Refusal::MonitorNotDue));
    assert_eq!(refusal(project.store.change_monitor(&monitor.id, refuse).await), Refusal::MonitorNotDue);
    assert_eq!(project.stored_monitor(&monitor.id).await, changed);
}

/// Monitors of all projects are due from their next planned time on, longest due first, up to the limit.
pub async fn due_monitors_are_found_by_their_planned_time(fixture: &Fixture) {
    let (one, other) = (fixture.new_project().await, fixture.new_project().await);
    let now = fixture.now();
    let mut order = Vec::new();
    for (project, hours) in [(&one, 3), (&other, 1), (&one, 2), (&other, 4)] {
        let next_run_at = Some(now + HOUR * hours);
        let monitor = project.add_monitor(Monitor { next_run_at, ..project.monitor() }).await;
        order.push((hours, (project.id.clone(), monitor.id)));
    }
    one.add_monitor(Monitor { next_run_at: None, ..one.monitor() }).await;
    order.sort();
    let order: Vec<_> = order.into_iter().map(|(_, named)| named).collect();
    let due = async |limit, time| fixture.store.due_monitors(limit, time).await.unwrap();
    assert_eq!(due(10, now + HOUR - SignedDuration::from_micros(1)).await, []);
    assert_eq!(due(10, now + HOUR).await, order[..1]);
    assert_eq!(due(10, now + HOUR * 9).await, order);
    assert_eq!(due(3, now + HOUR * 9).await, order[..3]);
}

/// Of several processes that notice a planned time, one records the run, with one job.
pub async fn planned_time_has_one_run(fixture: &Fixture) {
    for _ in 0..ROUNDS {
        let project = fixture.new_project().await;
        let monitor = project.add_monitor(project.monitor()).await;
        let now = monitor.next_run_at.unwrap() + HOUR * 2;
        let tasks = (0..4).map(|_| {
            let (project, id) = (project.clone(), monitor.id.clone());
            Box::pin(async move { project.take_due(&id, now).await.is_ok() }) as Task<bool>
        });
        let taken = at_once(tasks.collect()).await;
        assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
        let runs = project.runs(&monitor.id).await;
        assert_eq!(runs, [MonitorRun::planned(&monitor, now, now)], "only the latest planned time has a run");
        let jobs = fixture.claim_jobs(10, fixture.now()).await;
        assert_eq!(jobs.into_iter().map(|job| job.job).collect::<Vec<_>>(), [start(&project.id, &runs[0])]);
        let stored = project.stored_monitor(&monitor.id).await.unwrap();
        assert_eq!(stored.next_run_at, Some(now + HOUR));
    }
}

/// A run that exists is not added again, with none of its jobs, and the monitor is changed all the same.
pub async fn run_is_added_once(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let monitor = project.add_monitor(project.monitor()).await;
    let due = monitor.next_run_at.unwrap();
    let run = MonitorRun::planned(&monitor, due, fixture.now());
    let first = run.clone();
    project.add_monitor_run(&monitor, run).await.unwrap();
    project.add_monitor_run(&monitor, MonitorRun { planned_at: due + HOUR, ..first.clone() }).await.unwrap();
    let changed = project.take_due(&monitor.id, due).await.unwrap().unwrap();
    assert_eq!(changed.next_run_at, Some(due + HOUR));
    assert_eq!(project.stored_monitor(&monitor.id).await, Some(changed));
    assert_eq!(project.runs(&monitor.id).await, [first]);
    assert_eq!(fixture.claim_jobs(10, fixture.now()).await, []);
}

/// A run that a request adds is recorded under the request's key, and a repeated request adds none.
pub async fn requested_run_is_recorded(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let monitor = project.add_monitor(project.monitor()).await;
    let now = fixture.now();
    let id =
        IdempotencyId::new(IdempotencyScope::Resources, &onerun_auth::KeyId::ROOT, Some(&project.id), "a");
    let record = |response: &str| IdempotencyRecord {
        id: id.clone(),
        request_hash: "h".into(),
        response: response.into(),
        created_at: now,
    };
    for (response, is_first) in [("1", true), ("2", false)] {
        let run = MonitorRun::requested(MonitorRunId::generate(fixture.random()), &monitor, now);
        let new = NewMonitorRun { run, jobs: Vec::new(), record: Some(record(response)) };
        let decide = Box::new(move |monitor| Ok(MonitorChange { monitor, run: Some(new.clone()) }));
        let changed = project.store.change_monitor(&monitor.id, decide).await;
        assert_eq!(changed.is_ok(), is_first, "{changed:?}");
    }
    assert_eq!(project.runs(&monitor.id).await.len(), 1);
    let stored = fixture.store.idempotency_record(&id, now).await.unwrap().unwrap();
    assert_eq!(stored.response, "1");
}

/// Runs are listed by planned time, last first, each under its own monitor.
pub async fn runs_are_listed_by_planned_time(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (monitor, other) = (project.add_monitor(project.monitor()).await, project.monitor());
    let other = project.add_monitor(other).await;
    let now = fixture.now();
    let mut runs = Vec::new();
    for hours in [3, 1, 5, 2, 4] {
        let run = MonitorRun::planned(&monitor, now + HOUR * hours, now);
        project.add_monitor_run(&monitor, run.clone()).await.unwrap();
        runs.push(run);
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.planned_at));
    let listed = in_pages(2, async |page| project.store.monitor_runs(&monitor.id, page).await.unwrap()).await;
    assert_eq!(listed, runs);
    assert_eq!(project.runs(&other.id).await, []);
    assert_eq!(project.store.monitor_run(&other.id, &runs[0].id).await.unwrap(), None);
    let foreign = fixture.new_project().await;
    assert_eq!(foreign.runs(&monitor.id).await, []);
    assert_eq!(foreign.store.monitor_run(&monitor.id, &runs[0].id).await.unwrap(), None);
}

/// A change of a run is stored.
pub async fn changed_run_is_stored(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let monitor = project.add_monitor(project.monitor()).await;
    let now = fixture.now();
    let run = MonitorRun::planned(&monitor, now, now);
    project.add_monitor_run(&monitor, run.clone()).await.unwrap();
    let change = async |decide: crate::Decide<MonitorRun, MonitorRunChange>| {
        project.store.change_monitor_run(&monitor.id, &run.id, decide).await
    };
    let started =
        change(Box::new(move |run| Ok(MonitorRunChange::to(run.start(now)?)))).await.unwrap().unwrap();
    assert_eq!(started.status, SimulationStatus::InProgress);
    let results = RunResults {
        outcomes: RunOutcomes { passed: 1, failed: 2, inconclusive: 3, infra: u64::from(u32::MAX) },
        verdict: Some(RunVerdict::Fail),
        reasons: odd_texts(),
    };
    let event = EventSource::MonitorRun {
        simulation: run.simulation_id(),
        monitor: monitor.id.clone(),
        run: run.id.clone(),
    };
    let job = Job::new(project.id.clone(), Work::NotifyWebhooks { event });
    let written = job.clone();
    let finish = Box::new(move |run: MonitorRun| {
        let run =
            run.finish(SimulationStatus::Failed, Some("\u{1f600}".into()), Some(results.clone()), now)?;
        Ok(MonitorRunChange { run, jobs: vec![job.clone()] })
    });
    let finished = change(finish).await.unwrap().unwrap();
    assert_eq!(project.store.monitor_run(&monitor.id, &run.id).await.unwrap().as_ref(), Some(&finished));
    assert_eq!(project.runs(&monitor.id).await, std::slice::from_ref(&finished));
    let claimed = fixture.claim_jobs(10, now).await;
    assert_eq!(claimed.into_iter().map(|claimed| claimed.job).collect::<Vec<_>>(), [written]);
    let again = change(Box::new(move |run| Ok(MonitorRunChange::to(run.start(now)?)))).await;
    assert_eq!(refusal(again), Refusal::MonitorRunOver);
    assert_eq!(project.runs(&monitor.id).await, [finished]);
    let unknown = MonitorRunId::generate(fixture.random());
    let none = project
        .store
        .change_monitor_run(&monitor.id, &unknown, Box::new(|run| Ok(MonitorRunChange::to(run))))
        .await;
    assert_eq!(none.unwrap(), None);
}

/// A deleted monitor is neither found nor due, and starts no run.
pub async fn deleted_monitor_is_gone(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let monitor = project.add_monitor(project.monitor()).await;
    let due = monitor.next_run_at.unwrap();
    assert!(project.store.delete_monitor(&monitor.id).await.unwrap());
    assert!(!project.store.delete_monitor(&monitor.id).await.unwrap());
    assert_eq!(project.stored_monitor(&monitor.id).await, None);
    assert_eq!(fixture.store.due_monitors(10, due).await.unwrap(), []);
    assert_eq!(project.take_due(&monitor.id, due).await.unwrap(), None);
    let page = project.store.monitors(SortBy::CreatedAt(Direction::Ascending), all()).await.unwrap();
    assert_eq!(page.data, []);
}

/// Runs whose retention is over are removed, or left to the backend, which removes them itself.
pub async fn run_is_stored_for_its_retention(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let monitor = project.add_monitor(project.monitor()).await;
    let now = fixture.now();
    let run = MonitorRun::planned(&monitor, now, now);
    project.add_monitor_run(&monitor, run.clone()).await.unwrap();
    let last = now + MONITOR_RUN_RETENTION - SignedDuration::from_micros(1);
    fixture.store.delete_expired_records(10, last).await.unwrap();
    assert_eq!(project.runs(&monitor.id).await, [run]);
    fixture.store.delete_expired_records(10, now + MONITOR_RUN_RETENTION).await.unwrap();
    assert!(project.runs(&monitor.id).await.len() <= 1);
}
