//! The events of a project, and the bodies that tell about them. They have ids, names, counts and verdicts, and nothing
//! that was said in a conversation.

use jiff::Timestamp;
use onerun_domain::{
    Alert, AlertChange, AlertRates, EventSource, EventType, Limit, Monitor, MonitorId, MonitorRun,
    MonitorRunId, Outcome, PageRequest, RunVerdict, SimulationId, Webhook, WebhookFormat, wire_time,
};
use onerun_store::{ProjectStore, SimulationDetail, StoreError};
use serde_json::{Value, json};

use crate::{Engine, monitors::ALERT_RUNS};

/// Something that happened.
#[expect(
    clippy::struct_field_names,
    reason = "`type` is a keyword, and deliveries name it `event_type`, too"
)]
pub(super) struct Event {
    pub(super) event_type: EventType,
    /// The values that tell it apart from others of its type.
    pub(super) parts: Vec<String>,
    /// When it happened.
    pub(super) at: Timestamp,
    /// The fields of the body.
    pub(super) data: Value,
    /// The event in words.
    pub(super) text: String,
}

impl Event {
    /// A test of a webhook.
    pub(super) fn test(webhook: &Webhook, at: Timestamp, nonce: &str) -> Self {
        Self {
            event_type: EventType::WebhookTest,
            parts: vec![nonce.to_owned()],
            at,
            data: json!({ "project_id": webhook.project_id, "webhook_id": webhook.id }),
            text: format!("OneRun: test of webhook {}", webhook.id),
        }
    }

    /// The body of the requests.
    pub(super) fn body(&self, format: WebhookFormat) -> String {
        let body = match format {
            WebhookFormat::Standard => json!({
                "type": self.event_type.as_str(),
                "timestamp": wire_time(self.at),
                "data": self.data,
            }),
            WebhookFormat::Slack => json!({ "text": slack_text(&self.text) }),
        };
        body.to_string()
    }
}

/// Escapes the three characters that Slack reads as the begin of a link or a mention.
///
/// Source: <https://docs.slack.dev/messaging/formatting-message-text/#escaping>.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Engine {
    /// The events that follow from the state of a source, of the types that are wanted.
    pub(super) async fn events_of(
        &self,
        project: &dyn ProjectStore,
        source: &EventSource,
        wanted: impl Fn(EventType) -> bool + Send + Sync,
    ) -> Result<Vec<Event>, StoreError> {
        match source {
            EventSource::Simulation { simulation } => {
                if !EventType::subscribable().any(wanted) {
                    return Ok(Vec::new());
                }
                Ok(simulation_event(project, simulation).await?.into_iter().collect())
            }
            EventSource::MonitorRun { monitor, run, .. } => {
                monitor_events(project, monitor, run, wanted).await
            }
            // They are not of one project.
            EventSource::Key { .. } | EventSource::KeyExpiry { .. } => Ok(Vec::new()),
        }
    }
}

async fn simulation_event(
    project: &dyn ProjectStore,
    id: &SimulationId,
) -> Result<Option<Event>, StoreError> {
    let Some(SimulationDetail { simulation, agent, .. }) = project.simulation(id).await? else {
        return Ok(None);
    };
    let Some(event_type) = EventType::of_simulation(simulation.status) else { return Ok(None) };
    let Some(counts) = project.counts(id).await? else { return Ok(None) };
    let outcome = |outcome| counts.conversations.with_outcome(outcome);
    let (passed, failed) = (outcome(Outcome::Passed), outcome(Outcome::Failed));
    let inconclusive = outcome(Outcome::Inconclusive);
    let (target, status) = (simulation.target_conversations.get(), simulation.status.as_str());
    let data = json!({
        "project_id": simulation.project_id,
        "simulation_id": simulation.id,
        "name": simulation.name,
        "agent_id": agent.id,
        "agent_name": agent.name,
        "status": status,
        "target_conversations": target,
        "conversations": { "passed": passed, "failed": failed, "inconclusive": inconclusive },
        "batch_id": simulation.options.batch.as_ref().map(|item| &item.batch),
        "monitor_id": simulation.options.monitor_run.as_ref().map(|run| &run.monitor),
        "created_at": wire_time(simulation.created_at),
        "ended_at": wire_time(simulation.updated_at),
    });
    let text = format!(
        "OneRun: simulation {status}: {} ({}), agent {}: {passed} of {target} conversations passed, {failed} failed, \
         {inconclusive} inconclusive",
        simulation.name, simulation.id, agent.name
    );
    let parts = vec![simulation.id.to_string()];
    Ok(Some(Event { event_type, parts, at: simulation.updated_at, data, text }))
}

