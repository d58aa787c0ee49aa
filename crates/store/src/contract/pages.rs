//! Pages of all lists: their size in bytes, and how they continue.

use std::{collections::BTreeSet, fmt::Debug};

use onerun_auth::ProjectAccess;
use onerun_domain::{
    Agent, ConversationStatus, Criteria, Direction, Item, Limit, MessageText, Objective, Page, PageRequest,
    Persona, Position, Role, Simulation,
};

use super::{
    fixture::{Fixture, Scene, all_simulations, name, part, text},
    keys::{everything, new_key},
};
use crate::{
    ConversationChange, ConversationView, ExactFilter, ListAgents, ListConversations, ListSimulations,
    MAX_PAGE_BYTES, SimulationOrder, SortBy, StoreError, WireSize,
};

const DIRECTIONS: [Direction; 2] = [Direction::Ascending, Direction::Descending];

/// The ids of a list that is read by cursor, with a change between its first pages.
async fn walk<T, I>(
    fetch: impl AsyncFn(PageRequest) -> Page<T>,
    id: impl Fn(&T) -> I,
    between: impl AsyncFn(),
) -> Vec<I> {
    let limit = Limit::clamped(2);
    let (mut ids, mut page) = (Vec::new(), fetch(PageRequest::first(limit)).await);
    for number in 0..50 {
        ids.extend(page.data.iter().map(&id));
        let Some(position) = page.next else { return ids };
        if number < 3 {
            between().await;
        }
        page = fetch(PageRequest::after(limit, position)).await;
    }
    panic!("the pages have no end");
}

/// Asserts that no row appears twice, and that all rows of `before` appear in their order.
#[track_caller]
fn assert_stable<I: Clone + Debug + Ord>(before: &[I], walked: &[I]) {
    let different: BTreeSet<&I> = walked.iter().collect();
    assert_eq!(different.len(), walked.len(), "shown twice: {walked:?}");
    let kept: Vec<I> = walked.iter().filter(|id| before.contains(id)).cloned().collect();
    assert_eq!(kept, before);
}

/// Rows that are inserted between two pages shift no other row.
pub async fn named_lists_continue_where_they_were(fixture: &Fixture) {
    for sort in DIRECTIONS.into_iter().flat_map(|dir| [SortBy::CreatedAt(dir), SortBy::Name(dir)]) {
        let project = fixture.new_project().await;
        let add = async |names: &[&str]| {
            for text in names {
                project.add_agent(Agent { name: name(text), ..project.agent() }).await;
                project.add_objective(Objective { name: name(text), ..project.objective() }).await;
            }
        };
        add(&["d", "D", "b", "f", "d"]).await;
        let between = async || add(&["a", "e", "D", "z"]).await;

        let agents = async |page| {
            let list = ListAgents { name: None, exact: ExactFilter::default(), archived: false, sort, page };
            project.store.agents(list).await.unwrap()
        };
        let before: Vec<_> = agents(part(100, 0)).await.data.into_iter().map(|row| row.agent.id).collect();
        assert_stable(&before, &walk(agents, |row| row.agent.id.clone(), between).await);

        let objectives = async |page| project.store.objectives(sort, page).await.unwrap();
        let before: Vec<_> = objectives(part(100, 0)).await.data.into_iter().map(|row| row.id).collect();
        assert_stable(&before, &walk(objectives, |row| row.id.clone(), between).await);

        let within = ProjectAccess::All;
        let projects = async |page| fixture.store.projects(&within, false, sort, page).await.unwrap();
        let another = async || drop(fixture.new_project().await);
        for _ in 0..3 {
            another().await;
        }
        let before: Vec<_> = projects(part(100, 0)).await.data.into_iter().map(|row| row.id).collect();
        assert_stable(&before, &walk(projects, |row| row.id.clone(), another).await);
        // A key that may read only some of the projects continues from the same cursors.
        let some = ProjectAccess::Only(before[1..].iter().cloned().collect());
        let listed = async |page| fixture.store.projects(&some, false, sort, page).await.unwrap();
        assert_eq!(walk(listed, |row| row.id.clone(), async || {}).await, before[1..]);
    }
}

