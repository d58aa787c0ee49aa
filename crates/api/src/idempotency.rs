//! Repetitions of a request under one `Idempotency-Key`.
//!
//! An operation declares whether it takes the header ([`Idempotency`]). Its handler writes [`Call::record`]
//! together with its change. A repetition is answered from the record, and so is the loser of two concurrent
//! requests.

use bytes::Bytes;
use jiff::Timestamp;
use onerun_domain::{SimulationId, sha256_hex};
use onerun_engine::OperationError;
use onerun_store::{IdempotencyId, IdempotencyRecord, ProjectStore, StoreError};
use serde::{Serialize, de::IgnoredAny};
use serde_json::Value;

use crate::{
    ApiError, App, Idempotency, Response, Route,
    request::{Call, reply},
    views::ObjectiveOut,
};

/// A request with an `Idempotency-Key`.
#[derive(Clone)]
pub(crate) struct Repeatable {
    id: IdempotencyId,
    request_hash: String,
    now: Timestamp,
}

impl Repeatable {
    /// The request, if its route records answers and it has an `Idempotency-Key`.
    pub(crate) fn of(
        call: &Call,
        route: &Route,
        project: Option<&dyn ProjectStore>,
        now: Timestamp,
    ) -> Result<Option<Self>, ApiError> {
        if !route.idempotency.takes_key() {
            return Ok(None);
        }
        let key = call.idempotency_key()?;
        let (Some(key), Some(scope)) = (key, route.idempotency.scope()) else { return Ok(None) };
        let caller = call.caller()?.key_id();
        let id = IdempotencyId::new(scope, caller, project.map(ProjectStore::project_id), &key);
        Ok(Some(Self { id, request_hash: call.hash(route.operation)?, now }))
    }

    /// The idempotency record with the answer.
    pub(crate) fn record(&self, response: &impl Serialize) -> IdempotencyRecord {
        IdempotencyRecord {
            id: self.id.clone(),
            request_hash: self.request_hash.clone(),
            // Serializing text, numbers and parsed JSON cannot fail.
            response: serde_json::to_string(response).unwrap_or_default(),
            created_at: self.now,
        }
    }

    /// The recorded answer of an earlier request with the same key.
    pub(crate) async fn repeated(
        &self,
        app: &App,
        route: &Route,
        project: Option<&dyn ProjectStore>,
    ) -> Result<Option<Response>, ApiError> {
        let record = app.engine().store().idempotency_record(&self.id, app.engine().now()).await?;
        let Some(record) = record else { return Ok(None) };
        if record.request_hash != self.request_hash {
            return Err(OperationError::IdempotencyKeyReused.into());
        }
        let answer = match (route.idempotency, project) {
            (Idempotency::RecordedSimulation, Some(project)) => with_objectives(project, &record).await,
            _ => as_recorded(record),
        };
        answer.map(Some)
    }
}

/// Whether a failure may be caused by a concurrent request with the same key.
pub(crate) fn may_be_repeated(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::Key(_)
            | ApiError::Operation(
                OperationError::Refused(_) | OperationError::Store(StoreError::Duplicate { .. })
            )
    )
}

/// A hash of a request's operation, path and normalised body.
pub(crate) fn hash_of(operation: &str, path: &[(String, String)], body: &str) -> String {
    sha256_hex([operation].into_iter().chain(path.iter().map(|(_, value)| value.as_str())).chain([body]))
}

fn as_recorded(record: IdempotencyRecord) -> Result<Response, ApiError> {
    serde_json::from_str::<IgnoredAny>(&record.response).map_err(|_| corrupt("its response is not JSON"))?;
    Ok(Response::new(Bytes::from(record.response)))
}

/// The recorded simulation with its objectives. Pinned versions never change and are large, so the record
/// leaves them out and they are read from the store.
async fn with_objectives(
    project: &dyn ProjectStore,
    record: &IdempotencyRecord,
) -> Result<Response, ApiError> {
    let mut simulation: Value =
        serde_json::from_str(&record.response).map_err(|_| corrupt("its response is not JSON"))?;
    let id = simulation["id"].as_str().and_then(|id| id.parse::<SimulationId>().ok());
    let id = id.ok_or_else(|| corrupt("its response names no simulation"))?;
    let detail = project.simulation(&id).await?.ok_or_else(|| corrupt("its simulation is gone"))?;
    let objectives: Vec<_> = detail.objectives.into_iter().map(ObjectiveOut::from).collect();
    simulation["objectives"] =
        serde_json::to_value(objectives).map_err(|error| ApiError::Internal(Box::new(error)))?;
    reply(&simulation)
}

fn corrupt(reason: &str) -> ApiError {
    StoreError::Corrupt { what: "idempotency record", reason: reason.to_owned() }.into()
}
