//! Queues for CPU-bound work, such as compiling and matching callers' patterns.
//!
//! The work runs on blocking threads, and each queue runs a bounded number of tasks at once. So one caller's
//! patterns never hold up other requests.

use std::{future::pending, panic::resume_unwind, sync::Arc};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// How many tasks of each queue run at once. One leaves the other CPUs to requests.
const AT_ONCE: usize = 1;

/// One queue for each kind of work, first come first served.
pub(crate) struct CpuQueues {
    /// Parsing input while its caller waits.
    pub(crate) parsing: CpuQueue,
    /// Judging conversations.
    pub(crate) judging: CpuQueue,
    /// Writing reports while their callers wait.
    pub(crate) reporting: CpuQueue,
}

pub(crate) struct CpuQueue(Arc<Semaphore>);

/// The queue is closed and starts no more work.
#[derive(Debug)]
pub(crate) struct Closed;

impl CpuQueues {
    pub(crate) fn new() -> Self {
        let queue = || CpuQueue(Arc::new(Semaphore::new(AT_ONCE)));
        Self { parsing: queue(), judging: queue(), reporting: queue() }
    }
}

impl CpuQueue {
    /// Runs a task when the queue has a free permit. A dropped future never starts its task; a task that has
    /// started runs to its end and holds its permit until then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Closed> {
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|_| Closed)?;
        let done = spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        match done.await {
            Ok(result) => Ok(result),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The runtime shuts down and cancels this task too.
            Err(_) => pending().await,
        }
    }

    /// Refuses new work and the work that waits.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn closed_queue_refuses_waiting_work_and_finishes_started_work() {
        let queue = Arc::new(CpuQueues::new().judging);
        let (start, started) = tokio::sync::oneshot::channel();
        let (release, released) = mpsc::channel();
        let first = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move {
                let work = move || {
                    start.send(()).unwrap();
                    released.recv().unwrap()
                };
                queue.run(work).await
            }
        });
        started.await.unwrap();
        assert_eq!(queue.0.available_permits(), 0, "one at a time");
        let second = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.run(|| ()).await }
        });
        tokio::task::yield_now().await;
        queue.close();
        assert!(second.await.unwrap().is_err());
        release.send(7).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn panic_in_a_task_reaches_its_waiter() {
        let bug: fn() = || panic!("a bug");
        let _ = CpuQueues::new().judging.run(bug).await;
    }
}
