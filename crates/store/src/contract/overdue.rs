//! Overdue conversations and simulations.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Simulation, SimulationStatus, TurnClaim};

use super::fixture::{CLAIM, Fixture, LEASE, Scene, TestProject};
use crate::Overdue;

const MOMENT: SignedDuration = SignedDuration::from_micros(1);

impl Fixture {
    pub(super) async fn overdue(&self, limit: u32, now: Timestamp) -> Overdue {
        self.store.overdue(limit, now).await.unwrap()
    }
}

impl Scene {
    pub(super) fn named(
        &self,
        index: usize,
    ) -> (onerun_domain::ProjectId, onerun_domain::SimulationId, onerun_domain::ConversationId) {
        (self.project.id.clone(), self.simulation.id.clone(), self.id(index))
    }

    /// Starts a conversation with a lease until `until`.
    async fn start_until(&self, index: usize, until: Timestamp) {
        let now = self.now();
        let lease = until.duration_since(now);
        let decide =
            move |view: crate::ConversationView| view.conversation.start(&view.simulation, lease, now);
        self.move_to(&self.id(index), decide).await.unwrap();
    }
}

impl TestProject {
    async fn expiring(&self, status: SimulationStatus, expires_at: Timestamp) -> Simulation {
        let agent = self.add_agent(self.agent()).await;
        self.add_simulation(Simulation { status, expires_at, ..self.simulation(&agent) }).await
    }
}

/// A conversation is overdue from the moment its lease expires until the expiry is processed.
pub async fn conversation_is_overdue_when_its_lease_has_run_out(fixture: &Fixture) {
    let scene = fixture.scene(3).await;
    let started = scene.start(&scene.id(1)).await.unwrap();
    scene.hold(&scene.id(2)).await;
    let until = started.lease_expires_at.unwrap();
    assert_eq!(fixture.overdue(10, until - MOMENT).await, Overdue::default());
    let overdue = Overdue { conversations: vec![scene.named(1)], simulations: Vec::new() };
    assert_eq!(fixture.overdue(10, until).await, overdue);
    scene.move_to(&scene.id(1), move |view| view.conversation.lose_lease(until)).await.unwrap();
    assert_eq!(fixture.overdue(10, until).await, Overdue::default());
}

/// A call renews the lease.
pub async fn renewed_lease_is_not_overdue(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let started = scene.start(&scene.id(0)).await.unwrap();
    scene.pass(LEASE - CLAIM);
    let token = scene.token();
    scene.claim(&scene.id(0), &token).await.unwrap();
    let renewed = scene.complete(&scene.id(0), &token, None, None).await.unwrap();
    assert_eq!(fixture.overdue(10, started.lease_expires_at.unwrap()).await, Overdue::default());
    let overdue = fixture.overdue(10, renewed.lease_expires_at.unwrap()).await;
    assert_eq!(overdue.conversations, [scene.named(0)]);
}

/// While a turn is claimed, an expired lease is not overdue. It is overdue once the claim has
/// expired, too.
pub async fn conversation_with_a_claimed_turn_is_not_overdue(fixture: &Fixture) {
    let scene = fixture.scene(2).await;
    let now = fixture.now();
    let (until, claimed_until) = (now + LEASE, now + LEASE + CLAIM);
    for (index, claimed_until) in [(0, claimed_until), (1, until - MOMENT)] {
        let claim = TurnClaim { token: scene.token(), expires_at: claimed_until };
        let decide = move |view: crate::ConversationView| {
            view.conversation.claim_turn(&view.simulation, None, claim.clone(), LEASE, now)
        };
        scene.move_to(&scene.id(index), decide).await.unwrap();
    }
    assert_eq!(fixture.overdue(10, until).await.conversations, [scene.named(1)]);
    assert_eq!(fixture.overdue(10, claimed_until - MOMENT).await.conversations, [scene.named(1)]);
    let mut both = fixture.overdue(10, claimed_until).await.conversations;
    both.sort();
    let mut expected = vec![scene.named(0), scene.named(1)];
    expected.sort();
    assert_eq!(both, expected);
}

