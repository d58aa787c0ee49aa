//! Agents.

use onerun_domain::{
    Agent, AgentEndpoint, AgentId, AgentPatch, ConversationId, Description, Direction, HeldConversation,
    MAX_IN_FLIGHT, Name, Refusal, SealedCredential, SimulationId,
};

use super::fixture::{
    Fixture, all, assert_duplicate, at_once, in_pages, metadata, name, odd_texts, part, refusal,
};
use crate::{AgentSummary, ExactFilter, ListAgents, SortBy};

const OLDEST_FIRST: SortBy = SortBy::CreatedAt(Direction::Ascending);

fn patch(name: Option<&str>, description: Option<&str>) -> AgentPatch {
    AgentPatch {
        name: name.map(|text| Name::parse(text).unwrap()),
        description: description.map(|text| Description::parse(text).unwrap()),
        archived: None,
    }
}

/// An endpoint that holds as many conversations as any can.
fn endpoint(fixture: &Fixture) -> AgentEndpoint {
    let target = serde_json::json!({ "http": {
        "url": "https://example.com",
        "body": { "a": [null, "{{ message }}", 1.5, "\u{1f600}"] },
        "reply": "/a",
    } });
    let held = |_| HeldConversation {
        simulation: SimulationId::generate(fixture.random()),
        conversation: ConversationId::generate(fixture.random()),
        since: fixture.now(),
    };
    AgentEndpoint {
        target: target.as_object().cloned().unwrap_or_default(),
        credential: Some(SealedCredential { header: "X-Key".to_owned(), sealed: "1.AAAA".to_owned() }),
        max_in_flight: MAX_IN_FLIGHT,
        max_calls_per_minute: Some(1),
        held: (0..MAX_IN_FLIGHT).map(held).collect(),
        next_call_at: Some(fixture.now()),
    }
}

/// Every field is stored verbatim, and reads the same alone and in a list.
pub async fn agent_is_read_as_added(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let widest = "\u{1f600}".repeat(Description::MAX_LENGTH);
    let mut agents = vec![
        Agent { description: None, ..project.agent() },
        Agent { description: Some(Description::parse("").unwrap()), ..project.agent() },
        Agent { description: Some(Description::parse(widest).unwrap()), ..project.agent() },
        Agent { description: Some(Description::parse("a\r\n\tb ").unwrap()), ..project.agent() },
        Agent {
            metadata: metadata(
                r#"{"": null, "a": {"b": [1, -1, 0.5, [], {}, {"c": [true, false, "\ud83d\ude00\u0000\"\\"]}]},
                    "big": 18446744073709551615, "small": -9223372036854775808, "%_'\"": "%_'\"",
                    "doubles": [117.63331139400017, 0.1, 1e300, 1.7976931348623157e308, 5e-324, 1e22, -2.5e-8]}"#,
            ),
            ..project.agent()
        },
        Agent { updated_at: fixture.now(), ..project.agent() },
        Agent { endpoint: Some(Box::new(endpoint(fixture))), ..project.agent() },
    ];
    for text in odd_texts() {
        let Ok(name) = Name::parse(text) else { continue };
        agents.push(Agent { name, ..project.agent() });
    }
    for agent in agents {
        let agent = project.add_agent(agent).await;
        let summary = AgentSummary { agent: agent.clone(), total_simulations: 0 };
        assert_eq!(project.store.agent(&agent.id).await.unwrap(), Some(summary.clone()));
        let sort = SortBy::CreatedAt(Direction::Descending);
        let listed = project
            .store
            .agents(ListAgents {
                name: None,
                exact: ExactFilter::default(),
                archived: false,
                sort,
                page: part(1, 0),
            })
            .await
            .unwrap();
        assert_eq!(listed.data, [summary]);
    }
}

/// A second agent with the same id is refused, and the first one stays.
pub async fn agent_is_added_once(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let first = project.add_agent(project.agent()).await;
    assert_duplicate(
        &project.store.insert_agent(Agent { name: name("Second"), ..first.clone() }, None).await,
    );
    assert_eq!(project.agent_list(None, OLDEST_FIRST).await, [first]);
}

/// Reads and changes of an unknown agent return `None`; the decision is not called.
pub async fn unknown_agent_is_none(fixture: &Fixture) {
    let project = fixture.new_project().await;
    project.add_agent(project.agent()).await;
    let unknown = AgentId::generate(fixture.random());
    assert_eq!(project.store.agent(&unknown).await.unwrap(), None);
    let changed = project.store.change_agent(&unknown, Box::new(|_| Err(Refusal::LeaseHeld))).await;
    assert_eq!(changed.unwrap(), None);
}

