//! Simulations: stored, listed, changed.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    Agent, Direction, Job, MaxTurns, Metadata, Name, Objective, Refusal, Scenario, Seed, Simulation,
    SimulationId, SimulationStatus, Target, Work,
};

use super::fixture::{
    Fixture, ROUNDS, TestProject, all_simulations, assert_duplicate, at_once, both, in_pages, metadata, name,
    odd_texts, part, refusal, target,
};
use crate::{
    CreatedFilter, ExactFilter, ListSimulations, MAX_TURN_DELAY, SimulationChange, SimulationDetail,
    SimulationOrder, SimulationView,
};

const OLDEST_FIRST: SimulationOrder = SimulationOrder::CreatedAt(Direction::Ascending);

impl TestProject {
    fn start_job(&self, simulation: &Simulation) -> Job {
        Job::new(self.id.clone(), Work::StartSimulation { simulation: simulation.id.clone() })
    }

    /// Starts the simulation, and enqueues the generation of its personas.
    async fn start_simulation(&self, id: &SimulationId) -> Simulation {
        let now = self.now();
        let decide = Box::new(move |view: SimulationView| {
            let simulation = view.simulation.start(now)?;
            let work = Work::GeneratePersonas { simulation: simulation.id.clone(), first_seq: 1 };
            let jobs = vec![Job::new(simulation.project_id.clone(), work)];
            Ok(SimulationChange::to(simulation, jobs))
        });
        self.store.change_simulation(id, decide).await.unwrap().unwrap()
    }

    async fn add_simulation_as(&self, agent: &Agent, name: &str, status: SimulationStatus) -> Simulation {
        let name = Name::parse(name).unwrap();
        self.add_simulation(Simulation { name, status, ..self.simulation(agent) }).await
    }
}

fn names(simulations: &[Simulation]) -> Vec<&str> {
    simulations.iter().map(|simulation| simulation.name.as_str()).collect()
}

