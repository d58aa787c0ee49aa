//! Conversations. Their item is read and written at every turn, so it holds no member that has no value and stays below
//! one KiB, which is one write unit.

use aws_sdk_dynamodb::types::AttributeValue;
use onerun_domain::{
    Conversation, ConversationStatus, EndReason, EndedAttempt, EvaluationStatus, ObjectiveRef, Outcome,
    Score, TurnClaim, TurnToken,
};
use onerun_store::StoreError;
use serde_json::{Map, Value, json};

use super::{Read, micros, score, score_json};
use crate::item::{DUE, Fields, Item};

/// The bytes of a reply's entry: 8 of its key's hash, 1 of its attempt, 3 of its place.
const ENTRY: usize = 12;
const HASH: usize = 8;

/// The place of a reply that has an item of its own.
const OWN_ITEM: u32 = 0x00ff_ffff;

/// The bytes of a writer's name, and how many names are remembered.
const WRITER: usize = 6;
const WRITERS: usize = 8;

const REPLIES: &str = "replies";
const RECENT_WRITERS: &str = "writers";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredConversation {
    pub(crate) conversation: Conversation,
    /// The evaluations of the current attempt, reduced to what counts and keys need.
    pub(crate) evaluations: Vec<StoredEvaluation>,
    /// The numbers of messages of earlier attempts.
    pub(crate) earlier_counts: Vec<u32>,
    /// Where replies under an `Idempotency-Key` are.
    pub(crate) replies: Replies,
    /// The names of the last writes, oldest first.
    pub(crate) writers: Vec<u8>,
    /// When it is looked at by the tick: no later than its lease and claim expire.
    pub(crate) due: Option<String>,
    pub(crate) revision: u64,
}

/// The part of an evaluation that is stored with its conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredEvaluation {
    pub(crate) objective: ObjectiveRef,
    pub(crate) outcome: Outcome,
    pub(crate) score: Option<Score>,
}

/// Where a reply is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyPlace {
    /// With the messages of an attempt from a position on.
    Messages { attempt: u32, position: u32 },
    /// In an item of its own.
    OwnItem,
}

/// The places of replies by the hash of their key. A hash of 64 bits is enough to know a key again within one
/// conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replies(Vec<u8>);

impl Replies {
    fn hash(idempotency_key: &str) -> [u8; HASH] {
        let digits = onerun_domain::sha256_hex([idempotency_key]);
        let hash = digits.get(..2 * HASH).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        hash.unwrap_or_default().to_be_bytes()
    }

    pub(crate) fn find(&self, idempotency_key: &str) -> Option<ReplyPlace> {
        let hash = Self::hash(idempotency_key);
        let entry = self.0.chunks_exact(ENTRY).find(|entry| entry.starts_with(&hash))?;
        let [attempt, place @ ..] = entry.get(HASH..)? else { return None };
        let position = place.iter().fold(0, |place, byte| place << 8 | u32::from(*byte));
        Some(match position {
            OWN_ITEM => ReplyPlace::OwnItem,
            position => ReplyPlace::Messages { attempt: u32::from(*attempt), position },
        })
    }

    pub(crate) fn add(&mut self, idempotency_key: &str, place: ReplyPlace) {
        let (attempt, position) = match place {
            ReplyPlace::Messages { attempt, position } => (attempt, position),
            ReplyPlace::OwnItem => (0, OWN_ITEM),
        };
        self.0.extend(Self::hash(idempotency_key));
        // The domain bounds attempts.
        self.0.push(u8::try_from(attempt).unwrap_or(u8::MAX));
        self.0.extend(position.to_be_bytes().iter().skip(1));
    }
}

impl StoredConversation {
    pub(crate) fn new(conversation: Conversation) -> Self {
        Self {
            conversation,
            evaluations: Vec::new(),
            earlier_counts: Vec::new(),
            replies: Replies::default(),
            writers: Vec::new(),
            due: None,
            revision: 1,
        }
    }

    /// The number of messages of an attempt.
    pub(crate) fn count_of(&self, attempt: u32) -> u32 {
        if attempt == self.conversation.attempt {
            return self.conversation.item_count;
        }
        let earlier = attempt.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        earlier.and_then(|index| self.earlier_counts.get(index)).copied().unwrap_or(0)
    }

    /// Remembers a write by the first bytes of its random name.
    pub(crate) fn note_writer(&mut self, writer: &[u8]) {
        self.writers.extend(writer.iter().take(WRITER));
        let surplus = self.writers.len().saturating_sub(WRITER * WRITERS);
        self.writers.drain(..surplus);
    }

    /// Whether a write is among the last ones.
    pub(crate) fn was_written_by(&self, writer: &[u8]) -> bool {
        self.writers.chunks_exact(WRITER).any(|name| writer.starts_with(name))
    }