/// A decision's result is returned and stored, and found by its new name.
pub async fn changed_agent_is_stored(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    project.add_simulation(project.simulation(&agent)).await;
    let now = fixture.now();
    let decide =
        Box::new(move |agent: Agent| Ok(agent.patched(patch(Some("Renamed"), Some("Sells \u{e4}")), now)));
    let changed = project.store.change_agent(&agent.id, decide).await.unwrap().unwrap();
    let expected = agent.clone().patched(patch(Some("Renamed"), Some("Sells \u{e4}")), now);
    assert_eq!(changed, AgentSummary { agent: expected.clone(), total_simulations: 1 });
    assert_eq!(project.store.agent(&agent.id).await.unwrap(), Some(changed));
    assert_eq!(project.agent_list(Some("RENAMED"), OLDEST_FIRST).await, [expected]);
    assert_eq!(project.agent_list(Some("Agent"), OLDEST_FIRST).await, []);
}

/// The refusal is returned, and nothing is written.
pub async fn refused_change_of_an_agent_writes_nothing(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let refused = project.store.change_agent(&agent.id, Box::new(|_| Err(Refusal::LeaseHeld))).await;
    assert_eq!(refusal(refused), Refusal::LeaseHeld);
    assert_eq!(project.agent_list(None, OLDEST_FIRST).await, [agent]);
}

/// Each change decides from the state that the change before it wrote.
pub async fn concurrent_agent_changes_are_all_kept(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let id = project.add_agent(project.agent()).await.id;
    let tasks = (0..8).map(|number| {
        let (project, id) = (project.clone(), id.clone());
        Box::pin(async move {
            let now = project.now();
            let decide = Box::new(move |agent: Agent| {
                let name = format!("{}{number}", agent.name);
                Ok(agent.patched(patch(Some(&name), None), now))
            });
            project.store.change_agent(&id, decide).await.unwrap().unwrap();
        }) as _
    });
    at_once(tasks.collect()).await;
    let agent = project.store.agent(&id).await.unwrap().unwrap().agent;
    let mut digits: Vec<char> = agent.name.as_str().strip_prefix("Agent").unwrap().chars().collect();
    digits.sort_unstable();
    assert_eq!(digits, ('0'..='7').collect::<Vec<_>>());
}

/// The newest poll of a worker is part of every read of the agent, and outlasts changes of the
/// agent.
pub async fn newest_poll_of_an_agent_is_stored(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (polled, other) =
        (project.add_agent(project.agent()).await, project.add_agent(project.agent()).await);
    let simulation = project.add_simulation(project.simulation(&polled)).await;
    assert_eq!(project.store.agent(&polled.id).await.unwrap().unwrap().agent.last_polled_at, None);
    let (first, second) = (fixture.now(), fixture.now());
    assert!(first < second);
    for at in [first, second, first] {
        project.store.note_agent_poll(&polled.id, at).await.unwrap();
    }
    let decide = Box::new(|agent: Agent| Ok(Agent { name: name("Renamed"), ..agent }));
    project.store.change_agent(&polled.id, decide).await.unwrap().unwrap();
    let expected = Agent { name: name("Renamed"), last_polled_at: Some(second), ..polled };
    assert_eq!(project.store.agent(&expected.id).await.unwrap().unwrap().agent, expected);
    assert_eq!(project.store.simulation(&simulation.id).await.unwrap().unwrap().agent, expected);
    assert_eq!(project.agent_list(None, OLDEST_FIRST).await, [expected, other]);
}

/// A poll for an unknown agent, or for one of another project, writes nothing.
pub async fn poll_for_an_unknown_agent_writes_nothing(fixture: &Fixture) {
    let (project, elsewhere) = (fixture.new_project().await, fixture.new_project().await);
    let agent = elsewhere.add_agent(elsewhere.agent()).await;
    for id in [&AgentId::generate(fixture.random()), &agent.id] {
        project.store.note_agent_poll(id, fixture.now()).await.unwrap();
    }
    assert_eq!(project.agent_list(None, OLDEST_FIRST).await, []);
    assert_eq!(elsewhere.agent_list(None, OLDEST_FIRST).await, [agent]);
}

/// An agent's simulations are counted, alone and in a list, whatever their status.
pub async fn agent_has_its_number_of_simulations(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (busy, idle) = (project.add_agent(project.agent()).await, project.add_agent(project.agent()).await);
    for _ in 0..3 {
        project.add_simulation(project.simulation(&busy)).await;
    }
    let canceled = project.simulation(&busy).cancel(fixture.now()).unwrap();
    project.add_simulation(canceled).await;
    for (agent, count) in [(&busy, 4), (&idle, 0)] {
        let summary = project.store.agent(&agent.id).await.unwrap().unwrap();
        assert_eq!(summary.total_simulations, count);
    }
    let list = ListAgents {
        name: None,
        exact: ExactFilter::default(),
        archived: false,
        sort: OLDEST_FIRST,
        page: all(),
    };
    let counts: Vec<_> = project
        .store
        .agents(list)
        .await
        .unwrap()
        .data
        .iter()
        .map(|summary| summary.total_simulations)
        .collect();
    assert_eq!(counts, [4, 0]);
}

