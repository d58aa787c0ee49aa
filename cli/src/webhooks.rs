//! `onerun webhooks`.

use anyhow::bail;
use clap::{Args, Subcommand, builder::PossibleValuesParser, value_parser};
use onerun_client::resource::{
    NewWebhook, Webhook, WebhookChange, WebhookDelivery, WebhookDeliveryAttempt, WebhookWithSecret,
};
use onerun_domain::{DeliveryState, EventType, WebhookFormat, WebhookState};

use crate::{
    confirm::Consent,
    list::{self, Listing},
    output,
    project::ProjectArgument,
    text::{fields, plain, prose, table, time, utc},
};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 15;

const EXAMPLES: &str = "\
Examples:
  onerun webhooks create https://example.com/hooks/onerun \\
    --event simulation.failed --event monitor.alert
  onerun webhooks create https://hooks.slack.com/services/T0/B0/x --format slack

Store the secret that is printed: it is shown only once. docs/webhooks.md shows how
to verify requests with it.";

/// Subcommands of `onerun webhooks`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a webhook, which is called when something happens in the project, and print its id and secret.
    #[command(after_help = EXAMPLES)]
    Create(Create),
    /// List the webhooks of a project, newest first.
    List(List),
    /// Show a webhook, without its secret.
    #[command(visible_alias = "show")]
    Get(Get),
    /// Change, disable or enable a webhook.
    Update(Update),
    /// Delete a webhook and its deliveries.
    Delete(Delete),
    /// Replace the secret of a webhook, and print the new one.
    RotateSecret(Rotate),
    /// Send a test event to a webhook, and print the id of its delivery.
    Test(Get),
    /// List the deliveries of a webhook with their last attempts, newest first.
    Deliveries(Deliveries),
    /// Show a delivery with its attempts and its payload.
    Delivery(OneDelivery),
    /// Deliver a delivery again that was delivered or has failed.
    Replay(OneDelivery),
}

/// Options of `onerun webhooks create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The URL that is called.
    url: String,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    of: ProjectArgument,
    /// Print the API's response as JSON, with the secret.
    #[arg(long)]
    json: bool,
}

/// The events that a webhook gets, and how.
#[derive(Debug, Args)]
struct Settings {
    /// Its purpose.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A type of events that it gets; may be repeated [default: all].
    #[arg(long = "event", value_name = "TYPE", value_parser = words(EventType::subscribable().map(EventType::as_str)))]
    events: Vec<String>,
    /// The form of its requests [default: standard].
    #[arg(long, value_parser = words(WebhookFormat::ALL.map(WebhookFormat::as_str)))]
    format: Option<String>,
    /// Whether it gets events [default: enabled].
    #[arg(long, value_parser = words(WebhookState::ALL.map(WebhookState::as_str)))]
    state: Option<String>,
}

fn words(words: impl IntoIterator<Item = &'static str>) -> PossibleValuesParser {
    PossibleValuesParser::new(words)
}

impl Settings {
    fn event_types(&self) -> Option<Vec<String>> {
        (!self.events.is_empty()).then(|| self.events.clone())
    }
}

/// Options of `onerun webhooks list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    of: ProjectArgument,
    #[command(flatten)]
    listing: Listing,
}

/// A webhook.
#[derive(Debug, Args)]
pub(crate) struct Selected {
    /// The webhook's id.
    #[arg(value_name = "WEBHOOK_ID")]
    webhook: String,
    #[command(flatten)]
    of: ProjectArgument,
}

