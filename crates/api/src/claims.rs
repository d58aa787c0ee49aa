//! Claims: workers start queued conversations of several simulations in one call.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use onerun_auth::{Access, Scope};
use onerun_domain::{AgentId, Resource};
use onerun_engine::{Claim, ClaimRequest, ClaimedConversation};
use onerun_store::ProjectStore;
use serde_json::json;

use crate::{
    ApiError, App, Response,
    fields::{Integer, List, input},
    idempotency::RepeatableParts,
    openapi::examples::AGENT,
    operation::operations,
    request::{Call, to_json},
    views::{ClaimedOut, ClaimsOut},
};

/// The maximum number of agents and of conversations in a claim, and of seconds that it waits. The last is below the
/// limit of API Gateway.
const MAX_AGENTS: usize = 20;
const MAX_CONVERSATIONS: u32 = 50;
const MAX_WAIT: u32 = 20;

operations! {
    CLAIM_CONVERSATIONS {
        route: POST "/v1/conversations/claim",
        handler: Project(claim_conversations),
        access: Access::Requires(Scope::ConversationsWrite),
        idempotency: RecordedParts,
        summary: "Start queued conversations of any simulation",
        description: "For workers: starts up to `limit` queued conversations of these agents, each with a lease as \
            `start_conversation` does. Simulations take turns, longest waiting first. If nothing is queued, the call waits \
            up to `wait_seconds`; an empty list means that nothing was queued. Each conversation is given to one worker. \
            If the answer is lost, repeat the call with its `Idempotency-Key` to get the same conversations; otherwise \
            their leases expire, and they are queued again.",
        input: ClaimInput = json!({ "agent_ids": [AGENT], "limit": 10, "wait_seconds": 0 }),
        output: ClaimsOut,
        errors: ["agent_not_found"],
    }
}

input! {
    /// The body of `claim_conversations`.
    pub(crate) struct ClaimInput {
        agent_ids: Vec<AgentId> = required("The agents whose conversations to start.")
            => |agents: List<AgentId, 1, MAX_AGENTS>| agents.0,
        limit: u32 = defaulted(1, "How many conversations to start at most.")
            => |limit: Integer<1, MAX_CONVERSATIONS>| limit.0,
        wait_seconds: u32 = defaulted(0, "How long to wait if nothing is queued.")
            => |seconds: Integer<0, MAX_WAIT>| seconds.0,
    }
}

async fn claim_conversations(
    app: &App,
    project: &dyn ProjectStore,
    call: Call,
) -> Result<Response, ApiError> {
    let ClaimInput { agent_ids, limit, wait_seconds } = call.body()?;
    for agent in &agent_ids {
        project.agent(agent).await?.ok_or(ApiError::NotFound(Resource::Agent))?;
    }
    for agent in &agent_ids {
        app.note_poll(call.principal(), project.project_id(), agent);
    }
    let parts = RepeatableParts::of(&call, CLAIM_CONVERSATIONS.operation, project, app.engine().now())?;
    if let Some(parts) = &parts {
        let recorded = parts.recorded(app, limit).await?;
        if !recorded.is_empty() {
            return Ok(answer(recorded));
        }
    }
    let request = ClaimRequest { agents: agent_ids, places: (0..limit).collect() };
    let recorder = parts.clone();
    let lease = app.engine().lease();
    let record = move |place: u32, claimed: &ClaimedConversation| {
        Some(recorder.as_ref()?.part(place).record(&ClaimedOut::new(claimed, lease)))
    };
    let wait = Duration::from_secs(wait_seconds.into());
    let mut queue = app.engine().wait_for_queued(project.project_id(), wait);
    let claims = loop {
        let claims = app.engine().claim_conversations(project, &request, record.clone()).await?;
        if !claims.is_empty() {
            break claims;
        }
        // A conversation that is started for a caller that has left would be lost.
        let again = call.presence().wait_for(queue.is_worth_another_read()).await;
        if again != Some(true) {
            break claims;
        }
        // The key may have been revoked meanwhile.
        call.admit_again(app, project).await?;
    };
    let mut claimed = BTreeMap::new();
    for (place, claim) in (0..).zip(claims) {
        let json = match (claim, &parts) {
            (Claim::Started(started), _) => Some(to_json(&ClaimedOut::new(&started, lease))?),
            (Claim::Repeated(place), Some(parts)) => parts.part(place).recorded_answer(app).await?,
            (Claim::Repeated(_), None) => None,
        };
        claimed.extend(json.map(|json| (place, json)));
    }
    Ok(answer(claimed))
}

/// The answer with these conversations, each as JSON.
fn answer(conversations: BTreeMap<u32, String>) -> Response {
    let conversations: Vec<String> = conversations.into_values().collect();
    Response::new(Bytes::from(format!("{{\"data\":[{}]}}", conversations.join(","))))
}
