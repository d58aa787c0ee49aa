//! The calls of the hot path, one by one, for tests that count or time them.

use std::sync::Arc;

use onerun_domain::{EvaluationStatus, Outcome, TurnToken};

use super::fixture::{Fixture, Scene};
use crate::Store;

/// A conversation in a running simulation, which is held step by step.
pub struct HotPath {
    scene: Scene,
    token: TurnToken,
}

impl HotPath {
    /// A queued conversation with an objective, which is not the last of its simulation.
    pub async fn new(store: Arc<dyn Store>) -> Self {
        let scene = Fixture::new(store).scene(64).await;
        let token = scene.token();
        Self { scene, token }
    }

    /// Starts the conversation.
    pub async fn start(&self) {
        self.scene.start(&self.scene.id(0)).await.unwrap();
    }

    /// Claims a turn, reads the context of its reply, and completes it with two messages.
    pub async fn turn(&self) {
        let id = self.scene.id(0);
        let claimed = self.scene.claim(&id, &self.token).await.unwrap();
        let context = self.scene.store().reply_context(&self.scene.simulation, &claimed).await.unwrap();
        assert_eq!(context.items.len(), usize::try_from(claimed.item_count).unwrap());
        self.scene.complete(&id, &self.token, None, None).await.unwrap();
    }

    /// Ends the conversation.
    pub async fn end(&self) {
        self.scene.end(&self.scene.id(0)).await.unwrap();
    }

    /// Records the evaluation of the ended conversation.
    pub async fn judge(&self) {
        let id = self.scene.id(0);
        self.scene.begin_evaluation(&id).await.unwrap();
        let outcomes = [Outcome::Passed, Outcome::Failed];
        self.scene.conclude(&id, EvaluationStatus::Completed, &outcomes).await.unwrap();
    }

    /// Reads the conversation with its persona and evaluations.
    pub async fn read(&self) {
        self.scene.read(&self.scene.id(0)).await;
    }

    /// Reads the conversation's messages.
    pub async fn read_messages(&self) {
        self.scene.items(&self.scene.id(0), 1).await;
    }
}
