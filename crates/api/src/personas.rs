//! Personas: whom the agent talks to.

use http::Method;
use onerun_auth::{Access, Scope};
use onerun_domain::PageRequest;
use onerun_store::ProjectStore;

use crate::{
    ApiError, App, Handler, Idempotency, Parameters, Response, Route,
    out::{PageOut, PersonaOut},
    query::{Params, Reader, long_page},
    request::{Call, done, reply},
    simulations,
};

/// `GET /v1/simulations/{simulation_id}/personas`
pub static LIST: Route = Route {
    operation: "list_personas",
    method: Method::GET,
    path: "/v1/simulations/{simulation_id}/personas",
    access: Access::Requires(Scope::PersonasRead),
    query: Parameters::of::<LongPage>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(list(app, project, call))),
};

/// `POST /v1/simulations/{simulation_id}/personas/{persona_id}/approve`
pub static APPROVE: Route = Route {
    operation: "approve_persona",
    method: Method::POST,
    path: "/v1/simulations/{simulation_id}/personas/{persona_id}/approve",
    access: Access::Requires(Scope::PersonasWrite),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(approve(app, project, call))),
};

/// `POST /v1/simulations/{simulation_id}/personas/{persona_id}/reject`
pub static REJECT: Route = Route {
    operation: "reject_persona",
    method: Method::POST,
    path: "/v1/simulations/{simulation_id}/personas/{persona_id}/reject",
    access: Access::Requires(Scope::PersonasWrite),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(reject(app, project, call))),
};

/// A part of a list of which as much is shown as is shown at all.
pub(crate) struct LongPage(pub(crate) PageRequest);

impl Params for LongPage {
    fn read(reader: &mut Reader) -> Option<Self> {
        long_page(reader).map(Self)
    }
}

async fn list(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let LongPage(page) = call.query()?;
    let simulation = simulations::find(project, &call).await?.simulation;
    let personas = project.personas(&simulation.id, page).await?;
    reply(&PageOut::of(personas, PersonaOut::from))
}

async fn approve(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, persona) = (call.id("simulation_id", "Simulation")?, call.id("persona_id", "Persona")?);
    app.engine().approve_persona(project, &simulation, &persona).await?;
    done("Persona approved successfully")
}

async fn reject(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, persona) = (call.id("simulation_id", "Simulation")?, call.id("persona_id", "Persona")?);
    app.engine().reject_persona(project, &simulation, &persona).await?;
    done("Persona rejected successfully")
}
