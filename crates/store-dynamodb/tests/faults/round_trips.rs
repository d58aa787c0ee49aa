//! How often the calls of a method wait for each other. Each call takes three milliseconds, as on AWS, and time is
//! paused: it advances only while all calls wait, so calls at once count as one.

use std::{sync::Arc, time::Duration};

use onerun_store::contract::hot_path::HotPath;
use tokio::time::Instant;

use crate::client::{Fault, Faulty};

const LATENCY: Duration = Duration::from_millis(3);

/// The round trips of a step.
async fn round_trips(step: impl Future<Output = ()>) -> u128 {
    let begun = Instant::now();
    step.await;
    begun.elapsed().as_micros() / LATENCY.as_micros()
}

#[tokio::test(start_paused = true)]
async fn hot_path_makes_few_round_trips() {
    let table = crate::table();
    let path = HotPath::new(Arc::new(Faulty::new(|_| Fault::Slow(LATENCY)).store(&table))).await;
    assert_eq!(round_trips(path.start()).await, 2, "start");
    for number in 0..3 {
        assert_eq!(round_trips(path.turn()).await, 4, "turn {number}");
    }
    assert_eq!(round_trips(path.read()).await, 2, "read");
    assert_eq!(round_trips(path.read_messages()).await, 2, "read messages");
    assert_eq!(round_trips(path.end()).await, 2, "end");
    path.judge().await;
    assert_eq!(round_trips(path.read()).await, 2, "read with evaluations");
}
