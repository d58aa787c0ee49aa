//! Webhooks and their deliveries.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    DELIVERY_RETENTION, DeliveryAttempt, DeliveryError, DeliveryState, EventType, Job, Refusal, Webhook,
    WebhookDelivery, WebhookDeliveryId, WebhookDescription, WebhookFormat, WebhookId, WebhookState, Work,
};

use super::{
    fixture::{
        Fixture, ROUNDS, Task, TestProject, all, assert_duplicate, at_once, in_pages, odd_texts, refusal,
    },
    idempotency::{found, record},
};
use crate::{DeliveryChange, WebhooksChange};

impl TestProject {
    /// A webhook that is not stored.
    pub(super) fn webhook(&self) -> Webhook {
        let now = self.fixture.now();
        Webhook {
            id: WebhookId::generate(self.fixture.random()),
            project_id: self.id.clone(),
            url: "https://example.com/hook?a=\u{e9}".to_owned(),
            description: Some(WebhookDescription::parse("For the team").unwrap()),
            event_types: [EventType::SimulationFailed, EventType::MonitorAlert].into(),
            format: WebhookFormat::Slack,
            state: WebhookState::Enabled,
            disabled_reason: Some("\"odd\"\n".to_owned()),
            secret_version: 7,
            previous_secret_until: Some(now),
            created_at: now,
            updated_at: now,
        }
    }

    async fn add_webhook(&self, webhook: Webhook) -> Webhook {
        let added = webhook.clone();
        let decide = Box::new(move |mut webhooks: Vec<Webhook>| {
            webhooks.push(webhook.clone());
            Ok(WebhooksChange::to(webhooks))
        });
        self.store.change_webhooks(decide).await.unwrap();
        added
    }

    fn delivery(webhook: &WebhookId, event: &str, now: Timestamp) -> WebhookDelivery {
        let id = WebhookDelivery::id_of(webhook, EventType::MonitorAlert, &[event]);
        WebhookDelivery::new(id, webhook, EventType::MonitorAlert, format!("{{\"event\":\"{event}\"}}"), now)
    }

    fn deliver_job(&self, delivery: &WebhookDelivery) -> Job {
        let work =
            Work::DeliverWebhook { webhook: delivery.webhook_id.clone(), delivery: delivery.id.clone() };
        Job::new(self.id.clone(), work)
    }

    async fn add_delivery(&self, delivery: WebhookDelivery) -> WebhookDelivery {
        assert!(self.store.add_webhook_delivery(delivery.clone(), Vec::new(), None).await.unwrap());
        delivery
    }

    async fn fail_delivery(&self, delivery: &WebhookDelivery) -> WebhookDelivery {
        let now = self.fixture.now();
        let decide = Box::new(move |delivery: WebhookDelivery| {
            Ok(DeliveryChange::to(delivery.fail(DeliveryError::Timeout, now)?))
        });
        let changed = self.store.change_webhook_delivery(&delivery.webhook_id, &delivery.id, decide).await;
        changed.unwrap().unwrap()
    }

    async fn deliveries(&self, webhook: &WebhookId, state: Option<DeliveryState>) -> Vec<WebhookDelivery> {
        self.store.webhook_deliveries(webhook, state, all()).await.unwrap().data
    }
}

/// Webhooks are read as they were added, in their order, and only in their project.
pub async fn webhooks_are_read_as_added(fixture: &Fixture) {
    let (project, other) = (fixture.new_project().await, fixture.new_project().await);
    assert_eq!(project.store.webhooks().await.unwrap(), []);
    let mut added = Vec::new();
    for url in odd_texts() {
        added.push(project.add_webhook(Webhook { url, ..project.webhook() }).await);
    }
    let bare = Webhook {
        description: None,
        disabled_reason: None,
        previous_secret_until: None,
        event_types: EventType::subscribable().collect(),
        ..project.webhook()
    };
    added.push(project.add_webhook(bare).await);
    assert_eq!(project.store.webhooks().await.unwrap(), added);
    assert_eq!(other.store.webhooks().await.unwrap(), []);
    let remove = Box::new(|_| Ok(WebhooksChange::to(Vec::new())));
    assert_eq!(project.store.change_webhooks(remove).await.unwrap(), []);
    assert_eq!(project.store.webhooks().await.unwrap(), []);
}

