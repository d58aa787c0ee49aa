//! Jobs: enqueued, claimed, completed, retried, buried.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    BatchId, BatchRef, ConversationId, EvaluationRunId, EventSource, Job, JobId, JobKind, MonitorId,
    MonitorRunId, PersonaId, ProjectId, SimulationId, Work,
};

use super::fixture::{Fixture, LEASE, all, at_once, both, in_pages};
use crate::{ClaimedJob, DeadJob};

/// How many jobs of one project are enqueued before the other project's job.
const BACKLOG: usize = 1_000;

impl Fixture {
    /// A job of the fixture's one project.
    fn job(&self) -> Job {
        self.job_of(&"project00001".parse().unwrap())
    }

    fn job_of(&self, project: &ProjectId) -> Job {
        let simulation = SimulationId::generate(self.random());
        Job::new(project.clone(), Work::FinishSimulation { simulation })
    }

    fn judging_job_of(&self, project: &ProjectId) -> Job {
        let simulation = SimulationId::generate(self.random());
        let conversation = ConversationId::generate(self.random());
        Job::new(project.clone(), Work::JudgeConversation { simulation, conversation, attempt: 1 })
    }

    /// Enqueues many jobs of a project at once, then one of another project.
    async fn backlog_and_one(&self) -> Job {
        let [busy, other] = [(); 2].map(|()| ProjectId::generate(self.random()));
        self.store.enqueue((0..BACKLOG).map(|_| self.job_of(&busy)).collect()).await.unwrap();
        let job = self.job_of(&other);
        self.store.enqueue(vec![job.clone()]).await.unwrap();
        job
    }

    async fn add_jobs(&self, count: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        for _ in 0..count {
            let job = self.job();
            self.store.enqueue(vec![job.clone()]).await.unwrap();
            jobs.push(job);
        }
        jobs
    }

    async fn claim_job(&self, job: &Job, now: Timestamp) -> Option<ClaimedJob> {
        self.store.claim_job(&job.id, now + LEASE, now).await.unwrap()
    }

    async fn dead(&self) -> Vec<DeadJob> {
        self.store.dead_jobs(all()).await.unwrap().data
    }
}

fn first_delivery(jobs: &[Job]) -> Vec<ClaimedJob> {
    jobs.iter().map(|job| ClaimedJob { job: job.clone(), deliveries: 1 }).collect()
}

/// A claimed job equals the enqueued one, for every kind of work.
pub async fn every_kind_of_job_is_read_as_added(fixture: &Fixture) {
    let simulation = SimulationId::generate(fixture.random());
    let persona = PersonaId::generate(fixture.random());
    let conversation = ConversationId::generate(fixture.random());
    let run = EvaluationRunId::generate(fixture.random());
    let monitor = MonitorId::generate(fixture.random());
    let monitor_run = MonitorRunId::generate(fixture.random());
    let batch = BatchId::generate(fixture.random());
    let project = ProjectId::generate(fixture.random());
    for work in [
        Work::StartSimulation { simulation: simulation.clone() },
        Work::GeneratePersonas { simulation: simulation.clone(), first_seq: 1 },
        Work::GeneratePersonas { simulation: simulation.clone(), first_seq: u32::MAX },
        Work::ReplacePersona { simulation: simulation.clone(), seq: 10_001 },
        Work::QueueConversations { simulation: simulation.clone(), persona },
        Work::JudgeConversation {
            simulation: simulation.clone(),
            conversation: conversation.clone(),
            attempt: 3,
        },
        Work::FinishSimulation { simulation: simulation.clone() },
        Work::StopConversations { simulation: simulation.clone() },
        Work::DeleteTranscripts { simulation: simulation.clone(), after: None },
        Work::DeleteTranscripts { simulation: simulation.clone(), after: Some("\u{1f600}\"".repeat(99)) },
        Work::QueueEvaluations { simulation: simulation.clone(), run: run.clone(), after: None },
        Work::QueueEvaluations {
            simulation: simulation.clone(),
            run: run.clone(),
            after: Some("[\"é\"]".into()),
        },
        Work::StartMonitorRun {
            simulation: simulation.clone(),
            monitor: monitor.clone(),
            run: monitor_run.clone(),
        },
        Work::FinishMonitorRun { simulation: simulation.clone(), monitor, run: monitor_run },
        Work::AdvanceBatch { batch: batch.clone() },
        Work::SettleBatchItem {
            simulation: simulation.clone(),
            item: BatchRef { batch, index: 999, attempt: u32::MAX },
        },
        Work::NotifyWebhooks { event: EventSource::Simulation { simulation: simulation.clone() } },
        Work::NotifyWebhooks {
            event: EventSource::MonitorRun {
                simulation: simulation.clone(),
                monitor: MonitorId::generate(fixture.random()),
                run: MonitorRunId::generate(fixture.random()),
            },
        },
        Work::JudgeAgain { simulation, run, conversation },
    ] {
        let job = Job::new(project.clone(), work);
        fixture.store.enqueue(vec![job.clone()]).await.unwrap();
        let claimed = fixture.claim_jobs(10, fixture.now()).await;
        assert_eq!(claimed, first_delivery(std::slice::from_ref(&job)));
        fixture.store.complete_job(&job.id).await.unwrap();
    }
}

