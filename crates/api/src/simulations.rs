//! Simulations: an agent in front of personas for many conversations.

use onerun_auth::{Access, Scope};
use onerun_domain::{
    ExplicitPersonas, NewPersonas, NewSimulation, ObjectiveId, PersonaAttributes, PersonaDetail,
    PersonaDraft, PersonaText, RequestedModels, Resource, SimulationId, SimulationStatus, Target,
};
use onerun_store::{CreatedFilter, ListSimulations, ProjectStore, SimulationDetail, SimulationOrder};
use serde_json::{Value, json};

use crate::{
    ApiError, App, Response,
    fields::{Distinct, Errors, Field, Fields, Integer, List, METADATA, Nested, input},
    openapi::examples::new_simulation_example,
    operation::operations,
    query::{Params, Reader, Sort, SortKey, exact, page},
    request::{Call, DoneOut, done, reply},
    views::{PageOut, SimulationOut, SimulationSummaryOut, Warned},
};

/// The maximum lifetime of a simulation.
pub(crate) const MAX_EXPIRY_SECONDS: u32 = 30 * 24 * 60 * 60;

/// The maximum number of a simulation's objectives.
pub(crate) const MAX_OBJECTIVES: usize = 50;

const RUN_REQUESTED: &str = "Simulation run requested";
const CANCEL_REQUESTED: &str = "Simulation cancel requested";
const DELETED: &str = "Simulation deleted";

operations! {
    CREATE_SIMULATION {
        route: POST "/v1/simulations",
        handler: Project(create_simulation),
        access: Access::Requires(Scope::SimulationsWrite),
        idempotency: RecordedSimulation,
        summary: "Create a simulation and start it",
        description: "Objectives are pinned at their newest versions.",
        input: NewSimulation = new_simulation_example(),
        output: Warned<SimulationOut>,
        errors: [
            "agent_not_found",
            "agent_archived",
            "project_archived",
            "objectives_not_found",
            // To a repeated request whose simulation was deleted.
            "simulation_not_found",
            "personas_not_ready",
            "model_not_allowed",
            "model_without_price",
        ],
    }
    LIST_SIMULATIONS {
        route: GET "/v1/simulations",
        handler: Project(list_simulations),
        access: Access::Requires(Scope::SimulationsRead),
        query: ListSimulations,
        summary: "List simulations",
        output: PageOut<SimulationSummaryOut>,
    }
    GET_SIMULATION {
        route: GET "/v1/simulations/{simulation_id}",
        handler: Project(get_simulation),
        access: Access::Requires(Scope::SimulationsRead),
        summary: "Get a simulation",
        output: SimulationOut,
        errors: ["simulation_not_found"],
    }
    RUN_SIMULATION {
        route: POST "/v1/simulations/{simulation_id}/run",
        handler: Project(run_simulation),
        access: Access::Requires(Scope::SimulationsWrite),
        idempotency: Recorded,
        summary: "Request that a simulation runs",
        description: "Simulations start by themselves; on a running one, this changes nothing.",
        output: DoneOut = json!({ "message": RUN_REQUESTED }),
        errors: ["simulation_not_found", "simulation_over"],
    }
    CANCEL_SIMULATION {
        route: POST "/v1/simulations/{simulation_id}/cancel",
        handler: Project(cancel_simulation),
        access: Access::Requires(Scope::SimulationsWrite),
        summary: "Cancel a simulation",
        description: "From now on calls of workers are refused, and unfinished conversations fail as \
            `simulation_canceled`. On a canceled simulation, this changes nothing.",
        output: DoneOut = json!({ "message": CANCEL_REQUESTED }),
        errors: ["simulation_not_found", "simulation_over"],
    }
    DELETE_SIMULATION {
        route: DELETE "/v1/simulations/{simulation_id}",
        handler: Project(delete_simulation),
        access: Access::Requires(Scope::SimulationsWrite),
        summary: "Delete a simulation that has ended, with everything below it",
        description: "From now on it is not found, and lists leave it out. Its conversations, messages, personas, evaluations \
            and labels are removed 15 minutes later. Batches, runs of monitors and copies of its personas keep its id, and the \
            usage of the project stays. Cancel a running simulation first. This cannot be undone.",
        output: DoneOut = json!({ "message": DELETED }),
        errors: ["simulation_not_found", "simulation_not_ended"],
    }
}

