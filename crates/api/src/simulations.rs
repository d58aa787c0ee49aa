//! Simulations: an agent in front of generated personas for many conversations.

use jiff::SignedDuration;
use onerun_auth::{Access, Scope};
use onerun_domain::{ObjectiveId, SimulationStatus};
use onerun_engine::NewSimulation;
use onerun_store::{ProjectStore, SimulationDetail, SimulationList, SimulationOrder};
use serde_json::json;

use crate::{
    ApiError, App, Response,
    fields::{Distinct, Fields, Input, Integer},
    openapi::examples::new_simulation_example,
    operation::operations,
    out::{PageOut, SimulationOut, Warned},
    query::{Params, Reader, Sort, SortKey, exact, page},
    request::{Call, DoneOut, done, reply},
};

/// How long a simulation may take if nothing is said: as long as in the published service.
const DEFAULT_EXPIRY_SECONDS: u32 = 24 * 60 * 60;

/// How long a simulation may take.
const MAX_EXPIRY_SECONDS: u32 = 30 * 24 * 60 * 60;

/// How many objectives a simulation may have.
const MAX_OBJECTIVES: usize = 50;

const RUN_REQUESTED: &str = "Simulation run requested";
const CANCEL_REQUESTED: &str = "Simulation cancel requested";

operations! {
    CREATE_SIMULATION {
        route: POST "/v1/simulations",
        handler: InProject(create_simulation),
        access: Access::Requires(Scope::SimulationsWrite),
        idempotency: RecordedSimulation,
        summary: "Create a simulation and start it",
        description: "Objectives are pinned at their newest versions.",
        input: NewSimulation = new_simulation_example(),
        output: Warned<SimulationOut>,
        errors: ["agent_not_found", "objectives_not_found"],
    }
    LIST_SIMULATIONS {
        route: GET "/v1/simulations",
        handler: InProject(list_simulations),
        access: Access::Requires(Scope::SimulationsRead),
        query: SimulationList,
        summary: "List simulations",
        output: PageOut<SimulationOut>,
    }
    GET_SIMULATION {
        route: GET "/v1/simulations/{simulation_id}",
        handler: InProject(get_simulation),
        access: Access::Requires(Scope::SimulationsRead),
        summary: "Get a simulation",
        output: SimulationOut,
        errors: ["simulation_not_found"],
    }
    RUN_SIMULATION {
        route: POST "/v1/simulations/{simulation_id}/run",
        handler: InProject(run_simulation),
        access: Access::Requires(Scope::SimulationsWrite),
        idempotency: Recorded,
        summary: "Request that a simulation runs",
        description: "Simulations start by themselves; on a running one, this changes nothing.",
        output: DoneOut = json!({ "message": RUN_REQUESTED }),
        errors: ["simulation_not_found", "simulation_over"],
    }
    CANCEL_SIMULATION {
        route: POST "/v1/simulations/{simulation_id}/cancel",
        handler: InProject(cancel_simulation),
        access: Access::Requires(Scope::SimulationsWrite),
        summary: "Cancel a simulation",
        description: "From now on calls of workers are refused, and unfinished conversations fail as \
            `simulation_canceled`. On a canceled simulation, this changes nothing.",
        output: DoneOut = json!({ "message": CANCEL_REQUESTED }),
        errors: ["simulation_not_found", "simulation_over"],
    }
}

