//! Projects.

use onerun_auth::ProjectAccess;
use onerun_domain::{Direction, Name, Project, ProjectId, ProjectPatch, Refusal};

use super::fixture::{Fixture, all, assert_duplicate, at_once, in_pages, name, odd_texts, part, refusal};
use crate::SortBy;

fn renamed(name: Name) -> ProjectPatch {
    ProjectPatch { name: Some(name), archived: None }
}

/// Every field is stored verbatim.
pub async fn project_is_read_as_added(fixture: &Fixture) {
    for text in odd_texts() {
        let Ok(name) = onerun_domain::Name::parse(text) else { continue };
        let project = Project { name, updated_at: fixture.now(), ..fixture.project() };
        fixture.store.insert_project(project.clone(), None).await.unwrap();
        let opened = fixture.store.open_project(&project.id).await.unwrap().unwrap();
        assert_eq!(opened.project_id(), &project.id);
        assert_eq!(opened.project().await.unwrap(), project);
        let listed = fixture.project_list(SortBy::CreatedAt(Direction::Descending), part(1, 0)).await;
        assert_eq!(listed.data, [project]);
    }
}

/// A second project with the same id is refused, and the first one stays.
pub async fn project_is_added_once(fixture: &Fixture) {
    let first = fixture.project();
    fixture.store.insert_project(first.clone(), None).await.unwrap();
    let second = Project { name: name("Second"), ..first.clone() };
    assert_duplicate(&fixture.store.insert_project(second, None).await);
    let listed = fixture.project_list(SortBy::CreatedAt(Direction::Ascending), all()).await;
    assert_eq!(listed.data, [first]);
}

/// Every read of an unknown project returns `None`.
pub async fn unknown_project_does_not_open(fixture: &Fixture) {
    fixture.new_project().await;
    let unknown = ProjectId::generate(fixture.random());
    assert!(fixture.store.open_project(&unknown).await.unwrap().is_none());
}

/// A decision's result about a project is returned and stored.
pub async fn changed_project_is_stored(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let now = fixture.now();
    let decide = Box::new(move |project: Project| Ok(project.patched(renamed(name("Renamed")), now)));
    let changed = project.store.change_project(decide).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.updated_at), ("Renamed", now));
    assert_eq!(project.store.project().await.unwrap(), changed);
    let listed = fixture.project_list(SortBy::Name(Direction::Ascending), all()).await;
    assert_eq!(listed.data, [changed]);
}

/// The refusal is returned, and nothing is written.
pub async fn refused_change_of_a_project_writes_nothing(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let before = project.store.project().await.unwrap();
    let refused = project.store.change_project(Box::new(|_| Err(Refusal::SimulationUnfinished))).await;
    assert_eq!(refusal(refused), Refusal::SimulationUnfinished);
    assert_eq!(project.store.project().await.unwrap(), before);
}

/// Each change decides from the state that the change before it wrote.
pub async fn concurrent_project_changes_are_all_kept(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let tasks = (0..8).map(|number| {
        let project = project.clone();
        Box::pin(async move {
            let now = project.now();
            let decide = Box::new(move |project: Project| {
                let name = name(&format!("{}{number}", project.name));
                Ok(project.patched(renamed(name), now))
            });
            project.store.change_project(decide).await.unwrap();
        }) as _
    });
    at_once(tasks.collect()).await;
    let name = project.store.project().await.unwrap().name;
    let mut digits: Vec<char> = name.as_str().strip_prefix("Project").unwrap().chars().collect();
    digits.sort_unstable();
    assert_eq!(digits, ('0'..='7').collect::<Vec<_>>());
}

/// By creation and by name regardless of case, both ways. Equal names are sorted by creation in the
/// same direction.
pub async fn projects_are_sorted_both_ways(fixture: &Fixture) {
    for text in ["b", "A", "a", "C", "\u{c4}b", "\u{e4}a", "B"] {
        fixture.store.insert_project(Project { name: name(text), ..fixture.project() }, None).await.unwrap();
    }
    let names = async |sort| {
        let page = fixture.project_list(sort, all()).await;
        page.data.iter().map(|project| project.name.as_str().to_owned()).collect::<Vec<_>>()
    };
    let made = ["b", "A", "a", "C", "\u{c4}b", "\u{e4}a", "B"];
    assert_eq!(names(SortBy::CreatedAt(Direction::Ascending)).await, made);
    assert_eq!(
        names(SortBy::CreatedAt(Direction::Descending)).await,
        made.map(str::to_owned).into_iter().rev().collect::<Vec<_>>()
    );
    let mut ascending = names(SortBy::Name(Direction::Ascending)).await;
    let mut descending = names(SortBy::Name(Direction::Descending)).await;
    descending.reverse();
    assert_eq!(ascending, descending);
    // Backends may sort accented letters anywhere; among themselves, case does not count.
    let marked: Vec<String> = ascending.extract_if(.., |name| !name.is_ascii()).collect();
    assert_eq!(marked, ["\u{e4}a", "\u{c4}b"]);
    assert_eq!(ascending, ["A", "a", "b", "B", "C"]);
}