input! {
    impl NewSimulation {
        agent_id = required("The agent under test."),
        name = required("A name for people to read."),
        scenario = required("The situation that the personas are in."),
        target_conversations = required("The number of conversations to hold."),
        personas = together(read_personas),
        auto_approve = defaulted(
            false,
            "Whether generated personas and those in `personas` are approved automatically. Otherwise each waits for \
             approval."
        ),
        max_turns = defaulted(
            5,
            "The maximum number of messages in a conversation, of both sides together. It is checked after each reply of \
             the persona, so messages that are sent together are all stored and answered."
        ),
        objective_ids = defaulted(json!([]), "The objectives, each pinned at its newest version.")
            => |ids: Distinct<ObjectiveId, MAX_OBJECTIVES>| ids.0,
        seed = optional(
            "The seed of everything that is generated, for repeatable runs. By default it is random, or with `personas_from` \
             the seed of that simulation."
        ),
        metadata = defaulted(json!({}), METADATA),
        expires_in_seconds = defaulted(
            NewSimulation::DEFAULT_EXPIRY_SECONDS,
            "The simulation fails if it is not complete after this time, in seconds."
        ) => |seconds: Integer<1, MAX_EXPIRY_SECONDS>| seconds.0,
        models = defaulted(
            json!({}),
            "The models that generate personas, write their messages and judge conversations, each `offline` or \
             `provider:model` and allowed by the deployment, whose models are the default."
        ) => |models: Nested<RequestedModels>| models.0,
        max_cost_usd = optional(
            "The simulation fails when its calls to models have cost this many US dollars. The calls in flight then may \
             exceed it. Every model needs a known price."
        ),
        max_tokens = optional(
            "The simulation fails when its calls to models have read and written this many tokens. The calls in flight then \
             may exceed it."
        ) => |tokens: Option<Integer<1, { u32::MAX }>>| tokens.map(|tokens| tokens.0.into()),
    }
}

/// Reads the fields that say which personas a new simulation has.
fn read_personas(fields: &mut Fields) -> Option<NewPersonas> {
    let target = fields.optional::<Target>(
        "target_personas",
        "The number of personas, who share the conversations evenly. Required without `personas`, whose number is the \
         default.",
    );
    let explicit = fields.optional::<ExplicitPersonas>(
        "personas",
        "The personas, rather than generated ones: at most 256 KiB as JSON together. One that is rejected is replaced by a \
         generated one. Not together with `personas_from`.",
    );
    let from = fields.optional::<SimulationId>(
        "personas_from",
        "A simulation of the same project and scenario whose personas are copied, with their texts and numbers, rather \
         than generated, so that agents can be compared on the same people. All of its personas must be approved; the \
         copies are. With fewer `target_personas`, those with the lowest numbers are copied.",
    );
    match NewPersonas::choose(target?, explicit?, from?) {
        Ok(personas) => Some(personas),
        Err(wrong) => {
            for (field, detail) in wrong {
                fields.refuse(field, &detail);
            }
            None
        }
    }
}

impl Field for ExplicitPersonas {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let List(drafts) = PersonaList::read(value, pointer, errors)?;
        errors.keep(pointer, Self::parse(drafts.into_iter().map(|Nested(draft)| draft).collect()))
    }

    fn schema() -> Value {
        PersonaList::schema()
    }
}

/// At most as many personas as [`ExplicitPersonas`] accepts.
type PersonaList = List<Nested<PersonaDraft>, 1, { ExplicitPersonas::MAX }>;

input! {
    impl PersonaDraft {
        summary = required("The persona in one sentence.") => |text: PersonaText| text.to_string(),
        story = defaulted("", "The background of the conversation.") => |text: PersonaDetail| text.to_string(),
        purpose = required("The persona's goal in the conversation.") => |text: PersonaText| text.to_string(),
        attributes = defaulted(json!({}), "Traits by name.")
            => |attributes: Nested<PersonaAttributes>| attributes.0,
    }
}

/// The words of a trait.
const TRAIT: &str = "Empty if it is unknown.";

input! {
    impl PersonaAttributes {
        age_group = defaulted("adult", "The age: 13 to 19, 20 to 35, 36 to 55, or over 55 years."),
        speech_style = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        education = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        occupation = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        economic_status = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        personality_traits = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        values = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        habits = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        interests = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        speech_patterns = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        typical_behavior = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        stress_triggers = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        stress_reactions = defaulted("", TRAIT) => |text: PersonaDetail| text.to_string(),
        version = defaulted("1", "The version of this list of traits.")
            => |text: PersonaDetail| text.to_string(),
    }
}

