//! Usage of models: a project's bill, and estimates of simulations.

use std::collections::BTreeMap;

use jiff::{Span, civil::Date, tz::TimeZone};
use onerun_auth::{Access, Scope};
use onerun_domain::{ModelUsage, Purpose, Target};
use onerun_engine::{Estimate, EstimateInput};
use onerun_store::ProjectStore;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    ApiError, App, Response,
    fields::{Integer, Nested, input},
    operation::{Example, operations},
    query::{Param, Params, Reader},
    request::{Call, reply},
    views::{ModelsOut, UsageOut, UsageReportOut},
};

/// The most days of one report.
const MAX_DAYS: i32 = 92;

/// The days of a report without `first`.
const DEFAULT_DAYS: i32 = 30;

/// The most keys that a report names. The cheapest others are summed up.
const MAX_KEYS: usize = 100;

operations! {
    GET_USAGE {
        route: GET "/v1/usage",
        handler: Project(get_usage),
        access: Access::Requires(Scope::SimulationsRead),
        query: UsageQuery,
        summary: "Get a project's usage of models",
        description: "Calls count on the day, in UTC, on which they were made, and for the key that created the simulation. \
            Costs follow list prices; a provider's bill may differ.",
        output: UsageByOut,
    }
    ESTIMATE_SIMULATION {
        route: POST "/v1/simulations/estimate",
        handler: Project(estimate_simulation),
        access: Access::Requires(Scope::SimulationsRead),
        summary: "Estimate a simulation's usage of models",
        description: "Nothing is created and no model is asked. The figures follow from the average length of messages: \
            expect the real usage within a factor of two of `typical`.",
        input: EstimateInput = json!({
            "target_conversations": 50, "target_personas": 10, "max_turns": 20, "objectives": 3,
        }),
        output: EstimateOut,
        errors: ["model_not_allowed"],
    }
}

input! {
    impl EstimateInput {
        target_conversations = required("The number of conversations."),
        target_personas = required("The number of personas to generate: 0 if they are given in `personas` or copied.")
            => |count: Integer<0, { Target::MAX }>| count.0,
        max_turns = defaulted(5, "The maximum number of messages in a conversation, of both sides together."),
        objectives = defaulted(0, "The number of objectives with prose criteria.") => |count: Integer<0, 50>| count.0,
        models = defaulted(json!({}), "The models, as for a simulation.")
            => |models: Nested<onerun_domain::RequestedModels>| models.0,
    }
}

impl Param for Date {
    fn parse(text: &str) -> Result<Self, String> {
        // Shorter forms of ISO 8601 are refused, so that a date has one form.
        let date = if text.len() == "2026-01-01".len() { text.parse().ok() } else { None };
        let date: Option<Self> = date.filter(|date: &Self| date.year() >= 1);
        date.ok_or_else(|| "must be a date such as `2026-11-30`".to_owned())
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "date" })
    }
}

/// The days of a report, both included.
struct UsageQuery {
    first: Option<Date>,
    last: Option<Date>,
}

impl Params for UsageQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let first =
            reader.optional("first", "The first day, in UTC; 30 days before the last one by default.");
        let last = reader
            .optional("last", "The last day, in UTC; today by default. At most 92 days after the first.");
        let (first, last): (Option<Date>, Option<Date>) = (first?, last?);
        if let (Some(first), Some(last)) = (first, last)
            && !(0..=MAX_DAYS).contains(&days_between(first, last))
        {
            reader.refuse("last", &format!("must be `first` or at most {MAX_DAYS} days after it"));
            return None;
        }
        Some(Self { first, last })
    }
}

fn days_between(first: Date, last: Date) -> i32 {
    first.until(last).map_or(i32::MAX, |span| span.get_days())
}

/// A project's usage of models.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ProjectUsage")]
struct UsageByOut {
    /// The first day.
    first: String,
    /// The last day.
    last: String,
    #[serde(flatten)]
    usage: UsageReportOut,
    /// Each day with usage, in order.
    days: Vec<DayUsageOut>,
    /// The keys whose simulations cost most, in that order.
    keys: Vec<KeyUsageOut>,
}

