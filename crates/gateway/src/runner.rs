//! Doing jobs in the background, and what time calls for.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use jiff::SignedDuration;
use onerun_domain::later;
use onerun_engine::Engine;
use onerun_store::{ClaimedJob, StoreError, with_causes};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use crate::{GRACE, Service, Unfinished, stop};

/// How many jobs are done at once.
const JOBS_AT_ONCE: u32 = 32;

/// How often is looked for jobs while there are none: well below what a person notices.
const IDLE: Duration = Duration::from_millis(20);

/// How often is looked for what time has overtaken.
const TICK: Duration = Duration::from_millis(250);

/// How long workers have to renew their leases after a start before any is taken from them: the server may have been
/// away for longer than a lease, and they call again within seconds.
const TRUCE: Duration = Duration::from_secs(10);

/// How long a job is hidden once taken: longer than it may take.
const HIDDEN: SignedDuration = SignedDuration::from_mins(10);

/// How long one try of a job may take.
const DEADLINE: Duration = Duration::from_mins(5);

/// How often a job is tried before it is given up: over almost four minutes.
const MAX_DELIVERIES: u32 = 12;

/// How long a job waits after its first failure; twice as long after each further one, up to a limit.
const FIRST_DELAY: SignedDuration = SignedDuration::from_millis(200);
const MAX_DELAY: SignedDuration = SignedDuration::from_secs(60);

/// Runs until `stopped` says so, then lets jobs in flight finish.
pub(crate) async fn run(
    service: Arc<Service>,
    lease: SignedDuration,
    stopped: watch::Receiver<bool>,
) -> Result<(), Unfinished> {
    let truce = truce(lease);
    let ((), finished) =
        tokio::join!(tick(service.app.engine(), truce, stopped.clone()), do_jobs(&service, stopped));
    finished
}

/// How long after a start no lease is taken.
fn truce(lease: SignedDuration) -> Duration {
    lease.unsigned_abs().min(TRUCE)
}

async fn tick(engine: &Engine, truce: Duration, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval_at(Instant::now() + truce, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop(&mut stopped) => return,
        }
        if let Err(error) = engine.tick().await {
            tracing::error!(error = with_causes(&error), "what time calls for could not be done");
        }
    }
}

async fn do_jobs(service: &Arc<Service>, mut stopped: watch::Receiver<bool>) -> Result<(), Unfinished> {
    let hands = Arc::new(Semaphore::new(JOBS_AT_ONCE as usize));
    // The sender dropped means the same as its word.
    while !*stopped.borrow() && stopped.has_changed().is_ok() {
        match take(service.app.engine(), &hands).await {
            Ok(jobs) if !jobs.is_empty() => {
                for job in jobs {
                    let Ok(hand) = Arc::clone(&hands).acquire_owned().await else { return Err(Unfinished) };
                    let service = Arc::clone(service);
                    tokio::spawn(async move {
                        perform(service.app.engine(), job).await;
                        // In this order: with the last hand free, nothing holds the service.
                        drop(service);
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
            () = stop(&mut stopped) => break,
        }
    }
    // Every hand free again means that every job is done.
    timeout(GRACE, hands.acquire_many(JOBS_AT_ONCE)).await.map(drop).map_err(|_| Unfinished)
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
    let failure = if deliveries > MAX_DELIVERIES {
        // Its last try left no word: it took the process with it each time, or its outcome could not be recorded.
        Some("it was taken too often without coming to an end".to_owned())
    } else {
        attempt(engine.perform(&job)).await
    };
    let (store, now) = (engine.store(), engine.now());
    let settled = match failure {
        None => store.complete_job(&job.id).await,
        Some(reason) if deliveries < MAX_DELIVERIES => {
            tracing::warn!(job = %job.id, deliveries, reason, "a job failed and will be tried again");
            store.retry_job(&job.id, &reason, later(now, delay(deliveries))).await
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

/// Tries a job; why it failed, if it did.
async fn attempt<E: std::error::Error + 'static>(job: impl Future<Output = Result<(), E>>) -> Option<String> {
    match timeout(DEADLINE, AssertUnwindSafe(job).catch_unwind()).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(with_causes(&error)),
        Ok(Err(_)) => Some("the job panicked".to_owned()),
        Err(_) => Some(format!("the job was not done within {} s", DEADLINE.as_secs())),
    }
}

/// How long a job waits after it failed for the `deliveries`-th time.
fn delay(deliveries: u32) -> SignedDuration {
    let factor = 2_i32.saturating_pow(deliveries.saturating_sub(1));
    FIRST_DELAY.checked_mul(factor).unwrap_or(MAX_DELAY).min(MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use std::io;

    use onerun_domain::{Clock, Job, Limit, Name, PageRequest, Project, ProjectId, SimulationId, Work};
    use onerun_engine::{Settings, offline::Offline};
    use onerun_store_sqlite::SqliteStore;

    use super::*;
    use crate::system::{OsRandom, SystemClock};

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
        let reason = attempt(std::future::pending::<io::Result<()>>()).await.unwrap();
        assert_eq!(reason, "the job was not done within 300 s");
        assert!(DEADLINE < HIDDEN.unsigned_abs(), "nobody else takes it meanwhile");
    }

    #[tokio::test]
    async fn why_a_job_failed_is_known() {
        assert_eq!(attempt(async { Ok::<_, io::Error>(()) }).await, None);
        assert_eq!(attempt(async { Err(io::Error::other("no disk")) }).await.unwrap(), "no disk");
        let panics = async { if true { panic!("a bug") } else { io::Result::Ok(()) } };
        assert_eq!(attempt(panics).await.unwrap(), "the job panicked");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_job_that_was_taken_too_often_is_given_up_and_not_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&directory.path().join("onerun.db")).unwrap());
        let engine = Engine::new(
            store,
            Arc::new(Offline),
            Arc::new(SystemClock),
            Arc::new(OsRandom),
            Settings::default(),
        );
        let (store, now) = (engine.store(), SystemClock.now());
        let id = ProjectId::generate(&OsRandom);
        let name = Name::parse("Project").unwrap();
        let project = Project { id: id.clone(), name, created_at: now, updated_at: now };
        store.insert_project(project).await.unwrap();
        // Tried, it would succeed: there is no such simulation, so there is nothing to do.
        let work = Work::StartSimulation { simulation: SimulationId::generate(&OsRandom) };
        let page = PageRequest { limit: Limit::clamped(10), offset: 0 };
        for (deliveries, reasons) in [
            (MAX_DELIVERIES, &[][..]),
            (MAX_DELIVERIES + 1, &["it was taken too often without coming to an end"][..]),
        ] {
            store.enqueue(vec![Job::new(id.clone(), work.clone())]).await.unwrap();
            let mut taken = store.claim_jobs(1, later(now, HIDDEN), now).await.unwrap();
            let job = taken.remove(0).job;
            perform(&engine, ClaimedJob { job, deliveries }).await;
            let dead = store.dead_jobs(page).await.unwrap().data;
            let found: Vec<_> = dead.iter().map(|dead| dead.reason.as_str()).collect();
            assert_eq!(found, reasons);
            assert_eq!(store.next_job_due().await.unwrap(), None);
        }
    }

    #[test]
    fn workers_have_seconds_to_renew_their_leases_after_a_start() {
        assert_eq!(truce(SignedDuration::from_secs(300)), Duration::from_secs(10));
        assert_eq!(truce(SignedDuration::from_secs(2)), Duration::from_secs(2));
    }
}