/// A job is due at once. Jobs are claimed in the order they were enqueued, up to the limit.
pub async fn jobs_are_claimed_oldest_first(fixture: &Fixture) {
    let jobs = fixture.add_jobs(5).await;
    assert_eq!(fixture.claim_jobs(2, fixture.now()).await, first_delivery(&jobs[..2]));
    assert_eq!(fixture.claim_jobs(2, fixture.now()).await, first_delivery(&jobs[2..4]));
    assert_eq!(fixture.claim_jobs(2, fixture.now()).await, first_delivery(&jobs[4..]));
    assert_eq!(fixture.claim_jobs(2, fixture.now()).await, []);
}

/// Projects take turns: the next claim returns the first job of the other project, whether it
/// claims several jobs or one.
pub async fn backlog_does_not_delay_another_project(fixture: &Fixture) {
    let job = fixture.backlog_and_one().await;
    let claimed = fixture.claim_jobs(8, fixture.now()).await;
    assert_eq!(claimed.len(), 8);
    assert!(claimed.iter().any(|claimed| claimed.job == job), "{claimed:?}");
}

/// The turns continue from one claim to the next.
pub async fn projects_take_turns_when_jobs_are_claimed_one_by_one(fixture: &Fixture) {
    let job = fixture.backlog_and_one().await;
    let mut claimed = fixture.claim_jobs(1, fixture.now()).await;
    claimed.extend(fixture.claim_jobs(1, fixture.now()).await);
    assert!(claimed.iter().any(|claimed| claimed.job == job), "{claimed:?}");
    // The only project left has every turn.
    assert_eq!(fixture.claim_jobs(10, fixture.now()).await.len(), 10);
}

/// A project whose retry is due takes its turn like any other.
pub async fn retried_jobs_do_not_delay_another_project(fixture: &Fixture) {
    let [busy, other] = [(); 2].map(|()| ProjectId::generate(fixture.random()));
    let jobs: Vec<Job> = (0..40).map(|_| fixture.job_of(&busy)).collect();
    fixture.store.enqueue(jobs.clone()).await.unwrap();
    let now = fixture.now();
    assert_eq!(fixture.claim_jobs(40, now).await.len(), 40);
    let job = fixture.job_of(&other);
    fixture.store.enqueue(vec![job.clone()]).await.unwrap();
    for job in &jobs {
        fixture.store.retry_job(&job.id, "busy", now).await.unwrap();
    }
    let claimed = fixture.claim_jobs(2, fixture.now()).await;
    assert!(claimed.iter().any(|claimed| claimed.job == job), "{claimed:?}");
}

/// A claim of one kind of work returns no job of the other kind, and neither does its next due
/// time.
pub async fn jobs_are_claimed_by_kind(fixture: &Fixture) {
    let project = ProjectId::generate(fixture.random());
    let (judging, other) = (fixture.judging_job_of(&project), fixture.job_of(&project));
    fixture.store.enqueue(vec![judging.clone()]).await.unwrap();
    let now = fixture.now();
    let claim = async |kind| fixture.store.claim_jobs(kind, 10, now + LEASE, now).await.unwrap();
    assert_eq!(claim(JobKind::Other).await, []);
    assert_eq!(fixture.store.next_job_due(JobKind::Other).await.unwrap(), None);
    fixture.store.enqueue(vec![other.clone()]).await.unwrap();
    assert_eq!(claim(JobKind::Judging).await, first_delivery(&[judging]));
    assert_eq!(claim(JobKind::Other).await, first_delivery(&[other]));
}