/// In every order, including the order for workers.
pub async fn simulations_continue_where_they_were(fixture: &Fixture) {
    for order in [
        SimulationOrder::LongestWaiting,
        SimulationOrder::CreatedAt(Direction::Descending),
        SimulationOrder::Name(Direction::Ascending),
        SimulationOrder::Status(Direction::Ascending),
    ] {
        let project = fixture.new_project().await;
        let agent = project.add_agent(project.agent()).await;
        for (number, text) in ["m", "c", "M", "x"].into_iter().enumerate() {
            project.scene(u32::try_from(number % 3).unwrap()).await;
            project.add_simulation(Simulation { name: name(text), ..project.simulation(&agent) }).await;
        }
        let list = async |page| {
            project.store.simulations(ListSimulations { page, ..all_simulations(order) }).await.unwrap()
        };
        let before: Vec<_> = list(part(100, 0)).await.data.into_iter().map(|row| row.simulation.id).collect();
        assert_eq!(before.len(), 8);
        let walked = walk(
            list,
            |row| row.simulation.id.clone(),
            async || {
                project.scene(1).await;
                project.add_simulation(project.simulation(&agent)).await;
            },
        );
        assert_stable(&before, &walked.await);
    }
}

/// Personas, conversations and messages.
pub async fn lists_of_a_simulation_continue_where_they_were(fixture: &Fixture) {
    let scene = fixture.scene(5).await;
    let simulation = &scene.simulation.id;
    let seq = std::sync::atomic::AtomicU32::new(6);
    let next = || seq.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    for status in [None, Some(ConversationStatus::Queued)] {
        let list = async |page| scene.list(ListConversations { status, outcome: None, page }).await;
        let before: Vec<_> =
            list(part(100, 0)).await.data.into_iter().map(|row| row.conversation.seq).collect();
        let add = async || scene.add(&[scene.conversation(next())]).await.unwrap();
        let walked = walk(list, |row| row.conversation.seq, add);
        assert_stable(&before, &walked.await);
    }

    let add = async || {
        let persona: Persona = scene.project.persona(&scene.simulation, next());
        assert!(scene.store().add_persona(persona, Vec::new()).await.unwrap());
    };
    for _ in 0..4 {
        add().await;
    }
    let personas = async |page| scene.store().personas(simulation, page).await.unwrap();
    let before: Vec<_> = personas(part(100, 0)).await.data.into_iter().map(|row| row.seq).collect();
    assert_stable(&before, &walk(personas, |row| row.seq, add).await);

    let id = scene.id(0);
    scene.start(&id).await.unwrap();
    for _ in 0..5 {
        scene.say(&id, "a").await.unwrap();
    }
    let items = async |page| scene.store().items(simulation, &id, 1, page).await.unwrap();
    let walked = walk(items, |row| row.position, async || drop(scene.say(&id, "b").await.unwrap()));
    assert_eq!(walked.await, (0..8).collect::<Vec<_>>());
}

/// Newest first, so rows that are added meanwhile are not shown.
pub async fn keys_and_their_trail_continue_where_they_were(fixture: &Fixture) {
    let add = async || fixture.add_key(new_key(fixture, "Key")).await.unwrap();
    for _ in 0..5 {
        add().await;
    }
    let keys = async |page| fixture.store.keys(everything(fixture, page)).await.unwrap();
    let before: Vec<_> = keys(part(100, 0)).await.data.into_iter().map(|row| row.record.id).collect();
    assert_eq!(walk(keys, |row| row.record.id.clone(), add).await, before);

    let trail = async |page| fixture.store.audit(Direction::Descending, page).await.unwrap().entries;
    let before: Vec<_> = trail(part(100, 0)).await.data.into_iter().map(|row| row.sequence).collect();
    assert_eq!(walk(trail, |row| row.sequence, add).await, before);
    let trail = async |page| fixture.store.audit(Direction::Ascending, page).await.unwrap().entries;
    let walked = walk(trail, |row| row.sequence, add);
    assert_stable(&before.iter().rev().copied().collect::<Vec<_>>(), &walked.await);
}

