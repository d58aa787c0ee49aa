//! Webhooks, which tell systems of users what happened in a project.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use onerun_auth::{Access, Scope};
use onerun_domain::{DeliveryState, EventType, Page, PageRequest, Resource, Start, Webhook, WebhookPatch};
use onerun_engine::NewWebhook;
use onerun_store::{PageBuilder, ProjectStore, StoreError, position, read_position};
use serde_json::{Value, json};

use crate::{
    ApiError, App, Response,
    fields::{Errors, Field, Integer, List, input},
    openapi::examples::new_webhook_example,
    operation::operations,
    query::{Params, Reader, page},
    request::{Call, DoneOut, done, reply},
    views::{DeliveryOut, MadeWebhookOut, PageOut, WebhookOut},
};

const DELETED: &str = "Webhook deleted";

/// The number of types that a webhook can subscribe to.
const EVENT_TYPES: usize = EventType::ALL.len() - 1;

/// The default overlap of two secrets, in seconds.
const DEFAULT_OVERLAP: u32 = 86_400;

/// The longest overlap of two secrets, in seconds.
const MAX_OVERLAP: u32 = 7 * 86_400;

operations! {
    CREATE_WEBHOOK {
        route: POST "/v1/webhooks",
        handler: Project(create_webhook),
        access: Access::Requires(Scope::WebhooksWrite),
        idempotency: Recorded,
        summary: "Create a webhook, which is called when something happens in the project",
        description: "Requests are signed as Standard Webhooks describes (`webhook-id`, `webhook-timestamp`, \
            `webhook-signature`). The secret is shown in this response only. A project has at most 20 webhooks. Addresses that \
            are private, local or reserved are refused unless the deployment allows them.",
        input: NewWebhook = new_webhook_example(),
        output: MadeWebhookOut,
        errors: ["too_many_webhooks"],
    }
    LIST_WEBHOOKS {
        route: GET "/v1/webhooks",
        handler: Project(list_webhooks),
        access: Access::Requires(Scope::WebhooksRead),
        query: WebhookPage,
        summary: "List webhooks, newest first",
        output: PageOut<WebhookOut>,
    }
    GET_WEBHOOK {
        route: GET "/v1/webhooks/{webhook_id}",
        handler: Project(get_webhook),
        access: Access::Requires(Scope::WebhooksRead),
        summary: "Get a webhook, without its secret",
        output: WebhookOut,
        errors: ["webhook_not_found"],
    }
    UPDATE_WEBHOOK {
        route: PATCH "/v1/webhooks/{webhook_id}",
        handler: Project(update_webhook),
        access: Access::Requires(Scope::WebhooksWrite),
        summary: "Change, disable or enable a webhook",
        description: "Pending deliveries are sent to a new URL. Pending deliveries of a disabled webhook fail, and can be \
            replayed later.",
        input: WebhookPatch = json!({ "state": "disabled" }),
        output: WebhookOut,
        errors: ["webhook_not_found"],
    }
    DELETE_WEBHOOK {
        route: DELETE "/v1/webhooks/{webhook_id}",
        handler: Project(delete_webhook),
        access: Access::Requires(Scope::WebhooksWrite),
        summary: "Delete a webhook and its deliveries",
        output: DoneOut = json!({ "message": DELETED }),
        errors: ["webhook_not_found"],
    }
    ROTATE_WEBHOOK_SECRET {
        route: POST "/v1/webhooks/{webhook_id}/rotate_secret",
        handler: Project(rotate_webhook_secret),
        access: Access::Requires(Scope::WebhooksWrite),
        idempotency: Recorded,
        summary: "Replace the secret of a webhook",
        description: "The new secret is shown in this response only. During the overlap, requests have two signatures: that of \
            the new secret and that of the one before. A secret that an earlier rotation replaced is no longer used.",
        optional_input: RotateSecret = json!({ "overlap_seconds": 3_600 }),
        output: MadeWebhookOut,
        errors: ["webhook_not_found"],
    }
    TEST_WEBHOOK {
        route: POST "/v1/webhooks/{webhook_id}/test",
        handler: Project(test_webhook),
        access: Access::Requires(Scope::WebhooksWrite),
        idempotency: Recorded,
        summary: "Send a test event to a webhook",
        description: "The event has the type `webhook.test`, and is delivered as others are. The answer is its delivery before \
            the first attempt: get it again to see the result.",
        output: DeliveryOut,
        errors: ["webhook_not_found", "webhook_disabled"],
    }
    LIST_WEBHOOK_DELIVERIES {
        route: GET "/v1/webhooks/{webhook_id}/deliveries",
        handler: Project(list_webhook_deliveries),
        access: Access::Requires(Scope::WebhooksRead),
        query: DeliveryPage,
        summary: "List the deliveries of a webhook, newest first",
        description: "Deliveries are stored for 30 days. Nothing of what the target answered is stored but the status.",
        output: PageOut<DeliveryOut>,
        errors: ["webhook_not_found"],
    }
    GET_WEBHOOK_DELIVERY {
        route: GET "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}",
        handler: Project(get_webhook_delivery),
        access: Access::Requires(Scope::WebhooksRead),
        summary: "Get a delivery of a webhook with its attempts",
        output: DeliveryOut,
        errors: ["webhook_not_found", "delivery_not_found"],
    }
    REPLAY_WEBHOOK_DELIVERY {
        route: POST "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
        handler: Project(replay_webhook_delivery),
        access: Access::Requires(Scope::WebhooksWrite),
        idempotency: Recorded,
        summary: "Deliver a delivery again that was delivered or has failed",
        description: "With the same `webhook-id` and payload, and again over a day until the target accepts it.",
        output: DeliveryOut,
        errors: [
            "webhook_not_found",
            "delivery_not_found",
            "delivery_pending",
            "webhook_disabled",
            "too_many_pending_deliveries",
        ],
    }
}

