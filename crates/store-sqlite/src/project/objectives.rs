//! Objectives, in versions.

use onerun_domain::{Objective, ObjectiveId, Page, PageRequest};
use onerun_store::{ChangeError, Decide, SortBy, StoreError};
use rusqlite::params;

use super::projects::order;
use crate::{
    lists::{self, Query},
    rows::{self, micros, objective_columns},
    sql::{self, ProjectTables},
};

pub(super) fn insert(tables: &ProjectTables<'_>, objective: &Objective) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        "objective",
        "INSERT INTO objectives (id, project_id, version, name_folded, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            objective.id.as_str(),
            tables.project.as_str(),
            objective.version,
            sql::fold(objective.name.as_str()),
            micros(objective.created_at),
        ],
    )?;
    insert_version(tables, objective)
}

fn insert_version(tables: &ProjectTables<'_>, objective: &Objective) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        "objective version",
        "INSERT INTO objective_versions (objective_id, version, name, criteria, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            objective.id.as_str(),
            objective.version,
            objective.name.as_str(),
            objective.criteria.as_str(),
            micros(objective.updated_at),
        ],
    )?;
    Ok(())
}

/// One objective at its newest version.
pub(super) fn get(tables: &ProjectTables<'_>, id: &ObjectiveId) -> Result<Option<Objective>, StoreError> {
    sql::one(
        tables.connection,
        "objective",
        concat!(
            "SELECT ",
            objective_columns!(),
            " FROM objectives
              JOIN objective_versions ON objective_versions.objective_id = objectives.id
                  AND objective_versions.version = objectives.version
              WHERE objectives.id = ?2 AND objectives.project_id = ?1"
        ),
        [tables.project.as_str(), id.as_str()],
        rows::objective,
    )
}

/// One page of objectives, each at its newest version.
pub(super) fn list(
    tables: &ProjectTables<'_>,
    sort: SortBy,
    page: &PageRequest,
) -> Result<Page<Objective>, StoreError> {
    let of_project = vec![tables.project.as_str().to_owned().into()];
    let candidates = Query::new("objectives", "project_id = ?1", of_project).candidates(
        tables.connection,
        "objective",
        &order(sort),
        page,
    )?;
    lists::page(candidates, page, |inserted| {
        let sql = concat!(
            "SELECT ",
            objective_columns!(),
            " FROM objectives
              JOIN objective_versions ON objective_versions.objective_id = objectives.id
                  AND objective_versions.version = objectives.version
              WHERE objectives.inserted = ?1"
        );
        sql::one(tables.connection, "objective", sql, [inserted], rows::objective)
    })
}

/// Adds the decision's new version, if there is one.
pub(super) fn change(
    tables: &ProjectTables<'_>,
    id: &ObjectiveId,
    mut decide: Decide<Objective, Objective>,
) -> Result<Option<Objective>, ChangeError> {
    let Some(before) = get(tables, id)? else { return Ok(None) };
    let after = decide(before.clone())?;
    if after != before {
        // Versions never change: an existing one fails by its primary key.
        insert_version(tables, &after)?;
        sql::execute(
            tables.connection,
            "objective",
            "UPDATE objectives SET version = ?2, name_folded = ?3 WHERE id = ?1",
            params![id.as_str(), after.version, sql::fold(after.name.as_str())],
        )?;
    }
    Ok(Some(after))
}
