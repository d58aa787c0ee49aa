//! Doing jobs in the background, and what time calls for.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use onerun_engine::Engine;
use onerun_store::{ClaimedJob, StoreError, with_causes};
use tokio::{
    sync::{Semaphore, watch},
    time::{MissedTickBehavior, interval, sleep},
};

/// How many jobs are done at once.
const JOBS_AT_ONCE: u32 = 32;

/// How often is looked for jobs while there are none: well below what a person notices.
const IDLE: Duration = Duration::from_millis(20);

/// How often is looked for what time has overtaken.
const TICK: Duration = Duration::from_millis(250);

/// How long a job is hidden once taken. In one process it only matters if a job hangs.
const HIDDEN: SignedDuration = SignedDuration::from_mins(10);

/// How often a job is tried before it is given up.
const MAX_DELIVERIES: u32 = 5;

/// How long a job waits after its first failure; twice as long after each further one.
const FIRST_DELAY: SignedDuration = SignedDuration::from_millis(200);

/// Runs until `stopped` says so, then lets jobs in flight finish.
pub(crate) async fn run(engine: Engine, stopped: watch::Receiver<bool>) {
    tokio::join!(do_jobs(&engine, stopped.clone()), tick(&engine, stopped));
}

async fn tick(engine: &Engine, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        if let Err(error) = engine.tick().await {
            tracing::error!(error = with_causes(&error), "what time calls for could not be done");
        }
    }
}

async fn do_jobs(engine: &Engine, mut stopped: watch::Receiver<bool>) {
    let hands = Arc::new(Semaphore::new(JOBS_AT_ONCE as usize));
    while !*stopped.borrow() {
        match take(engine, &hands).await {
            Ok(jobs) if !jobs.is_empty() => {
                for job in jobs {
                    let Ok(hand) = Arc::clone(&hands).acquire_owned().await else { return };
                    let engine = engine.clone();
                    tokio::spawn(async move {
                        perform(&engine, job).await;
                        drop(hand);
                    });
                }
                continue;
            }
            Ok(_) => {}
            Err(error) => tracing::error!(error = with_causes(&error), "jobs could not be taken"),
        }
        tokio::select! {
            () = sleep(IDLE) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
    // Every hand free again means that every job is done.
    let _ = hands.acquire_many(JOBS_AT_ONCE).await;
}

/// As many due jobs as there are free hands.
async fn take(engine: &Engine, hands: &Semaphore) -> Result<Vec<ClaimedJob>, StoreError> {
    let free = u32::try_from(hands.available_permits()).unwrap_or(JOBS_AT_ONCE);
    let now = engine.now();
    // Looking is a read; taking is a write, and not made for nothing.
    let due = engine.store().next_job_due().await?.is_some_and(|due| due <= now);
    if free == 0 || !due {
        return Ok(Vec::new());
    }
    engine.store().claim_jobs(free, later(now, HIDDEN), now).await
}

async fn perform(engine: &Engine, claimed: ClaimedJob) {
    let ClaimedJob { job, deliveries } = claimed;
    let performed = AssertUnwindSafe(engine.perform(&job)).catch_unwind().await;
    let failure = match performed {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(with_causes(&error)),
        Err(_) => Some("the job panicked".to_owned()),
    };
    let (store, now) = (engine.store(), engine.now());
    let settled = match failure {
        None => store.complete_job(&job.id).await,
        Some(reason) if deliveries < MAX_DELIVERIES => {
            tracing::warn!(job = %job.id, deliveries, reason, "a job failed and will be tried again");
            let delay = FIRST_DELAY * 2_i32.saturating_pow(deliveries.saturating_sub(1));
            store.retry_job(&job.id, &reason, later(now, delay)).await
        }
        Some(reason) => {
            tracing::error!(job = %job.id, deliveries, reason, "a job failed and is given up");
            // Consequences first: if they cannot be drawn, the job shows again and they are drawn then.
            match engine.give_up(&job).await {
                Ok(()) => store.bury_job(&job.id, &reason, now).await,
                Err(error) => Err(error),
            }
        }
    };
    if let Err(error) = settled {
        // The job shows again when it is no longer hidden, and doing it twice changes nothing.
        tracing::error!(job = %job.id, error = with_causes(&error), "a job's outcome could not be recorded");
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
