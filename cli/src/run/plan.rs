//! The plan of a run: what follows from the file, before anything starts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use onerun_client::resource::{NewPersona, RequestedModels};
use onerun_domain::{Metadata, ModelName, Seed, derive_seed};
use onerun_report::{Against, Gate, PlannedCase, PlannedObjective, Quarantine};
use onerun_targets::TargetSpec;
use serde_json::{Map, Value};

use super::file::{Count, Key, PersonasSpec, RunFile, ScenarioSpec, Source};

/// The key of the agent in a file with `agent`.
const ONLY_AGENT: &str = "agent";

/// The maximum number of cases, of objectives of one scenario, and of conversations of a run.
const MAX_CASES: usize = 200;
const MAX_OBJECTIVES: usize = 50;
const MAX_CONVERSATIONS: u64 = 50_000;

/// The number of conversations of each scenario by default, unless the file has the personas.
const DEFAULT_CONVERSATIONS: u32 = 10;

/// How long a simulation may take by default, and at most, in seconds.
const DEFAULT_EXPIRY: u32 = 3_600;
const MAX_EXPIRY: u32 = 30 * 24 * 3_600;

/// How many conversations are held with each agent at once by default, and at most.
const DEFAULT_CONCURRENCY: u16 = 10;
const MAX_CONCURRENCY: u16 = 500;

/// The smallest limit of cost that the API represents.
const MIN_COST: f64 = 1e-9;

/// A run that is ready to start.
#[derive(Debug)]
pub(crate) struct RunPlan {
    /// The agents. The first one's personas are generated, the others meet the same.
    pub(crate) agents: Vec<RunAgent>,
    pub(crate) objectives: Vec<RunObjective>,
    /// The simulations, in the order of the cases in `report`.
    pub(crate) simulations: Vec<RunSimulation>,
    pub(crate) models: [Option<ModelName>; 3],
    pub(crate) expires_in_seconds: u32,
    pub(crate) concurrency: u16,
    pub(crate) metadata: Map<String, Value>,
    /// The file with the baseline.
    pub(crate) baseline: Option<PathBuf>,
    /// The cases and gates.
    pub(crate) report: onerun_report::Plan,
}

#[derive(Debug)]
pub(crate) struct RunAgent {
    pub(crate) key: String,
    pub(crate) target: TargetSpec,
    pub(crate) description: Option<String>,
}

#[derive(Debug)]
pub(crate) struct RunObjective {
    pub(crate) key: String,
    pub(crate) criteria: String,
    pub(crate) has_prose: bool,
}

/// One simulation: one agent in one scenario.
#[derive(Debug)]
pub(crate) struct RunSimulation {
    /// The case's key.
    pub(crate) case: String,
    /// The places of agent, scenario and objectives.
    pub(crate) agent: usize,
    pub(crate) scenario: usize,
    pub(crate) objectives: Vec<usize>,
    pub(crate) text: String,
    pub(crate) conversations: u32,
    pub(crate) personas: u32,
    /// The personas, unless they are generated.
    pub(crate) explicit_personas: Arc<[NewPersona]>,
    pub(crate) max_turns: u32,
    pub(crate) seed: u64,
    pub(crate) max_cost_usd: Option<f64>,
}

impl RunSimulation {
    /// How many personas a model generates. Those of the file, and the copies that other agents than the first one
    /// meet, cost nothing.
    pub(crate) fn generated_personas(&self) -> u32 {
        if self.agent == 0 && self.explicit_personas.is_empty() { self.personas } else { 0 }
    }
}