/// The end of a run, and the changes of its monitor's alert from this run on: a run that ends late may move them.
async fn monitor_events(
    project: &dyn ProjectStore,
    monitor: &MonitorId,
    run: &MonitorRunId,
    wanted: impl Fn(EventType) -> bool,
) -> Result<Vec<Event>, StoreError> {
    let wants_alerts = wanted(EventType::MonitorAlert) || wanted(EventType::MonitorRecovered);
    if !wants_alerts && !wanted(EventType::MonitorRunFinished) {
        return Ok(Vec::new());
    }
    let Some(monitor) = project.monitor(monitor).await? else { return Ok(Vec::new()) };
    let Some(run) = project.monitor_run(&monitor.id, run).await? else { return Ok(Vec::new()) };
    let Some(ended_at) = run.ended_at else { return Ok(Vec::new()) };
    let mut events = vec![run_event(&monitor, &run, ended_at)];
    if let Some(rates) = monitor.alert.filter(|_| wants_alerts) {
        let page = PageRequest::first(Limit::clamped(ALERT_RUNS));
        let runs = project.monitor_runs(&monitor.id, page).await?.data;
        let alert = Alert::after(rates, runs.iter().rev());
        for change in alert.events().iter().filter(|change| change.planned_at >= run.planned_at) {
            if let Some(cause) = runs.iter().find(|one| one.id == change.run) {
                events.push(alert_event(&monitor, cause, change.change, rates, ended_at));
            }
        }
    }
    Ok(events)
}

fn run_event(monitor: &Monitor, run: &MonitorRun, at: Timestamp) -> Event {
    let (status, simulation) = (run.status.as_str(), run.simulation_id());
    let verdict = run.results.as_ref().and_then(|results| results.verdict).map(RunVerdict::as_str);
    let outcomes = run.results.as_ref().map(|results| results.outcomes);
    let data = json!({
        "project_id": monitor.project_id,
        "monitor_id": monitor.id,
        "monitor_name": monitor.name,
        "run_id": run.id,
        "simulation_id": simulation,
        "trigger": run.trigger.as_str(),
        "planned_at": wire_time(run.planned_at),
        "ended_at": wire_time(at),
        "status": status,
        "verdict": verdict,
        "conversations": outcomes.map(|outcomes| json!({
            "passed": outcomes.passed,
            "failed": outcomes.failed,
            "inconclusive": outcomes.inconclusive,
            "infra": outcomes.infra,
        })),
    });
    let verdict = verdict.map(|verdict| format!(", verdict {verdict}")).unwrap_or_default();
    let counts = outcomes.map(|one| format!(", {} passed and {} failed", one.passed, one.failed));
    let text = format!(
        "OneRun: run of monitor {} ({}) {status}{verdict}{}",
        monitor.name,
        monitor.id,
        counts.unwrap_or_default()
    );
    let parts = vec![run.id.to_string()];
    Event { event_type: EventType::MonitorRunFinished, parts, at, data, text }
}

fn alert_event(
    monitor: &Monitor,
    run: &MonitorRun,
    change: AlertChange,
    rates: AlertRates,
    at: Timestamp,
) -> Event {
    let (event_type, words) = match change {
        AlertChange::Opened => (EventType::MonitorAlert, "the pass rate has dropped"),
        AlertChange::Recovered => (EventType::MonitorRecovered, "the pass rate has recovered"),
    };
    let data = json!({
        "project_id": monitor.project_id,
        "monitor_id": monitor.id,
        "monitor_name": monitor.name,
        "run_id": run.id,
        "simulation_id": run.simulation_id(),
        "planned_at": wire_time(run.planned_at),
        "expected_pass_rate": rates.expected(),
        "low_pass_rate": rates.low(),
    });
    let text =
        format!("OneRun: monitor {} ({}): {words}, expected {}", monitor.name, monitor.id, rates.expected());
    Event { event_type, parts: vec![run.id.to_string()], at, data, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_reads_no_mention_or_link_in_a_text() {
        let escaped = slack_text("<!channel> & <https://evil.example|fine> <@U1>");
        assert!(!escaped.contains(['<', '>']), "{escaped}");
        assert_eq!(slack_text("a & b &amp;"), "a &amp; b &amp;amp;");
    }
}
