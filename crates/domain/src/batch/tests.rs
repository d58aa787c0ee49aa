use super::*;
use crate::{NewPersonas, NewSimulation, Target, fixtures::at};

use BatchItemStatus::{Canceled, Completed, Failed, Queued};

fn agent(number: usize) -> AgentId {
    format!("agent{number:07}").parse().unwrap()
}

/// A batch with one item for each agent.
fn batch(agents: &[usize], max_in_flight: u32, per_agent: Option<u32>) -> BatchView {
    let items: Vec<_> = agents.iter().map(|number| BatchItem::queued(agent(*number))).collect();
    let batch = Batch {
        id: "batch0000001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        name: Name::parse("Nightly").unwrap(),
        status: BatchStatus::InProgress,
        max_in_flight,
        max_in_flight_per_agent: per_agent,
        metadata: Metadata::default(),
        created_by: "root".into(),
        counts: BatchCounts::of(&items),
        parts: vec![0, 3],
        created_at: at(0),
        updated_at: at(0),
        ended_at: None,
    };
    BatchView { batch, items }
}

fn references(view: &BatchView, indexes: &[u32]) -> Vec<BatchRef> {
    indexes.iter().map(|index| view.reference(*index).unwrap()).collect()
}

fn started(view: BatchView, indexes: &[u32]) -> BatchView {
    let references = references(&view, indexes);
    view.start(&references, at(1))
}

fn settled(view: BatchView, index: u32, status: BatchItemStatus) -> BatchView {
    let reference = view.reference(index).unwrap();
    view.settle(&reference, status, None, at(2)).unwrap()
}

fn statuses(view: &BatchView) -> Vec<BatchItemStatus> {
    view.items.iter().map(|item| item.status).collect()
}

#[test]
fn batch_starts_no_more_than_its_limits_allow() {
    let view = batch(&[0, 0, 0, 1, 1, 2], 4, Some(2));
    assert_eq!(view.startable(100), [0, 1, 3, 4]);
    assert_eq!(view.startable(3), [0, 1, 3]);
    let view = started(view, &[0, 1, 3]);
    assert_eq!(view.startable(100), [4], "one is free, and the first agent has two");
    let view = settled(view, 0, Failed);
    assert_eq!(view.startable(100), [2, 4]);
    assert_eq!(batch(&[0; 9], 5, None).startable(100), [0, 1, 2, 3, 4]);
    assert_eq!(view.cancel(at(3)).unwrap().startable(100), [] as [u32; 0]);
}

#[test]
fn batch_ends_with_its_last_item() {
    for (last, status) in [(Completed, BatchStatus::Completed), (Failed, BatchStatus::Failed)] {
        let view = settled(started(batch(&[0, 1], 9, None), &[0, 1]), 0, Completed);
        assert_eq!((view.batch.status, view.batch.ended_at), (BatchStatus::InProgress, None));
        let view = settled(view, 1, last);
        assert_eq!((view.batch.status, view.batch.ended_at), (status, Some(at(2))));
        assert_eq!(view.batch.counts.unsettled(), 0);
        let refused = view.clone().cancel(at(3));
        assert_eq!(refused, Err(Refusal::BatchOver { status }));
    }
}

#[test]
fn item_may_end_before_its_start_is_noted() {
    let view = settled(batch(&[0], 9, None), 0, Completed);
    assert_eq!(statuses(&started(view.clone(), &[0])), [Completed]);
    let late = view.clone().settle(&view.reference(0).unwrap(), Failed, None, at(3));
    assert_eq!(late, Err(Refusal::BatchItemSettled));
}

#[test]
fn canceled_batch_ends_when_its_items_are_settled() {
    let view = started(batch(&[0, 1, 2], 9, None), &[0, 1]).cancel(at(3)).unwrap();
    assert_eq!((view.batch.status, view.batch.ended_at), (BatchStatus::Canceled, None));
    assert_eq!(view.unsettled(2), [0, 1]);
    assert_eq!(view.clone().rerun(at(4)), Err(Refusal::BatchStopping));
    assert_eq!(view.clone().cancel(at(4)), Ok(view.clone()));
    let view = settled(settled(settled(view, 0, Completed), 1, Canceled), 2, Canceled);
    assert_eq!((view.batch.status, view.batch.ended_at), (BatchStatus::Canceled, Some(at(2))));
    let (view, again) = view.rerun(at(5)).unwrap();
    assert_eq!(again.iter().map(|item| (item.index, item.attempt)).collect::<Vec<_>>(), [(1, 2), (2, 2)]);
    assert_eq!(statuses(&view), [Completed, Queued, Queued]);
    assert_eq!((view.batch.status, view.batch.ended_at), (BatchStatus::InProgress, None));
}

