//! Conversations that wait for their import.

use async_trait::async_trait;
use onerun_domain::{ImportedConversation, SimulationId};
use onerun_store::{ImportStore, NewImportedSimulation, StoreError};
use rusqlite::params;

use super::{SqliteProject, deletion, simulations};
use crate::{
    idempotency, rows,
    sql::{self, ProjectTables},
};

const IMPORT: &str = "import";

#[async_trait]
impl ImportStore for SqliteProject {
    async fn insert_import(&self, new: NewImportedSimulation) -> Result<(), StoreError> {
        self.write(move |tables| insert(tables, &new)).await
    }

    async fn waiting_import(
        &self,
        simulation: &SimulationId,
    ) -> Result<Option<Vec<ImportedConversation>>, StoreError> {
        let simulation = simulation.clone();
        self.read(move |tables| waiting(tables, &simulation)).await
    }

    async fn delete_import(&self, simulation: &SimulationId) -> Result<(), StoreError> {
        let simulation = simulation.clone();
        self.write(move |tables| delete(tables, &simulation)).await
    }
}

fn insert(tables: &ProjectTables<'_>, new: &NewImportedSimulation) -> Result<(), StoreError> {
    simulations::insert(tables, &new.simulation, &new.objectives, &new.jobs)?;
    sql::execute(
        tables.connection,
        IMPORT,
        "INSERT INTO imports (simulation_id, conversations) VALUES (?1, ?2)",
        params![new.simulation.id.as_str(), rows::json(IMPORT, &new.conversations)?],
    )?;
    deletion::note_record(tables, &new.simulation.id, new.record.as_ref())?;
    idempotency::insert(tables.connection, new.record.as_ref())
}

fn waiting(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
) -> Result<Option<Vec<ImportedConversation>>, StoreError> {
    sql::one(
        tables.connection,
        IMPORT,
        "SELECT imports.conversations FROM imports JOIN simulations ON simulations.id = imports.simulation_id
         WHERE simulations.id = ?2 AND simulations.project_id = ?1",
        [tables.project.as_str(), simulation.as_str()],
        |columns| columns.checked(rows::from_json),
    )
}

fn delete(tables: &ProjectTables<'_>, simulation: &SimulationId) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        IMPORT,
        "DELETE FROM imports WHERE simulation_id = ?2
         AND EXISTS (SELECT 1 FROM simulations WHERE id = ?2 AND project_id = ?1)",
        [tables.project.as_str(), simulation.as_str()],
    )?;
    Ok(())
}
