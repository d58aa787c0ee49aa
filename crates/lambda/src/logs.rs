//! JSON logs on Lambda.
//!
//! Lambda's log controls apply: `AWS_LAMBDA_LOG_LEVEL`, and `AWS_LAMBDA_LOG_FORMAT` with `JSON` or
//! `Text`. Each line has the ids of its invocation and of its X-Ray trace. The lines of requests
//! and jobs are also [`metrics`].

mod metrics;

use std::{fmt, io};

use jiff::Timestamp;
use onerun_domain::Clock;
use onerun_host::{SystemClock, Variables};
use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
        format::{JsonFields, Writer},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// The prefix of the targets of OneRun's crates.
const OWN_TARGETS: &str = "onerun";

/// The target of the runtime's span that has the ids of an invocation.
const INVOCATION_SPANS: &str = "lambda_runtime::layers";

/// Starts logging to standard output, from which Lambda collects logs.
pub(crate) fn start(variables: &Variables<'_>) {
    // Fails only if logging was started before.
    let _ = subscriber(variables, io::stdout).try_init();
}

fn subscriber<W>(variables: &Variables<'_>, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = level(variables.text("AWS_LAMBDA_LOG_LEVEL").as_deref());
    let is_json =
        variables.text("AWS_LAMBDA_LOG_FORMAT").is_none_or(|format| !format.eq_ignore_ascii_case("text"));
    let stack = variables.text("ONERUN_STACK").unwrap_or_else(|| "onerun".to_owned());
    // Below INFO, the SDK and the runtime log whole requests, with keys and transcripts.
    let others = level.min(LevelFilter::INFO);
    let filter = Targets::new()
        .with_default(others)
        .with_target(OWN_TARGETS, level)
        // Always on, because the ids of every line come from this span.
        .with_target(INVOCATION_SPANS, LevelFilter::INFO);
    let layer = tracing_subscriber::fmt::layer()
        .fmt_fields(JsonFields::new())
        .event_format(LineFormat { stack, is_json })
        .with_writer(writer)
        .with_filter(filter);
    tracing_subscriber::registry().with(layer)
}

/// Lambda's log level. Its `FATAL` becomes `ERROR`.
fn level(text: Option<&str>) -> LevelFilter {
    match text.map(str::to_ascii_uppercase).as_deref() {
        Some("TRACE") => LevelFilter::TRACE,
        Some("DEBUG") => LevelFilter::DEBUG,
        Some("WARN") => LevelFilter::WARN,
        Some("ERROR" | "FATAL") => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// The format of log lines.
struct LineFormat {
    stack: String,
    is_json: bool,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = EventFields::default();
        event.record(&mut fields);
        let mut members = fields.0;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let Some(text) = extensions.get::<FormattedFields<N>>() else { continue };
            let Ok(Value::Object(found)) = serde_json::from_str(text) else { continue };
            for (name, value) in found {
                let name = match name.as_str() {
                    "requestId" => "request_id",
                    "xrayTraceId" => "trace_id",
                    _ => continue,
                };
                members.entry(name).or_insert(value);
            }
        }
        self.write(writer, *event.metadata().level(), event.metadata().target(), members, SystemClock.now())
    }
}

impl LineFormat {
    fn write(
        &self,
        mut writer: Writer<'_>,
        level: Level,
        target: &str,
        members: Map<String, Value>,
        now: Timestamp,
    ) -> fmt::Result {
        let metrics = metrics::metrics(target, &members);
        // CloudWatch finds metrics only in JSON lines.
        if !self.is_json && metrics.is_empty() {
            let message = members.get("message").and_then(Value::as_str).unwrap_or_default();
            write!(writer, "{level} {target}: {message}")?;
            for (name, value) in members.iter().filter(|(name, _)| *name != "message") {
                write!(writer, " {name}={value}")?;
            }
            return writeln!(writer);
        }
        let mut line = Map::new();
        line.insert("timestamp".into(), format!("{now:.3}").into());
        line.insert("level".into(), level.as_str().into());
        line.insert("target".into(), target.into());
        line.extend(members);
        if !metrics.is_empty() {
            line.insert("stack".into(), self.stack.as_str().into());
            let directives: Vec<Value> = metrics.iter().map(metrics::Metric::directive).collect();
            let description = json!({ "Timestamp": now.as_millisecond(), "CloudWatchMetrics": directives });
            for metric in metrics {
                line.insert(metric.name.into(), metric.value);
            }
            line.insert("_aws".into(), description);
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Collects the fields of an event as JSON.
#[derive(Default)]
struct EventFields(Map<String, Value>);

impl EventFields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for EventFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests;