/// A refused change writes nothing, and a change is written with its record, once.
pub async fn change_of_webhooks_is_recorded(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let refuse = Box::new(|_| Err(Refusal::TooManyWebhooks));
    assert_eq!(refusal(project.store.change_webhooks(refuse).await), Refusal::TooManyWebhooks);
    let now = fixture.now();
    let key = project.id.to_string();
    for (response, is_first) in [("1", true), ("2", false)] {
        let (webhook, record) = (project.webhook(), Some(record(&key, response, now)));
        let decide = Box::new(move |mut webhooks: Vec<Webhook>| {
            webhooks.push(webhook.clone());
            Ok(WebhooksChange { webhooks, record: record.clone() })
        });
        let changed = project.store.change_webhooks(decide).await;
        assert_eq!(changed.is_ok(), is_first, "{changed:?}");
    }
    assert_eq!(project.store.webhooks().await.unwrap().len(), 1);
    assert_eq!(found(fixture, &key, now).await.unwrap().response, "1");
}

/// Webhooks that are added at once are all kept, and a bound in the decision holds.
pub async fn concurrent_changes_of_webhooks_are_all_kept(fixture: &Fixture) {
    for _ in 0..ROUNDS {
        let project = fixture.new_project().await;
        let tasks = (0..4).map(|_| {
            let project = project.clone();
            Box::pin(async move {
                let webhook = project.webhook();
                let decide = Box::new(move |mut webhooks: Vec<Webhook>| {
                    if webhooks.len() >= 3 {
                        return Err(Refusal::TooManyWebhooks);
                    }
                    webhooks.push(webhook.clone());
                    Ok(WebhooksChange::to(webhooks))
                });
                project.store.change_webhooks(decide).await.is_ok()
            }) as Task<bool>
        });
        let added = at_once(tasks.collect()).await;
        assert_eq!(added.into_iter().filter(|added| *added).count(), 3);
        assert_eq!(project.store.webhooks().await.unwrap().len(), 3);
    }
}

/// A delivery is added once, with its jobs and its record, and only in its project.
pub async fn delivery_is_added_once(fixture: &Fixture) {
    let (project, other) = (fixture.new_project().await, fixture.new_project().await);
    let (webhook, now) = (project.webhook().id, fixture.now());
    for odd in odd_texts() {
        let delivery = TestProject::delivery(&webhook, &odd, now);
        let job = project.deliver_job(&delivery);
        for is_first in [true, false] {
            let added = WebhookDelivery { body: format!("{is_first}"), ..delivery.clone() };
            let added = project.store.add_webhook_delivery(added, vec![job.clone()], None).await.unwrap();
            assert_eq!(added, is_first);
        }
        let claimed =
            fixture.store.claim_job(&job.id, now + SignedDuration::from_mins(1), now).await.unwrap();
        assert_eq!(claimed.unwrap().job, job);
        fixture.store.complete_job(&job.id).await.unwrap();
        let stored = project.store.webhook_delivery(&webhook, &delivery.id).await.unwrap();
        assert_eq!(stored, Some(WebhookDelivery { body: "true".to_owned(), ..delivery.clone() }));
        assert_eq!(other.store.webhook_delivery(&webhook, &delivery.id).await.unwrap(), None);
        let another = other.webhook().id;
        assert_eq!(project.store.webhook_delivery(&another, &delivery.id).await.unwrap(), None);
    }
    assert_eq!(other.deliveries(&webhook, None).await, []);
    let key = webhook.to_string();
    for (event, is_first) in [("one", true), ("two", false)] {
        let delivery = TestProject::delivery(&webhook, event, now);
        let (id, record) = (delivery.id.clone(), Some(record(&key, event, now)));
        let added = project.store.add_webhook_delivery(delivery, Vec::new(), record).await;
        if is_first {
            assert!(added.unwrap());
        } else {
            assert_duplicate(&added.map(drop));
        }
        let is_stored = project.store.webhook_delivery(&webhook, &id).await.unwrap().is_some();
        assert_eq!(is_stored, is_first);
    }
}

