//! Batches, which start many simulations by one call.

use onerun_auth::{Access, Scope};
use onerun_domain::{
    BatchId, BatchItem, BatchItemStatus, BatchView, ExplicitPersonas, MAX_BATCH_ITEMS, Metadata, Name,
    ObjectiveId, Page, PageRequest, RequestedModels, Resource, SimulationOverrides, Start,
};
use onerun_engine::NewBatchInput;
use onerun_store::{PageBuilder, ProjectStore, SortBy, StoreError, WireSize, position, read_position};

use crate::{
    ApiError, App, Response,
    fields::{Distinct, Integer, List, METADATA, Nested, input},
    openapi::examples::new_batch_example,
    operation::operations,
    query::{Params, Reader, SORT_BY_NAME, Sort, SortByKey, large_page, page},
    request::{Call, reply, reply_as},
    simulations::{MAX_EXPIRY_SECONDS, MAX_OBJECTIVES},
    views::{BatchItemOut, BatchOut, CreatedBatchOut, PageOut},
};

const NOT_FOUND: ApiError = ApiError::NotFound(Resource::Batch);

/// The default of `max_in_flight`.
const DEFAULT_IN_FLIGHT: u32 = 50;

/// The maximum of `max_in_flight`: the number of a batch's items.
#[expect(clippy::cast_possible_truncation, reason = "it is 1,000")]
const MAX_IN_FLIGHT: u32 = MAX_BATCH_ITEMS as u32;

operations! {
    CREATE_BATCH {
        route: POST "/v1/simulations/batch",
        handler: Project(create_batch),
        access: Access::Requires(Scope::SimulationsWrite),
        idempotency: Recorded,
        summary: "Create a batch, which starts up to 1,000 simulations",
        description: "All ids are known at once. The simulations are created in the background, in the order of `items`, as many \
            at once as `max_in_flight` allows. If one of them could not be created, nothing is: the error names each wrong item. \
            A batch belongs to the project: it goes on when the key that created it ends.",
        input: CreateBatch = new_batch_example(),
        status: ACCEPTED,
        output: CreatedBatchOut,
        errors: ["project_archived"],
    }
    LIST_BATCHES {
        route: GET "/v1/batches",
        handler: Project(list_batches),
        access: Access::Requires(Scope::SimulationsRead),
        query: BatchPage,
        summary: "List batches",
        output: PageOut<BatchOut>,
    }
    GET_BATCH {
        route: GET "/v1/batches/{batch_id}",
        handler: Project(get_batch),
        access: Access::Requires(Scope::SimulationsRead),
        summary: "Get a batch with its items counted by status",
        output: BatchOut,
        errors: ["batch_not_found"],
    }
    LIST_BATCH_ITEMS {
        route: GET "/v1/batches/{batch_id}/items",
        handler: Project(list_batch_items),
        access: Access::Requires(Scope::SimulationsRead),
        query: BatchItemPage,
        summary: "List the items of a batch in the order of the request",
        output: PageOut<BatchItemOut>,
        errors: ["batch_not_found"],
    }
    CANCEL_BATCH {
        route: POST "/v1/batches/{batch_id}/cancel",
        handler: Project(cancel_batch),
        access: Access::Requires(Scope::SimulationsWrite),
        summary: "Cancel a batch and its simulations",
        description: "No further simulation is created, and those in progress are canceled in the background; `ended_at` is set \
            when all are. On a canceled batch, this changes nothing.",
        output: BatchOut,
        errors: ["batch_not_found", "batch_over"],
    }
    RERUN_BATCH {
        route: POST "/v1/batches/{batch_id}/rerun",
        handler: Project(rerun_batch),
        access: Access::Requires(Scope::SimulationsWrite),
        idempotency: Recorded,
        summary: "Run the items of a batch again that did not complete",
        description: "Items that failed, expired or were canceled are queued again, each for a new simulation. Others stay as \
            they are, and without any such item this changes nothing.",
        output: BatchOut,
        errors: ["batch_not_found", "batch_stopping"],
    }
}

const DEFAULTS: &str =
    "The settings that the simulations have in common, at most 128 KiB as JSON. Any of them may be left out.";

const ITEMS: &str = "The simulations, each with the settings that differ from `defaults`: fields of `create_simulation`, at most \
    128 KiB as JSON, and all together 2 MiB. `agent_id`, `scenario`, `target_conversations` and personas are required here or in \
    `defaults`.";

input! {
    /// The body of `create_batch`.
    pub(crate) struct CreateBatch {
        name: Name = required("A name for people to read, which simulations without a name of their own have, too."),
        defaults: SimulationOverrides = defaulted(serde_json::json!({}), DEFAULTS)
            => |defaults: Nested<SimulationOverrides>| defaults.0,
        items: Vec<SimulationOverrides> = required(ITEMS) => |items: ItemList| {
            items.0.into_iter().map(|Nested(item)| item).collect()
        },
        max_in_flight: u32 = defaulted(DEFAULT_IN_FLIGHT, "The most simulations that are in progress at once.")
            => |number: Integer<1, MAX_IN_FLIGHT>| number.0,
        max_in_flight_per_agent: Option<u32> = optional(
            "The most simulations of one agent that are in progress at once; by default only `max_in_flight` counts."
        ) => |number: Option<Integer<1, MAX_IN_FLIGHT>>| number.map(|number| number.0),
        metadata: Metadata = defaulted(serde_json::json!({}), METADATA),
    }
}

type ItemList = List<Nested<SimulationOverrides>, 1, MAX_BATCH_ITEMS>;