/// A row whose sort value changed is still skipped by its old position.
pub async fn list_continues_from_a_moved_row(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for text in ["b", "d", "f"] {
        project.add_agent(Agent { name: name(text), ..project.agent() }).await;
    }
    let list = async |page| {
        let sort = SortBy::Name(Direction::Ascending);
        let list = ListAgents { name: None, exact: ExactFilter::default(), archived: false, sort, page };
        project.store.agents(list).await.unwrap()
    };
    let first = list(part(2, 0)).await;
    let moved = first.data[1].agent.id.clone();
    let now = fixture.now();
    let rename = move |agent: Agent| Ok(Agent { name: name("a"), updated_at: now, ..agent });
    project.store.change_agent(&moved, Box::new(rename)).await.unwrap();
    let rest = list(PageRequest::after(Limit::clamped(2), first.next.unwrap())).await;
    let names: Vec<_> = rest.data.iter().map(|row| row.agent.name.as_str()).collect();
    assert_eq!((names, rest.next), (vec!["f"], None));
}

/// All rows of a list, read by cursor and again by offset. The bytes of each page are checked.
async fn assert_bounded<T: Clone + Debug + PartialEq + WireSize>(
    rows: usize,
    fetch: impl AsyncFn(PageRequest) -> Page<T>,
) {
    let mut continued: Vec<T> = Vec::new();
    let mut request = PageRequest::first(Limit::clamped(Limit::MAX));
    loop {
        let page = fetch(request).await;
        let bytes: usize = page.data.iter().map(|row| row.wire_size() + 1).sum();
        assert!(bytes <= MAX_PAGE_BYTES, "{bytes} bytes in a page of {}", page.data.len());
        let offset = u32::try_from(continued.len()).unwrap();
        let by_offset = fetch(part(Limit::MAX, offset)).await;
        assert_eq!((&by_offset.data, by_offset.has_more()), (&page.data, page.has_more()), "{offset}");
        continued.extend(page.data);
        let Some(position) = page.next else { break };
        request = PageRequest::after(Limit::clamped(Limit::MAX), position);
    }
    assert_eq!(continued.len(), rows);
}

/// A conversation whose messages are as large as a request.
pub async fn pages_of_large_messages_end_at_four_megabytes(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    scene.start(&id).await.unwrap();
    let mut large: Vec<Item> = Vec::new();
    let part = text(&"\u{1f600}".repeat(MessageText::MAX_LENGTH));
    let parts = 1_000_000 / part.as_str().len();
    for _ in 0..7 {
        large.push(say_in_parts(&scene, &vec![part.clone(); parts]).await);
    }
    assert!(large.iter().map(WireSize::wire_size).sum::<usize>() > MAX_PAGE_BYTES);
    let items = async |page| scene.store().items(&scene.simulation.id, &id, 1, page).await.unwrap();
    assert_bounded(7, items).await;
    assert_eq!(items(super::fixture::part(3, 2)).await.data, large[2..5]);
}

async fn say_in_parts(scene: &Scene, content: &[MessageText]) -> Item {
    let id = scene.id(0);
    let stored = scene.stored(&id).await;
    let item = Item { content: content.to_vec(), ..scene.item(&stored, Role::Assistant, "") };
    let said = item.clone();
    let change = move |view: ConversationView| {
        let item_count = view.conversation.item_count + 1;
        let conversation = onerun_domain::Conversation { item_count, ..view.conversation };
        Ok(ConversationChange { items: vec![said.clone()], ..ConversationChange::to(conversation) })
    };
    scene.change(&id, change).await.unwrap();
    item
}