const URL: &str = "The URL that is called by `POST`: `https://`, port 443 or 8443, and a public address, unless the deployment \
    allows the host. At most 2,048 bytes.";

const EVENTS: &str = "The types of events that it gets; by default all that this release has.";

const FORMAT: &str = "`standard` for Standard Webhooks (`type`, `timestamp`, `data`), or `slack` for an incoming webhook of Slack.";

const STATE: &str = "`disabled` if it gets no events.";

input! {
    impl NewWebhook {
        url = required(URL),
        description = optional("Its purpose, for people to read."),
        event_types = optional(EVENTS) => |types: Option<EventTypes>| {
            types.map_or_else(|| EventType::subscribable().collect(), |types| types.0)
        },
        format = defaulted("standard", FORMAT),
        state = defaulted("enabled", STATE),
    }
}

input! {
    impl WebhookPatch {
        url = optional("A new URL; null keeps the current one."),
        description = optional("A new description; null keeps the current one."),
        event_types = optional("The new types of events; null keeps the current ones.")
            => |types: Option<EventTypes>| types.map(|types| types.0),
        format = optional("The format of later events; null keeps the current one."),
        state = optional("`disabled` or `enabled`; null keeps the current one."),
    }
}

input! {
    /// The body of `rotate_webhook_secret`.
    pub(crate) struct RotateSecret {
        overlap_seconds: u32 = defaulted(DEFAULT_OVERLAP, "How long requests are also signed with the secret before, in \
            seconds; a day by default, 0 if it leaked.") => |seconds: Integer<0, MAX_OVERLAP>| seconds.0,
    }
}

/// One to all types.
struct EventTypes(BTreeSet<EventType>);

impl Field for EventTypes {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let List(types) = List::<EventType, 1, EVENT_TYPES>::read(value, pointer, errors)?;
        Some(Self(types.into_iter().collect()))
    }

    fn schema() -> Value {
        List::<EventType, 1, EVENT_TYPES>::schema()
    }
}

fn event_types() -> Vec<&'static str> {
    EventType::subscribable().map(EventType::as_str).collect()
}

impl Field for EventType {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let read = value.as_str().and_then(|word| Self::subscribable().find(|one| one.as_str() == word));
        if read.is_none() {
            errors.push(pointer, format!("must be one of {}", event_types().join(", ")));
        }
        read
    }

    fn schema() -> Value {
        json!({ "type": "string", "enum": event_types() })
    }
}

/// The query of `list_webhooks`.
pub(crate) struct WebhookPage(PageRequest);

impl Params for WebhookPage {
    fn read(reader: &mut Reader) -> Option<Self> {
        page(reader).map(Self)
    }
}

/// The query of `list_webhook_deliveries`.
pub(crate) struct DeliveryPage {
    state: Option<DeliveryState>,
    page: PageRequest,
}

impl Params for DeliveryPage {
    fn read(reader: &mut Reader) -> Option<Self> {
        let state = reader.optional("state", "Only deliveries in this state: `failed` for those to replay.");
        let page = page(reader);
        Some(Self { state: state?, page: page? })
    }
}