input! {
    impl SimulationOverrides {
        agent_id = optional("The agent under test."),
        name = optional("A name for people to read. By default that of the batch."),
        scenario = optional("The situation that the personas are in."),
        target_conversations = optional("The number of conversations to hold."),
        target_personas = optional("The number of personas, who share the conversations evenly."),
        personas = optional(
            "The personas, rather than generated ones. They replace `personas` and `personas_from` of the defaults."
        ) => |personas: Option<ExplicitPersonas>| personas,
        personas_from = optional(
            "A simulation of the same project and scenario whose personas are copied. It replaces `personas` and \
             `personas_from` of the defaults."
        ),
        auto_approve = optional("Whether personas are approved automatically; true by default."),
        max_turns = optional("The maximum number of messages in a conversation, of both sides together; 5 by default."),
        objective_ids = optional("The objectives, at their newest versions when the simulation is created.")
            => |ids: Option<Distinct<ObjectiveId, MAX_OBJECTIVES>>| ids.map(|ids| ids.0),
        seed = optional("The seed of everything that is generated; random by default, for each simulation."),
        metadata = optional(METADATA),
        expires_in_seconds = optional(
            "The simulation fails if it is not complete this long after it was created, in seconds; a day by default."
        ) => |seconds: Option<Integer<1, MAX_EXPIRY_SECONDS>>| seconds.map(|seconds| seconds.0),
        models = optional("The models, each `offline` or `provider:model`; by default those of the deployment.")
            => |models: Option<Nested<RequestedModels>>| models.map(|models| models.0),
        max_cost_usd = optional("The simulation fails when its calls to models have cost this many US dollars."),
        max_tokens = optional("The simulation fails when its calls to models have read and written this many tokens.")
            => |tokens: Option<Integer<1, { u32::MAX }>>| tokens.map(|tokens| tokens.0.into()),
    }
}

/// The query of `list_batches`.
pub(crate) struct BatchPage {
    sort: SortBy,
    page: PageRequest,
}

impl Params for BatchPage {
    fn read(reader: &mut Reader) -> Option<Self> {
        let sort = Sort::<SortByKey>::read(reader, SORT_BY_NAME);
        let page = page(reader);
        Some(Self { sort: sort?.named(), page: page? })
    }
}

/// The query of `list_batch_items`.
pub(crate) struct BatchItemPage {
    status: Option<BatchItemStatus>,
    page: PageRequest,
}

impl Params for BatchItemPage {
    fn read(reader: &mut Reader) -> Option<Self> {
        let status = reader.optional("status", "Only items in this status.");
        let page = large_page(reader);
        Some(Self { status: status?, page: page? })
    }
}

/// An item with its place in the request.
struct Row {
    index: u32,
    item: BatchItem,
}

impl WireSize for Row {
    fn wire_size(&self) -> usize {
        // The reason has at most 240 bytes as JSON.
        600
    }
}

async fn create_batch(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let CreateBatch { name, defaults, items, max_in_flight, max_in_flight_per_agent, metadata } =
        call.body()?;
    let input = NewBatchInput { name, defaults, items, max_in_flight, max_in_flight_per_agent, metadata };
    let created_by = call.caller()?.key_id().as_str();
    let record = |view: &BatchView| call.record(&CreatedBatchOut::from(view));
    let view = app.engine().create_batch(project, input, created_by, record).await?;
    reply_as(&CREATE_BATCH, &CreatedBatchOut::from(&view))
}

async fn list_batches(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let BatchPage { sort, page } = call.query()?;
    let batches = project.batches(sort, page).await?;
    reply(&call.page::<_, BatchOut>(batches))
}

async fn get_batch(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let batch = project.batch(&call.id(Resource::Batch)?).await?.ok_or(NOT_FOUND)?;
    reply(&BatchOut::from(batch))
}

async fn list_batch_items(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let BatchItemPage { status, page } = call.query()?;
    let id: BatchId = call.id(Resource::Batch)?;
    let items = project.batch_items(&id).await?.ok_or(NOT_FOUND)?;
    let rows = items.into_iter().zip(0..).map(|(item, index)| Row { index, item });
    let rows = rows.filter(|row| status.is_none_or(|status| row.item.status == status));
    let rows = page_of_rows(rows, &page)?;
    reply(&call.page_of(rows, |row| BatchItemOut::of(&id, row.index, row.item)))
}

/// A page of the items. A position is the index of the row before.
fn page_of_rows(rows: impl Iterator<Item = Row>, page: &PageRequest) -> Result<Page<Row>, StoreError> {
    let (skip, after) = match &page.start {
        Start::Offset(offset) => (usize::try_from(*offset).unwrap_or(usize::MAX), None),
        Start::After(position) => (0, Some(read_position::<(u32,)>(position)?.0)),
    };
    let mut built = PageBuilder::new(page.limit);
    for row in rows.filter(|row| after.is_none_or(|after| row.index > after)).skip(skip) {
        let position = position(&(row.index,));
        if !built.push(row, position) {
            break;
        }
    }
    Ok(built.finish())
}

async fn cancel_batch(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let view = app.engine().cancel_batch(project, &call.id(Resource::Batch)?).await?;
    reply(&BatchOut::from(view.batch))
}

async fn rerun_batch(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let recorder = call.recorder();
    let record = move |view: &BatchView| recorder(&BatchOut::from(view.batch.clone()));
    let view = app.engine().rerun_batch(project, &call.id(Resource::Batch)?, record).await?;
    reply(&BatchOut::from(view.batch))
}
