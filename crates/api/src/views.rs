//! The shapes of responses, in types of their own: a new field of the domain is not published by accident.
//!
//! They are a superset of the published service's, so everything its SDK reads is present.

mod agent;
mod batch;
mod conversation;
mod evaluation;
mod evaluation_run;
mod item;
mod key;
mod monitor;
mod objective;
mod persona;
mod persona_fault;
mod project;
mod simulation;
mod usage;
mod webhook;

use jiff::Timestamp;
use onerun_domain::{Interval, Objective, wire_time};
use onerun_store::SimulationDetail;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::App;

pub(crate) use agent::*;
pub(crate) use batch::*;
pub(crate) use conversation::*;
pub(crate) use evaluation::*;
pub(crate) use evaluation_run::*;
pub(crate) use item::*;
pub(crate) use key::*;
pub(crate) use monitor::*;
pub(crate) use objective::*;
pub(crate) use persona::*;
pub(crate) use persona_fault::*;
pub(crate) use project::*;
pub(crate) use simulation::*;
pub(crate) use usage::*;
pub(crate) use webhook::*;

/// A time: RFC 3339, in UTC, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&wire_time(self.0))
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// A page of a list. It ends at `limit` rows, or before the row that would take it past 4,000,000 bytes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(crate) struct PageOut<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Whether more rows follow.
    pub has_more: bool,
    /// The `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// A stored resource with warnings about it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}WithWarnings")]
pub(crate) struct Warned<T> {
    #[serde(flatten)]
    written: T,
    /// Likely mistakes in the request, each with its consequence; usually empty.
    warnings: Vec<String>,
}

impl Warned<ObjectiveOut> {
    pub(crate) fn objective(app: &App, objective: Objective) -> Self {
        let engine = app.engine();
        let warnings = engine.warnings(&engine.models().defaults().judge, std::slice::from_ref(&objective));
        Self { written: objective.into(), warnings }
    }
}

impl Warned<SimulationOut> {
    pub(crate) fn simulation(app: &App, detail: SimulationDetail) -> Self {
        let judge = &detail.simulation.options.models.judge;
        let engine = app.engine();
        let mut warnings = engine.warnings(judge, &detail.objectives);
        warnings.extend(engine.retirements(&detail.simulation.options.models));
        Self { written: detail.into(), warnings }
    }

    /// Removes the objectives, which are far larger than the rest.
    pub(crate) fn without_objectives(mut self) -> Self {
        self.written.objectives.clear();
        self
    }
}

/// Enums of the domain, with a schema that lists their words.
macro_rules! words {
    ($($name:ident($type:ident)),* $(,)?) => {$(
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) onerun_domain::$type);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let words = onerun_domain::$type::ALL.map(onerun_domain::$type::as_str);
                json_schema!({ "type": "string", "enum": words })
            }
        }
    )*};
}

words! {
    SimulationStatusOut(SimulationStatus),
    ApprovalStatusOut(ApprovalStatus),
    ConversationStatusOut(ConversationStatus),
    EvaluationStatusOut(EvaluationStatus),
    EndReasonOut(EndReason),
    OutcomeOut(Outcome),
    EvaluationRunStatusOut(EvaluationRunStatus),
    PersonaFaultKindOut(PersonaFaultKind),
    FaultSeverityOut(FaultSeverity),
    FaultSourceOut(FaultSource),
    MonitorStateOut(MonitorState),
    MonitorTriggerOut(MonitorTrigger),
    GateBasisOut(GateBasis),
    RunVerdictOut(RunVerdict),
    AlertStateOut(AlertState),
    AlertChangeOut(AlertChange),
    BatchStatusOut(BatchStatus),
    BatchItemStatusOut(BatchItemStatus),
    EventTypeOut(EventType),
    WebhookFormatOut(WebhookFormat),
    WebhookStateOut(WebhookState),
    DeliveryStateOut(DeliveryState),
    DeliveryErrorOut(DeliveryError),
}

/// A 95% confidence interval of a rate.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Interval")]
pub(crate) struct IntervalOut {
    low: f64,
    high: f64,
}

impl From<Interval> for IntervalOut {
    fn from(interval: Interval) -> Self {
        Self { low: interval.low, high: interval.high }
    }
}