async fn create_webhook(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let new: NewWebhook = call.body()?;
    let record = |webhook: &Webhook| call.record(&MadeWebhookOut::without_secret(webhook));
    let (webhook, secret) = app.engine().create_webhook(project, new, record).await?;
    reply(&MadeWebhookOut::new(&webhook, &secret))
}

async fn list_webhooks(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let WebhookPage(page) = call.query()?;
    let webhooks = page_of(project.webhooks().await?, &page)?;
    reply(&call.page_of(webhooks, |webhook| WebhookOut::from(&webhook)))
}

async fn get_webhook(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let webhook = app.engine().webhook(project, &call.id(Resource::Webhook)?).await?;
    reply(&WebhookOut::from(&webhook))
}

async fn update_webhook(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id(Resource::Webhook)?;
    let webhook = app.engine().update_webhook(project, &id, call.body()?).await?;
    reply(&WebhookOut::from(&webhook))
}

async fn delete_webhook(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    app.engine().delete_webhook(project, &call.id(Resource::Webhook)?).await?;
    done(DELETED)
}

async fn rotate_webhook_secret(
    app: &App,
    project: &dyn ProjectStore,
    call: Call,
) -> Result<Response, ApiError> {
    let id = call.id(Resource::Webhook)?;
    let RotateSecret { overlap_seconds } = call.optional_body()?;
    let overlap = SignedDuration::from_secs(overlap_seconds.into());
    let recorder = call.recorder();
    let record = move |webhook: &Webhook| recorder(&MadeWebhookOut::without_secret(webhook));
    let (webhook, secret) = app.engine().rotate_webhook_secret(project, &id, overlap, record).await?;
    reply(&MadeWebhookOut::new(&webhook, &secret))
}

async fn test_webhook(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id(Resource::Webhook)?;
    let record = |delivery: &_| call.record(&DeliveryOut::from(delivery));
    let delivery = app.engine().test_webhook(project, &id, record).await?;
    reply(&DeliveryOut::from(&delivery))
}

async fn list_webhook_deliveries(
    app: &App,
    project: &dyn ProjectStore,
    call: Call,
) -> Result<Response, ApiError> {
    let DeliveryPage { state, page } = call.query()?;
    let webhook = app.engine().webhook(project, &call.id(Resource::Webhook)?).await?;
    let deliveries = project.webhook_deliveries(&webhook.id, state, page).await?;
    reply(&call.page_of(deliveries, |delivery| DeliveryOut::from(&delivery)))
}

async fn get_webhook_delivery(
    app: &App,
    project: &dyn ProjectStore,
    call: Call,
) -> Result<Response, ApiError> {
    let webhook = app.engine().webhook(project, &call.id(Resource::Webhook)?).await?;
    let found = project.webhook_delivery(&webhook.id, &call.id(Resource::Delivery)?).await?;
    reply(&DeliveryOut::from(&found.ok_or(ApiError::NotFound(Resource::Delivery))?))
}

async fn replay_webhook_delivery(
    app: &App,
    project: &dyn ProjectStore,
    call: Call,
) -> Result<Response, ApiError> {
    let webhook = call.id(Resource::Webhook)?;
    let engine = app.engine();
    engine.webhook(project, &webhook).await?;
    let id = call.id(Resource::Delivery)?;
    let recorder = call.recorder();
    let record = move |delivery: &_| recorder(&DeliveryOut::from(delivery));
    let delivery = engine.replay_webhook_delivery(project, &webhook, &id, record).await?;
    reply(&DeliveryOut::from(&delivery))
}

/// A page of a project's webhooks, newest first.
fn page_of(mut webhooks: Vec<Webhook>, request: &PageRequest) -> Result<Page<Webhook>, StoreError> {
    let place = |webhook: &Webhook| (webhook.created_at.as_microsecond(), webhook.id.to_string());
    webhooks.sort_by_key(|webhook| std::cmp::Reverse(place(webhook)));
    let skipped = match &request.start {
        Start::Offset(offset) => usize::try_from(*offset).unwrap_or(usize::MAX),
        Start::After(after) => {
            let after: (i64, String) = read_position(after)?;
            webhooks.iter().take_while(|webhook| place(webhook) >= after).count()
        }
    };
    let mut page = PageBuilder::new(request.limit);
    for webhook in webhooks.into_iter().skip(skipped) {
        let position = position(&place(&webhook));
        if !page.push(webhook, position) {
            break;
        }
    }
    Ok(page.finish())
}