/// Every field is stored verbatim, and reads the same alone and in a list, with agent and
/// objectives.
pub async fn simulation_is_read_as_added(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let objective = project.add_objective(project.objective()).await;
    let widest = "\u{1f600}".repeat(Scenario::MAX_LENGTH);
    let mut simulations = vec![
        Simulation { scenario: Scenario::parse(widest).unwrap(), ..project.simulation(&agent) },
        Simulation {
            scenario: Scenario::parse("\ta\r\n'%_\"\\ ").unwrap(),
            target_conversations: target(Target::MAX),
            target_personas: target(Target::MAX),
            max_turns: MaxTurns::parse(MaxTurns::MAX.into()).unwrap(),
            seed: Seed::parse(Seed::MAX).unwrap(),
            auto_approve: false,
            metadata: metadata(r#"{"build": {"commit": "\u00e9", "tags": [null, 1.25, "'"]}}"#),
            ..project.simulation(&agent)
        },
        Simulation {
            max_turns: MaxTurns::parse(MaxTurns::MIN.into()).unwrap(),
            seed: Seed::parse(0).unwrap(),
            metadata: Metadata::default(),
            updated_at: fixture.now(),
            expires_at: fixture.now() + SignedDuration::from_hours(24 * 365 * 1_000),
            ..project.simulation(&agent)
        },
        Simulation { last_failure_reason: Some(String::new()), ..project.simulation(&agent) },
    ];
    for text in odd_texts() {
        let last_failure_reason = Some(text.clone());
        let Ok(name) = Name::parse(text) else { continue };
        simulations.push(Simulation { name, last_failure_reason, ..project.simulation(&agent) });
    }
    for status in SimulationStatus::ALL {
        simulations.push(Simulation { status, ..project.simulation(&agent) });
    }
    for simulation in simulations {
        let pinned = vec![objective.reference()];
        project
            .store
            .insert_simulation(simulation.clone(), pinned, Vec::new(), Vec::new(), None)
            .await
            .unwrap();
        let id = simulation.id.clone();
        let detail =
            SimulationDetail { simulation, agent: agent.clone(), objectives: vec![objective.clone()] };
        assert_eq!(project.store.simulation(&id).await.unwrap(), Some(detail.clone()));
        let order = SimulationOrder::CreatedAt(Direction::Descending);
        let list = ListSimulations { page: part(1, 0), ..all_simulations(order) };
        assert_eq!(project.store.simulations(list).await.unwrap().data, [detail.into()]);
    }
}

/// A second simulation with the same id is refused with its jobs, and the first one stays.
pub async fn simulation_is_added_once(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let first = project.add_simulation(project.simulation(&agent)).await;
    let second = Simulation { name: name("Second"), ..first.clone() };
    let jobs = vec![project.start_job(&second)];
    assert_duplicate(&project.store.insert_simulation(second, Vec::new(), Vec::new(), jobs, None).await);
    assert_eq!(project.simulation_list(OLDEST_FIRST, |list| list).await, [first]);
    assert_eq!(fixture.take_jobs().await, []);
}

/// A new simulation and its jobs are written together.
pub async fn simulation_is_added_with_its_jobs(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let simulation = project.simulation(&agent);
    let job = project.start_job(&simulation);
    project
        .store
        .insert_simulation(simulation, Vec::new(), Vec::new(), vec![job.clone()], None)
        .await
        .unwrap();
    assert_eq!(fixture.take_jobs().await, [job]);
}

/// Objectives are shown in the order of the request, alone and in a list. A simulation may have
/// none.
pub async fn objectives_keep_the_order_of_the_simulation(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let mut objectives = Vec::new();
    for text in ["c", "a", "d", "b"] {
        objectives.push(project.add_objective(Objective { name: name(text), ..project.objective() }).await);
    }
    objectives.swap(0, 3);
    for count in [0, 1, 4] {
        let pinned: Vec<_> = objectives[..count].iter().map(Objective::reference).collect();
        let simulation = project.simulation(&agent);
        project
            .store
            .insert_simulation(simulation.clone(), pinned, Vec::new(), Vec::new(), None)
            .await
            .unwrap();
        let detail = project.store.simulation(&simulation.id).await.unwrap().unwrap();
        assert_eq!(detail.objectives, objectives[..count]);
        let order = SimulationOrder::CreatedAt(Direction::Descending);
        let list = ListSimulations { page: part(1, 0), ..all_simulations(order) };
        assert_eq!(project.store.simulations(list).await.unwrap().data, [detail.into()]);
    }
}

/// Reads and changes of an unknown simulation return `None`; the decision is not called.
pub async fn unknown_simulation_is_none(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    project.add_simulation(project.simulation(&agent)).await;
    let unknown = SimulationId::generate(fixture.random());
    assert_eq!(project.store.simulation(&unknown).await.unwrap(), None);
    assert_eq!(project.store.counts(&unknown).await.unwrap(), None);
    let changed = project.store.change_simulation(&unknown, Box::new(|_| Err(Refusal::LeaseHeld))).await;
    assert_eq!(changed.unwrap(), None);
}

/// A simulation shows its agent's current state.
pub async fn simulation_shows_its_agents_current_state(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let simulation = project.add_simulation(project.simulation(&agent)).await;
    let decide = Box::new(|agent: Agent| Ok(Agent { name: name("Renamed"), ..agent }));
    let changed = project.store.change_agent(&agent.id, decide).await.unwrap().unwrap();
    assert_eq!(project.store.simulation(&simulation.id).await.unwrap().unwrap().agent, changed.agent);
}

/// A decision's result about a simulation is returned and stored, with its jobs.
pub async fn changed_simulation_is_stored_with_its_jobs(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let simulation = project.add_simulation(project.simulation(&agent)).await;
    let started = project.start_simulation(&simulation.id).await;
    let expected = simulation.clone().start(started.updated_at).unwrap();
    assert_eq!(started, expected);
    assert_eq!(project.simulation_list(OLDEST_FIRST, |list| list).await, [expected]);
    let jobs = fixture.take_jobs().await;
    let work = Work::GeneratePersonas { simulation: simulation.id.clone(), first_seq: 1 };
    assert_eq!(jobs, [Job::new(project.id.clone(), work)]);

    let now = fixture.now();
    let decide = Box::new(move |view: SimulationView| {
        let simulation = view.simulation.fail("no model: '\u{1f4a5}'".into(), now)?;
        Ok(SimulationChange::to(simulation, Vec::new()))
    });
    let failed = project.store.change_simulation(&simulation.id, decide).await.unwrap().unwrap();
    assert_eq!(failed.last_failure_reason.as_deref(), Some("no model: '\u{1f4a5}'"));
    assert_eq!(project.simulation_list(OLDEST_FIRST, |list| list).await, [failed]);
    assert_eq!(fixture.take_jobs().await, []);
}

/// The start job may run twice: the second run changes nothing, and enqueues no job that is already
/// waiting.
pub async fn simulation_is_started_only_once(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let simulation = project.add_simulation(project.simulation(&agent)).await;
    let started = project.start_simulation(&simulation.id).await;
    assert_eq!(project.start_simulation(&simulation.id).await, started);
    assert_eq!(project.simulation_list(OLDEST_FIRST, |list| list).await, [started]);
    assert_eq!(fixture.take_jobs().await.len(), 1);
}

/// The refusal is returned, and neither state nor jobs are written.
pub async fn refused_change_of_a_simulation_writes_nothing(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let now = fixture.now();
    let refused = scene.change_simulation(move |view| {
        let simulation = view.simulation.finish(view.progress, now)?;
        Ok(SimulationChange::to(simulation, Vec::new()))
    });
    assert_eq!(refusal(refused.await), Refusal::SimulationUnfinished);
    assert_eq!(scene.stored_simulation().await, scene.simulation);
    assert_eq!(fixture.take_jobs().await, []);
}

/// Of two concurrent ends of a simulation, one succeeds and the other is refused.
pub async fn simulation_has_only_one_final_status(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for _ in 0..ROUNDS {
        let scene = project.scene(1).await;
        let now = scene.simulation.expires_at;
        let (canceling, expiring) = (scene.clone(), scene.clone());
        let (canceled, expired) = both(
            async move {
                canceling
                    .change_simulation(move |view| {
                        let simulation = view.simulation.cancel(now)?;
                        Ok(SimulationChange::to(simulation, Vec::new()))
                    })
                    .await
            },
            async move {
                expiring
                    .change_simulation(move |view| {
                        let simulation = view.simulation.expire(view.progress, now)?;
                        Ok(SimulationChange::to(simulation, Vec::new()))
                    })
                    .await
            },
        )
        .await;
        let (winner, loser) = if canceled.is_ok() { (canceled, expired) } else { (expired, canceled) };
        let winner = winner.unwrap();
        assert_eq!(refusal(loser), Refusal::SimulationOver { status: winner.status });
        assert_eq!(scene.stored_simulation().await, winner);
    }
}

/// Each change decides from the state that the change before it wrote.
pub async fn concurrent_simulation_changes_are_all_kept(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    let tasks = (0..8).map(|number| {
        let scene = scene.clone();
        Box::pin(async move {
            let decide = move |view: SimulationView| {
                let before = view.simulation.last_failure_reason.unwrap_or_default();
                let last_failure_reason = Some(format!("{before}{number}"));
                let simulation = Simulation { last_failure_reason, ..view.simulation };
                Ok(SimulationChange::to(simulation, Vec::new()))
            };
            scene.change_simulation(decide).await.unwrap();
        }) as _
    });
    at_once(tasks.collect()).await;
    let reason = scene.stored_simulation().await.last_failure_reason.unwrap();
    let mut digits: Vec<char> = reason.chars().collect();
    digits.sort_unstable();
    assert_eq!(digits, ('0'..='7').collect::<Vec<_>>());
}

/// By creation, by name regardless of case and by the name of the status, both ways.
pub async fn simulations_are_sorted_both_ways(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    for (text, status) in [
        ("b", SimulationStatus::Pending),
        ("A", SimulationStatus::Failed),
        ("a", SimulationStatus::Expired),
        ("\u{e4}1", SimulationStatus::InProgress),
        ("\u{c4}2", SimulationStatus::Completed),
        ("C", SimulationStatus::Canceled),
    ] {
        project.add_simulation_as(&agent, text, status).await;
    }
    let sorted = async |order| project.simulation_list(order, |list| list).await;
    let made = ["b", "A", "a", "\u{e4}1", "\u{c4}2", "C"];
    assert_eq!(names(&sorted(OLDEST_FIRST).await), made);
    let newest_first = sorted(SimulationOrder::CreatedAt(Direction::Descending)).await;
    assert_eq!(names(&newest_first), made.into_iter().rev().collect::<Vec<_>>());
    let by_name = sorted(SimulationOrder::Name(Direction::Ascending)).await;
    let place = |text| names(&by_name).iter().position(|name| *name == text).unwrap();
    // The order of `A` and `a`, and that of accented letters, is up to the backend.
    assert!(place("A").max(place("a")) < place("b") && place("b") < place("C"));
    assert!(place("\u{e4}1") < place("\u{c4}2"));
    for (direction, expected) in [
        (Direction::Ascending, ["canceled", "completed", "expired", "failed", "in_progress", "pending"]),
        (Direction::Descending, ["pending", "in_progress", "failed", "expired", "completed", "canceled"]),
    ] {
        let by_status = sorted(SimulationOrder::Status(direction)).await;
        let words: Vec<_> = by_status.iter().map(|simulation| simulation.status.as_str()).collect();
        assert_eq!(words, expected);
    }
    let by_name_down = sorted(SimulationOrder::Name(Direction::Descending)).await;
    let folded = |list: &[Simulation]| -> Vec<String> {
        list.iter().map(|simulation| simulation.name.as_str().to_lowercase()).collect()
    };
    assert_eq!(folded(&by_name_down), folded(&by_name).into_iter().rev().collect::<Vec<_>>());
}

/// Filters work together, in any order of the list, and before pages are cut.
pub async fn simulations_are_filtered_by_name_status_and_agent(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (one, other) = (project.add_agent(project.agent()).await, project.add_agent(project.agent()).await);
    for (agent, text, status) in [
        (&one, "Nightly 100%", SimulationStatus::Completed),
        (&one, "nightly \u{c4}", SimulationStatus::Failed),
        (&other, "NIGHTLY", SimulationStatus::Completed),
        (&one, "smoke_test", SimulationStatus::Completed),
        (&one, "smoke test", SimulationStatus::InProgress),
    ] {
        project.add_simulation_as(agent, text, status).await;
    }
    let found = async |name: Option<&str>, status, agent: Option<&Agent>| {
        let mut found = Vec::new();
        for order in [
            OLDEST_FIRST,
            SimulationOrder::Name(Direction::Descending),
            SimulationOrder::Status(Direction::Ascending),
            SimulationOrder::LongestWaiting,
        ] {
            let list = |page| ListSimulations {
                name: name.map(str::to_owned),
                status,
                agent_id: agent.map(|agent| agent.id.clone()),
                page,
                ..all_simulations(order)
            };
            let pages = in_pages(2, async |page| project.store.simulations(list(page)).await.unwrap()).await;
            let mut names: Vec<_> =
                pages.iter().map(|detail| detail.simulation.name.as_str().to_owned()).collect();
            names.sort_unstable();
            found.push(names);
        }
        found.dedup();
        assert_eq!(found.len(), 1, "the order changes what is found");
        found.remove(0)
    };
    assert_eq!(found(None, None, None).await.len(), 5);
    assert_eq!(found(Some("NIGHTly"), None, None).await, ["NIGHTLY", "Nightly 100%", "nightly \u{c4}"]);
    assert_eq!(found(Some("\u{e4}"), None, None).await, ["nightly \u{c4}"]);
    assert_eq!(found(Some("%"), None, None).await, ["Nightly 100%"]);
    assert_eq!(found(Some("_"), None, None).await, ["smoke_test"]);
    assert_eq!(
        found(None, Some(SimulationStatus::Completed), Some(&one)).await,
        ["Nightly 100%", "smoke_test"]
    );
    assert_eq!(found(Some("nightly"), Some(SimulationStatus::Completed), Some(&other)).await, ["NIGHTLY"]);
    assert_eq!(found(None, Some(SimulationStatus::Canceled), None).await, Vec::<String>::new());
    assert_eq!(found(None, Some(SimulationStatus::InProgress), Some(&other)).await, Vec::<String>::new());
}

/// With equal sort values, each simulation is still on exactly one page, in every order.
pub async fn pages_of_equal_simulations_never_overlap(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let now = fixture.now();
    for _ in 0..5 {
        let simulation = Simulation { created_at: now, updated_at: now, ..project.simulation(&agent) };
        project.add_simulation(simulation).await;
    }
    for order in [
        SimulationOrder::CreatedAt(Direction::Ascending),
        SimulationOrder::CreatedAt(Direction::Descending),
        SimulationOrder::Name(Direction::Ascending),
        SimulationOrder::Name(Direction::Descending),
        SimulationOrder::Status(Direction::Ascending),
        SimulationOrder::Status(Direction::Descending),
        SimulationOrder::LongestWaiting,
    ] {
        let whole = project.simulation_list(order, |list| list).await;
        let mut ids: Vec<_> = whole.iter().map(|simulation| simulation.id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 5);
        for limit in [1, 2, 5] {
            let list = |page| ListSimulations { page, ..all_simulations(order) };
            let pages =
                in_pages(limit, async |page| project.store.simulations(list(page)).await.unwrap()).await;
            assert_eq!(pages.into_iter().map(|detail| detail.simulation).collect::<Vec<_>>(), whole);
        }
    }
}

/// The first page shows the simulations that have waited longest, rather than the newest.
pub async fn simulations_are_sorted_by_longest_waiting_conversation(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let idle_old = project.scene(0).await;
    // Queued first, but started, and queued again after a lost lease.
    let late = project.scene(1).await;
    // One of its two conversations waits from now on. The other is queued again after all others.
    let early = project.scene(2).await;
    // Of its two conversations, only the later one still waits.
    let middle = project.scene(2).await;
    let idle_new = project.scene(1).await;
    idle_new.start(&idle_new.id(0)).await.unwrap();
    middle.start(&middle.id(0)).await.unwrap();
    late.start(&late.id(0)).await.unwrap();
    early.start(&early.id(1)).await.unwrap();
    late.lose_lease(&late.id(0)).await.unwrap();
    early.lose_lease(&early.id(1)).await.unwrap();

    let expected: Vec<SimulationId> =
        [&early, &middle, &late, &idle_new, &idle_old].map(|scene| scene.simulation.id.clone()).into();
    let order = SimulationOrder::LongestWaiting;
    for limit in [1, 2, 3, 5, 6] {
        let status = Some(SimulationStatus::InProgress);
        let list = |page| ListSimulations { status, page, ..all_simulations(order) };
        let pages = in_pages(limit, async |page| project.store.simulations(list(page)).await.unwrap()).await;
        let ids: Vec<_> = pages.into_iter().map(|detail| detail.simulation.id).collect();
        assert_eq!(ids, expected, "in pages of {limit}");
    }
    // It is started, so it no longer waits.
    early.start(&early.id(0)).await.unwrap();
    let first = project.simulation_list(order, |list| ListSimulations { page: part(1, 0), ..list }).await;
    assert_eq!(first[0].id, middle.simulation.id);
}

/// A worker that takes the first page serves each simulation before it serves one twice, unless that one waits much
/// longer.
pub async fn simulations_are_served_in_turn(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let mut scenes = Vec::new();
    for _ in 0..4 {
        scenes.push(project.scene(3).await);
    }
    let first = async || {
        let list = |list| ListSimulations { page: part(1, 0), ..list };
        project.simulation_list(SimulationOrder::LongestWaiting, list).await[0].id.clone()
    };
    for conversation in 0..2 {
        for scene in &scenes {
            assert_eq!(first().await, scene.simulation.id);
            scene.start(&scene.id(conversation)).await.unwrap();
        }
    }
    // A newer simulation does not come first for ever.
    fixture.pass(MAX_TURN_DELAY);
    let _new = project.scene(1).await;
    assert_eq!(first().await, scenes[0].simulation.id);
}

/// In every order, and together with the other filters.
pub async fn simulations_are_filtered_exactly_by_name_and_metadata(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let mut expected = Vec::new();
    for (text, object) in [
        ("Nightly", r#"{"commit": "1f", "tries": 2}"#),
        ("nightly", r#"{"commit": "1f", "tries": 2}"#),
        ("Nightly", r#"{"commit": "2f", "tries": 2}"#),
        ("Nightly", r#"{"commit": "1f", "tries": "2"}"#),
    ] {
        let simulation =
            Simulation { name: name(text), metadata: metadata(object), ..project.simulation(&agent) };
        let simulation = project.add_simulation(simulation).await;
        if text == "Nightly" && object.contains("1f") {
            expected.push(simulation);
        }
    }
    let exact = ExactFilter {
        name: Some("Nightly".into()),
        metadata: vec![("commit".into(), "1f".into()), ("tries".into(), "2".into())],
    };
    for order in [
        SimulationOrder::CreatedAt(Direction::Ascending),
        SimulationOrder::Name(Direction::Ascending),
        SimulationOrder::Status(Direction::Ascending),
    ] {
        let found =
            project.simulation_list(order, |list| ListSimulations { exact: exact.clone(), ..list }).await;
        assert_eq!(found, expected, "{order:?}");
    }
    let newest = expected.iter().rev().cloned().collect::<Vec<_>>();
    let order = SimulationOrder::LongestWaiting;
    let found = project.simulation_list(order, |list| ListSimulations { exact: exact.clone(), ..list }).await;
    assert_eq!(found, newest);
    let status = Some(SimulationStatus::Completed);
    let order = SimulationOrder::CreatedAt(Direction::Ascending);
    let none = project.simulation_list(order, |list| ListSimulations { exact, status, ..list }).await;
    assert_eq!(none, []);
}

/// Simulations are listed by their batch, by their monitor and by the time of their creation, in every order, with
/// pages that neither overlap nor skip.
pub async fn simulations_are_filtered_by_origin_and_creation(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let start = fixture.now();
    let second = |number: i64| start + SignedDuration::from_secs(number);
    let mut added = Vec::new();
    for number in 0..9 {
        let simulation = project.simulation(&agent);
        let status = if number % 2 == 0 { SimulationStatus::InProgress } else { SimulationStatus::Pending };
        added.push(Simulation {
            name: name(["b#9", "A", "c"][number % 3]),
            status,
            created_at: second(number.try_into().unwrap()),
            ..simulation
        });
    }
    let (batch, run) = (added[0].options.batch.clone(), added[0].options.monitor_run.clone());
    for number in [3, 4, 7] {
        added[number].options.batch.clone_from(&batch);
        added[number + 1].options.monitor_run.clone_from(&run);
    }
    added[1].options.batch = None;
    added[1].options.monitor_run = None;
    for simulation in &added {
        project.add_simulation(simulation.clone()).await;
    }
    let found = async |narrow: &(dyn Fn(ListSimulations) -> ListSimulations + Sync)| {
        let mut found = Vec::new();
        for order in [
            OLDEST_FIRST,
            SimulationOrder::CreatedAt(Direction::Descending),
            SimulationOrder::Name(Direction::Ascending),
            SimulationOrder::Status(Direction::Descending),
            SimulationOrder::LongestWaiting,
        ] {
            let list = |page| narrow(ListSimulations { page, ..all_simulations(order) });
            let pages = in_pages(2, async |page| project.store.simulations(list(page)).await.unwrap()).await;
            let place = |id: &SimulationId| added.iter().position(|one| one.id == *id).unwrap();
            let mut places: Vec<_> = pages.iter().map(|summary| place(&summary.simulation.id)).collect();
            places.sort_unstable();
            found.push(places);
        }
        found.dedup();
        assert_eq!(found.len(), 1, "the order changes what is found: {found:?}");
        found.remove(0)
    };
    let batch_id = batch.map(|item| item.batch);
    let monitor_id = run.map(|run| run.monitor);
    let of_batch = |list| ListSimulations { batch_id: batch_id.clone(), ..list };
    let of_monitor = |list| ListSimulations { monitor_id: monitor_id.clone(), ..list };
    assert_eq!(found(&of_batch).await, [0, 3, 4, 7]);
    assert_eq!(found(&of_monitor).await, [0, 4, 5, 8]);
    assert_eq!(found(&|list| of_monitor(of_batch(list))).await, [0, 4]);
    let between = |after: Option<i64>, before: Option<i64>| {
        let created = CreatedFilter { after: after.map(second), before: before.map(second) };
        move |list| ListSimulations { created, ..list }
    };
    assert_eq!(found(&between(Some(2), None)).await, [3, 4, 5, 6, 7, 8]);
    assert_eq!(found(&between(None, Some(2))).await, [0, 1]);
    assert_eq!(found(&between(Some(2), Some(6))).await, [3, 4, 5]);
    assert_eq!(found(&between(Some(2), Some(3))).await, [] as [usize; 0]);
    assert_eq!(found(&between(Some(6), Some(2))).await, [] as [usize; 0]);
    assert_eq!(found(&|list| of_batch(between(Some(2), Some(7))(list))).await, [3, 4]);
    let running = |list| ListSimulations { status: Some(SimulationStatus::InProgress), ..list };
    assert_eq!(found(&|list| running(between(Some(2), Some(7))(list))).await, [4, 6]);
    let extremes = CreatedFilter { after: Some(Timestamp::MIN), before: Some(Timestamp::MAX) };
    assert_eq!(found(&|list| ListSimulations { created: extremes, ..list }).await.len(), 9);
    let other = fixture.new_project().await;
    let foreign = other.store.simulations(of_batch(all_simulations(OLDEST_FIRST))).await.unwrap();
    assert_eq!(foreign.data, []);
}
