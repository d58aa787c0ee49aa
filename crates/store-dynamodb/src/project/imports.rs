//! Conversations that wait for their import: one JSON text, in parts, in the partition of their simulation.

use async_trait::async_trait;
use onerun_domain::{ImportedConversation, SimulationId};
use onerun_store::{ImportStore, NewImportedSimulation, StoreError};

use super::{DynamoDbProject, ProjectTable, simulations, transcripts::cut};
use crate::{
    item::{Item, SORT},
    keys::{Key, SimulationKeys},
    query::Query,
    write::{MAX_BODY, Write},
};

const IMPORT: &str = "import";

#[async_trait]
impl ImportStore for DynamoDbProject {
    async fn insert_import(&self, new: NewImportedSimulation) -> Result<(), StoreError> {
        let NewImportedSimulation { simulation, objectives, conversations, jobs, record } = new;
        let keys = self.table().keys(&simulation.id);
        let text = serde_json::to_string(&conversations).map_err(|error| corrupt(&error))?;
        let parts = cut(&text, MAX_BODY).into_iter().zip(0..);
        let import: Vec<Write> =
            parts.map(|(part, number)| put_part(&keys, number, part.to_owned())).collect();
        let new = simulations::NewSimulation {
            simulation: &simulation,
            pinned: &objectives,
            explicit_personas: &[],
            import,
        };
        simulations::insert(self.table(), new, &jobs, record.as_ref()).await
    }

    async fn waiting_import(
        &self,
        simulation: &SimulationId,
    ) -> Result<Option<Vec<ImportedConversation>>, StoreError> {
        let first = self.table().keys(simulation).import_part(0).sort;
        let mut text = String::new();
        for part in parts(self.table(), simulation).await? {
            // Without its first part, it is being deleted.
            if text.is_empty() && part.text(SORT)? != first {
                return Ok(None);
            }
            text.push_str(part.body()?);
        }
        if text.is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(|error| corrupt(&error))
    }

    async fn delete_import(&self, simulation: &SimulationId) -> Result<(), StoreError> {
        let table = self.table();
        let partition = table.keys(simulation).partition;
        // In order: the text is gone with its first part, and the others are deleted by a repeated call at the latest.
        for part in parts(table, simulation).await? {
            let key = Key { partition: partition.clone(), sort: part.text(SORT)?.to_owned() };
            table.database.delete(&Write::delete(IMPORT, key)).await?;
        }
        Ok(())
    }
}

fn put_part(keys: &SimulationKeys, number: u64, text: String) -> Write {
    Write::put_text(IMPORT, keys.import_part(number), text).if_new()
}

/// The parts, in their order.
async fn parts(table: ProjectTable<'_>, simulation: &SimulationId) -> Result<Vec<Item>, StoreError> {
    let query =
        Query::new(IMPORT, table.keys(simulation).partition).beginning(SimulationKeys::import_prefix());
    table.database.query(&query).await
}

fn corrupt(error: &serde_json::Error) -> StoreError {
    // The message of the error may quote the text.
    let reason = format!("not the JSON it must be, at line {} column {}", error.line(), error.column());
    StoreError::Corrupt { what: IMPORT, reason }
}
