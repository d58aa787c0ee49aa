//! Runs background jobs, the tick and the archive of the audit trail.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use onerun_api::App;
use onerun_domain::{JobKind, later};
use onerun_engine::{AuditArchiver, Engine, JOB_HIDDEN, JOB_LIMIT};
use onerun_store::{ClaimedJob, StoreError, with_causes};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use crate::{SHUTDOWN_GRACE, Service, Unfinished, stop};

/// How many jobs run at once. Judging has separate permits, because it is slow and would use all of them.
const JOB_PERMITS: u32 = 32;
const JUDGING_PERMITS: u32 = 8;

/// How many calls to addresses of users are made at once. They mostly wait.
const OUTBOUND_PERMITS: u32 = 64;

/// The polling interval while no job is due: too short for a person to notice.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The interval of the tick, which processes expired leases and simulations.
const TICK_INTERVAL: Duration = Duration::from_millis(250);

/// The interval in which the server looks for months of the audit trail to archive.
const ARCHIVE_INTERVAL: Duration = Duration::from_hours(1);

/// How long workers can renew their leases after a start before expired leases are ended. The
/// server may have been down for longer than a lease, and workers retry within seconds.
const LEASE_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// Runs until the server stops, then waits for jobs in flight.
pub(crate) async fn run(
    service: Arc<Service>,
    lease: SignedDuration,
    archiver: Option<AuditArchiver>,
    stopped: watch::Receiver<bool>,
) -> Result<(), Unfinished> {
    let grace_period = lease_grace_period(lease);
    let ((), (), jobs, judging, outbound) = tokio::join!(
        tick(&service.app, grace_period, stopped.clone()),
        archive(archiver, stopped.clone()),
        run_jobs(&service, JobKind::Other, JOB_PERMITS, stopped.clone()),
        run_jobs(&service, JobKind::Judging, JUDGING_PERMITS, stopped.clone()),
        run_jobs(&service, JobKind::Outbound, OUTBOUND_PERMITS, stopped),
    );
    jobs.and(judging).and(outbound)
}

/// How long after a start no lease is ended.
fn lease_grace_period(lease: SignedDuration) -> Duration {
    lease.unsigned_abs().min(LEASE_GRACE_PERIOD)
}

async fn tick(app: &App, grace_period: Duration, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval_at(Instant::now() + grace_period, TICK_INTERVAL);
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
                "tick failed: expired leases and simulations were not processed; the next tick tries again"
            );
        }
    }
}

/// Archives the audit trail, part by part, until the server stops.
async fn archive(archiver: Option<AuditArchiver>, mut stopped: watch::Receiver<bool>) {
    let Some(archiver) = archiver else { return };
    loop {
        let more = archiver.step().await.unwrap_or_else(|error| {
            tracing::error!(
                error = with_causes(&error),
                "the audit trail was not archived; the server tries again in an hour"
            );
            false
        });
        let pause = if more { Duration::ZERO } else { ARCHIVE_INTERVAL };
        tokio::select! {
            biased;
            () = stop(&mut stopped) => return,
            () = sleep(pause) => {}
        }
    }
}

async fn run_jobs(
    service: &Arc<Service>,
    kind: JobKind,
    max_jobs: u32,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Unfinished> {
    let permits = Arc::new(Semaphore::new(max_jobs as usize));
    // A dropped sender also means that the server stops.
    while !*stopped.borrow() && stopped.has_changed().is_ok() {
        match claim_jobs(service.app.engine(), kind, &permits).await {
            Ok(jobs) if !jobs.is_empty() => {
                for job in jobs {
                    let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                        return Err(Unfinished);
                    };
                    let service = Arc::clone(service);
                    tokio::spawn(async move {
                        service.app.engine().run_job(job, JOB_LIMIT).await;
                        // In this order: when the last permit is free, no task holds the service.
                        drop(service);
                        drop(permit);
                    });
                }
                continue;
            }
            Ok(_) => {}
            Err(error) => tracing::error!(
                error = with_causes(&error),
                "no jobs were claimed; the next poll tries again"
            ),
        }
        tokio::select! {
            () = sleep(POLL_INTERVAL) => {}
            () = stop(&mut stopped) => break,
        }
    }
    // Judging may need more CPU time than the grace period. Interrupted jobs run again after the next start.
    service.app.engine().stop_judging();
    // All permits are free when all jobs have ended.
    timeout(SHUTDOWN_GRACE, permits.acquire_many(max_jobs)).await.map(drop).map_err(|_| Unfinished)
}

/// Claims at most as many due jobs of a kind as there are free permits.
async fn claim_jobs(
    engine: &Engine,
    kind: JobKind,
    permits: &Semaphore,
) -> Result<Vec<ClaimedJob>, StoreError> {
    let free = u32::try_from(permits.available_permits()).unwrap_or(u32::MAX);
    let now = engine.now();
    // The read avoids a write when no job is due.
    let due = engine.store().next_job_due(kind).await?.is_some_and(|due| due <= now);
    if free == 0 || !due {
        return Ok(Vec::new());
    }
    engine.store().claim_jobs(kind, free, later(now, JOB_HIDDEN), now).await
}

#[cfg(test)]
mod tests {
    use onerun_domain::{Clock, Job, Limit, Name, PageRequest, Project, ProjectId, SimulationId, Work};
    use onerun_engine::{EngineParts, Outbound, Settings};
    use onerun_model_offline::OfflineModels;
    use onerun_store_sqlite::SqliteStore;

    use super::*;
    use onerun_host::{OsRandom, SystemClock};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn job_claimed_too_often_is_buried_without_an_attempt() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&directory.path().join("onerun.db")).unwrap());
        let settings = Settings::default();
        let engine = Engine::new(EngineParts {
            store,
            models: Arc::new(OfflineModels::default()),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            redaction: Arc::default(),
            outbound: Outbound::default(),
            settings,
        });
        let (store, now) = (engine.store(), SystemClock.now());
        let id = ProjectId::generate(&OsRandom);
        let name = Name::parse("Project").unwrap();
        let project = Project { id: id.clone(), name, archived_at: None, created_at: now, updated_at: now };
        store.insert_project(project, None).await.unwrap();
        // An attempt would succeed: the simulation does not exist, so the handler does nothing.
        let work = Work::StartSimulation { simulation: SimulationId::generate(&OsRandom) };
        let page = PageRequest::first(Limit::clamped(10));
        for (deliveries, reasons) in [
            (settings.max_deliveries, &[][..]),
            (settings.max_deliveries + 1, &["it was claimed too often and never completed"][..]),
        ] {
            store.enqueue(vec![Job::new(id.clone(), work.clone())]).await.unwrap();
            let mut claimed = store.claim_jobs(JobKind::Other, 1, later(now, JOB_HIDDEN), now).await.unwrap();
            let job = claimed.remove(0).job;
            let outcome = engine.run_job(ClaimedJob { job, deliveries }, JOB_LIMIT).await;
            assert_eq!(outcome.name(), if reasons.is_empty() { "completed" } else { "buried" });
            let dead = store.dead_jobs(page.clone()).await.unwrap().data;
            let found: Vec<_> = dead.iter().map(|dead| dead.reason.as_str()).collect();
            assert_eq!(found, reasons);
            assert_eq!(store.next_job_due(JobKind::Other).await.unwrap(), None);
        }
    }

    #[test]
    fn leases_have_a_grace_period_after_a_start() {
        assert_eq!(lease_grace_period(SignedDuration::from_secs(300)), Duration::from_secs(10));
        assert_eq!(lease_grace_period(SignedDuration::from_secs(2)), Duration::from_secs(2));
    }
}
