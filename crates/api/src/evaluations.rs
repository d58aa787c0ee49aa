//! Evaluation runs, which judge the conversations of a simulation again.

use onerun_auth::{Access, Scope};
use onerun_domain::{ModelName, PageRequest, Resource};
use onerun_store::{EvaluationRunView, ProjectStore};
use serde_json::json;

use crate::{
    ApiError, App, Response,
    fields::input,
    operation::operations,
    query::{Params, Reader, page},
    request::{Call, reply},
    simulations,
    views::{EvaluationReportOut, EvaluationRunOut, PageOut},
};

operations! {
    CREATE_EVALUATION {
        route: POST "/v1/simulations/{simulation_id}/evaluations",
        handler: Project(create_evaluation),
        access: Access::Requires(Scope::SimulationsWrite),
        idempotency: Recorded,
        summary: "Judge the conversations of a simulation again, with another judge",
        description: "The simulation must have ended. No conversation is held again, and the simulation's own evaluations \
            and results do not change. Conversations with a critical fault of the persona are left out. `get_evaluation` \
            compares the two judges, and both with people's labels.",
        input: NewEvaluation = json!({ "judge": "anthropic:claude-sonnet-5-5" }),
        output: EvaluationRunOut,
        errors: [
            "simulation_not_found",
            "simulation_not_over",
            "nothing_to_judge",
            "transcripts_deleted",
            "model_not_allowed",
            "model_without_price",
        ],
    }
    LIST_EVALUATIONS {
        route: GET "/v1/simulations/{simulation_id}/evaluations",
        handler: Project(list_evaluations),
        access: Access::Requires(Scope::SimulationsRead),
        query: EvaluationPage,
        summary: "List the evaluation runs of a simulation, newest first",
        output: PageOut<EvaluationRunOut>,
        errors: ["simulation_not_found"],
    }
    GET_EVALUATION {
        route: GET "/v1/simulations/{simulation_id}/evaluations/{evaluation_id}",
        handler: Project(get_evaluation),
        access: Access::Requires(Scope::SimulationsRead),
        summary: "Get an evaluation run with its results and its agreement with other judges",
        output: EvaluationReportOut,
        errors: ["simulation_not_found", "evaluation_not_found"],
    }
}

input! {
    /// The body of `create_evaluation`.
    pub(crate) struct NewEvaluation {
        judge: ModelName = required("The model that judges, as `provider:model` or `offline`. The deployment must allow it."),
    }
}

/// The query of `list_evaluations`.
pub(crate) struct EvaluationPage(PageRequest);

impl Params for EvaluationPage {
    fn read(reader: &mut Reader) -> Option<Self> {
        page(reader).map(Self)
    }
}

async fn create_evaluation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let NewEvaluation { judge } = call.body()?;
    let simulation = call.id(Resource::Simulation)?;
    let recorder = call.recorder();
    let record = move |view: &EvaluationRunView| recorder(&EvaluationRunOut::from(view.clone()));
    let created = app.engine().create_evaluation_run(project, &simulation, judge, record).await?;
    reply(&EvaluationRunOut::from(created))
}

async fn list_evaluations(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let EvaluationPage(page) = call.query()?;
    let simulation = simulations::find(project, &call).await?.simulation;
    let runs = project.evaluation_runs(&simulation.id, page).await?;
    reply(&call.page::<_, EvaluationRunOut>(runs))
}

async fn get_evaluation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let simulation = call.id(Resource::Simulation)?;
    // Without the simulation, its id is the wrong one.
    let run = match call.id(Resource::Evaluation) {
        Ok(run) => run,
        Err(error) => {
            simulations::find(project, &call).await?;
            return Err(error);
        }
    };
    let report = app.engine().evaluation_report(project, &simulation, &run).await?;
    reply(&EvaluationReportOut::from(report))
}