/// A part of a name finds an agent, in upper or lower case, also with letters outside ASCII.
pub async fn agents_are_filtered_by_part_of_a_name_in_any_case(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for text in ["Support Bot", "SUPPORT desk", "\u{c4}rger \u{416}", "Sales"] {
        project.add_agent(Agent { name: name(text), ..project.agent() }).await;
    }
    for (filter, found) in [
        ("support", vec!["Support Bot", "SUPPORT desk"]),
        ("PORT B", vec!["Support Bot"]),
        ("\u{e4}rger", vec!["\u{c4}rger \u{416}"]),
        ("\u{c4}RGER \u{436}", vec!["\u{c4}rger \u{416}"]),
        ("", vec!["Support Bot", "SUPPORT desk", "\u{c4}rger \u{416}", "Sales"]),
        ("supportbot", vec![]),
        (" support", vec![]),
    ] {
        let agents = project.agent_list(Some(filter), OLDEST_FIRST).await;
        assert_eq!(agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>(), found, "{filter}");
    }
}

/// Every character of a filter stands for itself.
pub async fn name_filter_has_no_wildcards(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let names = ["a%b", "a_b", "a\\b", "a*b", "a?b", "a[b", "a'b", "a\"b", "axb", "a.b"];
    for text in names {
        project.add_agent(Agent { name: name(text), ..project.agent() }).await;
    }
    for text in names {
        for filter in [text, &text[1..2], &text[..2], &text[1..]] {
            let agents = project.agent_list(Some(filter), OLDEST_FIRST).await;
            let found: Vec<_> = agents.iter().map(|agent| agent.name.as_str()).collect();
            let expected: Vec<_> = names.iter().copied().filter(|name| name.contains(filter)).collect();
            assert_eq!(found, expected, "{filter}");
        }
    }
}

/// Filter, order and pages work together: each match is on exactly one page, in order.
pub async fn filtered_agents_are_sorted_and_paged(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let now = fixture.now();
    for text in ["bot b", "other", "Bot A", "bot b", "BOT B", "Other bot"] {
        // All have the same creation time, so only the backend's own order distinguishes them.
        project
            .add_agent(Agent { name: name(text), created_at: now, updated_at: now, ..project.agent() })
            .await;
    }
    for (sort, first, last) in [
        (SortBy::Name(Direction::Ascending), "Bot A", "Other bot"),
        (SortBy::Name(Direction::Descending), "Other bot", "Bot A"),
    ] {
        let whole = project.agent_list(Some("bot"), sort).await;
        assert_eq!(whole.len(), 5);
        assert_eq!((whole[0].name.as_str(), whole[4].name.as_str()), (first, last));
        for limit in [1, 2, 4, 5, 9] {
            let list = |page| ListAgents {
                name: Some("bot".into()),
                exact: ExactFilter::default(),
                archived: false,
                sort,
                page,
            };
            let pages = in_pages(limit, async |page| project.store.agents(list(page)).await.unwrap()).await;
            assert_eq!(pages.into_iter().map(|summary| summary.agent).collect::<Vec<_>>(), whole);
        }
    }
}

const NONE: [usize; 0] = [];