/// Options of `onerun webhooks get` and `test`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    of: Selected,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `onerun webhooks update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    of: Selected,
    /// A new URL.
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `onerun webhooks delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    of: Selected,
    #[command(flatten)]
    consent: Consent,
}

/// Options of `onerun webhooks rotate-secret`.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    of: Selected,
    /// How long requests are also signed with the secret before, in seconds; 0 if it leaked [default: 86400].
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u32).range(0..=604_800))]
    overlap: Option<u32>,
    /// Print the API's response as JSON, with the secret.
    #[arg(long)]
    json: bool,
}

/// Options of `onerun webhooks deliveries`.
#[derive(Debug, Args)]
pub(crate) struct Deliveries {
    #[command(flatten)]
    of: Selected,
    /// Only those in this state.
    #[arg(long, value_parser = words(DeliveryState::ALL.map(DeliveryState::as_str)))]
    state: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

/// A delivery.
#[derive(Debug, Args)]
pub(crate) struct SelectedDelivery {
    #[command(flatten)]
    of: Selected,
    /// The delivery's id.
    #[arg(value_name = "DELIVERY_ID")]
    delivery: String,
}

/// Options of `onerun webhooks delivery` and `replay`.
#[derive(Debug, Args)]
pub(crate) struct OneDelivery {
    #[command(flatten)]
    of: SelectedDelivery,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a command.
pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Create(options) => create(options).await,
        Command::List(options) => list(options).await,
        Command::Get(options) => get(options).await,
        Command::Update(options) => update(options).await,
        Command::Delete(options) => delete(options).await,
        Command::RotateSecret(options) => rotate(options).await,
        Command::Test(options) => test(options).await,
        Command::Deliveries(options) => deliveries(options).await,
        Command::Delivery(options) => delivery(options).await,
        Command::Replay(options) => replay(options).await,
    }
}

async fn create(options: &Create) -> anyhow::Result<()> {
    let Settings { description, format, state, .. } = &options.settings;
    let new = NewWebhook {
        url: options.url.clone(),
        description: description.clone(),
        event_types: options.settings.event_types(),
        format: format.clone(),
        state: state.clone(),
    };
    let made = options.of.client().await?.create_webhook(&new).await?;
    if options.json { output::print_json(made.json()) } else { print_secret(&made) }
}

/// Prints the id and the secret of a webhook.
fn print_secret(made: &WebhookWithSecret) -> anyhow::Result<()> {
    let id = plain(&made.webhook.id);
    let Some(secret) = &made.secret else {
        bail!(
            "the first answer with the secret was lost, and it is shown once: run `onerun webhooks rotate-secret {id}`"
        )
    };
    output::print(&fields(&[("id", id), ("secret", plain(secret))]))?;
    output::print_note("Store the secret now: it is not shown again.\n");
    Ok(())
}

async fn list(options: &List) -> anyhow::Result<()> {
    let project = options.of.client().await?;
    list::print(
        &options.listing,
        |webhook: &Webhook| &webhook.id,
        async |page| project.list_webhooks(page).await,
        async |webhooks| {
            let rows: Vec<_> = webhooks.iter().map(|webhook| row(webhook)).collect();
            Ok(table(["ID", "STATE", "FORMAT", "URL", "EVENTS"], &[3, 4], &rows))
        },
    )
    .await
}

fn row(webhook: &Webhook) -> [String; 5] {
    [&webhook.id, &webhook.state, &webhook.format, &webhook.url, &webhook.event_types.join(" ")]
        .map(|text| plain(text))
}

async fn get(options: &Get) -> anyhow::Result<()> {
    let webhook = options.of.of.client().await?.webhook(&options.of.webhook).await?;
    if options.json {
        return output::print_json(webhook.json());
    }
    output::print(&describe(&webhook))
}

fn describe(webhook: &Webhook) -> String {
    let prose = |text: &str| prose(text, NAME_WIDTH);
    let reason = webhook.disabled_reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let mut lines = vec![
        ("id", plain(&webhook.id)),
        ("url", plain(&webhook.url)),
        ("state", prose(&format!("{}{reason}", webhook.state))),
        ("format", plain(&webhook.format)),
        ("events", prose(&webhook.event_types.join(" "))),
    ];
    if let Some(description) = &webhook.description {
        lines.push(("description", prose(description)));
    }
    if let Some(until) = &webhook.previous_secret_expires_at {
        lines.push(("previous secret", format!("until {}", utc(until))));
    }
    lines.push(("created", utc(&webhook.created_at)));
    fields(&lines)
}

async fn update(options: &Update) -> anyhow::Result<()> {
    let Settings { description, format, state, .. } = &options.settings;
    let change = WebhookChange {
        url: options.url.clone(),
        description: description.clone(),
        event_types: options.settings.event_types(),
        format: format.clone(),
        state: state.clone(),
    };
    let webhook = options.of.of.client().await?.update_webhook(&options.of.webhook, &change).await?;
    if options.json { output::print_json(webhook.json()) } else { output::print(&describe(&webhook)) }
}

async fn delete(options: &Delete) -> anyhow::Result<()> {
    let project = options.of.of.client().await?;
    let webhook = project.webhook(&options.of.webhook).await?;
    options.consent.ask(&format!("Delete the webhook of {} and its deliveries?", plain(&webhook.url)))?;
    project.delete_webhook(&options.of.webhook).await?;
    output::print("deleted\n")
}

async fn rotate(options: &Rotate) -> anyhow::Result<()> {
    let project = options.of.of.client().await?;
    let made = project.rotate_webhook_secret(&options.of.webhook, options.overlap).await?;
    if options.json { output::print_json(made.json()) } else { print_secret(&made) }
}

async fn test(options: &Get) -> anyhow::Result<()> {
    let Selected { webhook, of } = &options.of;
    let delivery = of.client().await?.test_webhook(webhook).await?;
    if options.json {
        return output::print_json(delivery.json());
    }
    output::print(&format!("{}\n", plain(&delivery.id)))?;
    let webhook = plain(webhook);
    let id = plain(&delivery.id);
    output::print_note(&format!("See the result with `onerun webhooks delivery {webhook} {id}`.\n"));
    Ok(())
}

async fn deliveries(options: &Deliveries) -> anyhow::Result<()> {
    let project = options.of.of.client().await?;
    let (webhook, state) = (&options.of.webhook, options.state.as_deref());
    list::print(
        &options.listing,
        |delivery: &WebhookDelivery| &delivery.id,
        async |page| project.list_webhook_deliveries(webhook, state, page).await,
        async |deliveries| {
            let rows: Vec<_> = deliveries.iter().map(|delivery| delivery_row(delivery)).collect();
            Ok(table(["ID", "EVENT", "CREATED (UTC)", "STATE", "ATTEMPTS", "LAST"], &[], &rows))
        },
    )
    .await
}

fn delivery_row(delivery: &WebhookDelivery) -> [String; 6] {
    let last = delivery.attempts.last().map(result).or_else(|| delivery.error.as_deref().map(plain));
    [
        plain(&delivery.id),
        plain(&delivery.event_type),
        time(&delivery.created_at),
        plain(&delivery.state),
        delivery.attempts.len().to_string(),
        last.unwrap_or_default(),
    ]
}

/// The result of an attempt: the status of the answer, or why there was none.
fn result(attempt: &WebhookDeliveryAttempt) -> String {
    match (attempt.status_code, &attempt.error) {
        (Some(status), _) => status.to_string(),
        (None, error) => plain(error.as_deref().unwrap_or_default()),
    }
}

async fn delivery(options: &OneDelivery) -> anyhow::Result<()> {
    let SelectedDelivery { of, delivery } = &options.of;
    let delivery = of.of.client().await?.webhook_delivery(&of.webhook, delivery).await?;
    if options.json {
        return output::print_json(delivery.json());
    }
    output::print(&describe_delivery(&delivery))
}

fn describe_delivery(delivery: &WebhookDelivery) -> String {
    let error = delivery.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let mut lines = vec![
        ("id", plain(&delivery.id)),
        ("event", plain(&delivery.event_type)),
        ("state", plain(&format!("{}{error}", delivery.state))),
        ("created", utc(&delivery.created_at)),
    ];
    if let Some(next) = &delivery.next_attempt_at {
        lines.push(("next attempt", utc(next)));
    }
    lines.push(("payload", prose(&delivery.payload.to_string(), NAME_WIDTH)));
    let mut text = fields(&lines);
    if !delivery.attempts.is_empty() {
        let rows: Vec<_> =
            delivery.attempts.iter().map(|attempt| [time(&attempt.at), result(attempt)]).collect();
        text.push('\n');
        text.push_str(&table(["ATTEMPT (UTC)", "RESULT"], &[], &rows));
    }
    text
}

async fn replay(options: &OneDelivery) -> anyhow::Result<()> {
    let SelectedDelivery { of, delivery } = &options.of;
    let delivery = of.of.client().await?.replay_webhook_delivery(&of.webhook, delivery).await?;
    if options.json {
        return output::print_json(delivery.json());
    }
    output::print(&format!("{}\n", plain(&delivery.state)))
}
