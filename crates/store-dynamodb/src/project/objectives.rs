//! Objectives, in versions: one item for the newest, which lists and changes go by, and one for each version, which
//! is written once and never changed.

use std::collections::BTreeSet;

use onerun_domain::{Objective, ObjectiveId, ObjectiveRef, Page, PageRequest};
use onerun_store::{ChangeError, Decide, IdempotencyRecord, NamedSort, StoreError};

use crate::{
    database::Written,
    item::{self, REVISION},
    keys::{self, Key},
    lists,
    patience::Patience,
    query::{Index, Query},
    record,
    write::Write,
};

use super::{Scope, contended, duplicate, projects::order, require_new};

const WHAT: &str = "objective";
const VERSION: &str = "objective version";

fn put(scope: Scope<'_>, objective: &Objective) -> Write {
    let (id, created) = (&objective.id, keys::time(objective.created_at));
    let folded = keys::fold(objective.name.as_str());
    Write::put(WHAT, Key::objective(scope.project, id), &record::objective_body(objective))
        .set(Index::Made.sort(), item::text(format!("objective#{created}#{id}")))
        .set(Index::Name.sort(), item::text(format!("objective#{folded}{}{created}#{id}", keys::END)))
}

fn put_version(scope: Scope<'_>, objective: &Objective) -> Write {
    let key = Key::version(scope.project, &objective.reference());
    Write::put(VERSION, key, &record::objective_body(objective)).if_new()
}

/// Adds an objective.
pub(super) async fn insert(
    scope: Scope<'_>,
    objective: &Objective,
    record: Option<&IdempotencyRecord>,
) -> Result<(), StoreError> {
    let newest = put(scope, objective).set(REVISION, item::number(1)).if_new();
    require_new(scope.database, vec![newest, put_version(scope, objective)], record).await
}

/// One objective at its newest version.
pub(super) async fn get(scope: Scope<'_>, id: &ObjectiveId) -> Result<Option<Objective>, StoreError> {
    let found = scope.database.get(WHAT, &Key::objective(scope.project, id)).await?;
    found.map(|item| record::objective(&item)).transpose()
}

/// One page of objectives, each at its newest version.
pub(super) async fn list(
    scope: Scope<'_>,
    sort: NamedSort,
    page: &PageRequest,
) -> Result<Page<Objective>, StoreError> {
    let (index, direction) = order(sort);
    let query = Query::new(WHAT, scope.project.as_str()).by(index, direction).beginning("objective#");
    lists::page(scope.database, query, page, record::objective).await
}

/// Holds the versions that a simulation is to pin to being there. They are never removed, so that nothing can change
/// about it before the simulation is written.
pub(super) async fn require(scope: Scope<'_>, references: &[ObjectiveRef]) -> Result<(), StoreError> {
    let keys: BTreeSet<Key> =
        references.iter().map(|reference| Key::version(scope.project, reference)).collect();
    let count = keys.len();
    if scope.database.count(VERSION, keys).await? == count {
        return Ok(());
    }
    Err(StoreError::Corrupt { what: "simulation", reason: "it names an objective that is not there".into() })
}

/// Adds the version that the decision makes, if it makes one.
pub(super) async fn change(
    scope: Scope<'_>,
    id: &ObjectiveId,
    mut decide: Decide<Objective, Objective>,
) -> Result<Option<Objective>, ChangeError> {
    let key = Key::objective(scope.project, id);
    let mut patience = Patience::new();
    loop {
        let Some(item) = scope.database.get(WHAT, &key).await? else { return Ok(None) };
        let before = record::objective(&item)?;
        let after = decide(before.clone())?;
        if after == before {
            return Ok(Some(after));
        }
        let writes = [put(scope, &after).revise(item.revision()?), put_version(scope, &after)];
        match scope.database.write(&writes, &mut patience).await? {
            Written::All => return Ok(Some(after)),
            // Versions never change.
            Written::Failed(failed) if !failed.contains(&0) => {
                return Err(duplicate(&writes, &failed).into());
            }
            Written::Failed(_) if patience.wait().await => {}
            Written::Failed(_) => return Err(contended(WHAT)),
        }
    }
}
