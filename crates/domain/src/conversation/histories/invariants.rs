//! The invariants of every state of a history, and of two successive states.

use super::{REASON, Stored};
use crate::{
    Conversation, ConversationStatus, EndReason, EvaluationStatus, MAX_ATTEMPTS, Simulation,
    SimulationStatus, fixtures::at,
};

/// Asserts that each status moved along an edge of the tables, including the edges at the end of a
/// simulation: queued conversations fail, and a pending evaluation becomes final without being in
/// progress.
pub(super) fn assert_edges(before: &Stored, after: &Stored) {
    use ConversationStatus as C;
    use EvaluationStatus as E;
    use SimulationStatus as S;
    let (from, to) = (before.simulation.status, after.simulation.status);
    let allowed = match from {
        S::Pending => matches!(to, S::InProgress | S::Canceled | S::Expired | S::Failed),
        S::InProgress => matches!(to, S::Completed | S::Failed | S::Canceled | S::Expired),
        S::Completed | S::Failed | S::Canceled | S::Expired => false,
    };
    assert!(from == to || allowed, "{from:?} to {to:?}");
    let (from, to) = (before.conversation.status, after.conversation.status);
    let allowed = match from {
        C::Queued => matches!(to, C::InProgress | C::Failed),
        C::InProgress => matches!(to, C::Queued | C::Ended | C::Failed),
        C::Ended | C::Failed => false,
    };
    assert!(from == to || allowed, "{from:?} to {to:?}");
    let (from, to) = (before.conversation.evaluation_status, after.conversation.evaluation_status);
    let allowed = match from {
        E::Pending => to != E::Pending,
        E::InProgress => matches!(to, E::Completed | E::Failed | E::NotApplicable),
        E::Completed | E::Failed | E::NotApplicable => false,
    };
    assert!(from == to || allowed, "{from:?} to {to:?}");
}

/// Asserts what holds in every state.
pub(super) fn assert_state(Stored { simulation, conversation, .. }: &Stored) {
    use ConversationStatus as C;
    let status = conversation.status;
    assert_eq!(conversation.lease_expires_at.is_some(), status == C::InProgress);
    let is_undelivered = conversation.turn.as_ref().is_some_and(|turn| turn.token.is_undelivered());
    assert!(conversation.turn.is_none() || status == C::InProgress || (is_undelivered && status == C::Ended));
    assert_eq!(conversation.end_reason.is_some(), matches!(status, C::Ended | C::Failed));
    assert!((1..=MAX_ATTEMPTS).contains(&conversation.attempt));
    for ended in &conversation.ended_attempts {
        let reason = (ended.end_reason == EndReason::AgentFailed).then_some(REASON);
        assert_eq!(ended.failure_reason.as_deref(), reason);
    }
    if conversation.evaluation_status != EvaluationStatus::Pending {
        assert!(matches!(status, C::Ended | C::Failed));
    }
    if status == C::Failed {
        assert_eq!(conversation.evaluation_status, EvaluationStatus::NotApplicable);
    }
    if matches!(simulation.status, SimulationStatus::Failed | SimulationStatus::Expired) {
        assert!(simulation.last_failure_reason.is_some());
    }
}

/// Asserts what holds between two successive states.
pub(super) fn assert_move(before: &Stored, after: &Stored) {
    let (old, new) = (&before.conversation, &after.conversation);
    let requeued = old.status == ConversationStatus::InProgress && new.status == ConversationStatus::Queued;
    assert_eq!(new.attempt, old.attempt + u32::from(requeued));
    assert!(if requeued { new.item_count == 0 } else { new.item_count >= old.item_count });
    assert_eq!(new.queued_at, if requeued { at(after.now) } else { old.queued_at });
    assert!(new.is_settled() || !old.is_settled(), "a settled conversation became unsettled");
    if old.is_settled() {
        assert_eq!(new, old);
    }
    if new != old {
        assert_eq!(new.updated_at, at(after.now));
    }
    if old.end_reason.is_some() {
        assert_eq!(new.end_reason, old.end_reason);
    }
    let identity = |of: &Conversation| {
        (of.id.clone(), of.simulation_id.clone(), of.persona_id.clone(), of.seq, of.created_at)
    };
    assert_eq!(identity(new), identity(old));
    let (old, new) = (&before.simulation, &after.simulation);
    if old.status.is_final() {
        assert_eq!(new, old);
    }
    let changed = Simulation {
        status: new.status,
        last_failure_reason: new.last_failure_reason.clone(),
        updated_at: new.updated_at,
        ..old.clone()
    };
    assert_eq!(new, &changed);
}
