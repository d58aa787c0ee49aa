//! Monitors, which start simulations on a schedule.

use onerun_auth::{Access, Scope};
use onerun_domain::{
    AlertRates, AlertRatesError, Metadata, MonitorGate, MonitorId, MonitorPatch, MonitorState, Name,
    NewSimulation, PageRequest, Resource, Schedule, Zone,
};
use onerun_engine::NewMonitor;
use onerun_store::{ProjectStore, SortBy};
use serde_json::{Value, json};

use crate::{
    ApiError, App, Response,
    fields::{Errors, Field, Fields, Input, METADATA, Nested, input},
    openapi::examples::new_monitor_example,
    operation::operations,
    query::{Params, Reader, SORT_BY_NAME, Sort, SortByKey, page},
    reports::MinRate,
    request::{Call, DoneOut, done, reply},
    views::{AlertOut, MonitorOut, MonitorRunOut, PageOut},
};

const NOT_FOUND: ApiError = ApiError::NotFound(Resource::Monitor);

const DELETED: &str = "Monitor deleted";

/// The maximum size of a monitor's simulation as JSON, in bytes. `DynamoDB` has to hold it twice as long in the record
/// of a request.
const MAX_SIMULATION_BYTES: usize = 128 * 1024;

operations! {
    CREATE_MONITOR {
        route: POST "/v1/monitors",
        handler: Project(create_monitor),
        access: Access::Requires(Scope::MonitorsWrite),
        idempotency: Recorded,
        summary: "Create a monitor, which starts a simulation at each planned time",
        description: "A planned time has one run. Times that are missed while the server is down are not caught up: only the \
            latest starts. A run starts even if the one before has not ended. Runs belong to the project: they go on when \
            the key that created the monitor ends.",
        input: CreateMonitor = new_monitor_example(),
        output: MonitorOut,
        errors: ["agent_not_found", "agent_archived", "project_archived", "objectives_not_found", "personas_not_ready", "model_not_allowed", "model_without_price"],
    }
    LIST_MONITORS {
        route: GET "/v1/monitors",
        handler: Project(list_monitors),
        access: Access::Requires(Scope::MonitorsRead),
        query: MonitorPage,
        summary: "List monitors",
        output: PageOut<MonitorOut>,
    }
    GET_MONITOR {
        route: GET "/v1/monitors/{monitor_id}",
        handler: Project(get_monitor),
        access: Access::Requires(Scope::MonitorsRead),
        summary: "Get a monitor",
        output: MonitorOut,
        errors: ["monitor_not_found"],
    }
    UPDATE_MONITOR {
        route: PATCH "/v1/monitors/{monitor_id}",
        handler: Project(update_monitor),
        access: Access::Requires(Scope::MonitorsWrite),
        summary: "Change, pause or resume a monitor",
        description: "Runs that are recorded already keep the gate that they have. A resumed monitor goes on with the next \
            planned time.",
        input: MonitorPatch = json!({ "state": "paused" }),
        output: MonitorOut,
        errors: [
            "monitor_not_found",
            "agent_not_found",
            "agent_archived",
            "project_archived",
            "objectives_not_found",
            "personas_not_ready",
            "model_not_allowed",
            "model_without_price",
        ],
    }
    DELETE_MONITOR {
        route: DELETE "/v1/monitors/{monitor_id}",
        handler: Project(delete_monitor),
        access: Access::Requires(Scope::MonitorsWrite),
        summary: "Delete a monitor and its history",
        description: "The simulations of its runs stay, and those in progress go on.",
        output: DoneOut = json!({ "message": DELETED }),
        errors: ["monitor_not_found"],
    }
    GET_MONITOR_ALERT {
        route: GET "/v1/monitors/{monitor_id}/alert",
        handler: Project(get_monitor_alert),
        access: Access::Requires(Scope::MonitorsRead),
        query: AlertQuery,
        summary: "Get the alert of a monitor: whether its pass rate has dropped",
        description: "A sequential test (CUSUM) of the latest 500 runs. With rates in the query, it answers what an alert with \
            these rates would have done.",
        output: AlertOut,
        errors: ["monitor_not_found"],
    }
    CREATE_MONITOR_RUN {
        route: POST "/v1/monitors/{monitor_id}/runs",
        handler: Project(create_monitor_run),
        access: Access::Requires(Scope::MonitorsWrite),
        idempotency: Recorded,
        summary: "Start a run of a monitor now, also of a paused one",
        output: MonitorRunOut,
        errors: ["monitor_not_found"],
    }
    LIST_MONITOR_RUNS {
        route: GET "/v1/monitors/{monitor_id}/runs",
        handler: Project(list_monitor_runs),
        access: Access::Requires(Scope::MonitorsRead),
        query: MonitorRunPage,
        summary: "List the runs of a monitor by planned time, last first",
        description: "Runs are stored for 400 days.",
        output: PageOut<MonitorRunOut>,
        errors: ["monitor_not_found"],
    }
}

