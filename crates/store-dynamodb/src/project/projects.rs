//! Projects. All are in one partition: they are few, small, and rarely written.

use std::collections::BTreeSet;

use onerun_auth::ProjectAccess;
use onerun_domain::{Direction, Page, PageRequest, Project, ProjectId, Start};
use onerun_store::{ChangeError, Decide, IdempotencyRecord, PageBuilder, SortBy, StoreError};

use crate::{
    database::{Database, Written},
    entries::{entry, replace},
    item::{self, Item, REVISION},
    keys::{self, Key},
    lists,
    query::{Index, Query},
    record,
    retry::RetryPolicy,
    write::Write,
};

use super::{contended, require_new};

const WHAT: &str = "project";

/// The beginning of the entries of archived projects. No name and no time begins with it.
const ARCHIVED: &str = "\u{1}";

/// The ends of the entries of other projects.
const OTHERS: [&str; 2] = ["\u{2}", "\u{10ffff}"];

fn put(project: &Project) -> Write {
    Write::put(WHAT, Key::project(&project.id), &record::project_body(project))
}

/// The text that a project sorts by.
fn text(project: &Project, index: Index) -> String {
    let (id, created) = (&project.id, keys::time(project.created_at));
    let list = if project.archived_at.is_some() { ARCHIVED } else { "" };
    match index {
        Index::Name => format!("{list}{}{}{created}#{id}", keys::fold(project.name.as_str()), keys::END),
        _ => format!("{list}{created}#{id}"),
    }
}

fn entries(project: &Project) -> Vec<Write> {
    let entry = |index| entry(WHAT, keys::PROJECTS, index, &text(project, index), project.id.as_str());
    [Index::Made, Index::Name].map(entry).into()
}

pub(crate) async fn insert(
    database: &Database,
    project: &Project,
    record: Option<&IdempotencyRecord>,
) -> Result<(), StoreError> {
    let mut writes = vec![put(project).set(REVISION, item::number(1)).if_new()];
    writes.extend(entries(project));
    require_new(database, writes, record).await
}

pub(crate) async fn exists(database: &Database, id: &ProjectId) -> Result<bool, StoreError> {
    Ok(database.get(WHAT, &Key::project(id)).await?.is_some())
}

/// One page of the projects that the caller may access.
pub(crate) async fn list(
    database: &Database,
    within: &ProjectAccess,
    archived: bool,
    sort: SortBy,
    page: &PageRequest,
) -> Result<Page<Project>, StoreError> {
    let (index, direction) = order(sort);
    let query = Query::new(WHAT, keys::PROJECTS).by(index, direction);
    let [first, last] = OTHERS;
    let query = if archived { query.beginning(ARCHIVED) } else { query.between(first, last) };
    match within {
        ProjectAccess::All => lists::page(database, query, page, record::project).await,
        ProjectAccess::Only(ids) => named(database, ids, archived, &query, (index, direction), page).await,
    }
}

/// One page of the projects with these ids, in the order of a query of all projects.
async fn named(
    database: &Database,
    ids: &BTreeSet<ProjectId>,
    archived: bool,
    query: &Query,
    (index, direction): (Index, Direction),
    page: &PageRequest,
) -> Result<Page<Project>, StoreError> {
    let (skip, after) = match &page.start {
        Start::Offset(offset) => (usize::try_from(*offset).unwrap_or(usize::MAX), None),
        Start::After(position) => (0, Some(query.place(position)?)),
    };
    let found = database.get_all(WHAT, ids.iter().map(Key::project).collect()).await?;
    let mut projects = Vec::new();
    for attributes in found.into_values() {
        let project = record::project(&Item::new(WHAT, attributes))?;
        if project.archived_at.is_some() == archived {
            projects.push((text(&project, index), project));
        }
    }
    projects.sort_by(|(one, _), (other, _)| one.cmp(other));
    if direction == Direction::Descending {
        projects.reverse();
    }
    let follows = |sort: &String| match (&after, direction) {
        (None, _) => true,
        (Some(after), Direction::Ascending) => sort > after,
        (Some(after), Direction::Descending) => sort < after,
    };
    let mut built = PageBuilder::new(page.limit);
    for (sort, project) in projects.into_iter().filter(|(sort, _)| follows(sort)).skip(skip) {
        if !built.push(project, query.position(&sort)) {
            break;
        }
    }
    Ok(built.finish())
}

pub(super) async fn get(database: &Database, id: &ProjectId) -> Result<Project, StoreError> {
    record::project(&stored(database, id).await?)
}

async fn stored(database: &Database, id: &ProjectId) -> Result<Item, StoreError> {
    let found = database.get(WHAT, &Key::project(id)).await?;
    found.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "it is missing".into() })
}

pub(super) async fn change(
    database: &Database,
    id: &ProjectId,
    mut decide: Decide<Project, Project>,
) -> Result<Project, ChangeError> {
    let mut retry = RetryPolicy::new();
    loop {
        let item = stored(database, id).await?;
        let before = record::project(&item)?;
        let after = decide(before.clone())?;
        if after == before {
            return Ok(after);
        }
        let mut writes = vec![put(&after).revise(item.revision()?)];
        writes.extend(replace(&entries(&before), entries(&after)));
        if let Written::All = database.write(&writes, &mut retry).await? {
            return Ok(after);
        }
        if !retry.wait().await {
            return Err(contended(WHAT));
        }
    }
}

/// The order of a list with names.
pub(super) fn order(sort: SortBy) -> (Index, Direction) {
    match sort {
        SortBy::CreatedAt(direction) => (Index::Made, direction),
        SortBy::Name(direction) => (Index::Name, direction),
    }
}