    /// The attributes beside the body.
    pub(crate) fn attributes(&self) -> [(&'static str, Option<AttributeValue>); 2] {
        let bytes = |bytes: &[u8]| (!bytes.is_empty()).then(|| AttributeValue::B(bytes.to_vec().into()));
        [(REPLIES, bytes(&self.replies.0)), (RECENT_WRITERS, bytes(&self.writers))]
    }
}

pub(crate) fn conversation_body(stored: &StoredConversation) -> Value {
    let StoredConversation { conversation, evaluations, earlier_counts, .. } = stored;
    let evaluation = |evaluation: &StoredEvaluation| {
        json!({
            "objective": evaluation.objective.id,
            "version": evaluation.objective.version,
            "outcome": evaluation.outcome.as_str(),
            "score": score_json(evaluation.score),
        })
    };
    let ended_attempt = |ended: &EndedAttempt| {
        json!({
            "attempt": ended.attempt,
            "end_reason": ended.end_reason.as_str(),
            "failure_reason": ended.failure_reason,
            "ended_at": micros(ended.ended_at),
        })
    };
    let body = json!({
        "id": conversation.id,
        "simulation_id": conversation.simulation_id,
        "persona_id": conversation.persona_id,
        "seq": conversation.seq,
        "status": conversation.status.as_str(),
        "end_reason": conversation.end_reason.map(EndReason::as_str),
        "evaluation_status": conversation.evaluation_status.as_str(),
        "attempt": conversation.attempt,
        "ended_attempts": conversation.ended_attempts.iter().map(ended_attempt).collect::<Value>(),
        "item_count": conversation.item_count,
        "earlier_counts": earlier_counts,
        "persona_faults": conversation.persona_faults,
        "lease_expires_at": conversation.lease_expires_at.map(micros),
        "turn_token": conversation.turn.as_ref().map(|claim| claim.token.as_str()),
        "turn_expires_at": conversation.turn.as_ref().map(|claim| micros(claim.expires_at)),
        "queued_at": micros(conversation.queued_at),
        "created_at": micros(conversation.created_at),
        "updated_at": micros(conversation.updated_at),
        "findings": evaluations.iter().map(evaluation).collect::<Value>(),
    });
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    match body {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(_, value)| !is_empty(value)).collect::<Map<_, _>>())
        }
        body => body,
    }
}

pub(crate) fn conversation(item: &Item) -> Read<StoredConversation> {
    let mut fields = item.fields()?;
    let conversation = Conversation {
        id: fields.parsed("id")?,
        simulation_id: fields.parsed("simulation_id")?,
        persona_id: fields.parsed("persona_id")?,
        seq: fields.number("seq")?,
        status: fields.word("status", ConversationStatus::parse)?,
        end_reason: fields.optional_word("end_reason", EndReason::parse)?,
        evaluation_status: fields.word("evaluation_status", EvaluationStatus::parse)?,
        attempt: fields.number("attempt")?,
        ended_attempts: ended_attempts(&mut fields)?,
        item_count: fields.number("item_count")?,
        persona_faults: fields.document("persona_faults")?,
        lease_expires_at: fields.optional_time("lease_expires_at")?,
        turn: turn_claim(&mut fields)?,
        queued_at: fields.time("queued_at")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    };
    let evaluations = fields.optional_list("findings", |fields| {
        Ok(StoredEvaluation {
            objective: fields.reference()?,
            outcome: fields.word("outcome", Outcome::parse)?,
            score: score(fields)?,
        })
    })?;
    Ok(StoredConversation {
        conversation,
        evaluations,
        earlier_counts: fields.document("earlier_counts")?,
        replies: Replies(item.bytes(REPLIES)?.to_vec()),
        writers: item.bytes(RECENT_WRITERS)?.to_vec(),
        due: item.optional_text(DUE)?.map(str::to_owned),
        revision: item.revision()?,
    })
}

fn ended_attempts(fields: &mut Fields) -> Read<Vec<EndedAttempt>> {
    fields.optional_list("ended_attempts", |fields| {
        Ok(EndedAttempt {
            attempt: fields.number("attempt")?,
            end_reason: fields.word("end_reason", EndReason::parse)?,
            failure_reason: fields.optional_text("failure_reason")?,
            ended_at: fields.time("ended_at")?,
        })
    })
}

fn turn_claim(fields: &mut Fields) -> Result<Option<TurnClaim>, StoreError> {
    let token = fields.optional_text("turn_token")?;
    let expires_at = fields.optional_time("turn_expires_at")?;
    Ok(token
        .zip(expires_at)
        .map(|(token, expires_at)| TurnClaim { token: TurnToken::restore(token), expires_at }))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn queued() -> StoredConversation {
        let id = "conversation000000001".parse().unwrap();
        let (simulation, persona) =
            ("simulation00000000001".parse().unwrap(), "persona00000000000001".parse().unwrap());
        StoredConversation::new(Conversation::queued(id, simulation, persona, 1, Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn replies_are_found_by_their_key() {
        let mut replies = Replies::default();
        let places = [
            ("a", ReplyPlace::Messages { attempt: 1, position: 0 }),
            ("b", ReplyPlace::OwnItem),
            ("c", ReplyPlace::Messages { attempt: 10, position: 70_000 }),
        ];
        for (key, place) in places {
            assert_eq!(replies.find(key), None);
            replies.add(key, place);
        }
        for (key, place) in places {
            assert_eq!(replies.find(key), Some(place));
        }
    }

    #[test]
    fn only_the_last_writes_are_remembered() {
        let mut stored = queued();
        let name = |number: u8| [number; 16];
        (1..=20).for_each(|number| stored.note_writer(&name(number)));
        let known: Vec<u8> = (1..=20).filter(|number| stored.was_written_by(&name(*number))).collect();
        assert_eq!(known, (13..=20).collect::<Vec<u8>>());
    }

    #[test]
    fn body_has_no_member_without_a_value() {
        let body = conversation_body(&queued());
        let members = body.as_object().unwrap();
        assert!(members.values().all(|value| !value.is_null() && *value != json!([])), "{body}");
        assert!(body.to_string().len() < 512, "{body}");
    }
}