/// Objectives with criteria of the maximum length.
pub async fn pages_of_large_rows_end_at_four_megabytes(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let criteria = Criteria::parse("\u{1f600}".repeat(Criteria::MAX_LENGTH)).unwrap();
    let rows = MAX_PAGE_BYTES / criteria.as_str().len() + 11;
    for _ in 0..rows {
        project.add_objective(Objective { criteria: criteria.clone(), ..project.objective() }).await;
    }
    for sort in [SortBy::CreatedAt(Direction::Descending), SortBy::Name(Direction::Ascending)] {
        assert_bounded(rows, async |page| project.store.objectives(sort, page).await.unwrap()).await;
    }
}

/// All lists. Those whose cursors are more than a number come first.
const LISTS: [&str; 12] = [
    "projects",
    "agents",
    "agents by name",
    "objectives",
    "simulations",
    "simulations by status",
    "personas",
    "conversations",
    "keys",
    "items",
    "audit",
    "dead jobs",
];

/// The cursor of the next page of a list.
async fn next(
    fixture: &Fixture,
    scene: &Scene,
    list: &str,
    page: PageRequest,
) -> Result<Option<Position>, StoreError> {
    let (store, simulation) = (scene.store(), &scene.simulation.id);
    let (oldest, newest) = (SortBy::CreatedAt(Direction::Ascending), Direction::Descending);
    let agents =
        |sort, page| ListAgents { name: None, exact: ExactFilter::default(), archived: false, sort, page };
    let simulations = |order, page| ListSimulations { page, ..all_simulations(order) };
    Ok(match list {
        "projects" => fixture.store.projects(&ProjectAccess::All, false, oldest, page).await?.next,
        "agents" => store.agents(agents(oldest, page)).await?.next,
        "agents by name" => store.agents(agents(SortBy::Name(newest), page)).await?.next,
        "objectives" => store.objectives(oldest, page).await?.next,
        "simulations" => store.simulations(simulations(SimulationOrder::CreatedAt(newest), page)).await?.next,
        "simulations by status" => {
            store.simulations(simulations(SimulationOrder::Status(newest), page)).await?.next
        }
        "personas" => store.personas(simulation, page).await?.next,
        "conversations" => {
            store
                .conversations(simulation, ListConversations { status: None, outcome: None, page })
                .await?
                .next
        }
        "keys" => fixture.store.keys(everything(fixture, page)).await?.next,
        "items" => store.items(simulation, &scene.id(0), 1, page).await?.next,
        "audit" => fixture.store.audit(newest, page).await?.entries.next,
        "dead jobs" => fixture.store.dead_jobs(page).await?.next,
        _ => panic!("no list {list}"),
    })
}

/// The number of lists whose cursors are more than a number.
const SORTED: usize = 9;

/// A cursor of another list, or one that is invalid, is refused. Numbers are valid in all numbered
/// lists.
pub async fn position_of_another_list_is_refused(fixture: &Fixture) {
    let scene = fixture.scene(2).await;
    fixture.new_project().await;
    for _ in 0..2 {
        scene.project.scene(1).await;
        fixture.add_key(new_key(fixture, "Key")).await.unwrap();
        assert!(
            scene.store().add_persona(scene.project.persona(&scene.simulation, 7), Vec::new()).await.is_ok()
        );
    }
    let limit = Limit::clamped(1);
    let mut positions = Vec::new();
    for list in &LISTS[..SORTED] {
        let position = next(fixture, &scene, list, PageRequest::first(limit)).await.unwrap();
        positions.push(position.unwrap_or_else(|| panic!("{list} has one page")));
    }
    let long = format!("[\"by-made\",\"{}\",\"\"]", "agent#".repeat(10_000));
    let broken = ["", "[]", "{", "x", "7.5", "null", "[\"a\",\"b\",\"c\"]", "[7,7]", "\u{0}", &long]
        .map(Position::new);
    for (index, list) in LISTS.into_iter().enumerate() {
        let foreign = positions.iter().enumerate().filter(|(other, _)| *other != index);
        for position in foreign.map(|(_, position)| position).chain(&broken) {
            let page = PageRequest::after(limit, position.clone());
            let found = next(fixture, &scene, list, page).await;
            assert!(matches!(found, Err(StoreError::UnknownPosition)), "{list}: {position:?}: {found:?}");
        }
    }
}
