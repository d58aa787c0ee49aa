//! Runs one claimed job within a time limit and records the outcome. Every host uses it.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Job, later};
use onerun_store::{ClaimedJob, StoreError, with_causes};
use tokio::time::{Instant, timeout};

use crate::{Engine, JobError, ModelError};

/// The target of a job's log line. The host on AWS turns these lines into metrics.
pub const JOB_TARGET: &str = "onerun::job";

/// How long one attempt of a job may take, unless its host has less time.
pub const JOB_LIMIT: Duration = Duration::from_mins(5);

/// How long a claimed job is hidden: longer than an attempt, so that no other runner claims it meanwhile.
pub const JOB_HIDDEN: SignedDuration = SignedDuration::from_mins(10);

/// How often a job is attempted, over almost four minutes, before it is buried.
pub(crate) const MAX_DELIVERIES: u32 = 12;

/// How long a job waits after its first failure. The delay doubles with each further failure.
const FIRST_DELAY: SignedDuration = SignedDuration::from_millis(200);
const MAX_DELAY: SignedDuration = SignedDuration::from_secs(60);

/// How `last_failure_reason` begins while a provider is down.
const DOWN: &str = "the simulation waits for a model";

/// The outcome of one delivery of a job.
#[derive(Debug)]
pub enum JobOutcome {
    /// The job succeeded and was deleted.
    Completed,
    /// The attempt failed, and the job is due again later.
    Retried {
        /// Why the attempt failed.
        reason: String,
    },
    /// The work waits for something, and the job is due again later.
    Postponed {
        /// When it is due.
        until: Timestamp,
        /// The reason of the wait.
        reason: String,
    },
    /// The last attempt failed. The job is stored as a dead job, and its simulation or evaluation has failed.
    Buried {
        /// Why the attempt failed.
        reason: String,
    },
    /// The store did not record the outcome. The job is due again when it is no longer hidden;
    /// running it twice changes nothing.
    Unrecorded(StoreError),
}

impl JobOutcome {
    /// The outcome's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Retried { .. } => "retried",
            Self::Postponed { .. } => "postponed",
            Self::Buried { .. } => "buried",
            Self::Unrecorded(_) => "unrecorded",
        }
    }
}

/// Why an attempt failed.
struct Failure {
    reason: String,
    /// Whether the model caused it.
    by_model: bool,
    /// A text that callers may see, if a provider is down.
    notice: Option<String>,
    /// When the model wants to be asked again.
    retry_after: Option<Duration>,
    /// When the job is due again, if it has not failed.
    postponed: Option<Timestamp>,
}

impl Failure {
    fn new(reason: String) -> Self {
        Self { reason, by_model: false, notice: None, retry_after: None, postponed: None }
    }
}

impl Engine {
    /// Runs a claimed job within `limit` and records the outcome: completed, due again later, or
    /// buried after the last attempt. Writes one log line. `limit` must be shorter than the time
    /// that the job is hidden.
    pub async fn run_job(&self, claimed: ClaimedJob, limit: Duration) -> JobOutcome {
        let started = Instant::now();
        let ClaimedJob { job, deliveries } = claimed;
        let failure = if deliveries > self.settings.max_deliveries {
            // No attempt recorded an outcome: each one crashed its process or failed to reach the store.
            Some(Failure::new("it was claimed too often and never completed".to_owned()))
        } else {
            attempt(self.handle_job(&job), limit).await
        };
        let outcome = match self.record(&job, deliveries, failure.as_ref()).await {
            Ok(outcome) => outcome,
            Err(error) => JobOutcome::Unrecorded(error),
        };
        log(&job, deliveries, failure.as_ref(), &outcome, started);
        outcome
    }

    async fn record(
        &self,
        job: &Job,
        deliveries: u32,
        failure: Option<&Failure>,
    ) -> Result<JobOutcome, StoreError> {
        let (store, now) = (self.store(), self.now());
        let Some(Failure { reason, notice, retry_after, postponed, .. }) = failure else {
            store.complete_job(&job.id).await?;
            return Ok(JobOutcome::Completed);
        };
        if let Some(until) = postponed {
            store.postpone_job(&job.id, *until).await?;
            return Ok(JobOutcome::Postponed { until: *until, reason: reason.clone() });
        }
        if deliveries < self.settings.max_deliveries {
            let wanted = retry_after.and_then(|wait| SignedDuration::try_from(wait).ok());
            let wait = delay(deliveries).max(wanted.unwrap_or_default().min(MAX_DELAY));
            store.retry_job(&job.id, reason, later(now, wait)).await?;
            if let Some(notice) = notice {
                self.note_failure(job, notice).await?;
            }
            return Ok(JobOutcome::Retried { reason: reason.clone() });
        }
        // In this order: if marking the failure fails, the job is due again and marks it then.
        self.fail_dependents(job).await?;
        store.bury_job(&job.id, reason, now).await?;
        Ok(JobOutcome::Buried { reason: reason.clone() })
    }
}