impl Input for NewSimulation {
    fn read(fields: &mut Fields) -> Option<Self> {
        let agent_id = fields.required("agent_id", "The agent under test.");
        let name = fields.required("name", "What people call the simulation.");
        let scenario = fields.required("scenario", "The situation that the personas are in.");
        let target_conversations =
            fields.required("target_conversations", "How many conversations are to be held.");
        let target_personas = fields.required("target_personas", "How many personas hold them, evenly.");
        let auto_approve = fields.defaulted(
            "auto_approve",
            &json!(false),
            "Whether personas are approved as they are made; otherwise each waits for a decision.",
        );
        let max_turns = fields.defaulted(
            "max_turns",
            &json!(5),
            "How many messages, of both sides together, a conversation may have. It is looked at after each of the \
             persona's replies, so messages that come together are all kept and answered.",
        );
        let objective_ids = fields.defaulted::<Distinct<ObjectiveId, MAX_OBJECTIVES>>(
            "objective_ids",
            &json!([]),
            "What conversations are scored against, each at the version that is newest now.",
        );
        let seed = fields.optional(
            "seed",
            "What everything generated is derived from, so that it can be repeated; one of its own if nothing is said.",
        );
        let metadata = fields.defaulted("metadata", &json!({}), "Data of your own, at most 16 KiB of it.");
        let expires_in = fields.defaulted::<Integer<1, MAX_EXPIRY_SECONDS>>(
            "expires_in_seconds",
            &json!(DEFAULT_EXPIRY_SECONDS),
            "When the simulation is given up, in seconds from now.",
        );
        Some(Self {
            agent_id: agent_id?,
            name: name?,
            scenario: scenario?,
            target_conversations: target_conversations?,
            target_personas: target_personas?,
            max_turns: max_turns?,
            auto_approve: auto_approve?,
            objective_ids: objective_ids?.0,
            seed: seed?,
            metadata: metadata?,
            expires_in: SignedDuration::from_secs(expires_in?.0.into()),
        })
    }
}

/// What simulations can be sorted by.
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

impl Params for SimulationList {
    fn read(reader: &mut Reader) -> Option<Self> {
        let name = reader.optional("name", "Only simulations whose name contains this, ignoring case.");
        let exact = exact(reader);
        let status = reader.optional("status", "Only simulations in this status.");
        let agent_id = reader.optional("agent_id", "Only simulations of this agent.");
        let sort = Sort::<SimulationSortKey>::read(
            reader,
            "`created_at`, which is the default, `name` or `status`. If neither this nor `sort_dir` is given and `status` \
             is `in_progress`, simulations with a queued conversation come first, the longest waiting at the head, so \
             that a worker that looks at one page starves none.",
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
        Some(Self { name: name?, exact: exact?, status, agent_id: agent_id?, order, page: page? })
    }
}

async fn create_simulation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let new: NewSimulation = call.body()?;
    let record = |made: &SimulationDetail| {
        // A repetition is given the objectives from what the simulation pins.
        call.record(&Warned::simulation(app, made.clone()).without_objectives())
    };
    let detail = app.engine().create_simulation(project, new, record).await?;
    reply(&Warned::simulation(app, detail))
}

async fn list_simulations(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let list: SimulationList = call.query()?;
    // What a worker asks before anything else.
    if let (Some(agent), Some(SimulationStatus::InProgress)) = (&list.agent_id, list.status) {
        app.note_poll(call.principal(), project.project_id(), agent);
    }
    let simulations = project.simulations(list).await?;
    reply(&PageOut::of(simulations, SimulationOut::from))
}

async fn get_simulation(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    reply(&SimulationOut::from(find(project, &call).await?))
}

async fn run_simulation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    const DONE: DoneOut = DoneOut { message: RUN_REQUESTED };
    let id = call.id("simulation_id", "Simulation")?;
    app.engine().run_simulation(project, &id, call.record(&DONE)).await?;
    reply(&DONE)
}

async fn cancel_simulation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    app.engine().cancel_simulation(project, &call.id("simulation_id", "Simulation")?).await?;
    done(CANCEL_REQUESTED)
}

/// The simulation that the path names.
pub(crate) async fn find(project: &dyn ProjectStore, call: &Call) -> Result<SimulationDetail, ApiError> {
    let id = call.id("simulation_id", "Simulation")?;
    project.simulation(&id).await?.ok_or(ApiError::NotFound { what: "Simulation" })
}