impl RunPlan {
    /// The plan of a file, or every reason why it cannot be run.
    pub(crate) fn new(file: RunFile, source: &Source) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let agents = agents(&file, source.directory(), &mut problems);
        let objectives = file.objectives.iter().map(|(key, objective)| RunObjective {
            key: key.to_string(),
            criteria: objective.criteria.to_string(),
            has_prose: objective.criteria.has_prose(),
        });
        let objectives: Vec<RunObjective> = objectives.collect();
        if objectives.is_empty() {
            problems.push("objectives: must have at least one objective".to_owned());
        }
        if file.scenarios.is_empty() {
            problems.push("scenarios: must have at least one scenario".to_owned());
        }
        let mut simulations = Vec::new();
        for (place, agent) in agents.iter().enumerate() {
            for (scenario_place, (key, scenario)) in file.scenarios.iter().enumerate() {
                let case = if agents.len() == 1 { key.to_string() } else { format!("{key}@{}", agent.key) };
                // The same problem of a scenario is reported once.
                let mut own = if place == 0 { Some(&mut problems) } else { None };
                let chosen = chosen_objectives(key, scenario, &objectives, source, own.as_deref_mut());
                let People { conversations, personas, explicit } = People::of(&file, scenario);
                if let Some(problems) = own
                    && personas > conversations
                {
                    problems.push(format!(
                        "scenarios.{key}: {personas} personas cannot share {conversations} conversations: \
                         use fewer `personas`, or raise `conversations`"
                    ));
                }
                let seed = derive_seed(Seed::from_bits(file.seed.get()), &[key.as_str()]);
                simulations.push(RunSimulation {
                    case,
                    agent: place,
                    scenario: scenario_place,
                    objectives: chosen,
                    text: scenario.text.to_string(),
                    conversations,
                    personas,
                    explicit_personas: explicit,
                    max_turns: scenario.max_turns.unwrap_or(file.max_turns).get(),
                    seed: Seed::from_bits(seed).get(),
                    max_cost_usd: None,
                });
            }
        }
        let conversations: u64 = simulations.iter().map(|one| u64::from(one.conversations)).sum();
        if simulations.len() > MAX_CASES {
            let number = simulations.len();
            problems.push(format!("{number} cases are more than {MAX_CASES}: split the file into several"));
        }
        if conversations > MAX_CONVERSATIONS {
            problems.push(format!(
                "{conversations} conversations are more than {MAX_CONVERSATIONS}: split the file into several"
            ));
        }
        let limits = Limits::of(&file, &mut problems);
        for simulation in &mut simulations {
            let share = f64::from(simulation.conversations) / conversations.max(1) as f64;
            simulation.max_cost_usd = limits.max_cost_usd.map(|cost| (cost * share).max(MIN_COST));
        }
        if let Err(error) = Metadata::parse(file.metadata.clone()) {
            problems.push(format!("metadata: {error}"));
        }
        let report = report_plan(&file, &agents, &simulations);
        let baseline = baseline(&file, source, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let models = [file.models.persona, file.models.reply, file.models.judge];
        Ok(Self {
            agents,
            objectives,
            simulations,
            models,
            expires_in_seconds: limits.expires_in_seconds,
            concurrency: limits.concurrency,
            metadata: file.metadata,
            baseline,
            report,
        })
    }

    /// The models as the API takes them; `None` without any.
    pub(crate) fn requested_models(&self) -> Option<RequestedModels> {
        let [persona, reply, judge] =
            self.models.each_ref().map(|name| name.as_ref().map(ModelName::to_string));
        let requested = RequestedModels { persona, reply, judge };
        (requested != RequestedModels::default()).then_some(requested)
    }

    /// The number of conversations.
    pub(crate) fn conversations(&self) -> u64 {
        self.simulations.iter().map(|one| u64::from(one.conversations)).sum()
    }

    /// Removes the gates that need a baseline.
    pub(crate) fn without_baseline(&mut self) {
        self.baseline = None;
        self.report.gates.retain(|gate| !needs_baseline(gate));
    }

    /// Whether a gate needs a baseline.
    pub(crate) fn needs_baseline(&self) -> bool {
        self.report.gates.iter().any(needs_baseline)
    }
}

fn needs_baseline(gate: &Gate) -> bool {
    matches!(gate, Gate::NoRegression { against: Against::Baseline, .. })
}