#[test]
fn rerun_has_new_simulations_and_forgets_late_results() {
    let view = started(batch(&[0, 1], 9, None), &[0, 1]);
    let first = view.reference(1).unwrap();
    let view = settled(settled(view, 0, Completed), 1, Failed);
    let (view, again) = view.rerun(at(3)).unwrap();
    assert_ne!(again[0].simulation_id(), first.simulation_id());
    assert_eq!(view.clone().settle(&first, Completed, None, at(4)), Err(Refusal::BatchItemSettled));
    let started = view.clone().start(&[first], at(4));
    assert_eq!(statuses(&started), [Completed, Queued]);
    assert_eq!(started.rerun(at(5)).unwrap().1, [], "queued items are not queued again");
}

#[test]
fn end_of_a_simulation_replaces_an_earlier_failure() {
    let view = settled(batch(&[0, 1], 9, None), 0, Failed);
    assert_eq!(statuses(&settled(view, 0, Completed)), [Completed, Queued]);
}

#[test]
fn reasons_of_all_items_fit_into_one_document() {
    let mut view = batch(&[0; MAX_BATCH_ITEMS], 9, None);
    for reason in ["\u{1b}[2J\"\\".repeat(1_000), "\u{1f600}".repeat(1_000), "short".to_owned()] {
        for index in 0..1_000 {
            let reference = view.reference(index).unwrap();
            view = view.settle(&reference, Failed, Some(&reason), at(1)).unwrap();
        }
        let kept = view.items[0].reason.as_deref().unwrap();
        assert!(serde_json::to_string(kept).unwrap().len() <= MAX_REASON_BYTES);
        assert!(!kept.contains(char::is_control) && (kept == reason || kept.ends_with('…')), "{kept}");
        assert!(serde_json::to_string(&view.items).unwrap().len() < 350_000);
    }
}

#[test]
fn part_holds_the_items_from_its_first_on() {
    let view = batch(&[0; 9], 9, None);
    assert_eq!([0, 2, 3, 8].map(|index| view.batch.part_of(index)), [0, 0, 1, 1]);
}

fn target(number: u64) -> Target {
    Target::parse(number).unwrap()
}

fn defaults() -> SimulationOverrides {
    SimulationOverrides {
        agent_id: Some(agent(0)),
        scenario: Some(crate::Scenario::parse("A parcel is late.").unwrap()),
        target_conversations: Some(target(3)),
        target_personas: Some(target(2)),
        max_tokens: Some(9),
        ..SimulationOverrides::default()
    }
}

fn resolve(item: &SimulationOverrides) -> Result<NewSimulation, Vec<WrongField>> {
    item.resolve(&defaults(), &Name::parse("Nightly").unwrap())
}

#[test]
fn overrides_come_before_defaults() {
    let item = SimulationOverrides {
        agent_id: Some(agent(1)),
        target_conversations: Some(target(5)),
        auto_approve: Some(false),
        ..SimulationOverrides::default()
    };
    let resolved = resolve(&item).unwrap();
    assert_eq!((resolved.agent_id, resolved.target_conversations), (agent(1), target(5)));
    assert_eq!((resolved.auto_approve, resolved.max_tokens), (false, Some(9)));
    let resolved = resolve(&SimulationOverrides::default()).unwrap();
    assert_eq!(
        (resolved.agent_id, resolved.name.as_str(), resolved.auto_approve),
        (agent(0), "Nightly", true)
    );
    assert_eq!(resolved.personas, NewPersonas::Generated(target(2)));
    assert_eq!(resolved.expires_in_seconds, 86_400);
}

#[test]
fn personas_of_an_item_replace_those_of_the_defaults() {
    let from: SimulationId = "simulation00000000001".parse().unwrap();
    let copying = SimulationOverrides { personas_from: Some(from.clone()), ..SimulationOverrides::default() };
    let copied = NewPersonas::Copied { from, target: target(2) };
    assert_eq!(resolve(&copying).unwrap().personas, copied);
    let draft = crate::PersonaDraft {
        summary: "Eve".into(),
        story: String::new(),
        purpose: "Asks.".into(),
        attributes: crate::fixtures::persona().attributes,
    };
    let explicit = crate::ExplicitPersonas::parse(vec![draft; 3]).unwrap();
    let explicit = SimulationOverrides { personas: Some(explicit), ..SimulationOverrides::default() };
    let name = Name::parse("Nightly").unwrap();
    let resolved =
        explicit.resolve(&SimulationOverrides { personas_from: copying.personas_from, ..defaults() }, &name);
    assert_eq!(resolved.unwrap().personas.target(), target(3));
    let wrong = SimulationOverrides { target_personas: Some(target(4)), ..explicit };
    assert_eq!(resolve(&wrong).unwrap_err()[0].0, "target_personas");
}

#[test]
fn every_missing_field_is_named() {
    let name = Name::parse("Nightly").unwrap();
    let nothing = SimulationOverrides::default();
    let wrong = nothing.resolve(&nothing, &name).unwrap_err();
    let fields: Vec<_> = wrong.iter().map(|(field, _)| *field).collect();
    assert_eq!(fields, ["target_personas", "agent_id", "scenario", "target_conversations"]);
}