/// With equal names and times, each project is still on exactly one page, the same one on every
/// read.
pub async fn pages_of_equal_projects_never_overlap(fixture: &Fixture) {
    let now = fixture.now();
    for _ in 0..7 {
        let project = Project { created_at: now, updated_at: now, ..fixture.project() };
        fixture.store.insert_project(project, None).await.unwrap();
    }
    for sort in [
        SortBy::CreatedAt(Direction::Ascending),
        SortBy::CreatedAt(Direction::Descending),
        SortBy::Name(Direction::Ascending),
        SortBy::Name(Direction::Descending),
    ] {
        let whole = fixture.project_list(sort, all()).await.data;
        let mut ids: Vec<_> = whole.iter().map(|project| project.id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 7);
        for limit in [1, 3, 7, 8] {
            assert_eq!(in_pages(limit, async |page| fixture.project_list(sort, page).await).await, whole);
        }
    }
}

/// Exactly the existing projects among the requested ones, in either order and in pages.
pub async fn projects_are_listed_by_access(fixture: &Fixture) {
    let mut ids = Vec::new();
    for text in ["b", "a", "D", "c", "A"] {
        let project = Project { name: name(text), ..fixture.project() };
        ids.push(project.id.clone());
        fixture.store.insert_project(project, None).await.unwrap();
    }
    let unknown = ProjectId::generate(fixture.random());
    let only = |ids: &[&ProjectId]| ProjectAccess::Only(ids.iter().copied().cloned().collect());
    let names = async |within: &ProjectAccess, sort, limit| {
        let listed =
            in_pages(limit, async |page| fixture.store.projects(within, false, sort, page).await.unwrap());
        listed.await.iter().map(|project| project.name.as_str().to_owned()).collect::<Vec<_>>()
    };
    let within = only(&[&ids[0], &ids[2], &ids[3], &ids[4], &unknown]);
    for limit in [1, 3, 4, 5] {
        let by_time = async |direction| names(&within, SortBy::CreatedAt(direction), limit).await;
        assert_eq!(by_time(Direction::Ascending).await, ["b", "D", "c", "A"]);
        assert_eq!(by_time(Direction::Descending).await, ["A", "c", "D", "b"]);
        let by_name = async |direction| names(&within, SortBy::Name(direction), limit).await;
        assert_eq!(by_name(Direction::Ascending).await, ["A", "b", "c", "D"]);
        assert_eq!(by_name(Direction::Descending).await, ["D", "c", "b", "A"]);
    }
    let sort = SortBy::CreatedAt(Direction::Ascending);
    assert_eq!(names(&only(&[]), sort, 10).await, [""; 0]);
    assert_eq!(names(&only(&[&unknown]), sort, 10).await, [""; 0]);
    assert_eq!(names(&ProjectAccess::All, sort, 10).await.len(), 5);
}

/// An archived project is in the list of archived ones only, and returns when it is in use again.
pub async fn archived_project_is_in_a_list_of_its_own(fixture: &Fixture) {
    let mut projects = Vec::new();
    for text in ["b", "A", "c"] {
        let project = Project { name: name(text), ..fixture.project() };
        fixture.store.insert_project(project.clone(), None).await.unwrap();
        projects.push(project);
    }
    let id = projects[1].id.clone();
    let opened = fixture.store.open_project(&id).await.unwrap().unwrap();
    let change = async |archived| {
        let now = fixture.now();
        let patch = ProjectPatch { name: None, archived: Some(archived) };
        let decide = Box::new(move |project: Project| Ok(project.patched(patch.clone(), now)));
        opened.change_project(decide).await.unwrap()
    };
    let some = ProjectAccess::Only(projects.iter().map(|project| project.id.clone()).collect());
    let names = async |archived| {
        let mut lists = Vec::new();
        for within in [&ProjectAccess::All, &some] {
            for sort in [SortBy::CreatedAt(Direction::Ascending), SortBy::Name(Direction::Descending)] {
                let list = async |page| fixture.store.projects(within, archived, sort, page).await.unwrap();
                let found = in_pages(1, list).await;
                lists.push(found.iter().map(|project| project.name.as_str()).collect::<Vec<_>>().join(" "));
            }
        }
        assert_eq!(lists[..2], lists[2..]);
        lists.truncate(2);
        lists.join(", ")
    };
    assert_eq!((names(false).await.as_str(), names(true).await.as_str()), ("b A c, c b A", ", "));
    let archived = change(true).await;
    assert!(archived.archived_at.is_some());
    assert_eq!(change(true).await, archived, "archiving it again changes nothing");
    assert_eq!(opened.project().await.unwrap(), archived);
    assert_eq!((names(false).await.as_str(), names(true).await.as_str()), ("b c, c b", "A, A"));
    assert_eq!(change(false).await.archived_at, None);
    assert_eq!((names(false).await.as_str(), names(true).await.as_str()), ("b A c, c b A", ", "));
}