/// The usage of one day.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DayUsage")]
struct DayUsageOut {
    day: String,
    #[serde(flatten)]
    usage: UsageOut,
}

/// The usage of the simulations that one key created.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeyModelUsage")]
struct KeyUsageOut {
    /// The id of the key. Null for simulations of earlier releases, and for all keys beyond the first 100
    /// together.
    key_id: Option<String>,
    #[serde(flatten)]
    usage: UsageOut,
}

impl Example for UsageByOut {
    fn example() -> Value {
        json!({
            "first": "2026-11-24", "last": "2026-11-30", "total": UsageOut::example(),
            "models": [], "days": [], "keys": [],
        })
    }
}

/// An estimate of a simulation's usage.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Estimate")]
struct EstimateOut {
    /// The models that the simulation would use.
    models: ModelsOut,
    /// The usage if conversations have a typical length: seven messages of the persona, or fewer if `max_turns`
    /// is lower.
    typical: UsageReportOut,
    /// The usage if every conversation reaches `max_turns`.
    longest: UsageReportOut,
}

impl From<Estimate> for EstimateOut {
    fn from(estimate: Estimate) -> Self {
        let Estimate { models, typical, longest } = estimate;
        let report = |usages: [ModelUsage; 3]| {
            let rows = Purpose::ALL.into_iter().zip(usages).filter(|(_, usage)| usage.calls > 0);
            UsageReportOut::new(rows.map(|(purpose, usage)| (purpose, models.name(purpose).clone(), usage)))
        };
        Self { typical: report(typical), longest: report(longest), models: (&models).into() }
    }
}

impl Example for EstimateOut {
    fn example() -> Value {
        let report = json!({ "total": UsageOut::example(), "models": [] });
        json!({
            "models": { "persona": "openai:gpt-5.4-mini", "reply": "openai:gpt-5.4-mini", "judge": "openai:gpt-5.4" },
            "typical": report, "longest": report,
        })
    }
}

async fn get_usage(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let query: UsageQuery = call.query()?;
    let today = app.engine().now().to_zoned(TimeZone::UTC).date();
    let (first, last) = match (query.first, query.last) {
        (Some(first), Some(last)) => (first, last),
        (Some(first), None) => {
            (first, first.saturating_add(Span::new().days(MAX_DAYS)).min(today.max(first)))
        }
        (None, last) => {
            let last = last.unwrap_or(today);
            (last.saturating_sub(Span::new().days(DEFAULT_DAYS)), last)
        }
    };
    let rows = project.usage(first, last).await?;
    let mut days: BTreeMap<Date, ModelUsage> = BTreeMap::new();
    let mut keys: BTreeMap<Option<Box<str>>, ModelUsage> = BTreeMap::new();
    for row in &rows {
        *days.entry(row.day).or_default() += row.usage;
        *keys.entry(row.created_by.clone()).or_default() += row.usage;
    }
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_by_key(|(_, usage)| std::cmp::Reverse((usage.cost, usage.tokens.total())));
    let others: Option<ModelUsage> =
        (keys.len() > MAX_KEYS).then(|| keys.drain(MAX_KEYS..).map(|(_, usage)| usage).sum());
    keys.extend(others.map(|usage| (None, usage)));
    reply(&UsageByOut {
        first: first.to_string(),
        last: last.to_string(),
        usage: UsageReportOut::new(rows.into_iter().map(|row| (row.purpose, row.model, row.usage))),
        days: days
            .into_iter()
            .map(|(day, usage)| DayUsageOut { day: day.to_string(), usage: usage.into() })
            .collect(),
        keys: keys
            .into_iter()
            .map(|(key, usage)| KeyUsageOut { key_id: key.map(String::from), usage: usage.into() })
            .collect(),
    })
}

async fn estimate_simulation(app: &App, _: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let input: EstimateInput = call.body()?;
    reply(&EstimateOut::from(app.engine().estimate(&input)?))
}