/// The same work, enqueued twice while it waits, runs once.
pub async fn waiting_job_is_not_enqueued_again(fixture: &Fixture) {
    let (job, other) = (fixture.job(), fixture.job());
    fixture.store.enqueue(vec![job.clone(), job.clone()]).await.unwrap();
    fixture.store.enqueue(vec![job.clone(), other.clone()]).await.unwrap();
    assert_eq!(fixture.claim_jobs(10, fixture.now()).await, first_delivery(&[job, other]));
}

/// A job that waits for a retry counts as waiting: it is neither enqueued again nor due sooner.
pub async fn job_waiting_for_a_retry_is_not_enqueued_again(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    let now = fixture.now();
    fixture.claim_jobs(1, now).await;
    let due = now + SignedDuration::from_secs(9);
    fixture.store.retry_job(&job.id, "busy", due).await.unwrap();
    fixture.store.enqueue(vec![job.clone()]).await.unwrap();
    assert_eq!(fixture.claim_jobs(10, due).await.len(), 1);
    fixture.store.complete_job(&job.id).await.unwrap();
    assert_eq!(fixture.next_job_due().await, None);
}

/// Once completed, the same work can be enqueued again as a new job.
pub async fn completed_job_can_be_enqueued_again(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    fixture.claim_jobs(1, fixture.now()).await;
    fixture.store.complete_job(&job.id).await.unwrap();
    assert_eq!(fixture.claim_jobs(1, fixture.now() + LEASE).await, []);
    fixture.store.enqueue(vec![job.clone()]).await.unwrap();
    assert_eq!(fixture.claim_jobs(1, fixture.now()).await, first_delivery(&[job]));
}

/// Work that is enqueued while it runs may have read an older state, so it runs once more.
pub async fn job_enqueued_while_claimed_runs_once_more(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    fixture.claim_jobs(1, fixture.now()).await;
    fixture.store.enqueue(vec![job.clone()]).await.unwrap();
    assert_eq!(fixture.claim_jobs(1, fixture.now()).await, [], "the job is still claimed");
    fixture.store.complete_job(&job.id).await.unwrap();
    assert_eq!(fixture.claim_jobs(10, fixture.now()).await.len(), 1);
    fixture.store.complete_job(&job.id).await.unwrap();
    assert_eq!(fixture.next_job_due().await, None);
}

/// A claimed job is hidden until its claim expires. Then it can be claimed again, with its number
/// of claims.
pub async fn claimed_job_is_due_again_after_its_claim_expires(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    let now = fixture.now();
    let until = now + SignedDuration::from_secs(30);
    let claimed = fixture.store.claim_jobs(JobKind::Other, 1, until, now).await.unwrap();
    assert_eq!(claimed, first_delivery(std::slice::from_ref(&job)));
    let before = until - SignedDuration::from_micros(1);
    assert_eq!(fixture.claim_jobs(1, before).await, []);
    assert_eq!(fixture.claim_jobs(1, until).await, [ClaimedJob { job: job.clone(), deliveries: 2 }]);
    assert_eq!(fixture.claim_jobs(1, until).await, []);
    assert_eq!(fixture.claim_jobs(1, until + LEASE).await, [ClaimedJob { job, deliveries: 3 }]);
}

/// A completed job is deleted. Completing it again, or completing an unknown job, is no error.
pub async fn completed_job_is_deleted(fixture: &Fixture) {
    let jobs = fixture.add_jobs(2).await;
    fixture.claim_jobs(1, fixture.now()).await;
    fixture.store.complete_job(&jobs[0].id).await.unwrap();
    fixture.store.complete_job(&jobs[0].id).await.unwrap();
    fixture.store.complete_job(&JobId::restore("unheard_of".into())).await.unwrap();
    let claimed = fixture.claim_jobs(10, fixture.now() + LEASE + LEASE).await;
    assert_eq!(claimed, first_delivery(&jobs[1..]));
}

/// A retried job is due at its retry time and not before. Other jobs are claimed meanwhile.
pub async fn retried_job_is_due_at_its_retry_time(fixture: &Fixture) {
    let jobs = fixture.add_jobs(2).await;
    let now = fixture.now();
    assert_eq!(fixture.claim_jobs(1, now).await, first_delivery(&jobs[..1]));
    let due = now + SignedDuration::from_secs(10);
    fixture.store.retry_job(&jobs[0].id, "the model is busy", due).await.unwrap();
    let before = due - SignedDuration::from_micros(1);
    assert_eq!(fixture.claim_jobs(10, before).await, first_delivery(&jobs[1..]));
    let again = ClaimedJob { job: jobs[0].clone(), deliveries: 2 };
    assert_eq!(fixture.claim_jobs(10, due).await, [again]);
}