/// Conversations with a claimed turn take no place in the list of overdue conversations.
pub async fn claimed_turns_do_not_crowd_out_overdue_conversations(fixture: &Fixture) {
    let scene = fixture.scene(5).await;
    let now = fixture.now();
    for index in 0..4 {
        let claim = TurnClaim { token: scene.token(), expires_at: now + LEASE + LEASE };
        let decide = move |view: crate::ConversationView| {
            view.conversation.claim_turn(&view.simulation, None, claim.clone(), CLAIM, now)
        };
        scene.move_to(&scene.id(index), decide).await.unwrap();
    }
    scene.start_until(4, now + LEASE).await;
    assert_eq!(fixture.overdue(2, now + LEASE).await.conversations, [scene.named(4)]);
}

/// The longest overdue of all projects come first, up to the limit.
pub async fn longest_overdue_conversations_come_first(fixture: &Fixture) {
    let (one, other) = (fixture.scene(2).await, fixture.scene(2).await);
    let now = fixture.now();
    let after = |seconds| now + SignedDuration::from_secs(seconds);
    one.start_until(0, after(40)).await;
    other.start_until(0, after(20)).await;
    one.start_until(1, after(30)).await;
    other.start_until(1, after(50)).await;
    let order = [other.named(0), one.named(1), one.named(0), other.named(1)];
    for limit in 1..=5 {
        let expected: Vec<_> = order.iter().take(limit).cloned().collect();
        let limit = u32::try_from(limit).unwrap();
        assert_eq!(fixture.overdue(limit, after(60)).await.conversations, expected);
    }
    assert_eq!(fixture.overdue(10, after(35)).await.conversations, order[..2]);
}

/// A pending or running simulation is overdue from the moment it expires.
pub async fn simulation_is_overdue_when_it_has_expired(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let until = fixture.now() + LEASE;
    let mut expected = Vec::new();
    for status in SimulationStatus::ALL {
        let simulation = project.expiring(status, until).await;
        if !status.is_final() {
            expected.push((project.id.clone(), simulation.id));
        }
    }
    assert_eq!(fixture.overdue(10, until - MOMENT).await, Overdue::default());
    let mut overdue = fixture.overdue(10, until).await;
    overdue.simulations.sort();
    expected.sort();
    assert_eq!(overdue, Overdue { conversations: Vec::new(), simulations: expected.clone() });
    for (_, simulation) in &expected {
        let decide = Box::new(move |view: crate::SimulationView| {
            let simulation = view.simulation.expire(view.progress, until)?;
            Ok(crate::SimulationChange::to(simulation, Vec::new()))
        });
        project.store.change_simulation(simulation, decide).await.unwrap();
    }
    assert_eq!(fixture.overdue(10, until).await, Overdue::default());
}

/// The longest overdue of all projects come first, up to the limit, independently of the
/// conversations.
pub async fn longest_overdue_simulations_come_first(fixture: &Fixture) {
    let (one, other) = (fixture.new_project().await, fixture.new_project().await);
    let now = fixture.now();
    let after = |seconds| now + SignedDuration::from_secs(seconds);
    let mut order = Vec::new();
    for (project, seconds) in [(&one, 30), (&other, 10), (&one, 20)] {
        let simulation = project.expiring(SimulationStatus::InProgress, after(seconds)).await;
        order.push((seconds, project.id.clone(), simulation.id));
    }
    order.sort();
    let order: Vec<_> = order.into_iter().map(|(_, project, simulation)| (project, simulation)).collect();
    let scene = one.scene(2).await;
    for index in [0, 1] {
        scene.start_until(index, after(15)).await;
    }
    for limit in 1..=4 {
        let overdue = fixture.overdue(u32::try_from(limit).unwrap(), after(60)).await;
        assert_eq!(overdue.simulations, order[..limit.min(3)]);
        assert_eq!(overdue.conversations.len(), limit.min(2));
    }
    assert_eq!(fixture.overdue(10, after(25)).await.simulations, order[..2]);
}
