//! The functions of background work: jobs that the queue delivers, and the tick.
//!
//! A message contains only the id of a job and its partition; the job is in the table. So a late,
//! repeated or reordered message finds the job completed or claimed. The table schedules the retry of
//! a failed job, and the [`tick`](Tick::run) sends its message again when it is due. So only one
//! function runs jobs and needs models. A message returns to the queue, and finally to the dead-letter
//! queue, only if it has no job id or if the store did not answer.
//!
//! A buried job has a message, too, and its delivery logs one line, which is the metric of the alarm.
//! The attempt that buries a job cannot do that, because its function may end between the write and
//! the line.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Context, LambdaEvent};
use onerun_domain::{JobId, later, wire_time};
use onerun_engine::{Engine, JOB_HIDDEN, JOB_LIMIT, JOB_TARGET, JobOutcome};
use onerun_store::{StoreError, with_causes};
use onerun_store_dynamodb::DynamoDbStore;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};
use tokio::time::sleep;

use crate::{EventError, models::FunctionModels};

/// How many jobs run at once.
const AT_ONCE: usize = 10;

/// The time after which the message of a waiting job may be lost, and a tick sends another. A message
/// that is still in the queue then has a duplicate, whose delivery costs one read of the table.
const RESEND_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// The end of an invocation's time that is reserved for recording outcomes.
const RESERVE: Duration = Duration::from_secs(10);

/// The pauses before a failed job is retried in the same invocation. A brief failure does not wait
/// for the next tick.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

/// The longest wait for a postponed job in the same invocation. A job that is due later waits for a tick.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The longest accepted job id, well above the length of real ones.
const MAX_ID: usize = 200;

/// The partition of buried jobs.
const BURIED: &str = "dead-jobs";

/// A batch of queue messages: the members that are used.
#[derive(Debug, Deserialize)]
pub(crate) struct Batch {
    #[serde(rename = "Records", default)]
    records: Vec<QueueMessage>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueMessage {
    message_id: String,
    #[serde(default)]
    body: String,
}

/// The messages that the queue must deliver again.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchResponse {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: String,
}

/// Runs jobs, and reports buried ones.
pub(crate) struct Jobs {
    engine: Engine,
    store: DynamoDbStore,
    models: Arc<dyn FunctionModels>,
}

/// Finds what is overdue.
pub(crate) struct Tick {
    engine: Engine,
    store: DynamoDbStore,
}

/// Why a message returns to the queue.
#[derive(Debug, thiserror::Error)]
enum MessageError {
    #[error(
        "the message is not JSON with a `job_id`, so no delivery can succeed; delete it from the dead-letter queue"
    )]
    Malformed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Jobs {
    /// Reads the secret with the models' keys. The engine must have the same models, and be over the same store.
    pub(crate) async fn start(engine: Engine, store: DynamoDbStore, models: Arc<dyn FunctionModels>) -> Self {
        models.refresh().await;
        Self { engine, store, models }
    }

    /// Runs the jobs of a batch. Returns the messages that the queue must deliver again.
    pub(crate) async fn run(&self, event: LambdaEvent<Batch>) -> BatchResponse {
        let end = end(&event.context);
        self.models.refresh().await;
        let delivered = stream::iter(event.payload.records).map(async |message: QueueMessage| {
            let Err(error) = self.deliver(&message.body, end).await else { return None };
            tracing::error!(
                message_id = message.message_id,
                error = with_causes(&error),
                "a queue message failed; the queue delivers it again or moves it to the dead-letter queue"
            );
            Some(BatchItemFailure { item_identifier: message.message_id })
        });
        let failures = delivered.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        BatchResponse { batch_item_failures: failures }
    }

    async fn deliver(&self, body: &str, end: Timestamp) -> Result<(), MessageError> {
        let JobMessage { id, is_buried } = job_message(body).ok_or(MessageError::Malformed)?;
        if is_buried {
            return Ok(self.report(&id).await?);
        }
        let mut pauses = PAUSES.into_iter();
        let mut has_waited = false;
        while let Some(left) = self.time_left(end) {
            let now = self.engine.now();
            // `None`: the job is completed, claimed by another runner, or not due yet.
            let claimed = self.engine.store().claim_job(&id, later(now, JOB_HIDDEN), now).await?;
            let Some(claimed) = claimed else { break };
            match self.engine.run_job(claimed, left).await {
                JobOutcome::Retried { .. } => {}
                JobOutcome::Postponed { until, .. } => {
                    let wait =
                        Duration::try_from(until.duration_since(self.engine.now())).unwrap_or_default();
                    if has_waited || wait > LONGEST_WAIT.min(left) {
                        break;
                    }
                    has_waited = true;
                    sleep(wait).await;
                    continue;
                }
                JobOutcome::Completed | JobOutcome::Buried { .. } => break,
                JobOutcome::Unrecorded(error) => return Err(error.into()),
            }
            let Some(pause) = pauses.next() else { break };
            sleep(pause).await;
        }
        Ok(())
    }

    /// Logs a buried job. A repeated message logs it again.
    async fn report(&self, id: &JobId) -> Result<(), StoreError> {
        let Some(dead) = self.store.dead_job(id).await? else {
            let reason = "unknown: it was deleted with its simulation";
            tracing::error!(target: JOB_TARGET, job = %id, reason, "buried job");
            return Ok(());
        };
        tracing::error!(
            target: JOB_TARGET,
            job = %id,
            work = dead.job.work.name(),
            project_id = dead.job.project_id.as_str(),
            reason = dead.reason,
            buried_at = wire_time(dead.buried_at),
            "buried job"
        );
        Ok(())
    }

    /// How long an attempt that starts now may take. `None` if no time is left.
    fn time_left(&self, end: Timestamp) -> Option<Duration> {
        let left = Duration::try_from(end.duration_since(self.engine.now())).ok()?;
        (!left.is_zero()).then(|| left.min(JOB_LIMIT))
    }
}