/// The retry time may be before the end of the claim.
pub async fn job_can_be_retried_at_once(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    let now = fixture.now();
    fixture.claim_jobs(1, now).await;
    fixture.store.retry_job(&job.id, "once more", now).await.unwrap();
    assert_eq!(fixture.claim_jobs(1, now).await, [ClaimedJob { job, deliveries: 2 }]);
}

/// A job that one claimer completed is not brought back by a slower claimer that failed.
pub async fn completed_job_is_neither_retried_nor_buried(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    fixture.claim_jobs(1, fixture.now()).await;
    fixture.store.complete_job(&job.id).await.unwrap();
    let now = fixture.now();
    fixture.store.retry_job(&job.id, "late", now).await.unwrap();
    fixture.store.bury_job(&job.id, "late", now).await.unwrap();
    assert_eq!(fixture.claim_jobs(1, now + LEASE).await, []);
    assert_eq!(fixture.dead().await, []);
    assert_eq!(fixture.next_job_due().await, None);
}

/// A buried job is stored with its reason and never claimed again.
pub async fn buried_job_is_stored_with_its_reason(fixture: &Fixture) {
    let jobs = fixture.add_jobs(2).await;
    fixture.claim_jobs(1, fixture.now()).await;
    let buried_at = fixture.now();
    let reason = "the model's answer was no JSON: \"\u{1f4a5}\"\n".to_owned();
    fixture.store.bury_job(&jobs[0].id, &reason, buried_at).await.unwrap();
    assert_eq!(fixture.claim_jobs(10, fixture.now() + LEASE).await, first_delivery(&jobs[1..]));
    assert_eq!(fixture.dead().await, [DeadJob { job: jobs[0].clone(), reason, buried_at }]);
}

/// A buried job does not prevent the same work from being enqueued again.
pub async fn buried_job_can_be_enqueued_again(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    fixture.claim_jobs(1, fixture.now()).await;
    fixture.store.bury_job(&job.id, "first", fixture.now()).await.unwrap();
    fixture.store.enqueue(vec![job.clone()]).await.unwrap();
    assert_eq!(fixture.claim_jobs(1, fixture.now()).await, first_delivery(std::slice::from_ref(&job)));
    fixture.store.bury_job(&job.id, "second", fixture.now()).await.unwrap();
    let dead = fixture.dead().await;
    assert_eq!((&dead[0].job, dead[0].reason.as_str()), (&job, "second"));
    assert_eq!(fixture.claim_jobs(1, fixture.now() + LEASE).await, []);
}

/// A job enqueued while it was being buried is new, and waits.
pub async fn job_enqueued_while_buried_waits(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    fixture.claim_jobs(1, fixture.now()).await;
    fixture.store.enqueue(vec![job.clone()]).await.unwrap();
    fixture.store.bury_job(&job.id, "no", fixture.now()).await.unwrap();
    assert_eq!(fixture.dead().await.len(), 1);
    let claimed = fixture.claim_jobs(10, fixture.now()).await;
    assert_eq!(claimed.iter().map(|claimed| &claimed.job).collect::<Vec<_>>(), [&job]);
}

/// Buried jobs are listed newest first, in pages.
pub async fn buried_jobs_are_listed_newest_first(fixture: &Fixture) {
    let jobs = fixture.add_jobs(5).await;
    fixture.claim_jobs(5, fixture.now()).await;
    let order = [3, 0, 4, 1, 2];
    for index in order {
        fixture.store.bury_job(&jobs[index].id, "no", fixture.now()).await.unwrap();
    }
    let newest_first: Vec<&Job> = order.iter().rev().map(|index| &jobs[*index]).collect();
    for limit in [1, 2, 5, 6] {
        let listed = in_pages(limit, async |page| fixture.store.dead_jobs(page).await.unwrap()).await;
        assert_eq!(listed.iter().map(|dead| &dead.job).collect::<Vec<_>>(), newest_first);
    }
}