/// A target whose command runs in the directory of the file.
fn in_directory(target: &TargetSpec, directory: &Path) -> TargetSpec {
    let mut target = target.clone();
    if let TargetSpec::Command(command) = &mut target
        && directory != Path::new("")
    {
        command.cwd = Some(directory.join(command.cwd.as_deref().unwrap_or(Path::new(""))));
    }
    target
}

fn agents(file: &RunFile, directory: &Path, problems: &mut Vec<String>) -> Vec<RunAgent> {
    let several = file.agents.iter().map(|(key, spec)| (key.to_string(), spec));
    let only = file.agent.iter().map(|spec| (ONLY_AGENT.to_owned(), spec));
    match (&file.agent, file.agents.is_empty()) {
        (None, true) => problems.push("agent: is missing: say how to reach the agent under test".to_owned()),
        (Some(_), false) => problems.push("write either `agent` or `agents`, not both".to_owned()),
        _ => {}
    }
    let agents = only.chain(several).map(|(key, spec)| RunAgent {
        key,
        target: in_directory(&spec.target, directory),
        description: spec.description.as_ref().map(ToString::to_string),
    });
    agents.collect()
}

/// The conversations and personas of a scenario.
struct People {
    conversations: u32,
    personas: u32,
    explicit: Arc<[NewPersona]>,
}

impl People {
    fn of(file: &RunFile, scenario: &ScenarioSpec) -> Self {
        let conversations = scenario.conversations.or(file.conversations).map(Count::get);
        match scenario.personas.as_ref().or(file.personas.as_ref()) {
            Some(PersonasSpec::Explicit(explicit)) => {
                let personas = u32::try_from(explicit.len()).unwrap_or(u32::MAX);
                let conversations = conversations.unwrap_or(personas);
                Self { conversations, personas, explicit: Arc::clone(explicit) }
            }
            generated => {
                let conversations = conversations.unwrap_or(DEFAULT_CONVERSATIONS);
                let personas = match generated {
                    Some(PersonasSpec::Generated(count)) => count.get(),
                    _ => conversations,
                };
                Self { conversations, personas, explicit: Arc::default() }
            }
        }
    }
}

/// The places of a scenario's objectives.
fn chosen_objectives(
    scenario_key: &Key,
    scenario: &ScenarioSpec,
    objectives: &[RunObjective],
    source: &Source,
    mut problems: Option<&mut Vec<String>>,
) -> Vec<usize> {
    let mut report = |problem: String| {
        if let Some(problems) = problems.as_deref_mut() {
            problems.push(problem);
        }
    };
    let mut chosen = Vec::new();
    match &scenario.objectives {
        None => chosen.extend(0..objectives.len()),
        Some(keys) => {
            for key in keys {
                let at = |message: &str| source.at(key.referenced.line(), key.referenced.column(), message);
                let found = objectives.iter().position(|one| one.key == key.value.as_str());
                match found {
                    None => report(at(&format!("there is no objective `{}` in `objectives`", key.value))),
                    Some(place) if chosen.contains(&place) => {
                        report(at(&format!("objective `{}` is there twice", key.value)));
                    }
                    Some(place) => chosen.push(place),
                }
            }
            if keys.is_empty() {
                report(format!("scenarios.{scenario_key}.objectives: must not be empty"));
            }
        }
    }
    if chosen.len() > MAX_OBJECTIVES {
        report(format!("scenarios.{scenario_key}: must have at most {MAX_OBJECTIVES} objectives"));
    }
    chosen
}

struct Limits {
    max_cost_usd: Option<f64>,
    expires_in_seconds: u32,
    concurrency: u16,
}

