//! Reports on simulations, and comparisons of two.

mod examples;

use bytes::Bytes;
use http::{HeaderValue, header};
use onerun_auth::{Access, Scope};
use onerun_domain::SimulationId;
use onerun_report::{Basis, Comparison, Gate, Report, Subject, render};
use onerun_store::ProjectStore;
use serde_json::{Value, json};

use crate::{
    ApiError, App, Response,
    dashboard::PAGE_HEADERS,
    fields::{Errors, Field},
    operation::operations,
    query::{Param, Params, Reader, word, words_schema},
    request::{Call, reply},
    simulations,
};

/// The maximum size of a report in a response, in bytes. On AWS an answer of more than 6 MB fails.
const MAX_BYTES: usize = 4_000_000;

operations! {
    GET_REPORT {
        route: GET "/v1/simulations/{simulation_id}/report",
        handler: Project(get_report),
        access: Access::Requires(Scope::ConversationsRead),
        query: ReportQuery,
        summary: "Get the report on a simulation: its verdict, and the results that it follows from",
        description: "A missing result never counts as passed: the verdict is `pass` only if the simulation is over and the gate \
            passes even if every missing result failed. `fail` means that it fails whatever the missing results would have \
            been, `inconclusive` that inconclusive evaluations could decide it, `infra` that missing results could decide it or \
            that the simulation is not over, `config` that it cannot be evaluated. Reasons and quotes of the worst \
            conversations come first: `reasons_left_out` counts the others, a text that ends with `…` is cut, and \
            `trials_left_out` counts the conversations that a report of more than 4 MB leaves out.",
        other_media_types: ["application/xml", "text/html", "text/markdown"],
        output: Report,
        errors: ["simulation_not_found"],
    }
    GET_COMPARISON {
        route: GET "/v1/simulations/{simulation_id}/compare",
        handler: Project(get_comparison),
        access: Access::Requires(Scope::ConversationsRead),
        query: ComparisonQuery,
        summary: "Compare a simulation with an earlier one, conversation by conversation",
        description: "Conversations are pairs if they have the same number and personas with the same texts, as those of a \
            simulation with `personas_from` have. All others are counted as `unpaired` and compared with nothing. An \
            objective regressed if more pairs are broken than fixed and McNemar's exact test finds the difference \
            significant, at 0.05 after Holm's correction over the objectives.",
        output: Comparison,
        errors: ["simulation_not_found"],
    }
}

/// The query of `get_report`.
pub(crate) struct ReportQuery {
    format: Format,
    gates: Vec<Gate>,
}

/// The format of a report.
#[derive(Clone, Copy)]
enum Format {
    Json,
    Markdown,
    Junit,
    Html,
}

const FORMATS: [(&str, Format); 4] = [
    ("json", Format::Json),
    ("markdown", Format::Markdown),
    ("junit", Format::Junit),
    ("html", Format::Html),
];

const BASES: [(&str, Basis); 2] = [("rate", Basis::Rate), ("lower_bound", Basis::LowerBound)];

impl Params for ReportQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let format = reader.optional(
            "format",
            "`json`, which is the default, `markdown`, `junit` (JUnit XML) or `html` (one page that loads nothing).",
        );
        let min = reader.optional::<MinRate>(
            "min_pass_rate",
            "The gate: the smallest share of all conversations that must pass. Without it, every conversation must pass.",
        );
        let on = reader.optional::<Basis>(
            "on",
            "What is compared with `min_pass_rate`: the pass rate (`rate`, the default) or the lower end of its 95% interval \
             (`lower_bound`).",
        );
        let (format, min, on) = (format?, min?, on?);
        if on.is_some() && min.is_none() {
            reader.refuse("on", "needs `min_pass_rate`; give both or neither");
            return None;
        }
        let gate =
            min.map(|MinRate(min)| Gate::PassRate { of: Subject::All, min, on: on.unwrap_or_default() });
        Some(Self { format: format.unwrap_or(Format::Json), gates: gate.into_iter().collect() })
    }
}

impl Param for Format {
    fn parse(text: &str) -> Result<Self, String> {
        word(text, &FORMATS)
    }

    fn schema() -> Value {
        words_schema(&FORMATS)
    }
}

impl Param for Basis {
    fn parse(text: &str) -> Result<Self, String> {
        word(text, &BASES)
    }

    fn schema() -> Value {
        words_schema(&BASES)
    }
}

/// A minimum of a pass rate.
pub(crate) struct MinRate(pub(crate) f64);

impl MinRate {
    fn of(number: Option<f64>) -> Result<Self, &'static str> {
        let number = number.filter(|number| *number > 0.0 && *number <= 1.0);
        number.map(Self).ok_or("must be a number above 0 and at most 1, such as `0.9`")
    }
}

impl Param for MinRate {
    fn parse(text: &str) -> Result<Self, String> {
        Self::of(text.parse().ok()).map_err(str::to_owned)
    }

    fn schema() -> Value {
        <Self as Field>::schema()
    }
}

impl Field for MinRate {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        errors.keep(pointer, Self::of(value.as_f64()))
    }

    fn schema() -> Value {
        json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 })
    }
}