/// The next due time covers jobs that wait, are claimed or will be retried, so a host knows how
/// long it may sleep.
pub async fn next_job_is_known(fixture: &Fixture) {
    assert_eq!(fixture.next_job_due().await, None);
    let jobs = fixture.add_jobs(2).await;
    let now = fixture.now();
    assert!(fixture.next_job_due().await.unwrap() <= now, "a new job is due at once");
    fixture.claim_jobs(2, now).await;
    assert_eq!(fixture.next_job_due().await, Some(now + LEASE));
    let due = now + SignedDuration::from_secs(1);
    fixture.store.retry_job(&jobs[1].id, "busy", due).await.unwrap();
    assert_eq!(fixture.next_job_due().await, Some(due));
    fixture.store.bury_job(&jobs[1].id, "no", now).await.unwrap();
    assert_eq!(fixture.next_job_due().await, Some(now + LEASE));
    fixture.store.complete_job(&jobs[0].id).await.unwrap();
    assert_eq!(fixture.next_job_due().await, None);
}

/// Of many concurrent claimers, each job goes to one.
pub async fn job_is_claimed_by_one_of_many_claimers(fixture: &Fixture) {
    let jobs: Vec<Job> = (0..60).map(|_| fixture.job()).collect();
    fixture.store.enqueue(jobs.clone()).await.unwrap();
    let now = fixture.now();
    let tasks = (0..6).map(|_| {
        let fixture = fixture.clone();
        Box::pin(async move {
            let mut taken = Vec::new();
            loop {
                let claimed = fixture.claim_jobs(3, now).await;
                if claimed.is_empty() {
                    return taken;
                }
                taken.extend(claimed);
            }
        }) as _
    });
    let taken: Vec<ClaimedJob> = at_once(tasks.collect()).await.into_iter().flatten().collect();
    assert_eq!(taken.len(), jobs.len());
    assert!(taken.iter().all(|claimed| claimed.deliveries == 1));
    let taken: BTreeSet<JobId> = taken.into_iter().map(|claimed| claimed.job.id).collect();
    assert_eq!(taken, jobs.into_iter().map(|job| job.id).collect());
}

/// The same work, enqueued concurrently from two sides, runs once.
pub async fn concurrent_enqueueing_adds_a_job_once(fixture: &Fixture) {
    for _ in 0..super::fixture::ROUNDS {
        let job = fixture.job();
        let (one, other) = (fixture.store.clone(), fixture.store.clone());
        let (first, second) = (vec![job.clone()], vec![job.clone()]);
        let (first, second) =
            both(async move { one.enqueue(first).await }, async move { other.enqueue(second).await }).await;
        first.unwrap();
        second.unwrap();
        assert_eq!(fixture.claim_jobs(10, fixture.now()).await, first_delivery(std::slice::from_ref(&job)));
        fixture.store.complete_job(&job.id).await.unwrap();
        assert_eq!(fixture.next_job_due().await, None);
    }
}

/// One job is claimed by its id, as it was enqueued, and no other with it. It is then hidden from
/// both kinds of claim.
pub async fn job_is_claimed_by_its_id(fixture: &Fixture) {
    let jobs = fixture.add_jobs(3).await;
    let now = fixture.now();
    let until = now + SignedDuration::from_secs(30);
    let claimed = fixture.store.claim_job(&jobs[1].id, until, now).await.unwrap();
    assert_eq!(claimed, Some(ClaimedJob { job: jobs[1].clone(), deliveries: 1 }));
    let before = until - SignedDuration::from_micros(1);
    assert_eq!(fixture.claim_job(&jobs[1], before).await, None);
    let others = [jobs[0].clone(), jobs[2].clone()];
    assert_eq!(fixture.claim_jobs(10, before).await, first_delivery(&others));
    assert_eq!(fixture.claim_job(&jobs[0], before).await, None, "a job that was taken with others");
}

/// A job that was completed or buried, or that never existed, is not claimed.
pub async fn deleted_job_is_not_claimed_by_its_id(fixture: &Fixture) {
    let jobs = fixture.add_jobs(2).await;
    for job in &jobs {
        assert_eq!(fixture.claim_job(job, fixture.now()).await.unwrap().deliveries, 1);
    }
    fixture.store.complete_job(&jobs[0].id).await.unwrap();
    fixture.store.bury_job(&jobs[1].id, "no", fixture.now()).await.unwrap();
    for job in jobs.iter().chain([&fixture.job()]) {
        assert_eq!(fixture.claim_job(job, fixture.now() + LEASE).await, None);
    }
    assert_eq!(fixture.next_job_due().await, None);
}

