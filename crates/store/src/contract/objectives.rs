//! Objectives and their versions.

use onerun_domain::{
    Criteria, Direction, Name, Objective, ObjectiveId, ObjectivePatch, ObjectiveRef, Refusal,
};

use super::fixture::{
    Fixture, TestProject, all, assert_duplicate, at_once, in_pages, name, odd_texts, refusal,
};
use crate::SortBy;

const OLDEST_FIRST: SortBy = SortBy::CreatedAt(Direction::Ascending);

fn renaming(text: &str) -> ObjectivePatch {
    ObjectivePatch { name: Some(name(text)), criteria: None }
}

impl TestProject {
    async fn revise(&self, id: &ObjectiveId, patch: ObjectivePatch) -> Objective {
        let now = self.now();
        let decide = Box::new(move |objective: Objective| Ok(objective.revised(patch.clone(), now)));
        self.store.change_objective(id, decide).await.unwrap().unwrap()
    }

    async fn objective_list(&self, sort: SortBy) -> Vec<Objective> {
        self.store.objectives(sort, all()).await.unwrap().data
    }

    /// The objectives that a new simulation with `references` shows.
    async fn pinned(&self, references: Vec<ObjectiveRef>) -> Vec<Objective> {
        let agent = self.add_agent(self.agent()).await;
        let simulation = self.simulation(&agent);
        self.store
            .insert_simulation(simulation.clone(), references, Vec::new(), Vec::new(), None)
            .await
            .unwrap();
        self.store.simulation(&simulation.id).await.unwrap().unwrap().objectives
    }
}

/// Every field is stored verbatim, and reads the same alone and in a list.
pub async fn objective_is_read_as_added(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let widest = "\u{1f600}".repeat(Criteria::MAX_LENGTH);
    let mut added = Vec::new();
    for criteria in [widest.as_str(), "x", "Is polite.\r\n\tcheck: agent says /a\\/'\"%_/i\n"] {
        let criteria = Criteria::parse(criteria).unwrap();
        added.push(project.add_objective(Objective { criteria, ..project.objective() }).await);
    }
    for text in odd_texts() {
        let Ok(name) = Name::parse(text) else { continue };
        added.push(project.add_objective(Objective { name, ..project.objective() }).await);
    }
    assert_eq!(project.objective_list(OLDEST_FIRST).await, added);
    for objective in added {
        assert_eq!(project.store.objective(&objective.id).await.unwrap(), Some(objective));
    }
}

/// A second objective with the same id is refused, and the first one stays.
pub async fn objective_is_added_once(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let first = project.add_objective(project.objective()).await;
    let second = Objective { name: name("Second"), ..first.clone() };
    assert_duplicate(&project.store.insert_objective(second, None).await);
    assert_eq!(project.objective_list(OLDEST_FIRST).await, [first]);
}

/// Reads and changes of an unknown objective return `None`; the decision is not called.
pub async fn unknown_objective_is_none(fixture: &Fixture) {
    let project = fixture.new_project().await;
    project.add_objective(project.objective()).await;
    let unknown = ObjectiveId::generate(fixture.random());
    assert_eq!(project.store.objective(&unknown).await.unwrap(), None);
    let changed = project.store.change_objective(&unknown, Box::new(|_| Err(Refusal::LeaseHeld))).await;
    assert_eq!(changed.unwrap(), None);
}

/// An objective shows its newest version. A simulation shows the version that it pinned, then and
/// later.
pub async fn change_adds_a_version_and_keeps_the_old_ones(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let first = project.add_objective(project.objective()).await;
    let agent = project.add_agent(project.agent()).await;
    let simulation = project.simulation(&agent);
    let pinned = vec![first.reference()];
    project.store.insert_simulation(simulation.clone(), pinned, Vec::new(), Vec::new(), None).await.unwrap();

    let second = project.revise(&first.id, renaming("Renamed")).await;
    let criteria = Criteria::parse("check: persona ended").unwrap();
    let patch = ObjectivePatch { name: None, criteria: Some(criteria.clone()) };
    let third = project.revise(&first.id, patch).await;

    assert_eq!((second.version, second.name.as_str()), (2, "Renamed"));
    assert_eq!((third.version, third.name.as_str(), &third.criteria), (3, "Renamed", &criteria));
    assert_eq!((third.created_at, third.updated_at > second.updated_at), (first.created_at, true));
    assert_eq!(project.store.objective(&first.id).await.unwrap(), Some(third.clone()));
    assert_eq!(project.objective_list(OLDEST_FIRST).await, std::slice::from_ref(&third));
    let shown = project.store.simulation(&simulation.id).await.unwrap().unwrap().objectives;
    assert_eq!(shown, [first]);
    assert_eq!(project.pinned(vec![second.reference()]).await, [second]);
    assert_eq!(project.pinned(vec![third.reference()]).await, [third]);
}

