//! Personas, the generated people that the agent talks to.

use onerun_auth::{Access, Scope};
use onerun_domain::{PageRequest, Resource};
use onerun_store::ProjectStore;
use serde_json::json;

use crate::{
    ApiError, App, Response,
    operation::operations,
    query::{Params, Reader, large_page},
    request::{Call, DoneOut, done, reply},
    simulations,
    views::{PageOut, PersonaOut},
};

const APPROVED: &str = "Persona approved successfully";
const REJECTED: &str = "Persona rejected successfully";

operations! {
    LIST_PERSONAS {
        route: GET "/v1/simulations/{simulation_id}/personas",
        handler: Project(list_personas),
        access: Access::Requires(Scope::PersonasRead),
        query: LargePage,
        summary: "List a simulation's personas",
        output: PageOut<PersonaOut>,
        errors: ["simulation_not_found"],
    }
    APPROVE_PERSONA {
        route: POST "/v1/simulations/{simulation_id}/personas/{persona_id}/approve",
        handler: Project(approve_persona),
        access: Access::Requires(Scope::PersonasWrite),
        summary: "Approve a persona, so that it holds conversations",
        output: DoneOut = json!({ "message": APPROVED }),
        errors: ["simulation_not_found", "persona_not_found", "persona_decided", "simulation_over"],
    }
    REJECT_PERSONA {
        route: POST "/v1/simulations/{simulation_id}/personas/{persona_id}/reject",
        handler: Project(reject_persona),
        access: Access::Requires(Scope::PersonasWrite),
        summary: "Reject a persona, so that another replaces it",
        output: DoneOut = json!({ "message": REJECTED }),
        errors: ["simulation_not_found", "persona_not_found", "persona_decided", "simulation_over"],
    }
}

/// The query of `list_personas`.
pub(crate) struct LargePage(pub(crate) PageRequest);

impl Params for LargePage {
    fn read(reader: &mut Reader) -> Option<Self> {
        large_page(reader).map(Self)
    }
}

async fn list_personas(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let LargePage(page) = call.query()?;
    let simulation = simulations::find(project, &call).await?.simulation;
    let personas = project.personas(&simulation.id, page).await?;
    reply(&call.page::<_, PersonaOut>(personas))
}

async fn approve_persona(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, persona) = (call.id(Resource::Simulation)?, call.id(Resource::Persona)?);
    app.engine().approve_persona(project, &simulation, &persona).await?;
    done(APPROVED)
}

async fn reject_persona(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, persona) = (call.id(Resource::Simulation)?, call.id(Resource::Persona)?);
    app.engine().reject_persona(project, &simulation, &persona).await?;
    done(REJECTED)
}
