//! Objectives and their versions.

use onerun_domain::{
    Criteria, Direction, Name, Objective, ObjectiveId, ObjectivePatch, ObjectiveRef, Refusal,
};

use super::fixture::{Home, World, all, assert_duplicate, at_once, in_pages, name, odd_texts, refusal};
use crate::NamedSort;

const OLDEST_FIRST: NamedSort = NamedSort::CreatedAt(Direction::Ascending);

fn renaming(text: &str) -> ObjectivePatch {
    ObjectivePatch { name: Some(name(text)), criteria: None }
}

impl Home {
    async fn revise(&self, id: &ObjectiveId, patch: ObjectivePatch) -> Objective {
        let now = self.now();
        let decide = Box::new(move |objective: Objective| Ok(objective.revised(patch.clone(), now)));
        self.store.change_objective(id, decide).await.unwrap().unwrap()
    }

    async fn objective_list(&self, sort: NamedSort) -> Vec<Objective> {
        self.store.objectives(sort, all()).await.unwrap().data
    }

    /// What a new simulation that pins `references` shows of them.
    async fn pinned(&self, references: Vec<ObjectiveRef>) -> Vec<Objective> {
        let agent = self.add_agent(self.agent()).await;
        let simulation = self.simulation(&agent);
        self.store.insert_simulation(simulation.clone(), references, Vec::new(), None).await.unwrap();
        self.store.simulation(&simulation.id).await.unwrap().unwrap().objectives
    }
}

/// Every field is kept to the letter, and reads the same alone and in a list.
pub async fn objective_is_read_as_added(world: &World) {
    let home = world.home().await;
    let widest = "\u{1f600}".repeat(Criteria::MAX_LENGTH);
    let mut added = Vec::new();
    for criteria in [widest.as_str(), "x", "Is polite.\r\n\tcheck: agent says /a\\/'\"%_/i\n"] {
        let criteria = Criteria::parse(criteria).unwrap();
        added.push(home.add_objective(Objective { criteria, ..home.objective() }).await);
    }
    for text in odd_texts() {
        let Ok(name) = Name::parse(text) else { continue };
        added.push(home.add_objective(Objective { name, ..home.objective() }).await);
    }
    assert_eq!(home.objective_list(OLDEST_FIRST).await, added);
    for objective in added {
        assert_eq!(home.store.objective(&objective.id).await.unwrap(), Some(objective));
    }
}

/// A second objective of the same id is refused, and the first is kept.
pub async fn objective_is_added_once(world: &World) {
    let home = world.home().await;
    let first = home.add_objective(home.objective()).await;
    let second = Objective { name: name("Second"), ..first.clone() };
    assert_duplicate(&home.store.insert_objective(second, None).await);
    assert_eq!(home.objective_list(OLDEST_FIRST).await, [first]);
}

/// Nothing is to be had of an objective that there is not, and no decision is asked about it.
pub async fn unknown_objective_is_none(world: &World) {
    let home = world.home().await;
    home.add_objective(home.objective()).await;
    let unknown = ObjectiveId::generate(world.random());
    assert_eq!(home.store.objective(&unknown).await.unwrap(), None);
    let changed = home.store.change_objective(&unknown, Box::new(|_| Err(Refusal::LeaseHeld))).await;
    assert_eq!(changed.unwrap(), None);
}

/// The newest version is what an objective shows; a simulation shows the version that it pinned, then and later.
pub async fn change_adds_a_version_and_keeps_the_old_ones(world: &World) {
    let home = world.home().await;
    let first = home.add_objective(home.objective()).await;
    let agent = home.add_agent(home.agent()).await;
    let simulation = home.simulation(&agent);
    let pinned = vec![first.reference()];
    home.store.insert_simulation(simulation.clone(), pinned, Vec::new(), None).await.unwrap();

    let second = home.revise(&first.id, renaming("Renamed")).await;
    let criteria = Criteria::parse("check: persona ended").unwrap();
    let patch = ObjectivePatch { name: None, criteria: Some(criteria.clone()) };
    let third = home.revise(&first.id, patch).await;

    assert_eq!((second.version, second.name.as_str()), (2, "Renamed"));
    assert_eq!((third.version, third.name.as_str(), &third.criteria), (3, "Renamed", &criteria));
    assert_eq!((third.created_at, third.updated_at > second.updated_at), (first.created_at, true));
    assert_eq!(home.store.objective(&first.id).await.unwrap(), Some(third.clone()));
    assert_eq!(home.objective_list(OLDEST_FIRST).await, std::slice::from_ref(&third));
    let shown = home.store.simulation(&simulation.id).await.unwrap().unwrap().objectives;
    assert_eq!(shown, [first]);
    assert_eq!(home.pinned(vec![second.reference()]).await, [second]);
    assert_eq!(home.pinned(vec![third.reference()]).await, [third]);
}

