//! The creation of a batch, which is refused as a whole if one of its simulations could not be created.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    AgentId, Batch, BatchCounts, BatchId, BatchItem, BatchPart, BatchStatus, BatchView, Metadata, Name,
    NewPersonas, NewSimulation, ObjectiveId, Scenario, SimulationId, SimulationOverrides, Target,
};
use onerun_store::{IdempotencyRecord, NewBatch, ProjectStore, StoreError};

use super::advance;
use crate::{Engine, OperationError, persona_copies::find_persona_source};

/// The maximum size of the defaults, and of the overrides of one item, as JSON, in bytes.
const MAX_ITEM_BYTES: usize = 128 * 1024;

/// The maximum size of all settings as JSON, in bytes: a transaction of `DynamoDB` has at most 4 MB.
const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;

/// The size from which on a part has no further item, as JSON, in bytes.
const PART_BYTES: usize = 256 * 1024;

/// The maximum number of different objectives of a batch, each of which is read.
const MAX_OBJECTIVES: usize = 1_000;

/// The maximum number of errors that are reported.
const MAX_ERRORS: usize = 50;

/// How many resources are read at once.
const READS_AT_ONCE: usize = 16;

/// The input of [`Engine::create_batch`].
#[derive(Clone, Debug, PartialEq)]
pub struct NewBatchInput {
    /// The display name.
    pub name: Name,
    /// The settings of items that do not override them.
    pub defaults: SimulationOverrides,
    /// The settings of each simulation.
    pub items: Vec<SimulationOverrides>,
    /// The most simulations that are in progress at once.
    pub max_in_flight: u32,
    /// The most simulations of one agent that are in progress at once.
    pub max_in_flight_per_agent: Option<u32>,
    /// The caller's own data.
    pub metadata: Metadata,
}

impl Engine {
    /// Creates a batch and enqueues the job that creates its simulations, unless one of them could not be created now.
    /// The idempotency record that `record` builds is written in the same transaction.
    pub async fn create_batch(
        &self,
        project: &dyn ProjectStore,
        input: NewBatchInput,
        created_by: &str,
        record: impl FnOnce(&BatchView) -> Option<IdempotencyRecord> + Send,
    ) -> Result<BatchView, OperationError> {
        let sizes = sizes(&input)?;
        let (named, errors) = self.resolve_items(&input)?;
        check_references(project, &named, errors).await?;
        project.project().await?.require_active()?;
        let NewBatchInput { name, defaults, items, max_in_flight, max_in_flight_per_agent, metadata } = input;
        let (parts, firsts) = split(&defaults, items, &sizes);
        let items: Vec<_> = named.agents.into_iter().map(BatchItem::queued).collect();
        let now = self.now();
        let batch = Batch {
            id: BatchId::generate(self.random()),
            project_id: project.project_id().clone(),
            name,
            status: BatchStatus::InProgress,
            max_in_flight,
            max_in_flight_per_agent,
            metadata,
            created_by: created_by.into(),
            counts: BatchCounts::of(&items),
            parts: firsts,
            created_at: now,
            updated_at: now,
            ended_at: None,
        };
        let view = BatchView { batch, items };
        let jobs = vec![advance(project.project_id(), &view)];
        let record = record(&view);
        project.insert_batch(NewBatch { view: view.clone(), parts, jobs, record }).await?;
        Ok(view)
    }

    /// Finds what the items refer to. Refuses missing fields and contradictions, and collects models that cannot be
    /// used.
    fn resolve_items<'a>(&self, input: &'a NewBatchInput) -> Result<(Named, Errors<'a>), OperationError> {
        let mut errors = Errors::new(input);
        let mut named = Named::default();
        for (item, index) in input.items.iter().zip(0..) {
            match item.resolve(&input.defaults, &input.name) {
                Ok(new) => {
                    if let Err(error) = self.choose_models(new.models.clone(), new.max_cost_usd) {
                        errors.push(index, "models", format!("cannot be used: {error}"));
                    }
                    named.add(new);
                }
                Err(wrong) => {
                    for (field, detail) in wrong {
                        errors.push_to_item(index, field, detail);
                    }
                }
            }
        }
        // Without all of them, the places in `named` are not those of the items.
        if named.agents.len() == input.items.len() { Ok((named, errors)) } else { Err(errors.into()) }
    }
}

