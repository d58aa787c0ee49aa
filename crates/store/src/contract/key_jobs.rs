//! The jobs of keys, which are written with the changes that need them.

use jiff::SignedDuration;
use onerun_auth::{KeyChangeError, KeyRecord};
use onerun_domain::{EventSource, Job, ProjectId, SimulationId, Work};

use super::{
    fixture::{Fixture, ROUNDS, Task, assert_duplicate, at_once},
    keys::{changed, disabled, managed, new_key, revoked, rotation},
};
use crate::{DecideUnasked, KeyChange, KeyError, KeyLimits, NewKey};

impl Fixture {
    /// A job that no other is.
    fn key_job(&self, project: &ProjectId) -> Job {
        let event = EventSource::Simulation { simulation: SimulationId::generate(self.random()) };
        Job::new(project.clone(), Work::NotifyWebhooks { event })
    }

    /// Whether a job waits. It no longer does afterwards.
    async fn take_job(&self, job: &Job) -> bool {
        let now = self.now();
        let claimed = self.store.claim_job(&job.id, now + SignedDuration::from_mins(1), now).await.unwrap();
        if let Some(claimed) = &claimed {
            assert_eq!(claimed.job, *job);
            self.store.complete_job(&job.id).await.unwrap();
        }
        claimed.is_some()
    }
}

/// The change with a job.
fn with_job(mut decide: DecideUnasked, job: &Job) -> DecideUnasked {
    let added = vec![job.clone()];
    Box::new(move |record| {
        let jobs = added.clone();
        Ok(match decide(record)? {
            KeyChange::To { record, event, .. } => KeyChange::To { record, event, jobs },
            KeyChange::Rotation { record, new, event, call, limits, .. } => {
                KeyChange::Rotation { record, new, event, call, limits, jobs }
            }
            none @ KeyChange::None(_) => none,
        })
    })
}

/// A new key, a change and a rotation are written with their jobs.
pub async fn jobs_of_a_key_are_written_with_each_change(fixture: &Fixture) {
    let project = fixture.new_project().await.store.project_id().clone();
    let new = new_key(fixture, "Told");
    let id = new.record.id.clone();
    let jobs: Vec<_> = (0..4).map(|_| fixture.key_job(&project)).collect();
    fixture.add_key(NewKey { jobs: vec![jobs[0].clone(), jobs[0].clone()], ..new }).await.unwrap();
    let (_, change) = disabled(fixture);
    let mut change = with_job(change, &jobs[1]);
    let also = jobs[3].clone();
    let two = Box::new(move |record| {
        let mut change = change(record)?;
        if let KeyChange::To { jobs, .. } = &mut change {
            jobs.push(also.clone());
        }
        Ok(change)
    });
    changed(fixture, &id, two).await;
    assert!(fixture.take_job(&jobs[0]).await && !fixture.take_job(&jobs[0]).await, "one job");
    assert!(fixture.take_job(&jobs[1]).await && fixture.take_job(&jobs[3]).await);
    assert!(!fixture.take_job(&jobs[2]).await, "nothing has written it");
    let other = new_key(fixture, "Rotated");
    let id = other.record.id.clone();
    fixture.add_key(other).await.unwrap();
    let (_, rotate) = rotation(fixture, managed(fixture), SignedDuration::ZERO, None);
    changed(fixture, &id, with_job(rotate, &jobs[2])).await;
    assert!(fixture.take_job(&jobs[2]).await);
}

/// A change that is refused, or changes nothing, writes no job; nor does a key whose id exists.
pub async fn refused_change_of_a_key_writes_no_job(fixture: &Fixture) {
    let project = fixture.new_project().await.store.project_id().clone();
    let new = new_key(fixture, "Told");
    let id = new.record.id.clone();
    fixture.add_key(new.clone()).await.unwrap();
    let job = fixture.key_job(&project);
    assert_duplicate(&fixture.add_key(NewKey { jobs: vec![job.clone()], ..new }).await);
    let none: DecideUnasked = Box::new(|record: KeyRecord| Ok(KeyChange::None(record)));
    changed(fixture, &id, with_job(none, &job)).await;
    changed(fixture, &id, revoked(fixture).1).await;
    let refused = fixture.change_key(&id, with_job(disabled(fixture).1, &job)).await;
    assert!(matches!(refused, Err(KeyError::Refused(KeyChangeError::Revoked))), "{refused:?}");
    assert!(!fixture.take_job(&job).await);
}

/// A key beyond the bounds is not added, nor are its jobs.
pub async fn key_without_room_writes_no_job(fixture: &Fixture) {
    let project = fixture.new_project().await.store.project_id().clone();
    let new = new_key(fixture, "Told");
    let job = fixture.key_job(&project);
    let limits = KeyLimits { all: 0, ..KeyLimits::NONE };
    let new = NewKey { limits, jobs: vec![job.clone()], ..new };
    let refused = fixture.store.insert_key(None, Box::new(move |_| Ok(new.clone()))).await;
    assert!(matches!(refused, Err(KeyError::Refused(KeyChangeError::TooManyKeys { .. }))), "{refused:?}");
    assert!(!fixture.take_job(&job).await);
}

/// Of callers who revoke a key at once, one has an effect, and its job is written.
pub async fn concurrent_changes_of_a_key_write_the_jobs_of_one(fixture: &Fixture) {
    let project = fixture.new_project().await.store.project_id().clone();
    for _ in 0..ROUNDS {
        let new = new_key(fixture, "Told");
        let id = new.record.id.clone();
        fixture.add_key(new).await.unwrap();
        let jobs: Vec<_> = (0..3).map(|_| fixture.key_job(&project)).collect();
        let tasks = jobs.iter().map(|job| {
            let (store, id) = (fixture.store.clone(), id.clone());
            let mut decide = with_job(revoked(fixture).1, job);
            let decide: DecideUnasked = Box::new(move |record: KeyRecord| match record.revoked_at {
                Some(_) => Ok(KeyChange::None(record)),
                None => decide(record),
            });
            Box::pin(async move { store.change_key(&id, crate::ChangeKey::unasked(decide)).await.is_ok() })
                as Task<bool>
        });
        assert_eq!(at_once(tasks.collect()).await, [true; 3]);
        let mut written = 0;
        for job in &jobs {
            written += usize::from(fixture.take_job(job).await);
        }
        assert_eq!(written, 1);
    }
}
