//! Usage of models.

use std::sync::Arc;

use jiff::civil::Date;
use onerun_domain::{ModelName, ModelUsage, NanoDollars, Purpose, SimulationId, TokenUsage};

use super::{
    Fixture,
    fixture::{Task, at_once},
};
use crate::{UsageKey, UsageRow};

pub(super) fn key(simulation: &SimulationId, day: &str, purpose: Purpose) -> UsageKey {
    UsageKey {
        simulation: simulation.clone(),
        created_by: Some("kAbCdEfGh123".into()),
        day: day.parse().unwrap(),
        purpose,
        model: ModelName::parse("bedrock:eu.amazon.nova-micro-v1:0").unwrap(),
    }
}

pub(super) fn usage(calls: u64) -> ModelUsage {
    let tokens = TokenUsage { input: 100, cached_input: 20, cache_write: 3, output: 40, reasoning: 5 };
    let one = ModelUsage {
        calls: 1,
        failed_calls: 1,
        unpriced_calls: 1,
        tokens,
        cost: NanoDollars::new(123_456_789),
    };
    (0..calls).map(|_| one).sum()
}

fn row(key: UsageKey, usage: ModelUsage) -> UsageRow {
    let UsageKey { created_by, day, purpose, model, .. } = key;
    UsageRow { created_by, day, purpose, model, usage }
}

/// Usage is added up by simulation, and by project, for each day, key, purpose and model.
pub async fn usage_is_added_up_by_simulation_and_project(fixture: &Fixture) {
    let (project, elsewhere) = (fixture.new_project().await, fixture.new_project().await);
    let agent = project.add_agent(project.agent()).await;
    let first = project.add_simulation(project.simulation(&agent)).await.id;
    let second = project.add_simulation(project.simulation(&agent)).await.id;
    let root = UsageKey { created_by: None, ..key(&second, "2026-11-30", Purpose::Persona) };
    for (key, calls) in [
        (key(&first, "2026-11-29", Purpose::Reply), 2),
        (key(&first, "2026-11-30", Purpose::Reply), 1),
        (key(&first, "2026-11-30", Purpose::Judge), 3),
        (key(&second, "2026-11-29", Purpose::Reply), 4),
        (root.clone(), 5),
    ] {
        project.store.add_usage(key, usage(calls)).await.unwrap();
    }
    let on = |day: &str, purpose, calls| row(key(&first, day, purpose), usage(calls));
    assert_eq!(
        project.store.usage_of_simulation(&first).await.unwrap(),
        [
            on("2026-11-29", Purpose::Reply, 2),
            on("2026-11-30", Purpose::Judge, 3),
            on("2026-11-30", Purpose::Reply, 1)
        ]
    );
    let day = |text: &str| text.parse::<Date>().unwrap();
    let of_project = async |first, last| project.store.usage(day(first), day(last)).await.unwrap();
    assert_eq!(
        of_project("2026-11-29", "2026-11-30").await,
        [
            on("2026-11-29", Purpose::Reply, 6),
            row(root, usage(5)),
            on("2026-11-30", Purpose::Judge, 3),
            on("2026-11-30", Purpose::Reply, 1)
        ]
    );
    assert_eq!(of_project("2026-11-29", "2026-11-29").await, [on("2026-11-29", Purpose::Reply, 6)]);
    assert_eq!(of_project("2026-12-01", "2027-12-01").await, []);
    assert_eq!(elsewhere.store.usage_of_simulation(&first).await.unwrap(), []);
    assert_eq!(elsewhere.store.usage(day("2000-01-01"), day("2100-01-01")).await.unwrap(), []);
}

/// Additions that meet are all counted.
pub async fn concurrent_additions_of_usage_are_all_counted(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let agent = project.add_agent(project.agent()).await;
    let simulation = project.add_simulation(project.simulation(&agent)).await.id;
    let key = key(&simulation, "2026-11-30", Purpose::Reply);
    let additions = (0..32)
        .map(|_| {
            let (store, key) = (Arc::clone(&project.store), key.clone());
            Box::pin(async move { store.add_usage(key, usage(1)).await.unwrap() }) as Task<()>
        })
        .collect();
    at_once(additions).await;
    let rows = project.store.usage_of_simulation(&simulation).await.unwrap();
    assert_eq!(rows, [row(key, usage(32))]);
}
