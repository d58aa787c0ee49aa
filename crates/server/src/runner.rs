//! Doing jobs in the background, and what time calls for.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use onerun_api::App;
use onerun_domain::{JobKind, later};
use onerun_engine::{Engine, JOB_HIDDEN, JOB_LIMIT};
use onerun_store::{ClaimedJob, StoreError, with_causes};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use crate::{GRACE, Service, Unfinished, stop};

/// How many jobs are done at once. Judging has slots of its own, because it is slow and would take all.
const JOB_SLOTS: u32 = 32;
const JUDGING_SLOTS: u32 = 8;

/// How often is looked for jobs while there are none: well below what a person notices.
const IDLE: Duration = Duration::from_millis(20);

/// How often is looked for what time has overtaken.
const TICK: Duration = Duration::from_millis(250);

/// How long workers have to renew their leases after a start before any is taken from them: the server may have been
/// away for longer than a lease, and they call again within seconds.
const TRUCE: Duration = Duration::from_secs(10);

/// Runs until `stopped` says so, then lets jobs in flight finish.
pub(crate) async fn run(
    service: Arc<Service>,
    lease: SignedDuration,
    stopped: watch::Receiver<bool>,
) -> Result<(), Unfinished> {
    let truce = truce(lease);
    let ((), jobs, judging) = tokio::join!(
        tick(&service.app, truce, stopped.clone()),
        do_jobs(&service, JobKind::Other, JOB_SLOTS, stopped.clone()),
        do_jobs(&service, JobKind::Judging, JUDGING_SLOTS, stopped),
    );
    jobs.and(judging)
}

/// How long after a start no lease is taken.
fn truce(lease: SignedDuration) -> Duration {
    lease.unsigned_abs().min(TRUCE)
}

async fn tick(app: &App, truce: Duration, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval_at(Instant::now() + truce, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop(&mut stopped) => return,
        }
        app.write_key_ends().await;
        app.write_key_uses();
        if let Err(error) = app.engine().tick().await {
            tracing::error!(
                error = with_causes(&error),
                "tick failed: expired leases and simulations were not processed"
            );
        }
    }
}

async fn do_jobs(
    service: &Arc<Service>,
    kind: JobKind,
    slots: u32,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Unfinished> {
    let free = Arc::new(Semaphore::new(slots as usize));
    // The sender dropped means the same as its word.
    while !*stopped.borrow() && stopped.has_changed().is_ok() {
        match take(service.app.engine(), kind, &free).await {
            Ok(jobs) if !jobs.is_empty() => {
                for job in jobs {
                    let Ok(slot) = Arc::clone(&free).acquire_owned().await else { return Err(Unfinished) };
                    let service = Arc::clone(service);
                    tokio::spawn(async move {
                        service.app.engine().run_job(job, JOB_LIMIT).await;
                        // In this order: with the last slot free, nothing holds the service.
                        drop(service);
                        drop(slot);
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
    // Judging may need a processor for longer than the grace period. What is put off is judged after the next start.
    service.app.engine().stop_judging();
    // Every slot free again means that every job is done.
    timeout(GRACE, free.acquire_many(slots)).await.map(drop).map_err(|_| Unfinished)
}

/// As many due jobs of a kind as there are free slots.
async fn take(engine: &Engine, kind: JobKind, free: &Semaphore) -> Result<Vec<ClaimedJob>, StoreError> {
    let free = u32::try_from(free.available_permits()).unwrap_or(u32::MAX);
    let now = engine.now();
    // Looking is a read; taking is a write, and not made for nothing.
    let due = engine.store().next_job_due(kind).await?.is_some_and(|due| due <= now);
    if free == 0 || !due {
        return Ok(Vec::new());
    }
    engine.store().claim_jobs(kind, free, later(now, JOB_HIDDEN), now).await
}

#[cfg(test)]
mod tests {
    use onerun_domain::{Clock, Job, Limit, Name, PageRequest, Project, ProjectId, SimulationId, Work};
    use onerun_engine::{EngineParts, Settings};
    use onerun_model_offline::Offline;
    use onerun_store_sqlite::SqliteStore;

    use super::*;
    use onerun_host::{OsRandom, SystemClock};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_job_that_was_taken_too_often_is_given_up_and_not_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&directory.path().join("onerun.db")).unwrap());
        let settings = Settings::default();
        let engine = Engine::new(EngineParts {
            store,
            model: Arc::new(Offline),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            settings,
        });
        let (store, now) = (engine.store(), SystemClock.now());
        let id = ProjectId::generate(&OsRandom);
        let name = Name::parse("Project").unwrap();
        let project = Project { id: id.clone(), name, created_at: now, updated_at: now };
        store.insert_project(project, None).await.unwrap();
        // Tried, it would succeed: there is no such simulation, so there is nothing to do.
        let work = Work::StartSimulation { simulation: SimulationId::generate(&OsRandom) };
        let page = PageRequest::first(Limit::clamped(10));
        for (deliveries, reasons) in [
            (settings.max_deliveries, &[][..]),
            (settings.max_deliveries + 1, &["it was claimed too often and never completed"][..]),
        ] {
            store.enqueue(vec![Job::new(id.clone(), work.clone())]).await.unwrap();
            let mut taken = store.claim_jobs(JobKind::Other, 1, later(now, JOB_HIDDEN), now).await.unwrap();
            let job = taken.remove(0).job;
            let outcome = engine.run_job(ClaimedJob { job, deliveries }, JOB_LIMIT).await;
            assert_eq!(outcome.name(), if reasons.is_empty() { "done" } else { "given_up" });
            let dead = store.dead_jobs(page.clone()).await.unwrap().data;
            let found: Vec<_> = dead.iter().map(|dead| dead.reason.as_str()).collect();
            assert_eq!(found, reasons);
            assert_eq!(store.next_job_due(JobKind::Other).await.unwrap(), None);
        }
    }

    #[test]
    fn workers_have_seconds_to_renew_their_leases_after_a_start() {
        assert_eq!(truce(SignedDuration::from_secs(300)), Duration::from_secs(10));
        assert_eq!(truce(SignedDuration::from_secs(2)), Duration::from_secs(2));
    }
}