/// The query of `get_comparison`.
pub(crate) struct ComparisonQuery(SimulationId);

impl Params for ComparisonQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        reader
            .required(
                "with",
                "The simulation to compare with: the earlier one, with the same personas, whose results are `before`.",
            )
            .map(Self)
    }
}

async fn get_report(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let ReportQuery { format, gates } = call.query()?;
    let detail = simulations::find(project, &call).await?;
    let body = app.engine().report(project, &detail, gates, move |report| written(report, format)).await??;
    let mut response = Response::new(Bytes::from(body));
    format.add_headers(&mut response);
    Ok(response)
}

async fn get_comparison(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let ComparisonQuery(with) = call.query()?;
    let after = simulations::find(project, &call).await?;
    if with == after.simulation.id {
        return Err(wrong_with("is this simulation itself; give an earlier one"));
    }
    let before = project.simulation(&with).await?;
    let before = before.ok_or_else(|| {
        wrong_with("is not a simulation of this project; list them with `GET /v1/simulations`")
    })?;
    reply(&app.engine().comparison(project, &before, &after).await?)
}

fn wrong_with(detail: &str) -> ApiError {
    ApiError::invalid_query("with", detail)
}

/// The report in a format. As long as it is larger than [`MAX_BYTES`], its mildest conversations are left out.
fn written(mut report: Report, format: Format) -> Result<Vec<u8>, ApiError> {
    loop {
        let body = format.write(&report)?;
        let trials = report.trials();
        if body.len() <= MAX_BYTES || trials == 0 {
            return Ok(body);
        }
        // The mildest conversations are the shortest, so it may take a few rounds.
        let share = trials.saturating_mul(MAX_BYTES) / body.len();
        report.keep_worst(share.saturating_mul(19) / 20);
    }
}

impl Format {
    fn write(self, report: &Report) -> Result<Vec<u8>, ApiError> {
        let text = match self {
            Self::Json => {
                return serde_json::to_vec(report).map_err(|error| ApiError::Internal(Box::new(error)));
            }
            Self::Markdown => render::markdown(report),
            Self::Junit => render::junit(report),
            Self::Html => render::html(report),
        };
        Ok(text.into_bytes())
    }

    /// The media type, and for formats that a browser may show, that nothing in them runs or is loaded. The page's own
    /// policy names its style.
    fn add_headers(self, response: &mut Response) {
        let media_type = match self {
            Self::Json => return,
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Junit => "application/xml",
            Self::Html => "text/html; charset=utf-8",
        };
        let headers = response.headers_mut();
        let own = [
            (header::CONTENT_TYPE, media_type),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
            ),
        ];
        for (name, value) in PAGE_HEADERS.into_iter().chain(own) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use onerun_domain::Outcome;
    use onerun_report::{
        CaseRun, Plan, PlannedCase, PlannedObjective, Trial, TrialEnd, TrialEvaluation, Trials, evaluate,
    };

    use super::*;

    /// A report of as many conversations as there can be, with long texts that grow when escaped.
    fn largest() -> Report {
        let key = |place: usize| format!("objective{place:03}");
        let name = "<".repeat(200);
        let case = PlannedCase {
            key: name.clone(),
            agent: name.clone(),
            scenario_key: "scenario".to_owned(),
            scenario: "&".repeat(10_000),
            objectives: (0..2)
                .map(|place| PlannedObjective { key: key(place), name: name.clone() })
                .collect(),
            trials: 10_000,
            personas: 10_000,
        };
        let mut trials = Trials::default();
        for number in 1..=case.trials {
            let evaluation = |place| TrialEvaluation {
                objective: key(place),
                outcome: if number == 4_321 { Outcome::Failed } else { Outcome::Inconclusive },
                score: Some(1.0 / 3.0),
                reason: "&".repeat(2_000),
                quotes: vec!["'".repeat(500)],
            };
            trials.push(Trial {
                number,
                persona: number,
                persona_key: Some("0".repeat(64)),
                persona_summary: "&".repeat(200),
                conversation_id: format!("{number:021}"),
                messages: 4,
                end: TrialEnd::Judged,
                evaluations: (0..2).map(evaluation).collect(),
            });
        }
        let run = CaseRun {
            case: name.clone(),
            simulation_id: "s".to_owned(),
            status: "completed".to_owned(),
            failure: None,
            cost_usd: None,
            trials: trials.into_vec(),
        };
        let plan = Plan { name, cases: vec![case], gates: Vec::new(), quarantine: Vec::new() };
        evaluate(&plan, &[run], None, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn largest_report_fits_and_keeps_the_worst_conversation() {
        let report = largest();
        for (name, format) in FORMATS {
            let body = String::from_utf8(written(report.clone(), format).unwrap()).unwrap();
            assert!(body.len() <= MAX_BYTES, "{name}: {}", body.len());
            assert!(body.contains(&format!("{:021}", 4_321)) || name == "markdown", "{name}");
            if name == "json" {
                let read: Report = serde_json::from_str(&body).unwrap();
                assert!(read.trials() > 1_000 && read.cases[0].trials_left_out > 0, "{}", read.trials());
                assert_eq!((read.counts, read.verdict), (report.counts, report.verdict));
            }
        }
    }
}
