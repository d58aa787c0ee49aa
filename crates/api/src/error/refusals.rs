//! The statuses and codes of refusals.

use onerun_auth::KeyChangeError;
use onerun_domain::Refusal;

use super::ErrorStatus;

/// The status of a refusal, the same as in the published service where it has one.
pub(super) fn refused_status(refusal: &Refusal) -> (ErrorStatus, &'static str) {
    use ErrorStatus as S;
    match refusal {
        Refusal::SimulationOver { .. } => (S::Conflict, "simulation_over"),
        Refusal::SimulationNotRunning { .. } => (S::Conflict, "simulation_not_running"),
        Refusal::SimulationUnfinished => (S::Conflict, "simulation_unfinished"),
        Refusal::ConversationNotQueued { .. } => (S::Conflict, "conversation_not_queued"),
        Refusal::ConversationNotStarted => (S::BadRequest, "conversation_not_started"),
        Refusal::ConversationRequeued { .. } => (S::Conflict, "conversation_requeued"),
        Refusal::ConversationOver { .. } => (S::BadRequest, "conversation_over"),
        Refusal::AttemptOver { .. } => (S::Conflict, "attempt_over"),
        Refusal::TurnInProgress { .. } => (S::Conflict, "turn_in_progress"),
        Refusal::TurnLost => (S::Conflict, "turn_lost"),
        Refusal::StaleAttempt { .. } => (S::Conflict, "stale_attempt"),
        Refusal::LeaseHeld => (S::Conflict, "lease_held"),
        Refusal::PersonaDecided { .. } => (S::Conflict, "persona_decided"),
        Refusal::SimulationNotOver { .. } => (S::Conflict, "simulation_not_over"),
        Refusal::SimulationNotEnded { .. } => (S::Conflict, "simulation_not_ended"),
        Refusal::NothingToJudge => (S::Conflict, "nothing_to_judge"),
        Refusal::TranscriptsDeleted { .. } => (S::Conflict, "transcripts_deleted"),
        Refusal::TranscriptsRetained => (S::Conflict, "transcripts_retained"),
        Refusal::EvaluationRunOver => (S::Conflict, "evaluation_run_over"),
        Refusal::EvaluationRunUnfinished => (S::Conflict, "evaluation_run_unfinished"),
        Refusal::MonitorNotDue => (S::Conflict, "monitor_not_due"),
        Refusal::MonitorRunOver => (S::Conflict, "monitor_run_over"),
        Refusal::BatchOver { .. } => (S::Conflict, "batch_over"),
        Refusal::BatchStopping => (S::Conflict, "batch_stopping"),
        Refusal::BatchItemSettled => (S::Conflict, "batch_item_settled"),
        Refusal::AgentArchived => (S::Conflict, "agent_archived"),
        Refusal::ProjectArchived => (S::Conflict, "project_archived"),
        Refusal::TooManyWebhooks => (S::Conflict, "too_many_webhooks"),
        Refusal::WebhookDisabled => (S::Conflict, "webhook_disabled"),
        Refusal::TooManyPendingDeliveries => (S::Conflict, "too_many_pending_deliveries"),
        Refusal::DeliveryPending { .. } => (S::Conflict, "delivery_pending"),
        Refusal::DeliveryOver => (S::Conflict, "delivery_over"),
        Refusal::NothingToEvaluate => (S::Conflict, "nothing_to_evaluate"),
    }
}

pub(super) fn key_change_status(error: &KeyChangeError) -> (ErrorStatus, &'static str) {
    use ErrorStatus as S;
    match error {
        KeyChangeError::Revoked => (S::Conflict, "key_revoked"),
        KeyChangeError::Expired => (S::Conflict, "key_expired"),
        KeyChangeError::Disabled => (S::Conflict, "key_disabled"),
        KeyChangeError::Replaced { .. } => (S::Conflict, "key_replaced"),
        KeyChangeError::TooManyKeys { .. } => (S::Conflict, "too_many_keys"),
        KeyChangeError::TooManyKeysOfFamily { .. } => (S::Conflict, "too_many_keys_of_family"),
        KeyChangeError::ExceedsOwnKey { .. } => (S::Forbidden, "exceeds_own_key"),
    }
}
