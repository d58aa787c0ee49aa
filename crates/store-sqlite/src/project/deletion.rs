//! The deletion of simulations.

use async_trait::async_trait;
use jiff::Timestamp;
use onerun_domain::{ProjectId, Simulation, SimulationId};
use onerun_store::{ChangeError, Decide, DeletionStore, IdempotencyRecord, StoreError};
use rusqlite::{Connection, params};

use super::{SqliteProject, simulations};
use crate::{
    columns::only,
    rows::micros,
    sql::{self, ProjectTables},
};

const WHAT: &str = "deleted simulation";

/// Rows that refer to a conversation, `?1`, at most `?2` of each kind.
const BELOW_CONVERSATION: [(&str, &str); 5] = [
    (
        "message",
        "DELETE FROM items WHERE conversation_id = ?1 AND (attempt, position) IN
             (SELECT attempt, position FROM items WHERE conversation_id = ?1 LIMIT ?2)",
    ),
    (
        "turn",
        "DELETE FROM turns WHERE conversation_id = ?1 AND key IN
             (SELECT key FROM turns WHERE conversation_id = ?1 LIMIT ?2)",
    ),
    (
        "evaluation",
        "DELETE FROM evaluations WHERE conversation_id = ?1 AND (attempt, objective_id, objective_version) IN
             (SELECT attempt, objective_id, objective_version FROM evaluations WHERE conversation_id = ?1 LIMIT ?2)",
    ),
    (
        "result of an evaluation run",
        "DELETE FROM run_results WHERE conversation_id = ?1 AND run_id IN
             (SELECT run_id FROM run_results WHERE conversation_id = ?1 LIMIT ?2)",
    ),
    // There is one of a conversation.
    ("label", "DELETE FROM labels WHERE conversation_id = ?1 AND ?2 > 0"),
];

/// Rows of a simulation, `?1`, beside its conversations, at most `?2` of each kind.
const BELOW_SIMULATION: [(&str, &str); 4] = [
    (
        "evaluation run",
        "DELETE FROM evaluation_runs WHERE inserted IN
             (SELECT inserted FROM evaluation_runs WHERE simulation_id = ?1 LIMIT ?2)",
    ),
    (
        "persona",
        "DELETE FROM personas WHERE inserted IN
             (SELECT inserted FROM personas WHERE simulation_id = ?1 LIMIT ?2)",
    ),
    // There is one of a simulation.
    ("import", "DELETE FROM imports WHERE simulation_id = ?1 AND ?2 > 0"),
    // There are at most as many as one simulation pins.
    ("simulation's objective", "DELETE FROM simulation_objectives WHERE simulation_id = ?1 AND ?2 > 0"),
];

/// The last rows that name a simulation, `?1`.
const LAST: [(&str, &str); 5] = [
    ("explicit personas", "DELETE FROM explicit_personas WHERE simulation_id = ?1"),
    ("simulation's progress", "DELETE FROM simulation_progress WHERE simulation_id = ?1"),
    ("dead job", "DELETE FROM dead_jobs WHERE work ->> '$.simulation' = ?1"),
    // The key may have been used again since the record expired.
    (
        "idempotency record",
        "DELETE FROM idempotency_records
         WHERE hash = (SELECT record_hash FROM all_simulations WHERE id = ?1) AND instr(body, ?1) > 0",
    ),
    (WHAT, "DELETE FROM all_simulations WHERE id = ?1"),
];

#[async_trait]
impl DeletionStore for SqliteProject {
    async fn delete_simulation(
        &self,
        id: &SimulationId,
        at: Timestamp,
        mut decide: Decide<Simulation, ()>,
    ) -> Result<bool, ChangeError> {
        let id = id.clone();
        self.write(move |tables| {
            let Some(view) = simulations::view(tables, &id)? else { return Ok(false) };
            decide(view.simulation)?;
            let sql = "UPDATE all_simulations SET deleted_at = ?2 WHERE id = ?1";
            sql::execute(tables.connection, WHAT, sql, params![id.as_str(), micros(at)])?;
            Ok(true)
        })
        .await
    }

    async fn purge_simulation(&self, id: &SimulationId, limit: u32) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |tables| purge(tables, &id, limit)).await
    }
}

/// Notes the idempotency record of the request that created a simulation, so that it can be purged.
pub(super) fn note_record(
    tables: &ProjectTables<'_>,
    id: &SimulationId,
    record: Option<&IdempotencyRecord>,
) -> Result<(), StoreError> {
    let Some(record) = record else { return Ok(()) };
    let sql = "UPDATE all_simulations SET record_hash = ?2 WHERE id = ?1";
    sql::execute(tables.connection, "simulation", sql, [id.as_str(), record.id.hash()])?;
    Ok(())
}

fn purge(tables: &ProjectTables<'_>, id: &SimulationId, limit: u32) -> Result<bool, StoreError> {
    let (connection, id) = (tables.connection, id.as_str());
    let sql = "SELECT 1 FROM all_simulations WHERE id = ?2 AND project_id = ?1 AND deleted_at IS NOT NULL";
    let known: Option<i64> = sql::one(connection, WHAT, sql, [tables.project.as_str(), id], only)?;
    if known.is_none() {
        return Ok(false);
    }
    let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
    let sql = "SELECT id FROM conversations WHERE simulation_id = ?1 LIMIT 1";
    while let Some(conversation) = sql::one(connection, "conversation", sql, [id], only::<String>)? {
        delete(connection, &BELOW_CONVERSATION, &conversation, &mut left)?;
        if left == 0 {
            return Ok(true);
        }
        let sql = "DELETE FROM conversations WHERE id = ?1";
        left -= sql::execute(connection, "conversation", sql, [conversation])?.min(left);
    }
    delete(connection, &BELOW_SIMULATION, id, &mut left)?;
    if left == 0 {
        return Ok(true);
    }
    for (what, sql) in LAST {
        sql::execute(connection, what, sql, [id])?;
    }
    Ok(false)
}

/// Deletes rows that belong to a subject until none are left to delete.
fn delete(
    connection: &Connection,
    statements: &[(&'static str, &str)],
    subject: &str,
    left: &mut usize,
) -> Result<(), StoreError> {
    for (what, sql) in statements {
        let limit = i64::try_from(*left).unwrap_or(i64::MAX);
        *left -= sql::execute(connection, what, sql, params![subject, limit])?.min(*left);
    }
    Ok(())
}

/// Simulations of all projects that were deleted at or before `deleted_by`.
pub(crate) fn deleted(
    connection: &Connection,
    limit: u32,
    deleted_by: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
    sql::all(
        connection,
        WHAT,
        "SELECT project_id, id FROM all_simulations WHERE deleted_at <= ?1 ORDER BY deleted_at LIMIT ?2",
        params![micros(deleted_by), limit],
        |columns| Ok((columns.parsed()?, columns.parsed()?)),
    )
}
