//! Labels: people's outcomes on conversations, which judges are compared with.

use onerun_auth::{Access, Scope};
use onerun_domain::{
    ConversationId, ConversationLabels, Label, Note, ObjectiveId, Outcome, Resource, SimulationId,
};
use onerun_store::ProjectStore;
use serde_json::json;

use crate::{
    ApiError, App, Response,
    error::{FieldError, Location},
    fields::{List, Nested, input},
    openapi::examples::OBJECTIVE,
    operation::operations,
    request::{Call, reply},
    simulations,
    views::LabelsOut,
};

/// The maximum number of labels of a conversation: one for each objective.
const MAX_LABELS: usize = 50;

operations! {
    PUT_LABELS {
        route: PUT "/v1/simulations/{simulation_id}/conversations/{conversation_id}/labels",
        handler: Project(put_labels),
        access: Access::Requires(Scope::SimulationsWrite),
        summary: "Label a conversation by hand",
        description: "Stores people's outcomes on the simulation's objectives, in place of earlier ones. They change no \
            results; evaluation runs compare judges with them. Workers' keys cannot do this, so that an agent does not \
            label itself.",
        input: NewLabels = json!({
            "labels": [{ "objective_id": OBJECTIVE, "outcome": "failed", "note": "The refund was never offered." }],
        }),
        output: LabelsOut,
        errors: ["simulation_not_found", "conversation_not_found"],
    }
    GET_LABELS {
        route: GET "/v1/simulations/{simulation_id}/conversations/{conversation_id}/labels",
        handler: Project(get_labels),
        access: Access::Requires(Scope::SimulationsRead),
        summary: "Get the labels of a conversation",
        output: LabelsOut,
        errors: ["simulation_not_found", "conversation_not_found"],
    }
}

input! {
    /// The body of `put_labels`.
    pub(crate) struct NewLabels {
        labels: List<Nested<LabelInput>, 0, MAX_LABELS> = required("The labels, at most one for each objective."),
    }
}

input! {
    struct LabelInput {
        objective_id: ObjectiveId = required("An objective of the simulation."),
        outcome: Outcome = required("The outcome."),
        note: Option<Note> = optional("The reason."),
    }
}

async fn put_labels(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let NewLabels { labels: List(labels) } = call.body()?;
    let detail = simulations::find(project, &call).await?;
    let conversation_id = call.id(Resource::Conversation)?;
    let mut stored: Vec<Label> = Vec::new();
    let mut errors = Vec::new();
    for (index, Nested(label)) in labels.into_iter().enumerate() {
        let LabelInput { objective_id, outcome, note } = label;
        let detail = if !detail.objectives.iter().any(|objective| objective.id == objective_id) {
            "is not an objective of this simulation; `get_simulation` lists them"
        } else if stored.iter().any(|earlier| earlier.objective_id == objective_id) {
            "has a label in this list already"
        } else {
            stored.push(Label { objective_id, outcome, note: note.map(|note| note.as_str().to_owned()) });
            continue;
        };
        let location = Location::Body(format!("/labels/{index}/objective_id"));
        errors.push(FieldError { location, detail: detail.to_owned() });
    }
    if !errors.is_empty() {
        require_conversation(project, &detail.simulation.id, &conversation_id).await?;
        return Err(ApiError::Invalid(errors));
    }
    let labels = ConversationLabels {
        conversation_id,
        labels: stored,
        updated_by: call.caller()?.key_id().as_str().into(),
        updated_at: app.engine().now(),
    };
    if !project.put_labels(&detail.simulation.id, labels.clone()).await? {
        return Err(ApiError::NotFound(Resource::Conversation));
    }
    reply(&LabelsOut::from(labels))
}

async fn get_labels(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let simulation = simulations::find(project, &call).await?.simulation.id;
    let id = call.id(Resource::Conversation)?;
    if let Some(labels) = project.conversation_labels(&simulation, &id).await? {
        return reply(&LabelsOut::from(labels));
    }
    require_conversation(project, &simulation, &id).await?;
    reply(&LabelsOut::none(id))
}

async fn require_conversation(
    project: &dyn ProjectStore,
    simulation: &SimulationId,
    id: &ConversationId,
) -> Result<(), ApiError> {
    let found = project.conversation(simulation, id).await?;
    found.map(drop).ok_or(ApiError::NotFound(Resource::Conversation))
}