impl Limits {
    fn of(file: &RunFile, problems: &mut Vec<String>) -> Self {
        let limits = &file.limits;
        let expires_in_seconds = limits.expires_in_seconds.unwrap_or(DEFAULT_EXPIRY);
        if !(1..=MAX_EXPIRY).contains(&expires_in_seconds) {
            problems.push(format!("limits.expires_in_seconds: must be an integer from 1 to {MAX_EXPIRY}"));
        }
        let concurrency = limits.concurrency.unwrap_or(DEFAULT_CONCURRENCY);
        if !(1..=MAX_CONCURRENCY).contains(&concurrency) {
            problems.push(format!("limits.concurrency: must be an integer from 1 to {MAX_CONCURRENCY}"));
        }
        if limits.max_cost_usd.is_some_and(|cost| !cost.is_finite() || cost < MIN_COST) {
            problems.push(format!("limits.max_cost_usd: must be a number above 0, at least {MIN_COST}"));
        }
        Self { max_cost_usd: limits.max_cost_usd, expires_in_seconds, concurrency }
    }
}

fn report_plan(file: &RunFile, agents: &[RunAgent], simulations: &[RunSimulation]) -> onerun_report::Plan {
    let scenarios: Vec<_> = file.scenarios.iter().collect();
    let objectives: Vec<_> = file.objectives.iter().collect();
    let objective = |place: &usize| {
        let (key, objective) = objectives[*place];
        let name = objective.name.as_ref().map_or_else(|| key.to_string(), ToString::to_string);
        PlannedObjective { key: key.to_string(), name }
    };
    let cases = simulations.iter().map(|simulation| PlannedCase {
        key: simulation.case.clone(),
        agent: agents[simulation.agent].key.clone(),
        scenario_key: scenarios[simulation.scenario].0.to_string(),
        scenario: simulation.text.clone(),
        objectives: simulation.objectives.iter().map(objective).collect(),
        trials: simulation.conversations,
        personas: simulation.personas,
    });
    let quarantine = file.quarantine.iter().map(|one| Quarantine {
        case: one.case.clone(),
        objective: one.objective.clone(),
        owner: one.owner.to_string(),
        until: one.until,
        reason: Some(one.reason.to_string()),
    });
    onerun_report::Plan {
        name: file.name.to_string(),
        cases: cases.collect(),
        gates: file.gates.clone(),
        quarantine: quarantine.collect(),
    }
}

