use super::{delivery::MAX_ATTEMPTS, *};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).unwrap()
}

fn webhook() -> Webhook {
    Webhook {
        id: "webhook00001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        url: "https://example.com/hook".to_owned(),
        description: None,
        event_types: EventType::subscribable().collect(),
        format: WebhookFormat::Standard,
        state: WebhookState::Enabled,
        disabled_reason: None,
        secret_version: 1,
        previous_secret_until: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn delivery() -> WebhookDelivery {
    let webhook = webhook().id;
    let id = WebhookDelivery::id_of(&webhook, EventType::SimulationCompleted, &["simulation"]);
    WebhookDelivery::new(id, &webhook, EventType::SimulationCompleted, "{}".to_owned(), at(0))
}

fn failed_attempt(now: Timestamp) -> DeliveryAttempt {
    DeliveryAttempt { at: now, status_code: Some(500), error: Some(DeliveryError::Status) }
}

#[test]
fn event_types_are_stored_under_their_names() {
    for event_type in EventType::ALL {
        assert_eq!(serde_json::to_value(event_type).unwrap(), event_type.as_str());
    }
    assert!(!EventType::subscribable().any(|one| one == EventType::WebhookTest));
}

#[test]
fn failing_delivery_is_attempted_eight_times_over_a_day() {
    for jitter in [0, 255] {
        let mut delivery = delivery();
        let mut waits = Vec::new();
        while let Some(now) = delivery.next_attempt_at {
            delivery = delivery.attempted(failed_attempt(now), jitter, now).unwrap();
            waits.extend(delivery.next_attempt_at.map(|next| next.as_second() - now.as_second()));
        }
        assert_eq!((delivery.state, delivery.error), (DeliveryState::Failed, Some(DeliveryError::Status)));
        assert_eq!(delivery.attempts.len(), 8);
        let expected = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
        let longest: Vec<_> = expected.iter().map(|wait| wait * 6 / 5).collect();
        assert_eq!(waits, if jitter == 0 { expected.to_vec() } else { longest });
        assert!(waits.iter().sum::<i64>() > 86_400);
    }
}

#[test]
fn delivery_keeps_its_latest_attempts() {
    let mut delivery = delivery();
    for round in 0..10 {
        for attempt in 0..8 {
            let now = at(100 * round + attempt);
            delivery = delivery.attempted(failed_attempt(now), 0, now).unwrap();
        }
        delivery = delivery.replayed(at(100 * round + 50)).unwrap();
    }
    assert_eq!(delivery.attempts.len(), MAX_ATTEMPTS);
    assert_eq!(delivery.attempts.last().unwrap().at, at(907));
}

#[test]
fn delivered_one_is_attempted_again_only_by_a_replay() {
    let accepted = DeliveryAttempt { at: at(1), status_code: Some(204), error: None };
    let pending = delivery();
    assert_eq!(pending.clone().replayed(at(1)), Err(Refusal::DeliveryPending { at: at(0) }));
    let delivered = pending.attempted(accepted.clone(), 7, at(1)).unwrap();
    assert_eq!((delivered.state, delivered.next_attempt_at), (DeliveryState::Delivered, None));
    assert_eq!(delivered.clone().attempted(accepted, 7, at(2)), Err(Refusal::DeliveryOver));
    assert_eq!(delivered.clone().fail(DeliveryError::Internal, at(2)), Err(Refusal::DeliveryOver));
    let replayed = delivered.clone().replayed(at(3)).unwrap();
    assert_eq!((replayed.state, replayed.next_attempt_at), (DeliveryState::Pending, Some(at(3))));
    assert_eq!((replayed.id, replayed.attempts.len()), (delivered.id, 1));
}

#[test]
fn two_secrets_sign_during_the_overlap_alone() {
    let webhook = webhook();
    assert_eq!(webhook.signing_versions(at(0)), [1]);
    let rotated = webhook.with_new_secret(SignedDuration::from_secs(60), at(0));
    assert_eq!(rotated.signing_versions(at(59)), [2, 1]);
    assert_eq!(rotated.signing_versions(at(60)), [2]);
    let again = rotated.clone().with_new_secret(SignedDuration::from_secs(60), at(30));
    assert_eq!(again.signing_versions(at(31)), [3, 2]);
    assert_eq!(rotated.with_new_secret(SignedDuration::ZERO, at(30)).signing_versions(at(31)), [3]);
}

#[test]
fn disabled_webhook_wants_nothing_until_it_is_enabled() {
    let disabled = webhook().disabled("the target answered 410", at(1));
    assert!(!EventType::ALL.into_iter().any(|one| disabled.wants(one)));
    assert_eq!(disabled.require_enabled(), Err(Refusal::WebhookDisabled));
    assert_eq!(disabled.clone().disabled("another reason", at(2)), disabled);
    let patch = WebhookPatch { state: Some(WebhookState::Enabled), ..WebhookPatch::default() };
    let enabled = disabled.patched(patch, at(3));
    assert_eq!((enabled.disabled_reason.as_deref(), enabled.updated_at), (None, at(3)));
    assert!(EventType::ALL.into_iter().all(|one| enabled.wants(one)));
    let unchanged = enabled.clone().patched(WebhookPatch::default(), at(9));
    assert_eq!(unchanged, enabled);
}

#[test]
fn delivery_of_another_event_or_webhook_has_another_id() {
    let webhook = webhook().id;
    let other = "webhook00002".parse().unwrap();
    let id =
        |webhook: &WebhookId, event_type, parts: &[&str]| WebhookDelivery::id_of(webhook, event_type, parts);
    let ids: BTreeSet<_> = [
        id(&webhook, EventType::MonitorAlert, &["run"]),
        id(&webhook, EventType::MonitorRecovered, &["run"]),
        id(&webhook, EventType::MonitorAlert, &["other"]),
        id(&other, EventType::MonitorAlert, &["run"]),
    ]
    .into();
    assert_eq!(ids.len(), 4);
}
