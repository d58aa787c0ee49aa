//! Personas.

use onerun_domain::{Direction, Job, Page, PageRequest, Persona, PersonaId, Simulation, SimulationId};
use onerun_store::{ChangeError, Decide, PersonaChange, StoreError};

use crate::{
    counts::Counts,
    database::Written,
    item::{self, Item, REVISION, SORT},
    jobs,
    keys::{self, PERSONA_NUMBER, SimulationKeys},
    lists,
    patience::Patience,
    query::{Index, Query},
    record,
    write::Write,
};

use super::{Scope, contended, simulations::COUNTS};

pub(super) const WHAT: &str = "persona";

fn put(keys: &SimulationKeys, persona: &Persona) -> Write {
    let (created, seq) = (keys::time(persona.created_at), keys::number(persona.seq.into()));
    Write::put(WHAT, keys.persona(&persona.id), &record::persona_body(persona))
        .set(Index::Made.sort(), item::text(format!("persona#{created}#{seq}")))
}

/// Adds a persona and its jobs, unless its simulation has one of that number or is not of this project.
pub(super) async fn add(scope: Scope<'_>, persona: &Persona, jobs: &[Job]) -> Result<bool, StoreError> {
    let keys = scope.keys(&persona.simulation_id);
    let gate = Write::update(COUNTS, keys.gate_of(persona.id.as_str())).if_there();
    let mut writes = vec![
        put(&keys, persona).set(REVISION, item::number(1)).if_new(),
        Write::put_bare("persona's number", keys.persona_number(persona.seq)).if_new(),
        Counts::of_persona(persona.approval).write(gate),
    ];
    writes.extend(jobs::calls(scope.database, jobs));
    match scope.database.write(&writes, &mut Patience::new()).await? {
        Written::All => Ok(true),
        Written::Failed(failed) if failed == [0] => Err(StoreError::Duplicate { what: WHAT }),
        Written::Failed(_) => Ok(false),
    }
}

/// One persona.
pub(super) async fn get(
    scope: Scope<'_>,
    simulation: &SimulationId,
    id: &PersonaId,
) -> Result<Option<Persona>, StoreError> {
    let found = scope.database.get(WHAT, &scope.keys(simulation).persona(id)).await?;
    found.map(|item| record::persona(&item)).transpose()
}

/// The numbers that are taken, from `first` on.
pub(super) async fn seqs(
    scope: Scope<'_>,
    simulation: &SimulationId,
    first: u32,
    limit: u32,
) -> Result<Vec<u32>, StoreError> {
    let range = |seq: u32| format!("{PERSONA_NUMBER}{}", keys::number(seq.into()));
    let query = Query::new(WHAT, scope.keys(simulation).partition)
        .between(range(first), range(u32::MAX))
        .limit(usize::try_from(limit).unwrap_or(usize::MAX));
    let found = scope.database.query(&query).await?;
    found.iter().map(seq).collect()
}

fn seq(item: &Item) -> Result<u32, StoreError> {
    let number = item.text(SORT)?.strip_prefix(PERSONA_NUMBER).and_then(|number| number.parse().ok());
    number
        .ok_or_else(|| StoreError::Corrupt { what: "persona's number", reason: "its key names none".into() })
}

/// One page of personas, newest first.
pub(super) async fn list(
    scope: Scope<'_>,
    simulation: &SimulationId,
    page: &PageRequest,
) -> Result<Page<Persona>, StoreError> {
    let query = Query::new(WHAT, scope.keys(simulation).partition)
        .by(Index::Made, Direction::Descending)
        .beginning("persona#");
    lists::page(scope.database, query, page, record::persona).await
}

/// Changes a persona.
pub(super) async fn change(
    scope: Scope<'_>,
    simulation: &SimulationId,
    id: &PersonaId,
    mut decide: Decide<(Simulation, Persona), PersonaChange>,
) -> Result<Option<Persona>, ChangeError> {
    let keys = scope.keys(simulation);
    let mut patience = Patience::new();
    loop {
        let wanted = [keys.simulation(), keys.persona(id)];
        let items = scope.database.snapshot(WHAT, &wanted, &mut patience).await?;
        let [Some(simulation), Some(persona)] = &items[..] else { return Ok(None) };
        let (stored, revision) = (record::simulation(simulation)?, persona.revision()?);
        let before = record::persona(persona)?;
        let change = decide((stored.simulation, before.clone()))?;
        let after = change.persona;
        if after == before && change.jobs.is_empty() {
            return Ok(Some(after));
        }
        let counts = Counts::of_persona(after.approval).since(Counts::of_persona(before.approval));
        let gate = keys.gate_of(id.as_str());
        let gate = if counts.is_empty() {
            Write::check(COUNTS, gate)
        } else {
            counts.write(Write::update(COUNTS, gate))
        };
        let mut writes = vec![put(&keys, &after).revise(revision), gate.if_revision(stored.revision)];
        writes.extend(jobs::calls(scope.database, &change.jobs));
        if let Written::All = scope.database.write(&writes, &mut patience).await? {
            return Ok(Some(after));
        }
        if !patience.wait().await {
            return Err(contended(WHAT));
        }
    }
}
