//! Personas.

use onerun_domain::{
    Direction, Job, Page, PageRequest, Persona, PersonaDraft, PersonaId, Simulation, SimulationId,
};
use onerun_store::{ChangeError, Decide, PersonaChange, StoreError};
use serde_json::json;

use crate::{
    counts::Counts,
    database::Written,
    entries::entry,
    item::{self, Item, REVISION, SORT},
    jobs,
    keys::{self, PERSONA_NUMBER, SimulationKeys},
    lists,
    query::{Index, Query},
    record,
    retry::RetryPolicy,
    write::Write,
};

use super::{ProjectTable, contended, simulations::COUNTS};

pub(super) const WHAT: &str = "persona";
const EXPLICIT: &str = "explicit personas";

fn put(keys: &SimulationKeys, persona: &Persona) -> Write {
    Write::put(WHAT, keys.persona(&persona.id), &record::persona_body(persona))
}

/// The entry of a persona. It never moves.
fn put_entry(keys: &SimulationKeys, persona: &Persona) -> Write {
    let (created, seq) = (keys::time(persona.created_at), keys::number(persona.seq.into()));
    let text = format!("persona#{created}#{seq}");
    let row = keys.persona(&persona.id);
    entry(WHAT, row.partition, Index::Made, &text, row.sort)
}

/// Adds a persona and its jobs, unless its simulation has a persona with that number or belongs to
/// another project.
pub(super) async fn add(
    table: ProjectTable<'_>,
    persona: &Persona,
    jobs: &[Job],
) -> Result<bool, StoreError> {
    let keys = table.keys(&persona.simulation_id);
    let counter_shard = Write::update(COUNTS, keys.first_counter_shard_of(persona.id.as_str())).if_there();
    let mut writes = vec![
        put(&keys, persona).set(REVISION, item::number(1)).if_new(),
        Write::put_bare("persona's number", keys.persona_number(persona.seq)).if_new(),
        Counts::of_persona(persona.approval).write(counter_shard),
    ];
    writes.push(put_entry(&keys, persona));
    writes.extend(jobs::calls(table.database, jobs));
    match table.database.write(&writes, &mut RetryPolicy::new()).await? {
        Written::All => Ok(true),
        Written::Failed(failed) if failed == [0] => Err(StoreError::Duplicate { what: WHAT }),
        Written::Failed(_) => Ok(false),
    }
}

/// The item with the personas that the caller of a new simulation wrote, if there are any.
pub(super) fn put_explicit(keys: &SimulationKeys, drafts: &[PersonaDraft]) -> Option<Write> {
    let put = || Write::put(EXPLICIT, keys.explicit_personas(), &json!({ "personas": drafts })).if_new();
    (!drafts.is_empty()).then(put)
}

pub(super) async fn explicit(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
) -> Result<Vec<PersonaDraft>, StoreError> {
    let found = table.database.get(EXPLICIT, &table.keys(simulation).explicit_personas()).await?;
    found.map_or_else(|| Ok(Vec::new()), |item| item.fields()?.value("personas"))
}

pub(super) async fn get(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    id: &PersonaId,
) -> Result<Option<Persona>, StoreError> {
    let found = table.database.get(WHAT, &table.keys(simulation).persona(id)).await?;
    found.map(|item| record::persona(&item)).transpose()
}

/// The taken numbers, from `first` on.
pub(super) async fn seqs(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    first: u32,
    limit: u32,
) -> Result<Vec<u32>, StoreError> {
    let range = |seq: u32| format!("{PERSONA_NUMBER}{}", keys::number(seq.into()));
    let query = Query::new(WHAT, table.keys(simulation).partition)
        .between(range(first), range(u32::MAX))
        .limit(usize::try_from(limit).unwrap_or(usize::MAX));
    let found = table.database.query(&query).await?;
    found.iter().map(seq).collect()
}

fn seq(item: &Item) -> Result<u32, StoreError> {
    let number = item.text(SORT)?.strip_prefix(PERSONA_NUMBER).and_then(|number| number.parse().ok());
    number
        .ok_or_else(|| StoreError::Corrupt { what: "persona's number", reason: "its key names none".into() })
}

pub(super) async fn list(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    page: &PageRequest,
) -> Result<Page<Persona>, StoreError> {
    let query = |shard| Query::new(WHAT, shard).by(Index::Made, Direction::Descending).beginning("persona#");
    let queries = table.keys(simulation).shards().into_iter().map(query).collect();
    lists::merged_page(table.database, queries, page, |entry| entry.key.clone(), record::persona).await
}

pub(super) async fn change(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    id: &PersonaId,
    mut decide: Decide<(Simulation, Persona), PersonaChange>,
) -> Result<Option<Persona>, ChangeError> {
    let keys = table.keys(simulation);
    let mut retry = RetryPolicy::new();
    loop {
        let wanted = [keys.simulation(), keys.persona(id)];
        let items = table.database.snapshot(WHAT, &wanted, &mut retry).await?;
        let [Some(simulation), Some(persona)] = &items[..] else { return Ok(None) };
        let (stored, revision) = (record::simulation(simulation)?, persona.revision()?);
        let before = record::persona(persona)?;
        let change = decide((stored.simulation, before.clone()))?;
        let after = change.persona;
        if after == before && change.jobs.is_empty() {
            return Ok(Some(after));
        }
        let counts = Counts::of_persona(after.approval).since(Counts::of_persona(before.approval));
        let counter_shard = keys.first_counter_shard_of(id.as_str());
        let counter_shard = if counts.is_empty() {
            Write::check(COUNTS, counter_shard)
        } else {
            counts.write(Write::update(COUNTS, counter_shard))
        };
        let mut writes =
            vec![put(&keys, &after).revise(revision), counter_shard.if_revision(stored.revision)];
        writes.extend(jobs::calls(table.database, &change.jobs));
        if let Written::All = table.database.write(&writes, &mut retry).await? {
            return Ok(Some(after));
        }
        if !retry.wait().await {
            return Err(contended(WHAT));
        }
    }
}