/// The file with the baseline, relative to the file of the run.
fn baseline(file: &RunFile, source: &Source, problems: &mut Vec<String>) -> Option<PathBuf> {
    let baseline = file.baseline.as_deref()?;
    if baseline.is_empty() {
        problems.push("baseline: must not be empty".to_owned());
    }
    Some(source.directory().join(baseline))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "agent: {target: {command: [./agent]}}\n";
    const TWO: &str =
        "agents: {old: {target: workers}, new: {target: {command: {run: [./agent], cwd: bots}}}}\n";
    const SCENARIOS: &str =
        "scenarios: {refund: A broken kettle., order: {text: A late parcel., conversations: 30}}\n";
    const OBJECTIVES: &str =
        "objectives: {polite: 'check: agent never says /no/', kind: The agent is kind.}\n";

    fn plan(text: &str) -> Result<RunPlan, Vec<String>> {
        let source = Source::of("desk/onerun.yaml", text);
        RunPlan::new(source.parse().unwrap(), &source)
    }

    fn plan_of(agents: &str, more: &str) -> RunPlan {
        plan(&format!("name: Desk\n{agents}{SCENARIOS}{OBJECTIVES}{more}")).unwrap()
    }

    #[test]
    fn each_agent_has_each_scenario_under_a_stable_key() {
        let keys = |plan: &RunPlan| plan.simulations.iter().map(|one| one.case.clone()).collect::<Vec<_>>();
        let (one, two) = (plan_of(AGENT, ""), plan_of(TWO, ""));
        assert_eq!(keys(&one), ["refund", "order"]);
        assert_eq!(keys(&two), ["refund@old", "order@old", "refund@new", "order@new"]);
        assert_eq!(two.conversations(), 80);
        for (planned, reported) in two.simulations.iter().zip(&two.report.cases) {
            assert_eq!((&planned.case, planned.conversations), (&reported.key, reported.trials));
            assert_eq!(two.agents[planned.agent].key, reported.agent);
            assert_eq!((planned.objectives.len(), reported.objectives.len()), (2, 2));
        }
    }

    #[test]
    fn seed_of_a_scenario_depends_on_its_key_alone() {
        let seeds = |plan: &RunPlan| plan.simulations.iter().map(|one| one.seed).collect::<Vec<_>>();
        let (one, two) = (seeds(&plan_of(AGENT, "")), seeds(&plan_of(TWO, "conversations: 3\n")));
        assert_eq!((&two[..2], &two[2..]), (&one[..], &one[..]));
        assert_ne!(one[0], one[1]);
        let other = "scenarios: {order: {text: Another., conversations: 30}}\n";
        let alone = plan(&format!("name: Desk\n{AGENT}{other}{OBJECTIVES}")).unwrap();
        assert_eq!(seeds(&alone), one[1..]);
        assert_ne!(seeds(&plan_of(AGENT, "seed: 1\n")), one);
    }

    #[test]
    fn settings_of_a_scenario_come_before_those_of_the_file() {
        let scenarios = "scenarios:\n  own: {text: A., conversations: 4, personas: 2, max_turns: 6, objectives: [kind]}\n  \
            common: B.\n";
        let file = format!(
            "name: Desk\n{AGENT}{scenarios}{OBJECTIVES}conversations: 9\npersonas: 3\nmax_turns: 8\n"
        );
        let plan = plan(&file).unwrap();
        let [own, common] = &plan.simulations[..] else { panic!("{:?}", plan.simulations) };
        assert_eq!((own.conversations, own.personas, own.max_turns), (4, 2, 6));
        assert_eq!((common.conversations, common.personas, common.max_turns), (9, 3, 8));
        assert_eq!((&own.objectives[..], &common.objectives[..]), (&[1][..], &[0, 1][..]));
    }

    #[test]
    fn each_written_persona_has_a_conversation_by_default() {
        let personas =
            |count| format!("personas: [{}]\n", ["{summary: A., purpose: b}"; 3][..count].join(", "));
        let plan = plan_of(TWO, &personas(3));
        let numbers =
            plan.simulations.iter().map(|one| (one.conversations, one.personas)).collect::<Vec<_>>();
        assert_eq!(numbers, [(3, 3), (30, 3), (3, 3), (30, 3)]);
        assert!(plan.simulations.iter().all(|one| one.generated_personas() == 0));
        let generated = |plan: RunPlan| {
            plan.simulations.iter().map(RunSimulation::generated_personas).collect::<Vec<_>>()
        };
        assert_eq!(generated(plan_of(TWO, "personas: 3\n")), [3, 3, 0, 0]);
        assert_eq!(generated(plan_of(TWO, "")), [10, 30, 0, 0]);
    }

    #[test]
    fn limit_of_cost_is_shared_by_conversations() {
        let plan = plan_of(AGENT, "limits: {max_cost_usd: 2, expires_in_seconds: 60, concurrency: 3}\n");
        let shares: Vec<_> = plan.simulations.iter().map(|one| one.max_cost_usd).collect();
        assert_eq!(shares, [Some(0.5), Some(1.5)]);
        assert_eq!((plan.expires_in_seconds, plan.concurrency), (60, 3));
        let plan = plan_of(AGENT, "");
        assert!(plan.simulations.iter().all(|one| one.max_cost_usd.is_none()));
        assert_eq!((plan.expires_in_seconds, plan.concurrency), (3_600, 10));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let plan = plan_of(TWO, "baseline: base.json\n");
        assert_eq!(plan.baseline, Some(PathBuf::from("desk/base.json")));
        let TargetSpec::Command(command) = &plan.agents[1].target else { panic!("{:?}", plan.agents) };
        assert_eq!(command.cwd, Some(PathBuf::from("desk/bots")));
    }

    #[test]
    fn plan_without_a_baseline_keeps_its_other_gates() {
        let gates = "gates: [pass_rate: {min: 1}, no_regression: {against: baseline}]\nbaseline: b.json\n";
        let mut plan = plan_of(AGENT, gates);
        assert!(plan.needs_baseline());
        plan.without_baseline();
        assert!(!plan.needs_baseline() && plan.baseline.is_none());
        assert_eq!(plan.report.gates.len(), 1);
    }

    #[test]
    fn every_problem_of_a_plan_is_reported_once() {
        let problems = |text: &str| plan(&format!("name: Desk\n{text}")).unwrap_err();
        let both = format!("{AGENT}{TWO}{SCENARIOS}{OBJECTIVES}");
        for (text, expected) in [
            ("scenarios: {}\nobjectives: {}\n".to_owned(), "agent: is missing"),
            (format!("{AGENT}scenarios: {{}}\n{OBJECTIVES}"), "scenarios: must have at least one scenario"),
            (format!("{AGENT}{SCENARIOS}objectives: {{}}\n"), "objectives: must have at least one objective"),
            (both.clone(), "write either `agent` or `agents`, not both"),
            (
                format!("{TWO}{SCENARIOS}{OBJECTIVES}personas: 20\n"),
                "20 personas cannot share 10 conversations",
            ),
            (format!("{AGENT}{SCENARIOS}{OBJECTIVES}baseline: ''\n"), "baseline: must not be empty"),
            (format!("{AGENT}{SCENARIOS}{OBJECTIVES}limits: {{max_cost_usd: 0}}\n"), "limits.max_cost_usd: "),
            (
                format!("{AGENT}{SCENARIOS}{OBJECTIVES}limits: {{max_cost_usd: .nan}}\n"),
                "limits.max_cost_usd: ",
            ),
            (format!("{AGENT}{SCENARIOS}{OBJECTIVES}limits: {{concurrency: 501}}\n"), "limits.concurrency: "),
            (
                format!("{AGENT}{SCENARIOS}{OBJECTIVES}limits: {{expires_in_seconds: 0}}\n"),
                "limits.expires_in_seconds: ",
            ),
            (
                format!("{AGENT}{OBJECTIVES}scenarios: {{a: {{text: b, objectives: []}}}}\n"),
                "must not be empty",
            ),
            (
                format!("{TWO}{OBJECTIVES}scenarios: {{a: {{text: b, objectives: [kind, kind]}}}}\n"),
                "objective `kind` is there twice",
            ),
            (
                format!("{AGENT}{SCENARIOS}{OBJECTIVES}metadata: {{a: {}}}\n", "x".repeat(17_000)),
                "metadata: ",
            ),
        ] {
            let problems = problems(&text);
            let found = problems.iter().filter(|problem| problem.contains(expected)).count();
            assert_eq!(found, 1, "{expected}: {problems:?}");
        }
    }

    #[test]
    fn cases_and_conversations_of_a_plan_are_bounded() {
        let scenarios = |count: usize| -> String {
            let lines = (0..count).map(|number| format!("  s{number}: A kettle.\n"));
            format!("scenarios:\n{}", lines.collect::<String>())
        };
        let of = |count, conversations: u32| {
            let agents = if count > 100 { TWO } else { AGENT };
            let file = format!(
                "name: Desk\n{agents}{}{OBJECTIVES}conversations: {conversations}\n",
                scenarios(count)
            );
            plan(&file).map(|plan| plan.simulations.len())
        };
        assert_eq!(of(100, 500), Ok(100));
        assert_eq!(
            of(100, 501).unwrap_err(),
            ["50100 conversations are more than 50000: split the file into several"]
        );
        assert_eq!(of(101, 1).unwrap_err(), ["202 cases are more than 200: split the file into several"]);
    }
}