/// Runs a job and returns why it failed, if it did.
async fn attempt(job: impl Future<Output = Result<(), JobError>>, limit: Duration) -> Option<Failure> {
    match timeout(limit, AssertUnwindSafe(job).catch_unwind()).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => {
            let by_model = matches!(error, JobError::Model(_));
            let (notice, retry_after) = match &error {
                JobError::Model(ModelError::Down { reason, retry_after }) => {
                    (Some(format!("{DOWN}: {reason}")), Some(*retry_after))
                }
                JobError::Model(ModelError::Unavailable { retry_after, .. }) => (None, *retry_after),
                _ => (None, None),
            };
            let postponed = match &error {
                JobError::Postponed { until, .. } => Some(*until),
                _ => None,
            };
            Some(Failure { reason: with_causes(&error), by_model, notice, retry_after, postponed })
        }
        Ok(Err(_)) => Some(Failure::new("the job panicked".to_owned())),
        Err(_) => Some(Failure::new(format!("the job did not finish within {} s", limit.as_secs()))),
    }
}

/// The delay after the `deliveries`-th failure.
fn delay(deliveries: u32) -> SignedDuration {
    let factor = 2_i32.saturating_pow(deliveries.saturating_sub(1));
    FIRST_DELAY.checked_mul(factor).unwrap_or(MAX_DELAY).min(MAX_DELAY)
}

/// Writes the log line of one delivery. Hosts filter it by its target.
fn log(job: &Job, deliveries: u32, failure: Option<&Failure>, outcome: &JobOutcome, started: Instant) {
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let reason = failure.map(|failure| failure.reason.as_str());
    let model_failure = failure.is_some_and(|failure| failure.by_model).then_some(true);
    let error = match outcome {
        JobOutcome::Unrecorded(error) => Some(with_causes(error)),
        _ => None,
    };
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: JOB_TARGET,
                job = %job.id,
                work = job.work.name(),
                outcome = outcome.name(),
                deliveries,
                latency_us,
                project_id = job.project_id.as_str(),
                reason,
                model_failure,
                error,
                "job"
            )
        };
    }
    match outcome {
        JobOutcome::Completed | JobOutcome::Postponed { .. } => line!(info),
        JobOutcome::Retried { .. } => line!(warn),
        JobOutcome::Buried { .. } | JobOutcome::Unrecorded(_) => line!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    async fn reason(job: impl Future<Output = Result<(), JobError>>) -> Option<(String, bool)> {
        attempt(job, JOB_LIMIT).await.map(|failure| (failure.reason, failure.by_model))
    }

    #[test]
    fn job_is_attempted_over_minutes() {
        let delays: Vec<_> = (1..MAX_DELIVERIES).map(delay).collect();
        assert!(delays.is_sorted(), "{delays:?}");
        assert_eq!((delays[0], delays[1]), (FIRST_DELAY, FIRST_DELAY * 2));
        assert_eq!((delays.last(), delay(u32::MAX)), (Some(&MAX_DELAY), MAX_DELAY));
        assert!(delays.into_iter().fold(SignedDuration::ZERO, |sum, delay| sum + delay).as_mins() >= 3);
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_job_fails_at_its_time_limit() {
        let failed = reason(std::future::pending()).await;
        assert_eq!(failed, Some(("the job did not finish within 300 s".to_owned(), false)));
        assert!(JOB_LIMIT < JOB_HIDDEN.unsigned_abs(), "the job stays hidden during an attempt");
    }

    #[tokio::test]
    async fn job_failure_has_its_reason() {
        assert_eq!(reason(async { Ok(()) }).await, None);
        let no_disk = || StoreError::Unavailable(std::io::Error::other("no disk").into());
        let expected = with_causes(&no_disk());
        assert!(expected.contains("no disk"), "{expected}");
        assert_eq!(reason(async { Err(no_disk().into()) }).await, Some((expected, false)));
        let busy = ModelError::unavailable("busy");
        let (text, is_model_failure) = reason(async { Err(busy.into()) }).await.unwrap();
        assert!(text.contains("busy") && is_model_failure, "{text}");
        let panics = reason(async { if true { panic!("a bug") } else { Ok(()) } }).await;
        assert_eq!(panics, Some(("the job panicked".to_owned(), false)));
    }
}
