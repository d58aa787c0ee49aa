//! Work that holds a processor for long, such as patterns from outside: done beside the threads that answer requests, a
//! bounded number of pieces at once, so that one caller's patterns never stop the others.

use std::{future::pending, panic::resume_unwind, sync::Arc};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// How many pieces of each kind are done at once. One leaves the other processors to requests.
const AT_ONCE: usize = 1;

/// A queue for each kind of work, first come first served.
pub(crate) struct Processor {
    /// Criteria that a caller waits for.
    pub(crate) reading: Queue,
    /// Conversations that are judged.
    pub(crate) judging: Queue,
}

pub(crate) struct Queue(Arc<Semaphore>);

/// No more work is taken.
#[derive(Debug)]
pub(crate) struct Closed;

impl Processor {
    pub(crate) fn new() -> Self {
        let queue = || Queue(Arc::new(Semaphore::new(AT_ONCE)));
        Self { reading: queue(), judging: queue() }
    }
}

impl Queue {
    /// Does a piece of work when its turn comes. If nobody waits for it any more, it is not begun; a piece that was begun
    /// comes to its end, and none is begun beside it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Closed> {
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(|_| Closed)?;
        let done = spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        match done.await {
            Ok(result) => Ok(result),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The runtime is shut down, and this task with it.
            Err(_) => pending().await,
        }
    }

    /// Takes no more work. What waits is refused.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_closed_queue_refuses_what_waits_and_finishes_what_was_begun() {
        let queue = Arc::new(Processor::new().judging);
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, goes_on) = mpsc::channel();
        let first = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move {
                let work = move || {
                    begun.send(()).unwrap();
                    goes_on.recv().unwrap()
                };
                queue.run(work).await
            }
        });
        has_begun.await.unwrap();
        assert_eq!(queue.0.available_permits(), 0, "one at a time");
        let second = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.run(|| ()).await }
        });
        tokio::task::yield_now().await;
        queue.close();
        assert!(second.await.unwrap().is_err());
        go_on.send(7).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn a_panic_of_the_work_is_a_panic_of_who_waits_for_it() {
        let bug: fn() = || panic!("a bug");
        let _ = Processor::new().judging.run(bug).await;
    }
}