/// Deliveries are listed newest first, of all states or of one, in pages.
pub async fn deliveries_are_listed_by_time_and_state(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (webhook, other, now) = (project.webhook().id, project.webhook().id, fixture.now());
    let mut added = Vec::new();
    for second in [3, 1, 5, 2, 4] {
        let time = now + SignedDuration::from_secs(second);
        added.push(project.add_delivery(TestProject::delivery(&webhook, &second.to_string(), time)).await);
    }
    project.add_delivery(TestProject::delivery(&other, "1", now)).await;
    for place in [0, 3] {
        added[place] = project.fail_delivery(&added[place]).await;
    }
    added.sort_by_key(|delivery| std::cmp::Reverse(delivery.created_at));
    for state in
        [None, Some(DeliveryState::Pending), Some(DeliveryState::Failed), Some(DeliveryState::Delivered)]
    {
        let expected: Vec<_> =
            added.iter().filter(|one| state.is_none_or(|state| one.state == state)).cloned().collect();
        let listed =
            in_pages(2, async |page| project.store.webhook_deliveries(&webhook, state, page).await.unwrap())
                .await;
        assert_eq!(listed, expected, "{state:?}");
    }
    let pending = async |limit| project.store.pending_webhook_deliveries(&webhook, limit).await.unwrap();
    assert_eq!((pending(2).await, pending(3).await, pending(100).await), (2, 3, 3));
}

/// A change of a delivery is stored with its jobs, and a refused one is not.
pub async fn changed_delivery_is_stored(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (webhook, now) = (project.webhook().id, fixture.now());
    let delivery = project.add_delivery(TestProject::delivery(&webhook, "event", now)).await;
    let attempt = DeliveryAttempt { at: now, status_code: Some(500), error: Some(DeliveryError::Status) };
    let decide = Box::new(move |delivery: WebhookDelivery| {
        Ok(DeliveryChange::to(delivery.attempted(attempt.clone(), 255, now)?))
    });
    let changed = project.store.change_webhook_delivery(&webhook, &delivery.id, decide).await.unwrap();
    assert_eq!(changed.as_ref().unwrap().attempts.len(), 1);
    assert_eq!(project.store.webhook_delivery(&webhook, &delivery.id).await.unwrap(), changed);
    let failed = project.fail_delivery(&delivery).await;
    assert_eq!(project.deliveries(&webhook, None).await, std::slice::from_ref(&failed));
    let refuse = Box::new(|_| Err(Refusal::DeliveryOver));
    let refused = project.store.change_webhook_delivery(&webhook, &delivery.id, refuse).await;
    assert_eq!(refusal(refused), Refusal::DeliveryOver);
    let (job, key) = (project.deliver_job(&delivery), delivery.id.to_string());
    for is_first in [true, false] {
        let (job, record) = (job.clone(), Some(record(&key, "1", now)));
        let decide = Box::new(move |delivery: WebhookDelivery| {
            let delivery = WebhookDelivery { state: DeliveryState::Failed, ..delivery }.replayed(now)?;
            Ok(DeliveryChange { delivery, jobs: vec![job.clone()], record: record.clone() })
        });
        let replayed = project.store.change_webhook_delivery(&webhook, &delivery.id, decide).await;
        assert_eq!(replayed.is_ok(), is_first, "{replayed:?}");
    }
    assert_eq!(project.deliveries(&webhook, Some(DeliveryState::Failed)).await, []);
    let claimed = fixture.store.claim_job(&job.id, now + SignedDuration::from_mins(1), now).await.unwrap();
    assert_eq!(claimed.unwrap().job, job);
    let unknown = WebhookDeliveryId::generate(fixture.random());
    let none = Box::new(|delivery| Ok(DeliveryChange::to(delivery)));
    assert_eq!(project.store.change_webhook_delivery(&webhook, &unknown, none).await.unwrap(), None);
}

/// Deliveries whose retention is over are removed, or left to the backend, which removes them itself.
pub async fn delivery_is_stored_for_its_retention(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (webhook, now) = (project.webhook().id, fixture.now());
    let delivery = project.add_delivery(TestProject::delivery(&webhook, "event", now)).await;
    let last = now + DELIVERY_RETENTION - SignedDuration::from_micros(1);
    fixture.store.delete_expired_records(10, last).await.unwrap();
    assert_eq!(project.deliveries(&webhook, None).await, [delivery]);
    fixture.store.delete_expired_records(10, now + DELIVERY_RETENTION).await.unwrap();
    assert!(project.deliveries(&webhook, None).await.len() <= 1);
}
