//! Objectives, in versions: one item for the newest version, used by lists and changes, and one
//! item for each version, which never changes.

use std::collections::BTreeSet;

use onerun_domain::{Objective, ObjectiveId, ObjectiveRef, Page, PageRequest};
use onerun_store::{ChangeError, Decide, IdempotencyRecord, SortBy, StoreError};

use crate::{
    database::Written,
    entries::{named, replace},
    item::{self, REVISION},
    keys::Key,
    lists,
    query::Query,
    record,
    retry::RetryPolicy,
    write::Write,
};

use super::{ProjectTable, contended, duplicate, projects::order, require_new};

const WHAT: &str = "objective";
const VERSION: &str = "objective version";

fn put(table: ProjectTable<'_>, objective: &Objective) -> Write {
    let key = Key::objective(table.project, &objective.id);
    Write::put(WHAT, key, &record::objective_body(objective))
}

fn entries(table: ProjectTable<'_>, objective: &Objective) -> [Write; 2] {
    let (project, id) = (table.project.as_str(), objective.id.as_str());
    named(WHAT, project, "objective#", id, objective.created_at, &objective.name)
}

fn put_version(table: ProjectTable<'_>, objective: &Objective) -> Write {
    let key = Key::version(table.project, &objective.reference());
    Write::put(VERSION, key, &record::objective_body(objective)).if_new()
}

pub(super) async fn insert(
    table: ProjectTable<'_>,
    objective: &Objective,
    record: Option<&IdempotencyRecord>,
) -> Result<(), StoreError> {
    let newest = put(table, objective).set(REVISION, item::number(1)).if_new();
    let mut writes = vec![newest, put_version(table, objective)];
    writes.extend(entries(table, objective));
    require_new(table.database, writes, record).await
}

/// One objective at its newest version.
pub(super) async fn get(table: ProjectTable<'_>, id: &ObjectiveId) -> Result<Option<Objective>, StoreError> {
    let found = table.database.get(WHAT, &Key::objective(table.project, id)).await?;
    found.map(|item| record::objective(&item)).transpose()
}

/// One page of objectives, each at its newest version.
pub(super) async fn list(
    table: ProjectTable<'_>,
    sort: SortBy,
    page: &PageRequest,
) -> Result<Page<Objective>, StoreError> {
    let (index, direction) = order(sort);
    let query = Query::new(WHAT, table.project.as_str()).by(index, direction).beginning("objective#");
    lists::page(table.database, query, page, record::objective).await
}

/// Fails unless the versions exist. Versions are never removed, so they still exist when the
/// simulation is written.
pub(super) async fn require(table: ProjectTable<'_>, references: &[ObjectiveRef]) -> Result<(), StoreError> {
    let keys: BTreeSet<Key> =
        references.iter().map(|reference| Key::version(table.project, reference)).collect();
    let count = keys.len();
    if table.database.count(VERSION, keys).await? == count {
        return Ok(());
    }
    Err(StoreError::Corrupt { what: "simulation", reason: "it names an unknown objective".into() })
}

/// Adds the decision's new version, if there is one.
pub(super) async fn change(
    table: ProjectTable<'_>,
    id: &ObjectiveId,
    mut decide: Decide<Objective, Objective>,
) -> Result<Option<Objective>, ChangeError> {
    let key = Key::objective(table.project, id);
    let mut retry = RetryPolicy::new();
    loop {
        let Some(item) = table.database.get(WHAT, &key).await? else { return Ok(None) };
        let before = record::objective(&item)?;
        let after = decide(before.clone())?;
        if after == before {
            return Ok(Some(after));
        }
        let mut writes = vec![put(table, &after).revise(item.revision()?), put_version(table, &after)];
        writes.extend(replace(&entries(table, &before), entries(table, &after)));
        match table.database.write(&writes, &mut retry).await? {
            Written::All => return Ok(Some(after)),
            // The objective has not changed, so its next version exists already.
            Written::Failed(failed) if !failed.contains(&0) => {
                return Err(duplicate(&writes, &failed).into());
            }
            Written::Failed(_) if retry.wait().await => {}
            Written::Failed(_) => return Err(contended(WHAT)),
        }
    }
}
