//! Projects.

use onerun_auth::ProjectAccess;
use onerun_domain::{Page, PageRequest, Project, ProjectId};
use onerun_store::{ChangeError, Decide, SortBy, StoreError};
use rusqlite::{Connection, params};

use crate::{
    columns::only,
    lists::{self, CREATED_AT, Order, Query, SortKey},
    rows::{self, micros, project_columns},
    sql::{self, ProjectTables},
};

pub(crate) fn insert(connection: &Connection, project: &Project) -> Result<(), StoreError> {
    sql::execute(
        connection,
        "project",
        "INSERT INTO projects (id, name, name_folded, created_at, updated_at, archived_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            project.id.as_str(),
            project.name.as_str(),
            sql::fold(project.name.as_str()),
            micros(project.created_at),
            micros(project.updated_at),
            project.archived_at.map(micros),
        ],
    )?;
    Ok(())
}

/// Whether the project exists.
pub(crate) fn exists(connection: &Connection, id: &ProjectId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM projects WHERE id = ?1";
    Ok(sql::one(connection, "project", sql, [id.as_str()], only::<i64>)?.is_some())
}

/// One page of the projects that the caller may access.
pub(crate) fn list(
    connection: &Connection,
    within: &ProjectAccess,
    archived: bool,
    sort: SortBy,
    page: &PageRequest,
) -> Result<Page<Project>, StoreError> {
    let ids = match within {
        ProjectAccess::All => None,
        ProjectAccess::Only(ids) => Some(rows::json("project", ids)?),
    };
    let candidates = Query::new("projects", "TRUE", Vec::new())
        .and("(archived_at IS NOT NULL) = {}", Some(archived))
        .and("id IN (SELECT value FROM json_each({}))", ids)
        .candidates(connection, "project", &order(sort), page)?;
    lists::page(candidates, page, |inserted| {
        let sql = concat!("SELECT ", project_columns!(), " FROM projects WHERE inserted = ?1");
        sql::one(connection, "project", sql, [inserted], rows::project)
    })
}

/// The project that the tables are bound to.
pub(super) fn get(tables: &ProjectTables<'_>) -> Result<Project, StoreError> {
    let found = sql::one(
        tables.connection,
        "project",
        concat!("SELECT ", project_columns!(), " FROM projects WHERE id = ?1"),
        [tables.project.as_str()],
        rows::project,
    )?;
    found.ok_or_else(|| StoreError::Corrupt { what: "project", reason: "it is missing".into() })
}

pub(super) fn change(
    tables: &ProjectTables<'_>,
    mut decide: Decide<Project, Project>,
) -> Result<Project, ChangeError> {
    let before = get(tables)?;
    let after = decide(before.clone())?;
    if after != before {
        sql::execute(
            tables.connection,
            "project",
            "UPDATE projects SET name = ?2, name_folded = ?3, updated_at = ?4, archived_at = ?5 WHERE id = ?1",
            params![
                tables.project.as_str(),
                after.name.as_str(),
                sql::fold(after.name.as_str()),
                micros(after.updated_at),
                after.archived_at.map(micros),
            ],
        )?;
    }
    Ok(after)
}

/// The order of a list with names.
pub(super) fn order(sort: SortBy) -> Order {
    match sort {
        SortBy::CreatedAt(direction) => Order { keys: &[CREATED_AT], direction },
        SortBy::Name(direction) => Order { keys: &[SortKey::Text("name_folded"), CREATED_AT], direction },
    }
}
