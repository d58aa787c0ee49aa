//! Repetitions of a request under one `Idempotency-Key`.
//!
//! An operation declares whether it takes the header ([`Idempotency`]). Its handler writes [`Call::record`]
//! together with its change. A repetition is answered from the record, and so is the loser of two concurrent
//! requests.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use onerun_auth::KeyId;
use onerun_domain::{ProjectId, Resource, SimulationId, sha256_hex};
use onerun_engine::OperationError;
use onerun_store::{IdempotencyId, IdempotencyRecord, IdempotencyScope, ProjectStore, StoreError};
use serde::{Serialize, de::IgnoredAny};
use serde_json::Value;

use crate::{
    ApiError, App, Idempotency, Response, Route,
    request::{Call, reply},
    views::ObjectiveOut,
};

/// How many parts of an answer are read at once.
const READS_AT_ONCE: usize = 8;

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

    /// The record of an earlier request with the same key. Fails if that was another request.
    async fn earlier(&self, app: &App) -> Result<Option<IdempotencyRecord>, ApiError> {
        let record = app.engine().store().idempotency_record(&self.id, app.engine().now()).await?;
        match record {
            Some(record) if record.request_hash != self.request_hash => {
                Err(OperationError::IdempotencyKeyReused.into())
            }
            record => Ok(record),
        }
    }

    /// The recorded answer of an earlier request with the same key, as JSON.
    pub(crate) async fn recorded_answer(&self, app: &App) -> Result<Option<String>, ApiError> {
        self.earlier(app).await?.map(checked).transpose()
    }

    /// The response to an earlier request with the same key.
    pub(crate) async fn repeated(
        &self,
        app: &App,
        route: &Route,
        project: Option<&dyn ProjectStore>,
    ) -> Result<Option<Response>, ApiError> {
        let Some(record) = self.earlier(app).await? else { return Ok(None) };
        let answer = match (route.idempotency, project) {
            (Idempotency::RecordedSimulation, Some(project)) => with_objectives(project, &record).await,
            _ => Ok(Response::new(Bytes::from(checked(record)?))),
        };
        let mut answer = answer?;
        *answer.status_mut() = route.status;
        Ok(Some(answer))
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

/// A request with an `Idempotency-Key` whose answer consists of parts. Each part is recorded together with what it
/// creates.
#[derive(Clone)]
pub(crate) struct RepeatableParts {
    caller: KeyId,
    project: ProjectId,
    key: String,
    request_hash: String,
    now: Timestamp,
}

impl RepeatableParts {
    /// The request, if it has an `Idempotency-Key`.
    pub(crate) fn of(
        call: &Call,
        operation: &str,
        project: &dyn ProjectStore,
        now: Timestamp,
    ) -> Result<Option<Self>, ApiError> {
        let Some(key) = call.idempotency_key()? else { return Ok(None) };
        Ok(Some(Self {
            caller: call.caller()?.key_id().clone(),
            project: project.project_id().clone(),
            key,
            request_hash: call.hash(operation)?,
            now,
        }))
    }

    /// The part with this number, from 0.
    pub(crate) fn part(&self, number: u32) -> Repeatable {
        // The key has no control characters, so parts share no id with other requests.
        let key = format!("{}\n{number}", self.key);
        let id = IdempotencyId::new(IdempotencyScope::Resources, &self.caller, Some(&self.project), &key);
        Repeatable { id, request_hash: self.request_hash.clone(), now: self.now }
    }

    /// The recorded parts of an earlier request with the same key, as JSON, by their number. Its first part was
    /// recorded before the others.
    pub(crate) async fn recorded(&self, app: &App, parts: u32) -> Result<BTreeMap<u32, String>, ApiError> {
        let Some(first) = self.part(0).recorded_answer(app).await? else { return Ok(BTreeMap::new()) };
        let read = |number| async move {
            Ok::<_, ApiError>((number, self.part(number).recorded_answer(app).await?))
        };
        let others: Vec<(u32, Option<String>)> =
            stream::iter(1..parts).map(read).buffered(READS_AT_ONCE).try_collect().await?;
        let others = others.into_iter().filter_map(|(number, part)| Some((number, part?)));
        Ok([(0, first)].into_iter().chain(others).collect())
    }
}

/// The response of a record.
fn checked(record: IdempotencyRecord) -> Result<String, ApiError> {
    serde_json::from_str::<IgnoredAny>(&record.response).map_err(|_| corrupt("its response is not JSON"))?;
    Ok(record.response)
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
    // It was deleted since.
    let detail = project.simulation(&id).await?.ok_or(ApiError::NotFound(Resource::Simulation))?;
    let objectives: Vec<_> = detail.objectives.into_iter().map(ObjectiveOut::from).collect();
    simulation["objectives"] =
        serde_json::to_value(objectives).map_err(|error| ApiError::Internal(Box::new(error)))?;
    reply(&simulation)
}

fn corrupt(reason: &str) -> ApiError {
    StoreError::Corrupt { what: "idempotency record", reason: reason.to_owned() }.into()
}