/// Refuses items that name what does not exist in the project, and personas that cannot be copied.
async fn check_references(
    project: &dyn ProjectStore,
    named: &Named,
    mut errors: Errors<'_>,
) -> Result<(), OperationError> {
    let ids: BTreeSet<AgentId> = named.agents.iter().cloned().collect();
    let is_active = |id| async move {
        Ok(project.agent(&id).await?.is_some_and(|found| found.agent.archived_at.is_none()))
    };
    let unknown = missing(ids, is_active).await?;
    for (agent, index) in named.agents.iter().zip(0..).filter(|(agent, _)| unknown.contains(agent)) {
        let detail = format!("names an agent that does not exist in this project, or is archived: `{agent}`");
        errors.push(index, "agent_id", detail);
    }
    let ids: BTreeSet<ObjectiveId> = named.objectives.iter().flatten().cloned().collect();
    if ids.len() > MAX_OBJECTIVES {
        let detail = format!("name more than {MAX_OBJECTIVES} different objectives; split the batch");
        return Err(OperationError::Fields(vec![("items".to_owned(), detail)]));
    }
    let unknown = missing(ids, |id| async move { Ok(project.objective(&id).await?.is_some()) }).await?;
    for (objectives, index) in named.objectives.iter().zip(0..) {
        let wrong: Vec<_> =
            objectives.iter().filter(|id| unknown.contains(id)).map(|id| format!("`{id}`")).collect();
        if !wrong.is_empty() {
            let detail = format!("names objectives that do not exist in this project: {}", wrong.join(", "));
            errors.push(index, "objective_ids", detail);
        }
    }
    let sources: Vec<_> = named.sources.clone().into_iter().collect();
    let reads: Vec<_> = sources.iter().map(|(source, index)| check_source(project, source, *index)).collect();
    let found: Vec<_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
    for (index, field, detail) in found.into_iter().flatten() {
        errors.push(index, field, detail);
    }
    if errors.found.is_empty() { Ok(()) } else { Err(errors.into()) }
}

/// The field that refuses copies of personas, if one does, with the index of the item and the reason.
async fn check_source(
    project: &dyn ProjectStore,
    (from, target, scenario): &Source,
    index: u32,
) -> Result<Option<(u32, &'static str, String)>, StoreError> {
    match find_persona_source(project, from, *target, scenario).await {
        Ok(_) => Ok(None),
        Err(OperationError::Store(error)) => Err(error),
        Err(OperationError::Field { field, detail }) => Ok(Some((index, field, detail))),
        Err(error) => Ok(Some((index, "personas_from", format!("cannot be copied: {error}")))),
    }
}

/// A simulation whose personas are copied, their number, and the scenario of the copies.
type Source = (SimulationId, Target, Scenario);

/// Resources that the simulations of a batch refer to, in the order of the items.
#[derive(Default)]
struct Named {
    agents: Vec<AgentId>,
    objectives: Vec<Vec<ObjectiveId>>,
    /// The simulations whose personas are copied, each with the first item that copies as many in the same scenario.
    sources: HashMap<Source, u32>,
}

impl Named {
    fn add(&mut self, new: NewSimulation) {
        let index = u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        self.agents.push(new.agent_id);
        self.objectives.push(new.objective_ids);
        if let NewPersonas::Copied { from, target } = new.personas {
            self.sources.entry((from, target, new.scenario)).or_insert(index);
        }
    }
}

/// The ids that name nothing.
async fn missing<T: Clone + Ord, F: Future<Output = Result<bool, StoreError>>>(
    ids: BTreeSet<T>,
    exists: impl Fn(T) -> F,
) -> Result<BTreeSet<T>, StoreError> {
    let reads: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let exists = exists(id.clone());
            async move { Ok::<_, StoreError>((!exists.await?).then_some(id)) }
        })
        .collect();
    let read: Vec<Option<T>> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// Errors of items. An error of a default is reported once, where the default is.
struct Errors<'a> {
    input: &'a NewBatchInput,
    of_defaults: BTreeSet<&'static str>,
    found: BTreeMap<(u32, &'static str), (String, String)>,
}

impl<'a> Errors<'a> {
    fn new(input: &'a NewBatchInput) -> Self {
        Self { input, of_defaults: BTreeSet::new(), found: BTreeMap::new() }
    }

    fn push(&mut self, index: u32, field: &'static str, detail: String) {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let is_own = self.input.items.get(place).is_some_and(|item| has(item, field));
        if is_own || !has(&self.input.defaults, field) {
            self.push_to_item(index, field, detail);
        } else if self.of_defaults.insert(field) {
            self.found.insert((0, field), (format!("defaults/{field}"), detail));
        }
    }

