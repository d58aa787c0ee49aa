//! The circuit, and limits of calls at once and per minute.

use super::*;

#[tokio::test(start_paused = true)]
async fn circuit_opens_after_failures_in_a_row() {
    let script = Script::new([down(), Step::Hang, Step::Fail(broken())]);
    let provider = provider(&script);
    for _ in 0..3 {
        send(&provider, 10).await.unwrap_err();
    }
    let error = send(&provider, 10).await.unwrap_err();
    assert_eq!(script.sent(), 3);
    assert!(!error.was_sent());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
    let message = "the provider is considered down after 3 failed calls in a row; the last one: \
                   the provider's answer could not be read";
    assert_eq!(error.to_string(), message);

    sleep(Duration::from_secs(30)).await;
    send(&provider, 10).await.unwrap();
    send(&provider, 10).await.unwrap();
    assert_eq!(script.sent(), 5);
}

#[tokio::test(start_paused = true)]
async fn answer_of_any_kind_resets_the_count() {
    for alive in [
        Step::Respond(200, ok()),
        Step::Respond(401, json!({"error": "key"})),
        Step::Respond(429, json!({"error": "rate"})),
    ] {
        let script = Script::new([down(), down(), alive, down(), down()]);
        let provider = provider(&script);
        for _ in 0..5 {
            let _ = send(&provider, 10).await;
        }
        send(&provider, 10).await.unwrap();
        assert_eq!(script.sent(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn short_time_out_does_not_open_the_circuit() {
    let script = Script::new([Step::Hang, Step::Hang, Step::Hang, Step::Hang]);
    let provider = provider(&script);
    for _ in 0..4 {
        assert_eq!(send(&provider, 2).await, Err(ChatError::Timeout));
    }
    send(&provider, 2).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn wait_for_a_permit_is_no_failure_of_the_provider() {
    let notify = Arc::new(Notify::new());
    let script = Script::new([Step::Wait(Arc::clone(&notify))]);
    let provider = Arc::new(limited(&script, Limits { concurrency: 1, per_minute: None }));
    let slow = {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { send(&provider, 600).await })
    };
    while script.sent() < 1 {
        tokio::task::yield_now().await;
    }
    // More than the failures that open the circuit, and longer than a fair call.
    for _ in 0..5 {
        assert_eq!(send(&provider, 20).await, Err(ChatError::Busy { retry_after: None }));
        timeout(Duration::from_secs(20), send(&provider, 60)).await.unwrap_err();
    }
    notify.notify_one();
    slow.await.unwrap().unwrap();
    send(&provider, 20).await.unwrap();
    assert_eq!(script.sent(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_probe_decides_about_an_open_circuit() {
    let notify = Arc::new(Notify::new());
    let script = Script::new([down(), down(), down(), down(), Step::Wait(Arc::clone(&notify))]);
    let provider = Arc::new(provider(&script));
    for _ in 0..3 {
        send(&provider, 10).await.unwrap_err();
    }
    sleep(Duration::from_secs(30)).await;
    // The first probe fails, so the pause begins again.
    assert!(matches!(send(&provider, 10).await, Err(ChatError::Failed { .. })));
    assert!(matches!(send(&provider, 10).await, Err(ChatError::CircuitOpen { failures: 4, .. })));
    sleep(Duration::from_secs(30)).await;
    let probe = {
        let provider = Arc::clone(&provider);
        tokio::spawn(async move { send(&provider, 10).await })
    };
    while script.sent() < 5 {
        tokio::task::yield_now().await;
    }
    // Meanwhile no other call is let through.
    assert!(matches!(send(&provider, 10).await, Err(ChatError::CircuitOpen { .. })));
    notify.notify_one();
    probe.await.unwrap().unwrap();
    send(&provider, 10).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn canceled_probe_leaves_room_for_the_next_one() {
    let script = Script::new([down(), down(), down(), Step::Hang]);
    let provider = provider(&script);
    for _ in 0..3 {
        send(&provider, 10).await.unwrap_err();
    }
    sleep(Duration::from_secs(30)).await;
    timeout(Duration::from_secs(1), send(&provider, 10)).await.unwrap_err();
    assert_eq!(script.sent(), 4);
    send(&provider, 10).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_are_limited_and_waits_end_at_the_deadline() {
    let notify = Arc::new(Notify::new());
    let script = Script::new([Step::Wait(Arc::clone(&notify)), Step::Wait(Arc::clone(&notify))]);
    let provider = Arc::new(limited(&script, Limits { concurrency: 2, per_minute: None }));
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { send(&provider, 60).await })
        })
        .collect();
    while script.sent() < 2 {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    assert_eq!(send(&provider, 3).await, Err(ChatError::Busy { retry_after: None }));
    assert_eq!((script.sent(), start.elapsed()), (2, Duration::from_secs(3)));
    notify.notify_one();
    notify.notify_one();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((script.sent(), script.most_at_once.load(std::sync::atomic::Ordering::SeqCst)), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn rate_is_limited_after_a_burst() {
    let script = Script::new([]);
    // One call per second, of which five may be sent at once.
    let provider = limited(&script, Limits { concurrency: 9, per_minute: NonZeroU32::new(60) });
    let start = Instant::now();
    for _ in 0..5 {
        send(&provider, 1).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    send(&provider, 5).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    for _ in 0..3 {
        send(&provider, 5).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::from_secs(4));
    sleep(Duration::from_mins(1)).await;
    for _ in 0..5 {
        send(&provider, 1).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::from_secs(64));
}

#[tokio::test(start_paused = true)]
async fn rate_without_room_before_the_deadline_is_refused_at_once() {
    let script = Script::new([]);
    let provider = limited(&script, Limits { concurrency: 9, per_minute: NonZeroU32::new(2) });
    let start = Instant::now();
    send(&provider, 10).await.unwrap();
    let error = send(&provider, 10).await.unwrap_err();
    assert_eq!(error, ChatError::Busy { retry_after: Some(Duration::from_secs(30)) });
    assert_eq!((script.sent(), start.elapsed()), (1, Duration::ZERO));
    // The refused call took no token.
    send(&provider, 40).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(30));
}