/// Every character of a name and of a text in the metadata counts. Numbers are compared as they are
/// written.
pub async fn agents_are_filtered_exactly_by_name_and_metadata(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let made = [
        ("Desk", r#"{"team": "shop", "build": 17, "big": 18446744073709551615, "live": true}"#),
        ("desk", r#"{"team": "Shop", "build": "17", "none": null}"#),
        ("Desk 2", r#"{"team": "shop", "nested": {"team": "shop"}, "list": ["shop"], "": "empty"}"#),
        ("De\u{301}sk", r#"{"a.b": "%_'\"", "half": 0.5, "team": "\ud83d\ude00"}"#),
        ("D\u{e9}sk", r#"{"none": "null", "live": "true", "team": ""}"#),
    ];
    let mut agents = Vec::new();
    for (text, object) in made {
        let agent = Agent { name: name(text), metadata: metadata(object), ..project.agent() };
        agents.push(project.add_agent(agent).await);
    }
    let found = async |named: Option<&str>, filters: &[(&str, &str)]| {
        let metadata = filters.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let exact = ExactFilter { name: named.map(str::to_owned), metadata };
        let list =
            ListAgents { name: None, exact: exact.clone(), archived: false, sort: OLDEST_FIRST, page: all() };
        let page = project.store.agents(list).await.unwrap();
        let found: Vec<Agent> = page.data.into_iter().map(|summary| summary.agent).collect();
        let expected: Vec<Agent> =
            agents.iter().filter(|agent| exact.admits(&agent.name, &agent.metadata)).cloned().collect();
        assert_eq!(found, expected);
        found.iter().map(|agent| agents.iter().position(|one| one == agent).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(found(Some("Desk"), &[]).await, [0]);
    assert_eq!(found(Some("desk"), &[]).await, [1]);
    assert_eq!(found(Some("D\u{e9}sk"), &[]).await, [4]);
    assert_eq!(found(Some("Des"), &[]).await, NONE);
    assert_eq!(found(None, &[("team", "shop")]).await, [0, 2]);
    assert_eq!(found(None, &[("build", "17")]).await, [0, 1]);
    assert_eq!(found(None, &[("big", "18446744073709551615")]).await, [0]);
    assert_eq!(found(None, &[("live", "true")]).await, [0, 4]);
    assert_eq!(found(None, &[("none", "null")]).await, [1, 4]);
    assert_eq!(found(None, &[("half", "0.5")]).await, [3]);
    assert_eq!(found(None, &[("a.b", "%_'\"")]).await, [3]);
    assert_eq!(found(None, &[("", "empty")]).await, [2]);
    assert_eq!(found(None, &[("team", "")]).await, [4]);
    assert_eq!(found(None, &[("team", "shop"), ("build", "17")]).await, [0]);
    assert_eq!(found(Some("Desk"), &[("team", "Shop")]).await, NONE);
    for none in
        [("nested", r#"{"team":"shop"}"#), ("list", r#"["shop"]"#), ("TEAM", "shop"), ("name", "Desk")]
    {
        assert_eq!(found(None, &[none]).await, NONE);
    }
    let patched = patch(Some("Renamed"), None);
    let now = project.now();
    let rename = Box::new(move |agent: Agent| Ok(agent.patched(patched.clone(), now)));
    agents_renamed(&project, &agents[0].id, rename).await;
}

/// A renamed agent is found by its new name and no longer by its old one.
async fn agents_renamed(
    project: &super::fixture::TestProject,
    id: &AgentId,
    rename: crate::Decide<Agent, Agent>,
) {
    project.store.change_agent(id, rename).await.unwrap().unwrap();
    for (text, count) in [("Desk", 0), ("Renamed", 1)] {
        let exact = ExactFilter { name: Some(text.to_owned()), metadata: Vec::new() };
        let list = ListAgents { name: None, exact, archived: false, sort: OLDEST_FIRST, page: all() };
        assert_eq!(project.store.agents(list).await.unwrap().data.len(), count, "{text}");
    }
}

/// An archived agent is in the list of archived ones only, and returns when it is in use again.
pub async fn archived_agent_is_in_a_list_of_its_own(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let mut ids = Vec::new();
    for text in ["b", "A", "c"] {
        ids.push(project.add_agent(Agent { name: name(text), ..project.agent() }).await.id);
    }
    let change = async |archived| {
        let now = project.now();
        let patch = AgentPatch { archived: Some(archived), ..AgentPatch::default() };
        let decide = Box::new(move |agent: Agent| Ok(agent.patched(patch.clone(), now)));
        project.store.change_agent(&ids[1], decide).await.unwrap().unwrap()
    };
    let names = async |archived| {
        let mut lists = Vec::new();
        for (sort, part) in [(OLDEST_FIRST, None), (SortBy::Name(Direction::Descending), Some("a"))] {
            let list = async |page| {
                let (name, exact) = (part.map(str::to_owned), ExactFilter::default());
                project.store.agents(ListAgents { name, exact, archived, sort, page }).await.unwrap()
            };
            let found = in_pages(1, list).await;
            lists.push(found.iter().map(|one| one.agent.name.as_str()).collect::<Vec<_>>().join(" "));
        }
        lists.join(", ")
    };
    assert_eq!((names(false).await.as_str(), names(true).await.as_str()), ("b A c, A", ", "));
    let archived = change(true).await;
    assert!(archived.agent.archived_at.is_some());
    assert_eq!(change(true).await, archived, "archiving it again changes nothing");
    assert_eq!(project.store.agent(&ids[1]).await.unwrap(), Some(archived));
    assert_eq!((names(false).await.as_str(), names(true).await.as_str()), ("b c, ", "A, A"));
    assert_eq!(change(false).await.agent.archived_at, None);
    assert_eq!((names(false).await.as_str(), names(true).await.as_str()), ("b A c, A", ", "));
}