const SIMULATION: &str = "The simulation of each run: what `create_simulation` takes, at most 128 KiB as JSON. Objectives \
    are used at their newest versions, and without a `seed` each run has its own.";

const GATE: &str = "What each run must reach.";

const ALERT: &str =
    "The rates that its alert tells apart. Without it, `get_monitor_alert` needs them in its query.";

const EXPECTED: &str = "The pass rate of the agent as it should be, from 0.02 to 0.999.";

const LOW: &str = "The lower pass rate that the alert must notice, at least 0.01.";

const STATE: &str = "`paused` if the schedule starts no runs.";

input! {
    /// The body of `create_monitor`.
    pub(crate) struct CreateMonitor {
        name: Name = required("A name for people to read."),
        simulation: NewSimulation = required(SIMULATION) => |simulation: MonitoredSimulation| simulation.0,
        schedule: Option<Schedule> = optional(
            "When runs start. Without one, only `create_monitor_run` and events from outside start runs."
        ),
        gate: Option<MonitorGate> = optional(GATE) => |gate: Option<Nested<MonitorGate>>| gate.map(|gate| gate.0),
        alert: Option<AlertRates> = optional(ALERT),
        state: MonitorState = defaulted("active", STATE),
        metadata: Metadata = defaulted(json!({}), METADATA),
    }
}

input! {
    impl MonitorPatch {
        name = optional("A new name; null keeps the current one."),
        simulation = optional("The simulation of later runs; null keeps the current one.")
            => |simulation: Option<MonitoredSimulation>| simulation.map(|simulation| simulation.0),
        schedule = optional("A new schedule; null keeps the current one. Pause a monitor to stop its schedule."),
        gate = optional("The gate of later runs; null keeps the current one.")
            => |gate: Option<Nested<MonitorGate>>| gate.map(|gate| gate.0),
        alert = optional("The new rates of its alert; null keeps the current ones."),
        state = optional("`paused` to stop the schedule, `active` to resume it; null keeps the current one."),
    }
}

/// The simulation of a monitor, whose personas no one is there to approve.
struct MonitoredSimulation(NewSimulation);

impl Input for MonitoredSimulation {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.with_default("auto_approve", true).map(Self)
    }
}

impl Field for MonitoredSimulation {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let read = Nested::<Self>::read(value, pointer, errors)?.0;
        let bytes = serde_json::to_vec(&read.0).map_or(usize::MAX, |json| json.len());
        if bytes > MAX_SIMULATION_BYTES {
            let detail = format!(
                "must be at most {MAX_SIMULATION_BYTES} bytes as JSON, and is {bytes}; copy long personas from a simulation \
                 with `personas_from`"
            );
            errors.push(pointer, detail);
            return None;
        }
        Some(read)
    }

    fn schema() -> Value {
        Nested::<Self>::schema()
    }
}

input! {
    struct ScheduleInput {
        expression: String = required(
            "A rate (`rate(5 minutes)`, counted from when it is set), AWS's cron expression (`cron(0 9 ? * MON-FRI *)`: \
             minutes, hours, day of month, month, day of week, year), or the usual five fields (`0 9 * * 1-5`). The \
             shortest interval is a minute."
        ),
        timezone: Zone = defaulted("UTC", "The IANA time zone of a cron expression, such as `Europe/Berlin`."),
    }
}

impl Field for Schedule {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let Nested(ScheduleInput { expression, timezone }) = Nested::read(value, pointer, errors)?;
        errors.keep(&format!("{pointer}/expression"), Self::parse(&expression, timezone))
    }

    fn schema() -> Value {
        Nested::<ScheduleInput>::schema()
    }
}

impl Field for Zone {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let name = String::read(value, pointer, errors)?;
        errors.keep(pointer, Self::parse(&name))
    }

    fn schema() -> Value {
        json!({ "type": "string", "maxLength": 256 })
    }
}

input! {
    impl MonitorGate {
        min_pass_rate = required("The smallest share of all conversations of a run that must pass: above 0, at most 1.")
            => |rate: MinRate| rate.0,
        on = defaulted(
            "rate",
            "What is compared with it: the pass rate (`rate`) or the lower end of its 95% interval (`lower_bound`)."
        ),
    }
}

input! {
    struct AlertInput {
        expected_pass_rate: f64 = required(EXPECTED) => |rate: MinRate| rate.0,
        low_pass_rate: f64 = required(LOW) => |rate: MinRate| rate.0,
    }
}

impl Field for AlertRates {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let Nested(AlertInput { expected_pass_rate, low_pass_rate }) = Nested::read(value, pointer, errors)?;
        let rates = Self::parse(expected_pass_rate, low_pass_rate);
        let field = rates.as_ref().err().map_or("", wrong_rate);
        errors.keep(&format!("{pointer}/{field}"), rates)
    }

    fn schema() -> Value {
        Nested::<AlertInput>::schema()
    }
}