/// A job that was claimed by its id is due again when its claim expires, in its old position, and
/// counts claims of both kinds.
pub async fn job_claimed_by_its_id_is_due_again_later(fixture: &Fixture) {
    let jobs = fixture.add_jobs(2).await;
    let now = fixture.now();
    fixture.claim_job(&jobs[0], now).await.unwrap();
    let again = |deliveries| ClaimedJob { job: jobs[0].clone(), deliveries };
    assert_eq!(fixture.claim_jobs(1, now + LEASE).await, [again(2)]);
    let before = now + LEASE + LEASE - SignedDuration::from_micros(1);
    assert_eq!(fixture.claim_job(&jobs[0], before).await, None);
    assert_eq!(fixture.claim_job(&jobs[0], now + LEASE + LEASE).await, Some(again(3)));
    assert_eq!(fixture.claim_jobs(10, now + LEASE + LEASE).await, first_delivery(&jobs[1..]));
}

/// A retried job is claimed by its id once it is due, and not before.
pub async fn delayed_job_is_claimed_by_its_id_when_due(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    let now = fixture.now();
    fixture.claim_job(&job, now).await.unwrap();
    let due = now + SignedDuration::from_secs(10);
    fixture.store.retry_job(&job.id, "busy", due).await.unwrap();
    assert_eq!(fixture.claim_job(&job, due - SignedDuration::from_micros(1)).await, None);
    assert_eq!(fixture.claim_job(&job, due).await, Some(ClaimedJob { job, deliveries: 2 }));
}

/// A postponed job waits, and counts as not claimed.
pub async fn postponed_job_waits_and_is_not_counted(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    let due = fixture.now() + LEASE;
    for _ in 0..3 {
        assert_eq!(fixture.claim_job(&job, due).await.unwrap().deliveries, 1);
        fixture.store.enqueue(vec![job.clone()]).await.unwrap();
        fixture.store.postpone_job(&job.id, due).await.unwrap();
        assert_eq!(fixture.claim_job(&job, due - SignedDuration::from_micros(1)).await, None);
        assert_eq!(fixture.next_job_due().await, Some(due));
    }
    fixture.claim_job(&job, due).await.unwrap();
    fixture.store.complete_job(&job.id).await.unwrap();
    fixture.store.postpone_job(&job.id, due).await.unwrap();
    assert_eq!(fixture.next_job_due().await, None);
}

/// Work that is enqueued while it runs runs once more, whichever way it was claimed.
pub async fn job_claimed_by_id_and_enqueued_runs_once_more(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    fixture.claim_job(&job, fixture.now()).await.unwrap();
    fixture.store.enqueue(vec![job.clone()]).await.unwrap();
    assert_eq!(fixture.claim_job(&job, fixture.now()).await, None, "the job is still claimed");
    fixture.store.complete_job(&job.id).await.unwrap();
    assert_eq!(fixture.claim_job(&job, fixture.now()).await.unwrap().deliveries, 1);
    fixture.store.complete_job(&job.id).await.unwrap();
    assert_eq!(fixture.next_job_due().await, None);
}

/// A job enqueued while its claimer is lost needs no separate run: the next claimer sees the
/// change.
pub async fn job_reclaimed_by_its_id_is_completed_once(fixture: &Fixture) {
    let job = fixture.add_jobs(1).await.remove(0);
    let now = fixture.now();
    fixture.claim_job(&job, now).await.unwrap();
    fixture.store.enqueue(vec![job.clone()]).await.unwrap();
    assert_eq!(fixture.claim_job(&job, now + LEASE).await.unwrap().deliveries, 2);
    fixture.store.complete_job(&job.id).await.unwrap();
    assert_eq!(fixture.next_job_due().await, None);
}

/// Of many concurrent claimers of one job, by its id or by its kind, one gets it.
pub async fn job_is_claimed_by_id_by_one_of_many_claimers(fixture: &Fixture) {
    for _ in 0..super::fixture::ROUNDS {
        let job = fixture.add_jobs(1).await.remove(0);
        let now = fixture.now();
        let tasks = (0..6).map(|claimer| {
            let (fixture, job) = (fixture.clone(), job.clone());
            Box::pin(async move {
                match claimer {
                    0 => fixture.claim_jobs(1, now).await,
                    _ => fixture.claim_job(&job, now).await.into_iter().collect(),
                }
            }) as _
        });
        let taken: Vec<ClaimedJob> = at_once(tasks.collect()).await.into_iter().flatten().collect();
        assert_eq!(taken, first_delivery(std::slice::from_ref(&job)));
        fixture.store.complete_job(&job.id).await.unwrap();
    }
}