/// A decision that changes nothing makes no version.
pub async fn unchanged_objective_gets_no_version(world: &World) {
    let home = world.home().await;
    let objective = home.add_objective(home.objective()).await;
    for patch in [ObjectivePatch::default(), renaming(objective.name.as_str())] {
        assert_eq!(home.revise(&objective.id, patch).await, objective);
    }
    assert_eq!(home.objective_list(OLDEST_FIRST).await, std::slice::from_ref(&objective));
    assert_eq!(home.revise(&objective.id, renaming("Renamed")).await.version, 2);
}

/// A refusal is handed on, and nothing is written.
pub async fn refused_change_of_an_objective_writes_nothing(world: &World) {
    let home = world.home().await;
    let objective = home.add_objective(home.objective()).await;
    let refused = home.store.change_objective(&objective.id, Box::new(|_| Err(Refusal::LeaseHeld))).await;
    assert_eq!(refusal(refused), Refusal::LeaseHeld);
    assert_eq!(home.objective_list(OLDEST_FIRST).await, [objective]);
}

/// Changes at one time make one version each, and each version holds the changes of those before it.
pub async fn concurrent_changes_make_one_version_each(world: &World) {
    let home = world.home().await;
    let objective = home.add_objective(home.objective()).await;
    let tasks = (0..8).map(|number| {
        let (home, id) = (home.clone(), objective.id.clone());
        Box::pin(async move {
            let now = home.now();
            let decide = Box::new(move |objective: Objective| {
                let name = format!("{}{number}", objective.name);
                Ok(objective.revised(renaming(&name), now))
            });
            home.store.change_objective(&id, decide).await.unwrap().unwrap()
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
        assert_eq!(home.pinned(vec![version.reference()]).await, [version]);
    }
}

/// By creation of the first version, and by the newest name without regard to case, both ways.
pub async fn objectives_are_sorted_both_ways_by_their_newest_name(world: &World) {
    let home = world.home().await;
    let mut ids = Vec::new();
    for text in ["z", "B", "a", "b"] {
        ids.push(home.add_objective(Objective { name: name(text), ..home.objective() }).await.id);
    }
    home.revise(&ids[0], renaming("A")).await;
    for (sort, expected) in [
        (NamedSort::CreatedAt(Direction::Ascending), ["A", "B", "a", "b"]),
        (NamedSort::CreatedAt(Direction::Descending), ["b", "a", "B", "A"]),
        (NamedSort::Name(Direction::Ascending), ["A", "a", "B", "b"]),
        (NamedSort::Name(Direction::Descending), ["b", "B", "a", "A"]),
    ] {
        let listed = home.objective_list(sort).await;
        let names: Vec<_> = listed.iter().map(|objective| objective.name.as_str()).collect();
        assert_eq!(names, expected, "{sort:?}");
    }
}

/// Even where neither name nor time tells objectives apart, each is on one page, once, whatever its versions.
pub async fn pages_of_equal_objectives_never_overlap(world: &World) {
    let home = world.home().await;
    let now = world.now();
    for _ in 0..5 {
        let objective = Objective { created_at: now, updated_at: now, ..home.objective() };
        let id = home.add_objective(objective).await.id;
        home.revise(&id, renaming("Other")).await;
        home.revise(&id, renaming("Objective")).await;
    }
    for sort in [NamedSort::CreatedAt(Direction::Descending), NamedSort::Name(Direction::Ascending)] {
        let whole = home.objective_list(sort).await;
        let mut ids: Vec<_> = whole.iter().map(|objective| objective.id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 5);
        for limit in [1, 2, 5] {
            let pages = in_pages(limit, async |page| home.store.objectives(sort, page).await.unwrap()).await;
            assert_eq!(pages, whole);
        }
    }
}