/// A decision that changes nothing adds no version.
pub async fn unchanged_objective_gets_no_version(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let objective = project.add_objective(project.objective()).await;
    for patch in [ObjectivePatch::default(), renaming(objective.name.as_str())] {
        assert_eq!(project.revise(&objective.id, patch).await, objective);
    }
    assert_eq!(project.objective_list(OLDEST_FIRST).await, std::slice::from_ref(&objective));
    assert_eq!(project.revise(&objective.id, renaming("Renamed")).await.version, 2);
}

/// The refusal is returned, and nothing is written.
pub async fn refused_change_of_an_objective_writes_nothing(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let objective = project.add_objective(project.objective()).await;
    let refused = project.store.change_objective(&objective.id, Box::new(|_| Err(Refusal::LeaseHeld))).await;
    assert_eq!(refusal(refused), Refusal::LeaseHeld);
    assert_eq!(project.objective_list(OLDEST_FIRST).await, [objective]);
}

/// Each concurrent change adds one version, and each version includes the changes before it.
pub async fn concurrent_changes_make_one_version_each(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let objective = project.add_objective(project.objective()).await;
    let tasks = (0..8).map(|number| {
        let (project, id) = (project.clone(), objective.id.clone());
        Box::pin(async move {
            let now = project.now();
            let decide = Box::new(move |objective: Objective| {
                let name = format!("{}{number}", objective.name);
                Ok(objective.revised(renaming(&name), now))
            });
            project.store.change_objective(&id, decide).await.unwrap().unwrap()
        }) as _
    });
    let mut versions: Vec<Objective> = at_once(tasks.collect()).await;
    versions.sort_by_key(|objective| objective.version);
    assert_eq!(
        versions.iter().map(|objective| objective.version).collect::<Vec<_>>(),
        (2..=9).collect::<Vec<_>>()
    );
    for pair in versions.windows(2) {
        assert!(pair[1].name.as_str().starts_with(pair[0].name.as_str()), "{pair:?}");
    }
    for version in versions {
        assert_eq!(project.pinned(vec![version.reference()]).await, [version]);
    }
}

/// By creation of the first version, and by the newest name regardless of case, both ways.
pub async fn objectives_are_sorted_both_ways_by_their_newest_name(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let mut ids = Vec::new();
    for text in ["z", "B", "a", "b"] {
        ids.push(project.add_objective(Objective { name: name(text), ..project.objective() }).await.id);
    }
    project.revise(&ids[0], renaming("A")).await;
    for (sort, expected) in [
        (SortBy::CreatedAt(Direction::Ascending), ["A", "B", "a", "b"]),
        (SortBy::CreatedAt(Direction::Descending), ["b", "a", "B", "A"]),
        (SortBy::Name(Direction::Ascending), ["A", "a", "B", "b"]),
        (SortBy::Name(Direction::Descending), ["b", "B", "a", "A"]),
    ] {
        let listed = project.objective_list(sort).await;
        let names: Vec<_> = listed.iter().map(|objective| objective.name.as_str()).collect();
        assert_eq!(names, expected, "{sort:?}");
    }
}

/// With equal names and times, each objective is still on exactly one page, once, whatever the
/// number of its versions.
pub async fn pages_of_equal_objectives_never_overlap(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let now = fixture.now();
    for _ in 0..5 {
        let objective = Objective { created_at: now, updated_at: now, ..project.objective() };
        let id = project.add_objective(objective).await.id;
        project.revise(&id, renaming("Other")).await;
        project.revise(&id, renaming("Objective")).await;
    }
    for sort in [SortBy::CreatedAt(Direction::Descending), SortBy::Name(Direction::Ascending)] {
        let whole = project.objective_list(sort).await;
        let mut ids: Vec<_> = whole.iter().map(|objective| objective.id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 5);
        for limit in [1, 2, 5] {
            let pages =
                in_pages(limit, async |page| project.store.objectives(sort, page).await.unwrap()).await;
            assert_eq!(pages, whole);
        }
    }
}