impl Tick {
    /// The engine must be over the same store.
    pub(crate) fn new(engine: Engine, store: DynamoDbStore) -> Self {
        Self { engine, store }
    }

    /// Processes expired leases and simulations, then sends messages of due jobs again: failed ones,
    /// those of functions that were killed, and those whose message may be lost.
    pub(crate) async fn run(&self, _: LambdaEvent<IgnoredAny>) -> Result<(), EventError> {
        let overdue = self.engine.tick().await?;
        let now = self.engine.now();
        let sent_before = now.checked_sub(RESEND_AFTER).unwrap_or(Timestamp::MIN);
        let jobs = self.store.resend_jobs(sent_before, now).await?;
        tracing::info!(overdue, jobs, "tick");
        Ok(())
    }
}

/// When all attempts of an invocation must end.
fn end(context: &Context) -> Timestamp {
    let deadline = i64::try_from(context.deadline).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let reserve = SignedDuration::try_from(RESERVE).unwrap_or_default();
    deadline.and_then(|deadline| deadline.checked_sub(reserve).ok()).unwrap_or(Timestamp::MIN)
}

/// A message that the pipe has written.
struct JobMessage {
    id: JobId,
    is_buried: bool,
}

/// Reads `{"job_id": "…", "partition": "…"}`. A message without a partition is about a job that waits.
fn job_message(body: &str) -> Option<JobMessage> {
    let message: Map<String, Value> = serde_json::from_str(body).ok()?;
    let id = message.get("job_id")?.as_str()?;
    let is_valid = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let is_buried = message.get("partition").is_some_and(|partition| partition == BURIED);
    is_valid.then(|| JobMessage { id: JobId::restore(id.to_owned()), is_buried })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_without_a_valid_job_id_is_malformed() {
        let read = |body: &str| job_message(body).map(|message| (message.id.to_string(), message.is_buried));
        for (more, is_buried) in [
            (r#""more":1"#, false),
            (r#""partition":"jobs#start_simulation:abc""#, false),
            (r#""partition":"dead-jobs#list""#, false),
            (r#""partition":["dead-jobs"]"#, false),
            (r#""partition":"dead-jobs""#, true),
        ] {
            let body = format!(r#"{{"job_id":"start_simulation:abc",{more}}}"#);
            assert_eq!(read(&body), Some(("start_simulation:abc".to_owned(), is_buried)), "{body}");
        }
        let long = format!(r#"{{"job_id":"{}"}}"#, "a".repeat(201));
        for body in [
            "",
            "{}",
            "null",
            "[]",
            "job",
            r#"{"job_id":1}"#,
            r#"{"job_id":""}"#,
            r#"{"job_id":"a b"}"#,
            r#"{"partition":"dead-jobs"}"#,
            &long,
        ] {
            assert_eq!(read(body), None, "{body}");
        }
    }

    #[test]
    fn batch_is_read_in_the_format_of_sqs() {
        let event = r#"{"Records":[{"messageId":"1","receiptHandle":"r","body":"{}","attributes":
            {"ApproximateReceiveCount":"1"},"messageAttributes":{},"md5OfBody":"m","eventSource":"aws:sqs",
            "eventSourceARN":"arn","awsRegion":"eu-central-1"}]}"#;
        let batch: Batch = serde_json::from_str(event).unwrap();
        assert_eq!((batch.records[0].message_id.as_str(), batch.records[0].body.as_str()), ("1", "{}"));
        assert!(serde_json::from_str::<Batch>("{}").unwrap().records.is_empty());
    }

    #[test]
    fn response_lists_messages_to_deliver_again() {
        let failures = vec![BatchItemFailure { item_identifier: "1".to_owned() }];
        let answer = serde_json::to_string(&BatchResponse { batch_item_failures: failures }).unwrap();
        assert_eq!(answer, r#"{"batchItemFailures":[{"itemIdentifier":"1"}]}"#);
    }
}