/// The field of a refused rate.
fn wrong_rate(error: &AlertRatesError) -> &'static str {
    match error {
        AlertRatesError::Expected => "expected_pass_rate",
        AlertRatesError::Low => "low_pass_rate",
    }
}

/// The query of `get_monitor_alert`.
pub(crate) struct AlertQuery(Option<AlertRates>);

impl Params for AlertQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let expected = reader.optional::<MinRate>(
            "expected_pass_rate",
            "The pass rate of the agent as it should be, from 0.02 to 0.999. Without it, that of the monitor's `alert`.",
        );
        let low = reader.optional::<MinRate>(
            "low_pass_rate",
            "The lower pass rate that an alert must notice, at least 0.01. Without it, that of the monitor's `alert`.",
        );
        match (expected?, low?) {
            (None, None) => Some(Self(None)),
            (Some(MinRate(expected)), Some(MinRate(low))) => {
                let rates = AlertRates::parse(expected, low);
                rates
                    .map_err(|error| reader.refuse(wrong_rate(&error), &error.to_string()))
                    .ok()
                    .map(|rates| Self(Some(rates)))
            }
            (expected, _) => {
                let missing = if expected.is_none() { "expected_pass_rate" } else { "low_pass_rate" };
                reader.refuse(missing, "is required; give both rates or neither");
                None
            }
        }
    }
}

/// The query of `list_monitors`.
pub(crate) struct MonitorPage {
    sort: SortBy,
    page: PageRequest,
}

impl Params for MonitorPage {
    fn read(reader: &mut Reader) -> Option<Self> {
        let sort = Sort::<SortByKey>::read(reader, SORT_BY_NAME);
        let page = page(reader);
        Some(Self { sort: sort?.named(), page: page? })
    }
}

/// The query of `list_monitor_runs`.
pub(crate) struct MonitorRunPage(PageRequest);

impl Params for MonitorRunPage {
    fn read(reader: &mut Reader) -> Option<Self> {
        page(reader).map(Self)
    }
}

async fn create_monitor(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let CreateMonitor { name, simulation, schedule, gate, alert, state, metadata } = call.body()?;
    let new = NewMonitor { name, simulation, schedule, gate, alert, state, metadata };
    let created_by = call.caller()?.key_id().as_str();
    let engine = app.engine();
    let record = |monitor: &_| call.record(&MonitorOut::of(app, monitor));
    let monitor = engine.create_monitor(project, new, created_by, record).await?;
    reply(&MonitorOut::of(app, &monitor))
}

async fn list_monitors(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let MonitorPage { sort, page } = call.query()?;
    let monitors = project.monitors(sort, page).await?;
    reply(&call.page_of(monitors, |monitor| MonitorOut::of(app, &monitor)))
}

async fn get_monitor(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let monitor = project.monitor(&call.id(Resource::Monitor)?).await?.ok_or(NOT_FOUND)?;
    reply(&MonitorOut::of(app, &monitor))
}

async fn update_monitor(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id(Resource::Monitor)?;
    let monitor = app.engine().update_monitor(project, &id, call.body()?).await?;
    reply(&MonitorOut::of(app, &monitor))
}

async fn delete_monitor(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    if project.delete_monitor(&call.id(Resource::Monitor)?).await? { done(DELETED) } else { Err(NOT_FOUND) }
}

async fn get_monitor_alert(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let AlertQuery(rates) = call.query()?;
    let monitor = project.monitor(&call.id(Resource::Monitor)?).await?.ok_or(NOT_FOUND)?;
    let rates = rates.or(monitor.alert).ok_or_else(|| {
        let detail =
            "is required, because the monitor has no `alert`; give `expected_pass_rate` and `low_pass_rate`";
        ApiError::invalid_query("expected_pass_rate", detail)
    })?;
    let alert = app.engine().monitor_alert(project, &monitor.id, rates).await?;
    reply(&AlertOut::new(&monitor, &alert))
}

async fn create_monitor_run(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id(Resource::Monitor)?;
    let recorder = call.recorder();
    let record = move |run: &_| recorder(&MonitorRunOut::from(run));
    let run = app.engine().create_monitor_run(project, &id, record).await?;
    reply(&MonitorRunOut::from(&run))
}

async fn list_monitor_runs(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let MonitorRunPage(page) = call.query()?;
    let id: MonitorId = call.id(Resource::Monitor)?;
    project.monitor(&id).await?.ok_or(NOT_FOUND)?;
    let runs = project.monitor_runs(&id, page).await?;
    reply(&call.page_of(runs, |run| MonitorRunOut::from(&run)))
}