    /// An error of the item, wherever its settings come from.
    fn push_to_item(&mut self, index: u32, field: &'static str, detail: String) {
        // One place after the defaults.
        let place = index.saturating_add(1);
        self.found.insert((place, field), (format!("items/{index}/{field}"), detail));
    }
}

impl From<Errors<'_>> for OperationError {
    fn from(errors: Errors<'_>) -> Self {
        Self::Fields(errors.found.into_values().take(MAX_ERRORS).collect())
    }
}

/// Whether settings have a field that can name something unknown.
fn has(settings: &SimulationOverrides, field: &str) -> bool {
    match field {
        "agent_id" => settings.agent_id.is_some(),
        "objective_ids" => settings.objective_ids.is_some(),
        "models" => settings.models.is_some(),
        "personas_from" => settings.personas_from.is_some(),
        "scenario" => settings.scenario.is_some(),
        "target_personas" => settings.target_personas.is_some(),
        _ => false,
    }
}

/// The sizes of the items as JSON. Refuses settings that are too large to be stored.
fn sizes(input: &NewBatchInput) -> Result<Vec<usize>, OperationError> {
    let sizes: Vec<usize> = input.items.iter().map(SimulationOverrides::json_bytes).collect();
    let too_large = |bytes: usize| {
        format!(
            "must be at most {MAX_ITEM_BYTES} bytes as JSON, and is {bytes}; copy long personas from a simulation with \
             `personas_from`"
        )
    };
    let mut errors = Vec::new();
    let defaults = input.defaults.json_bytes();
    if defaults > MAX_ITEM_BYTES {
        errors.push(("defaults".to_owned(), too_large(defaults)));
    }
    for (index, bytes) in sizes.iter().enumerate().filter(|(_, bytes)| **bytes > MAX_ITEM_BYTES) {
        errors.push((format!("items/{index}"), too_large(*bytes)));
    }
    let all = sizes.iter().fold(defaults, |sum, bytes| sum.saturating_add(*bytes));
    if all > MAX_BATCH_BYTES {
        let detail = format!(
            "must be at most {MAX_BATCH_BYTES} bytes as JSON together with the defaults, and are {all}; put what they have in \
             common into `defaults`, or split the batch"
        );
        errors.push(("items".to_owned(), detail));
    }
    errors.truncate(MAX_ERRORS);
    if errors.is_empty() { Ok(sizes) } else { Err(OperationError::Fields(errors)) }
}

/// Splits items into parts that a store can hold. Returns them with the index of each part's first item.
fn split(
    defaults: &SimulationOverrides,
    items: Vec<SimulationOverrides>,
    sizes: &[usize],
) -> (Vec<BatchPart>, Vec<u32>) {
    let mut parts: Vec<BatchPart> = Vec::new();
    let mut firsts = Vec::new();
    let mut bytes = 0;
    for ((item, size), index) in items.into_iter().zip(sizes).zip(0..) {
        bytes += size + 1;
        match parts.last_mut() {
            Some(part) if bytes <= PART_BYTES => part.items.push(item),
            _ => {
                parts.push(BatchPart { defaults: defaults.clone(), items: vec![item] });
                firsts.push(index);
                bytes = size + 1;
            }
        }
    }
    (parts, firsts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_split_into_parts_of_bounded_size() {
        let item = |bytes: usize| SimulationOverrides {
            scenario: Some(Scenario::parse("a".repeat(bytes)).unwrap()),
            ..SimulationOverrides::default()
        };
        let items: Vec<_> = (0..1_000).map(|number| item(1 + number * 2)).collect();
        let sizes: Vec<_> = items.iter().map(SimulationOverrides::json_bytes).collect();
        let (parts, firsts) = split(&SimulationOverrides::default(), items.clone(), &sizes);
        assert!(parts.len() > 3 && parts.len() == firsts.len());
        for (part, first) in parts.iter().zip(&firsts) {
            assert!(serde_json::to_vec(&part.items).unwrap().len() <= PART_BYTES + 2);
            assert_eq!(part.items[0], items[usize::try_from(*first).unwrap()]);
        }
        let joined: Vec<_> = parts.into_iter().flat_map(|part| part.items).collect();
        assert_eq!(joined, items);
    }
}
