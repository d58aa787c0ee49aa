//! A job that a host took: tried within its time, and its outcome recorded. The same on every host.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use jiff::SignedDuration;
use onerun_domain::{Job, later};
use onerun_store::{ClaimedJob, StoreError, with_causes};
use tokio::time::{Instant, timeout};

use crate::{Engine, JobError};

/// The target of the log line of a job. The host on AWS makes metrics of these lines.
pub const JOB_TARGET: &str = "onerun::job";

/// How long one try of a job may take, where its host sets no other limit.
pub const JOB_LIMIT: Duration = Duration::from_mins(5);

/// How long a job is hidden once taken: longer than a try may take, so that nobody else takes it meanwhile.
pub const JOB_HIDDEN: SignedDuration = SignedDuration::from_mins(10);

/// How often a job is tried before it is given up: over almost four minutes.
pub(crate) const MAX_DELIVERIES: u32 = 12;

/// How long a job waits after its first failure; twice as long after each further one, up to a limit.
const FIRST_DELAY: SignedDuration = SignedDuration::from_millis(200);
const MAX_DELAY: SignedDuration = SignedDuration::from_secs(60);

/// What became of a job that was taken.
#[derive(Debug)]
pub enum JobOutcome {
    /// It is done, and gone.
    Done,
    /// It did not succeed, and will be due again.
    PutOff {
        /// Why it did not.
        reason: String,
    },
    /// It did not succeed, and was given up: its consequence is drawn, and it is kept with the reason.
    GivenUp {
        /// Why it did not.
        reason: String,
    },
    /// What came of it could not be recorded. It shows again when it is no longer hidden, and doing it twice changes
    /// nothing.
    Unrecorded(StoreError),
}

impl JobOutcome {
    /// The outcome's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::PutOff { .. } => "put_off",
            Self::GivenUp { .. } => "given_up",
            Self::Unrecorded(_) => "unrecorded",
        }
    }
}

/// Why a try did not succeed.
struct Failure {
    reason: String,
    /// Whether a model was the cause.
    of_model: bool,
}

impl Failure {
    fn new(reason: String) -> Self {
        Self { reason, of_model: false }
    }
}

impl Engine {
    /// Does a job that was taken within `limit`, and records what came of it: it is done, due again later, or given up
    /// if it was taken too often. Leaves one line in the log. `limit` must be shorter than the job is hidden.
    pub async fn run_job(&self, claimed: ClaimedJob, limit: Duration) -> JobOutcome {
        let started = Instant::now();
        let ClaimedJob { job, deliveries } = claimed;
        let failure = if deliveries > self.settings.max_deliveries {
            // Its last try left no word: it took the process with it each time, or its outcome could not be recorded.
            Some(Failure::new("it was taken too often without coming to an end".to_owned()))
        } else {
            attempt(self.perform(&job), limit).await
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
        let Some(Failure { reason, .. }) = failure else {
            store.complete_job(&job.id).await?;
            return Ok(JobOutcome::Done);
        };
        if deliveries < self.settings.max_deliveries {
            store.retry_job(&job.id, reason, later(now, delay(deliveries))).await?;
            return Ok(JobOutcome::PutOff { reason: reason.clone() });
        }
        // Consequences first: if they cannot be drawn, the job shows again and they are drawn then.
        self.give_up(job).await?;
        store.bury_job(&job.id, reason, now).await?;
        Ok(JobOutcome::GivenUp { reason: reason.clone() })
    }
}

/// Tries a job; why it failed, if it did.
async fn attempt(job: impl Future<Output = Result<(), JobError>>, limit: Duration) -> Option<Failure> {
    match timeout(limit, AssertUnwindSafe(job).catch_unwind()).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => {
            Some(Failure { reason: with_causes(&error), of_model: matches!(error, JobError::Model(_)) })
        }
        Ok(Err(_)) => Some(Failure::new("the job panicked".to_owned())),
        Err(_) => Some(Failure::new(format!("the job was not done within {} s", limit.as_secs()))),
    }
}

/// How long a job waits after it failed for the `deliveries`-th time.
fn delay(deliveries: u32) -> SignedDuration {
    let factor = 2_i32.saturating_pow(deliveries.saturating_sub(1));
    FIRST_DELAY.checked_mul(factor).unwrap_or(MAX_DELAY).min(MAX_DELAY)
}

/// The one line that a job leaves when it ends. Hosts filter it by its target.
fn log(job: &Job, deliveries: u32, failure: Option<&Failure>, outcome: &JobOutcome, started: Instant) {
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let reason = failure.map(|failure| failure.reason.as_str());
    let model_failure = failure.is_some_and(|failure| failure.of_model).then_some(true);
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
        JobOutcome::Done => line!(info),
        JobOutcome::PutOff { .. } => line!(warn),
        JobOutcome::GivenUp { .. } | JobOutcome::Unrecorded(_) => line!(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelError;

    async fn reason(job: impl Future<Output = Result<(), JobError>>) -> Option<(String, bool)> {
        attempt(job, JOB_LIMIT).await.map(|failure| (failure.reason, failure.of_model))
    }

    #[test]
    fn a_job_is_tried_over_minutes() {
        let delays: Vec<_> = (1..MAX_DELIVERIES).map(delay).collect();
        assert!(delays.is_sorted(), "{delays:?}");
        assert_eq!((delays[0], delays[1]), (FIRST_DELAY, FIRST_DELAY * 2));
        assert_eq!((delays.last(), delay(u32::MAX)), (Some(&MAX_DELAY), MAX_DELAY));
        assert!(delays.into_iter().fold(SignedDuration::ZERO, |sum, delay| sum + delay).as_mins() >= 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_hangs_has_failed_when_its_time_is_up() {
        let failed = reason(std::future::pending()).await;
        assert_eq!(failed, Some(("the job was not done within 300 s".to_owned(), false)));
        assert!(JOB_LIMIT < JOB_HIDDEN.unsigned_abs(), "nobody else takes it meanwhile");
    }

    #[tokio::test]
    async fn why_a_job_failed_is_known() {
        assert_eq!(reason(async { Ok(()) }).await, None);
        let no_disk = || StoreError::Unavailable(std::io::Error::other("no disk").into());
        let expected = with_causes(&no_disk());
        assert!(expected.contains("no disk"), "{expected}");
        assert_eq!(reason(async { Err(no_disk().into()) }).await, Some((expected, false)));
        let busy = ModelError::Unavailable("busy".to_owned());
        let (text, of_model) = reason(async { Err(busy.into()) }).await.unwrap();
        assert!(text.contains("busy") && of_model, "{text}");
        let panics = reason(async { if true { panic!("a bug") } else { Ok(()) } }).await;
        assert_eq!(panics, Some(("the job panicked".to_owned(), false)));
    }
}
