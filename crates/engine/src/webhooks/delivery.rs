//! One attempt of a delivery.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    DeliveryAttempt, DeliveryError, DeliveryState, Webhook, WebhookDelivery, WebhookDeliveryId, WebhookId,
    WebhookState, later,
};
use onerun_store::{DeliveryChange, ProjectStore};
use onerun_transport::TransportError;

use crate::{Engine, JobError, OperationError, error::ignore_refusal};

/// How long a target may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How many requests to one webhook a process makes at once, so that a target that hangs does not hold up others.
const AT_ONCE: usize = 4;

/// How long a delivery waits for one of them.
const BUSY_DELAY: SignedDuration = SignedDuration::from_secs(2);

/// Why a webhook is disabled whose target wants no more requests.
const GONE: &str = "the target answered 410 Gone";

/// The requests to webhooks that are in flight in this process.
#[derive(Default)]
pub(crate) struct DeliverySlots(Mutex<HashMap<WebhookId, usize>>);

/// A request in flight.
struct DeliverySlot<'a> {
    slots: &'a DeliverySlots,
    webhook: WebhookId,
}

impl DeliverySlots {
    fn take(self: &Arc<Self>, webhook: &WebhookId) -> Option<DeliverySlot<'_>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(webhook.clone()).or_default();
        if *count >= AT_ONCE {
            return None;
        }
        *count += 1;
        Some(DeliverySlot { slots: self, webhook: webhook.clone() })
    }
}

impl Drop for DeliverySlot<'_> {
    fn drop(&mut self) {
        let mut taken = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.webhook) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.webhook);
            }
        }
    }
}

impl Engine {
    /// Attempts a delivery that is due. A delivery that failed is due again later.
    pub(crate) async fn deliver_webhook(
        &self,
        project: &dyn ProjectStore,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
    ) -> Result<(), JobError> {
        let Some(delivery) = project.webhook_delivery(webhook, id).await? else { return Ok(()) };
        let Some(due) = delivery.next_attempt_at.filter(|_| delivery.state == DeliveryState::Pending) else {
            return Ok(());
        };
        let now = self.now();
        if now < due {
            return Err(postponed(due));
        }
        let found = project.webhooks().await?.into_iter().find(|one| one.id == *webhook);
        // A webhook that was deleted took its deliveries with it.
        let Some(webhook) = found else { return Ok(()) };
        if webhook.state == WebhookState::Disabled {
            self.fail_webhook_delivery(project, &webhook.id, id, DeliveryError::WebhookDisabled).await?;
            return Ok(());
        }
        let Some(_slot) = self.deliveries.take(&webhook.id) else {
            let until = later(now, BUSY_DELAY);
            let reason = "other requests to the webhook are in flight".to_owned();
            return Err(JobError::Postponed { until, reason });
        };
        let answer = match self.delivery_request(&webhook, &delivery, now).await? {
            Some(request) => self.outbound().transport.send(request, TIMEOUT).await,
            // Only a newer release could have stored such a URL.
            None => Err(TransportError::Connect("the URL cannot be read".to_owned())),
        };
        let attempt = attempt(answer.as_ref(), self.now());
        if attempt.status_code == Some(StatusCode::GONE.as_u16()) {
            self.disable(project, &webhook.id).await?;
        }
        self.note_attempt(project, &webhook.id, id, attempt).await
    }

    async fn note_attempt(
        &self,
        project: &dyn ProjectStore,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
        attempt: DeliveryAttempt,
    ) -> Result<(), JobError> {
        let mut jitter = [0];
        self.random().fill(&mut jitter);
        let is_gone = attempt.status_code == Some(StatusCode::GONE.as_u16());
        let (now, [jitter]) = (attempt.at, jitter);
        let decide = Box::new(move |delivery: WebhookDelivery| {
            let mut delivery = delivery.attempted(attempt.clone(), jitter, now)?;
            if is_gone && delivery.state == DeliveryState::Pending {
                delivery = delivery.fail(DeliveryError::Status, now)?;
            }
            Ok(DeliveryChange::to(delivery))
        });
        let changed = ignore_refusal(project.change_webhook_delivery(webhook, id, decide).await)?;
        match changed.and_then(|delivery| delivery.next_attempt_at) {
            Some(due) => Err(postponed(due)),
            None => Ok(()),
        }
    }

    async fn disable(&self, project: &dyn ProjectStore, id: &WebhookId) -> Result<(), JobError> {
        let now = self.now();
        let change = move |webhook: Webhook| webhook.disabled(GONE, now);
        match self.change_webhook(project, id, |_| None, change).await {
            Ok(_) | Err(OperationError::NotFound(_)) => Ok(()),
            Err(OperationError::Store(error)) => Err(error.into()),
            Err(error) => Err(onerun_store::StoreError::Unavailable(Box::new(error)).into()),
        }
    }

    /// A request with its signatures: that of the present secret and, after a rotation, that of the one before.
    async fn delivery_request(
        &self,
        webhook: &Webhook,
        delivery: &WebhookDelivery,
        now: Timestamp,
    ) -> Result<Option<Request<Bytes>>, JobError> {
        let mut signatures = Vec::new();
        for version in webhook.signing_versions(now) {
            let secret = self.webhook_secret(webhook, version).await?;
            signatures.push(secret.sign(delivery.id.as_str(), now, &delivery.body));
        }
        let request = Request::post(&webhook.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", delivery.id.as_str())
            .header("webhook-timestamp", now.as_second())
            .header("webhook-signature", signatures.join(" "))
            .body(Bytes::from(delivery.body.clone()));
        Ok(request.ok())
    }
}

fn postponed(until: Timestamp) -> JobError {
    JobError::Postponed { until, reason: "the delivery waits for its next attempt".to_owned() }
}

/// The attempt that an answer shows. Its headers and its body are not looked at.
fn attempt(answer: Result<&Response<Bytes>, &TransportError>, at: Timestamp) -> DeliveryAttempt {
    let (status_code, error) = match answer {
        Ok(response) => {
            let status = response.status();
            (Some(status.as_u16()), (!status.is_success()).then_some(DeliveryError::Status))
        }
        Err(TransportError::Timeout) => (None, Some(DeliveryError::Timeout)),
        Err(TransportError::TooLarge) => (None, Some(DeliveryError::ResponseTooLarge)),
        Err(TransportError::Refused(_)) => (None, Some(DeliveryError::AddressRefused)),
        Err(TransportError::Connect(_) | TransportError::Broken(_) | TransportError::NotRecorded(_)) => {
            (None, Some(DeliveryError::ConnectionFailed))
        }
    };
    DeliveryAttempt { at, status_code, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_has_a_bound_of_requests_in_flight() {
        let slots = Arc::new(DeliverySlots::default());
        let (one, other): (WebhookId, WebhookId) =
            ("webhook00001".parse().unwrap(), "webhook00002".parse().unwrap());
        let mut taken: Vec<_> = (0..AT_ONCE).map(|_| slots.take(&one).unwrap()).collect();
        assert!(slots.take(&one).is_none());
        assert!(slots.take(&other).is_some());
        taken.pop();
        assert!(slots.take(&one).is_some());
        taken.clear();
        assert!(slots.0.lock().unwrap().is_empty());
    }
}