input! {
    impl RequestedModels {
        persona = optional("Generates the personas."),
        reply = optional("Writes the personas' messages."),
        judge = optional("Judges conversations against prose criteria."),
    }
}

/// The sort fields of simulations.
#[derive(Clone, Copy)]
enum SimulationSortKey {
    CreatedAt,
    Name,
    Status,
}

impl SortKey for SimulationSortKey {
    const WORDS: &'static [(&'static str, Self)] =
        &[("created_at", Self::CreatedAt), ("name", Self::Name), ("status", Self::Status)];
}

impl Params for ListSimulations {
    fn read(reader: &mut Reader) -> Option<Self> {
        let name = reader.optional("name", "Only simulations whose name contains this, ignoring case.");
        let exact = exact(reader);
        let status = reader.optional("status", "Only simulations in this status.");
        let agent_id = reader.optional("agent_id", "Only simulations of this agent.");
        let batch_id = reader.optional("batch_id", "Only simulations of this batch.");
        let monitor_id = reader.optional("monitor_id", "Only simulations of this monitor.");
        let after = reader.optional("created_after", "Only simulations that were created after this time.");
        let before =
            reader.optional("created_before", "Only simulations that were created before this time.");
        let sort = Sort::<SimulationSortKey>::read(
            reader,
            "`created_at`, which is the default, `name` or `status`. If neither this nor `sort_dir` is given and `status` \
             is `in_progress`, simulations with a queued conversation come first, those at the head that wait longest \
             and had the fewest conversations held, so that a worker that looks at one page serves all in turn.",
        );
        let page = page(reader);
        let (status, sort) = (status?, sort?);
        let direction = sort.direction();
        let order = match (sort.by, sort.direction) {
            (Some(SimulationSortKey::Name), _) => SimulationOrder::Name(direction),
            (Some(SimulationSortKey::Status), _) => SimulationOrder::Status(direction),
            (None, None) if status == Some(SimulationStatus::InProgress) => SimulationOrder::LongestWaiting,
            (Some(SimulationSortKey::CreatedAt) | None, _) => SimulationOrder::CreatedAt(direction),
        };
        let created = CreatedFilter { after: after?, before: before? };
        Some(Self {
            name: name?,
            exact: exact?,
            status,
            agent_id: agent_id?,
            batch_id: batch_id?,
            monitor_id: monitor_id?,
            created,
            order,
            page: page?,
        })
    }
}

async fn create_simulation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let new: NewSimulation = call.body()?;
    let record = |made: &SimulationDetail| {
        // A repeated request gets the objectives from the store.
        call.record(&Warned::simulation(app, made.clone()).without_objectives())
    };
    let detail =
        app.engine().create_simulation(project, new, call.caller()?.key_id().as_str(), record).await?;
    reply(&Warned::simulation(app, detail))
}

async fn list_simulations(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let list: ListSimulations = call.query()?;
    // A worker polls with this query.
    if let (Some(agent), Some(SimulationStatus::InProgress)) = (&list.agent_id, list.status) {
        app.note_poll(call.principal(), project.project_id(), agent);
    }
    let simulations = project.simulations(list).await?;
    reply(&call.page::<_, SimulationSummaryOut>(simulations))
}

async fn get_simulation(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    reply(&SimulationOut::from(find(project, &call).await?))
}

async fn run_simulation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    const DONE: DoneOut = DoneOut { message: RUN_REQUESTED };
    let id = call.id(Resource::Simulation)?;
    app.engine().run_simulation(project, &id, call.record(&DONE)).await?;
    reply(&DONE)
}

async fn cancel_simulation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    app.engine().cancel_simulation(project, &call.id(Resource::Simulation)?).await?;
    done(CANCEL_REQUESTED)
}

async fn delete_simulation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let by = call.caller()?.key_id().as_str();
    app.engine().delete_simulation(project, &call.id(Resource::Simulation)?, by).await?;
    done(DELETED)
}

/// The simulation in the path.
pub(crate) async fn find(project: &dyn ProjectStore, call: &Call) -> Result<SimulationDetail, ApiError> {
    let id = call.id(Resource::Simulation)?;
    project.simulation(&id).await?.ok_or(ApiError::NotFound(Resource::Simulation))
}
