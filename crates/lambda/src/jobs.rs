//! Functions that do work in the background: jobs that the queue delivers, and what time calls for.
//!
//! A message only says that there is a job; the job is in the table. So a message that comes twice, late or out of order
//! finds it done, or taken by another. What fails is put off in the table, not in the queue, and is tried again by the
//! [`tick`](Jobs::tick). A message goes back to the queue, and in the end to the dead letters, only if it names no job or
//! if what came of the job could not be recorded.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Context, LambdaEvent};
use onerun_domain::{JobId, JobKind, later};
use onerun_engine::{Engine, JOB_HIDDEN, JOB_LIMIT, JobOutcome};
use onerun_store::{StoreError, with_causes};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};
use tokio::time::sleep;

use crate::Failure;

/// How many jobs are done at once.
const AT_ONCE: usize = 10;

/// How many jobs of each kind a tick takes at once. Few of those that judge, because they are slow.
const TICK_TAKES: [(JobKind, u32); 2] = [(JobKind::Other, 32), (JobKind::Judging, 8)];

/// What is left of an invocation's time when the tries of jobs in it are over, to record what came of them.
const RESERVE: Duration = Duration::from_secs(10);

/// The pauses after which a job that was put off is tried again in the same invocation. What passes in a moment does
/// not wait for the next minute.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

/// The longest id of a job: well above what they have.
const MAX_ID: usize = 200;

/// What the queue delivers: the members that are read.
#[derive(Debug, Deserialize)]
pub(crate) struct Batch {
    #[serde(rename = "Records", default)]
    records: Vec<Message>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    message_id: String,
    #[serde(default)]
    body: String,
}

/// What is to be delivered again.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchAnswer {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: String,
}

/// What jobs are done with.
pub(crate) struct Jobs {
    engine: Engine,
}

/// Why a message goes back to the queue.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error("the message is not JSON with the id of a job: it will not be delivered by trying again")]
    Malformed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Jobs {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Does the jobs of a batch. Those that could not be are named, and come again.
    pub(crate) async fn run(&self, event: LambdaEvent<Batch>) -> BatchAnswer {
        let end = end(&event.context);
        let delivered = stream::iter(event.payload.records).map(async |message: Message| {
            let Err(error) = self.deliver(&message.body, end).await else { return None };
            tracing::error!(
                message_id = message.message_id,
                error = with_causes(&error),
                "a message was not delivered"
            );
            Some(BatchItemFailure { item_identifier: message.message_id })
        });
        let failures = delivered.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        BatchAnswer { batch_item_failures: failures }
    }

    async fn deliver(&self, body: &str, end: Timestamp) -> Result<(), Undelivered> {
        let id = job_id(body).ok_or(Undelivered::Malformed)?;
        let mut pauses = PAUSES.into_iter();
        while let Some(left) = self.time_left(end) {
            let now = self.engine.now();
            // Gone, taken by another, or not due yet: nothing to do.
            let claimed = self.engine.store().claim_job(&id, later(now, JOB_HIDDEN), now).await?;
            let Some(claimed) = claimed else { break };
            match self.engine.run_job(claimed, left).await {
                JobOutcome::Retried { .. } => {}
                JobOutcome::Completed | JobOutcome::Buried { .. } => break,
                JobOutcome::Unrecorded(error) => return Err(error.into()),
            }
            let Some(pause) = pauses.next() else { break };
            sleep(pause).await;
        }
        Ok(())
    }

    /// Ends leases and simulations whose time is over, and does jobs that were left behind: those that failed before,
    /// and those whose message was lost. Jobs whose message is still on its way may be among them, which costs nothing
    /// but that message.
    pub(crate) async fn tick(&self, event: LambdaEvent<IgnoredAny>) -> Result<(), Failure> {
        let overdue = self.engine.tick().await?;
        let mut jobs = 0;
        let end = end(&event.context);
        while let Some(left) = self.time_left(end) {
            let now = self.engine.now();
            let mut claimed = Vec::new();
            for (kind, limit) in TICK_TAKES {
                let taken = self.engine.store().claim_jobs(kind, limit, later(now, JOB_HIDDEN), now);
                claimed.extend(taken.await?);
            }
            if claimed.is_empty() {
                break;
            }
            jobs += claimed.len();
            let done = stream::iter(claimed).map(|job| self.engine.run_job(job, left));
            done.buffer_unordered(AT_ONCE).for_each(|_| std::future::ready(())).await;
        }
        tracing::info!(overdue, jobs, "tick");
        Ok(())
    }

    /// How long a try may take that begins now; `None` if it is too late for one.
    fn time_left(&self, end: Timestamp) -> Option<Duration> {
        let left = Duration::try_from(end.duration_since(self.engine.now())).ok()?;
        (!left.is_zero()).then(|| left.min(JOB_LIMIT))
    }
}

/// When the tries of jobs in an invocation must be over.
fn end(context: &Context) -> Timestamp {
    let deadline = i64::try_from(context.deadline).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let reserve = SignedDuration::try_from(RESERVE).unwrap_or_default();
    deadline.and_then(|deadline| deadline.checked_sub(reserve).ok()).unwrap_or(Timestamp::MIN)
}

/// The job that a message is about: the pipe makes it `{"job_id": "…"}`.
fn job_id(body: &str) -> Option<JobId> {
    let call: Map<String, Value> = serde_json::from_str(body).ok()?;
    let id = call.get("job_id")?.as_str()?;
    let is_one = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then(|| JobId::restore(id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_with_the_id_of_a_job_names_one() {
        let id = |body: &str| job_id(body).map(|id| id.to_string());
        assert_eq!(
            id(r#"{"job_id":"start_simulation:abc","more":1}"#).as_deref(),
            Some("start_simulation:abc")
        );
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
            &long,
        ] {
            assert_eq!(id(body), None, "{body}");
        }
    }

    #[test]
    fn a_batch_is_read_as_the_queue_sends_it() {
        let event = r#"{"Records":[{"messageId":"1","receiptHandle":"r","body":"{}","attributes":
            {"ApproximateReceiveCount":"1"},"messageAttributes":{},"md5OfBody":"m","eventSource":"aws:sqs",
            "eventSourceARN":"arn","awsRegion":"eu-central-1"}]}"#;
        let batch: Batch = serde_json::from_str(event).unwrap();
        assert_eq!((batch.records[0].message_id.as_str(), batch.records[0].body.as_str()), ("1", "{}"));
        assert!(serde_json::from_str::<Batch>("{}").unwrap().records.is_empty());
    }

    #[test]
    fn the_answer_names_what_is_to_come_again() {
        let failures = vec![BatchItemFailure { item_identifier: "1".to_owned() }];
        let answer = serde_json::to_string(&BatchAnswer { batch_item_failures: failures }).unwrap();
        assert_eq!(answer, r#"{"batchItemFailures":[{"itemIdentifier":"1"}]}"#);
    }
}
