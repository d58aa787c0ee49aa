//! Compares the [`WireSize`] of rows with the size of their JSON.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use onerun_auth::{
    Actor, AddressAccess, AuditEvent, Grant, KeyDigest, KeyRecord, KeyUsage, ProjectAccess, RateLimit,
    Replacement, ScopeSet, parse_block,
};
use onerun_domain::{
    AgeGroup, Agent, AgentEndpoint, AlertRates, ApprovalStatus, Batch, BatchCounts, BatchRef, BatchStatus,
    Conversation, ConversationStatus, Criteria, DeliveryAttempt, DeliveryError, DeliveryState, Description,
    EndReason, EndedAttempt, Evaluation, EvaluationDetails, EvaluationStatus, EventType, ExplicitPersonas,
    FaultSeverity, FaultSource, GateBasis, Item, LeftOutMessages, MAX_PERSONA_FAULTS, MaxTurns, MessageText,
    Metadata, ModelName, ModelUsage, Monitor, MonitorGate, MonitorRun, MonitorRunId, MonitorRunRef,
    MonitorState, Name, NanoDollars, NewPersonas, NewSimulation, Objective, ObjectiveRef, Outcome, Persona,
    PersonaAttributes, PersonaDraft, PersonaFault, PersonaFaultKind, PersonaSource, Project, Quote,
    RequestedModels, Role, RunOutcomes, RunResults, RunVerdict, Scenario, Schedule, Score, SealedCredential,
    Seed, Simulation, SimulationModels, SimulationOptions, SimulationStatus, Target, TokenUsage, Webhook,
    WebhookDelivery, WebhookDescription, WebhookFormat, WebhookState, Zone,
};
use onerun_store::{AgentSummary, ConversationSummary, KeyView, SimulationSummary, WireSize};
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    audit::AuditEntryOut,
    views::{
        AgentSummaryOut, BatchOut, ConversationSummaryOut, DeliveryOut, ItemOut, KeyOut, MonitorOut,
        MonitorRunOut, ObjectiveOut, PersonaOut, ProjectOut, SimulationSummaryOut, WebhookOut,
    },
};

/// The times with the longest form.
const EARLY: Timestamp = Timestamp::MIN;
const LATE: Timestamp = Timestamp::MAX;

/// A time that a schedule has later ones than.
const LATE_ENOUGH: Timestamp = Timestamp::UNIX_EPOCH;

const LONG_ID: &str = "WWWWWWWWWWWWWWWWWWWWW";
const SHORT_ID: &str = "WWWWWWWWWWWW";

/// Texts whose JSON is much longer, or whose characters and bytes differ in number.
fn hostile() -> impl Strategy<Value = String> {
    let characters =
        ['"', '\\', '\n', '\r', '\u{8}', '\u{1}', '\u{1f}', '\u{7f}', '\u{2028}', '\u{1f600}', 'a'];
    prop::collection::vec(prop::sample::select(characters.to_vec()), 0..120).prop_map(String::from_iter)
}

/// Such texts that are valid names.
fn clean() -> impl Strategy<Value = String> {
    let characters = ['"', '\\', '\u{1f600}', '\u{e9}', 'a'];
    let rest = prop::collection::vec(prop::sample::select(characters.to_vec()), 0..150);
    rest.prop_map(|rest| format!("n{}", String::from_iter(rest)))
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let number = json!([u64::MAX, i64::MIN, 0.123_456_789_012_345_6_f64, 1e-300, true, null, {"k": []}]);
    prop::collection::btree_map(hostile(), hostile(), 0..5).prop_map(move |texts| {
        let mut object: Map<String, Value> =
            texts.into_iter().map(|(key, text)| (key, Value::String(text))).collect();
        object.insert("numbers".to_owned(), number.clone());
        Metadata::parse(object).unwrap()
    })
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn holds<R: WireSize>(row: R, show: impl FnOnce(R) -> Box<dyn erased::Json>) {
    let size = row.wire_size();
    let length = show(row).json().len();
    assert!(size >= length, "{length} bytes, not {size}");
}

/// A response of any type.
mod erased {
    use super::Serialize;

    pub(super) trait Json {
        fn json(&self) -> String;
    }

    impl<T: Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap()
        }
    }
}

fn agent(text: &str, long: &str, metadata: &Metadata) -> Agent {
    Agent {
        id: SHORT_ID.parse().unwrap(),
        project_id: SHORT_ID.parse().unwrap(),
        name: name(text),
        description: Some(Description::parse(long).unwrap()),
        metadata: metadata.clone(),
        last_polled_at: Some(EARLY),
        endpoint: Some(Box::new(endpoint(text, metadata))),
        archived_at: Some(EARLY),
        created_at: EARLY,
        updated_at: LATE,
    }
}

fn endpoint(text: &str, metadata: &Metadata) -> AgentEndpoint {
    AgentEndpoint {
        target: metadata.as_map().clone(),
        credential: Some(SealedCredential { header: text.to_owned(), sealed: text.to_owned() }),
        max_in_flight: u32::MAX,
        max_calls_per_minute: Some(u32::MAX),
        held: Vec::new(),
        next_call_at: Some(LATE),
    }
}

fn persona(text: &str, metadata: &Metadata) -> Persona {
    let text = || text.to_owned();
    Persona {
        id: LONG_ID.parse().unwrap(),
        simulation_id: LONG_ID.parse().unwrap(),
        seq: u32::MAX,
        approval: ApprovalStatus::Rejected,
        summary: text(),
        story: text(),
        purpose: text(),
        attributes: PersonaAttributes {
            age_group: AgeGroup::YoungAdult,
            speech_style: text(),
            education: text(),
            occupation: text(),
            economic_status: text(),
            personality_traits: text(),
            values: text(),
            habits: text(),
            interests: text(),
            speech_patterns: text(),
            typical_behavior: text(),
            stress_triggers: text(),
            stress_reactions: text(),
            version: text(),
        },
        metadata: metadata.clone(),
        created_at: EARLY,
        updated_at: EARLY,
    }
}

fn evaluation(text: &str) -> Evaluation {
    let quote = Quote { item_id: LONG_ID.parse().unwrap(), text: text.to_owned() };
    Evaluation {
        id: LONG_ID.parse().unwrap(),
        conversation_id: LONG_ID.parse().unwrap(),
        attempt: u32::MAX,
        objective: ObjectiveRef { id: SHORT_ID.parse().unwrap(), version: u32::MAX },
        judge: text.to_owned(),
        prompt_hash: "f".repeat(64),
        outcome: Outcome::Inconclusive,
        score: Score::parse(0.123_456_789_012_345_6),
        reason: text.to_owned(),
        quotes: vec![quote; 10],
        details: EvaluationDetails {
            model_version: Some(text.to_owned()),
            ordinal: Some(5),
            usage: Some(ModelUsage {
                calls: u64::MAX,
                failed_calls: u64::MAX,
                unpriced_calls: u64::MAX,
                tokens: TokenUsage {
                    input: u64::MAX,
                    cached_input: u64::MAX,
                    cache_write: u64::MAX,
                    output: u64::MAX,
                    reasoning: u64::MAX,
                },
                cost: NanoDollars::new(u64::MAX),
            }),
        },
        created_at: EARLY,
    }
}

fn conversation(text: &str) -> Conversation {
    let attempt = EndedAttempt {
        attempt: u32::MAX,
        end_reason: EndReason::ALL.into_iter().max_by_key(|reason| reason.as_str().len()).unwrap(),
        failure_reason: Some(text.to_owned()),
        ended_at: EARLY,
    };
    Conversation {
        id: LONG_ID.parse().unwrap(),
        simulation_id: LONG_ID.parse().unwrap(),
        persona_id: LONG_ID.parse().unwrap(),
        seq: u32::MAX,
        status: ConversationStatus::InProgress,
        end_reason: Some(attempt.end_reason),
        evaluation_status: EvaluationStatus::NotApplicable,
        attempt: u32::MAX,
        ended_attempts: vec![attempt; 3],
        item_count: u32::MAX,
        persona_faults: vec![
            PersonaFault {
                kind: PersonaFaultKind::LeavesCharacter,
                severity: FaultSeverity::Critical,
                item_id: LONG_ID.parse().unwrap(),
                quote: text.to_owned(),
                source: FaultSource::Judge,
            };
            MAX_PERSONA_FAULTS
        ],
        lease_expires_at: Some(EARLY),
        turn: None,
        queued_at: EARLY,
        created_at: EARLY,
        updated_at: EARLY,
    }
}

fn simulation(text: &str, long: &str, metadata: &Metadata) -> Simulation {
    Simulation {
        id: LONG_ID.parse().unwrap(),
        project_id: SHORT_ID.parse().unwrap(),
        agent_id: SHORT_ID.parse().unwrap(),
        name: name(text),
        scenario: Scenario::parse(long).unwrap(),
        target_conversations: Target::parse(10_000).unwrap(),
        target_personas: Target::parse(10_000).unwrap(),
        max_turns: MaxTurns::parse(200).unwrap(),
        auto_approve: false,
        seed: Seed::parse(Seed::MAX).unwrap(),
        options: SimulationOptions {
            personas_from: Some(PersonaSource::new(LONG_ID.parse().unwrap(), Seed::parse(0).unwrap())),
            explicit_personas: true,
            models: SimulationModels::all(
                &ModelName::parse(&format!("bedrock:{}", "\"".repeat(248))).unwrap(),
            ),
            max_cost: Some(NanoDollars::new(999_999_123_456_789)),
            max_tokens: Some(u64::MAX),
            created_by: Some(SHORT_ID.into()),
            monitor_run: Some(MonitorRunRef {
                monitor: SHORT_ID.parse().unwrap(),
                run: LONG_ID.parse().unwrap(),
            }),
            batch: Some(BatchRef { batch: SHORT_ID.parse().unwrap(), index: u32::MAX, attempt: u32::MAX }),
            import: Some(LeftOutMessages { system: u32::MAX, tool: u32::MAX }),
        },
        metadata: metadata.clone(),
        status: SimulationStatus::InProgress,
        last_failure_reason: Some(long.to_owned()),
        created_at: EARLY,
        updated_at: EARLY,
        expires_at: EARLY,
        transcripts_deleted_at: Some(EARLY),
    }
}

fn monitor(text: &str, long: &str, metadata: &Metadata) -> Monitor {
    let Persona { summary, story, purpose, attributes, .. } = persona(text, metadata);
    let draft = PersonaDraft { summary, story, purpose, attributes };
    let model = Some(ModelName::parse(&format!("bedrock:{}", "\"".repeat(248))).unwrap());
    let zone = Zone::parse("America/Argentina/ComodRivadavia").unwrap();
    let expression = "cron(1,3,5,7,9,11,13,15 0,2,4,6,8,10,12 ? 1,3,5,7,9,11 MON,TUE,WED,THU,FRI 2030-2199)";
    let schedule = Schedule::parse(expression, zone).unwrap();
    Monitor {
        id: SHORT_ID.parse().unwrap(),
        project_id: SHORT_ID.parse().unwrap(),
        name: name(text),
        simulation: NewSimulation {
            agent_id: SHORT_ID.parse().unwrap(),
            name: name(text),
            scenario: Scenario::parse(long).unwrap(),
            target_conversations: Target::parse(10_000).unwrap(),
            personas: NewPersonas::Explicit(ExplicitPersonas::parse(vec![draft; 5]).unwrap()),
            max_turns: MaxTurns::parse(200).unwrap(),
            auto_approve: false,
            objective_ids: vec![SHORT_ID.parse().unwrap(); 50],
            seed: Some(Seed::parse(Seed::MAX).unwrap()),
            metadata: metadata.clone(),
            expires_in_seconds: u32::MAX,
            models: RequestedModels { persona: model.clone(), reply: model.clone(), judge: model },
            max_cost_usd: Some(NanoDollars::new(999_999_123_456_789)),
            max_tokens: Some(u64::MAX),
        },
        next_run_at: schedule.next_after(LATE_ENOUGH, LATE_ENOUGH),
        schedule: Some(schedule),
        gate: Some(MonitorGate { min_pass_rate: 0.123_456_789_012_345_6, on: GateBasis::LowerBound }),
        alert: Some(AlertRates::parse(0.123_456_789_012_345_6, 0.012_345_678_901_234_5).unwrap()),
        state: MonitorState::Active,
        metadata: metadata.clone(),
        created_by: SHORT_ID.into(),
        scheduled_since: EARLY,
        created_at: EARLY,
        updated_at: EARLY,
    }
}

fn batch(text: &str, metadata: &Metadata) -> Batch {
    Batch {
        id: SHORT_ID.parse().unwrap(),
        project_id: SHORT_ID.parse().unwrap(),
        name: name(text),
        status: BatchStatus::InProgress,
        max_in_flight: u32::MAX,
        max_in_flight_per_agent: Some(u32::MAX),
        metadata: metadata.clone(),
        created_by: SHORT_ID.into(),
        counts: BatchCounts { queued: u32::MAX, ..BatchCounts::default() },
        parts: Vec::new(),
        created_at: EARLY,
        updated_at: EARLY,
        ended_at: Some(EARLY),
    }
}

fn webhook(text: &str) -> Webhook {
    Webhook {
        id: SHORT_ID.parse().unwrap(),
        project_id: SHORT_ID.parse().unwrap(),
        url: text.to_owned(),
        description: WebhookDescription::parse(text).ok(),
        event_types: EventType::ALL.into(),
        format: WebhookFormat::Standard,
        state: WebhookState::Disabled,
        disabled_reason: Some(text.to_owned()),
        secret_version: u32::MAX,
        previous_secret_until: Some(EARLY),
        created_at: EARLY,
        updated_at: EARLY,
    }
}

fn webhook_delivery(text: &str) -> WebhookDelivery {
    let error = Some(DeliveryError::ConnectionFailed);
    WebhookDelivery {
        state: DeliveryState::Delivered,
        error,
        attempts: vec![DeliveryAttempt { at: EARLY, status_code: Some(u16::MAX), error }; 20],
        ..WebhookDelivery::new(
            LONG_ID.parse().unwrap(),
            &SHORT_ID.parse().unwrap(),
            EventType::MonitorRunFinished,
            json!({ "type": text }).to_string(),
            EARLY,
        )
    }
}

fn monitor_run(text: &str, monitor: &Monitor) -> MonitorRun {
    let outcomes =
        RunOutcomes { passed: 1_000_000, failed: 1_000_000, inconclusive: 1_000_000, infra: u64::MAX };
    let results =
        RunResults { outcomes, verdict: Some(RunVerdict::Inconclusive), reasons: vec![text.to_owned(); 5] };
    MonitorRun {
        started_at: Some(EARLY),
        ended_at: Some(EARLY),
        status: SimulationStatus::InProgress,
        failure_reason: Some(text.to_owned()),
        results: Some(results),
        ..MonitorRun::requested(MonitorRunId::derive(&[]), monitor, EARLY)
    }
}

fn key(text: &str, metadata: &Metadata) -> KeyRecord {
    let id = "AAECAwQFBgcI".parse::<onerun_auth::KeyId>().unwrap();
    let projects: BTreeSet<_> = (0..100).map(|number| format!("{number:0>12}").parse().unwrap()).collect();
    let block = parse_block("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128").unwrap();
    KeyRecord {
        id: id.clone(),
        name: name(text),
        digest: KeyDigest::of("a"),
        grant: Grant {
            scopes: ScopeSet::ALL,
            projects: ProjectAccess::Only(projects),
            addresses: AddressAccess::Only(vec![block; 20]),
            rate_limit: RateLimit::new(RateLimit::MAX_REQUESTS, RateLimit::MAX_WINDOW_SECONDS),
            expires_at: Some(EARLY),
        },
        not_before: Some(EARLY),
        metadata: metadata.clone(),
        created_at: EARLY,
        created_by: id.clone(),
        family: id.clone(),
        updated_at: EARLY,
        disabled_at: Some(EARLY),
        revoked_at: Some(EARLY),
        replaces: Some(id.clone()),
        replaced: Some(Replacement { by: id, at: EARLY, overlap_ends_at: EARLY }),
        revision: u64::MAX,
    }
}

proptest! {
    #[test]
    fn resource_is_no_larger_than_its_wire_size(text in clean(), metadata in metadata()) {
        let long = text.repeat(9);
        let project =
            Project { id: SHORT_ID.parse().unwrap(), name: name(&text), archived_at: Some(EARLY), created_at: EARLY, updated_at: EARLY };
        holds(project, |row| Box::new(ProjectOut::from(row)));
        let summary =
            AgentSummary { agent: agent(&text, &long, &metadata), total_simulations: u64::MAX };
        holds(summary, |row| Box::new(AgentSummaryOut::from(row)));
        let objective = Objective {
            id: SHORT_ID.parse().unwrap(),
            project_id: SHORT_ID.parse().unwrap(),
            version: u32::MAX,
            name: name(&text),
            criteria: Criteria::restore(long.clone()).unwrap(),
            created_at: EARLY,
            updated_at: EARLY,
        };
        holds(objective, |row| Box::new(ObjectiveOut::from(row)));
        let summary = SimulationSummary {
            simulation: simulation(&text, &long, &metadata),
            agent: Agent { description: None, ..agent(&text, &long, &metadata) },
        };
        holds(summary, |row| Box::new(SimulationSummaryOut::from(row)));
        let monitor = monitor(&text, &long, &metadata);
        let warnings = || {
            let model = "\"".repeat(250);
            vec![format!("The model `{model}` retires on 2031-03-14; choose another one before."); 3]
        };
        holds(batch(&text, &metadata), |row| Box::new(BatchOut::from(row)));
        holds(monitor_run(&text, &monitor), |row| Box::new(MonitorRunOut::from(&row)));
        holds(webhook(&text), |row| Box::new(WebhookOut::from(&row)));
        holds(webhook_delivery(&text), |row| Box::new(DeliveryOut::from(&row)));
        holds(monitor, |row| Box::new(MonitorOut::new(&row, warnings())));
        let usage = KeyUsage {
            last_used_at: Some(EARLY),
            used_scopes: ScopeSet::ALL,
            uses_since_replaced: u64::MAX,
        };
        let view = KeyView { record: key(&text, &metadata), usage };
        holds(view, |row| Box::new(KeyOut::of(row, LATE)));
    }

    #[test]
    fn generated_row_is_no_larger_than_its_wire_size(
        text in hostile(),
        named in clean(),
        metadata in metadata(),
        details in prop::collection::btree_map(hostile(), hostile(), 0..5),
    ) {
        holds(persona(&text, &metadata), |row| Box::new(PersonaOut::from(row)));
        let summary = ConversationSummary {
            conversation: conversation(&text),
            persona: persona(&text, &metadata),
            evaluations: vec![(evaluation(&text), name(&named)); 4],
        };
        holds(summary, |row| Box::new(ConversationSummaryOut::from(row)));
        let item = Item {
            id: LONG_ID.parse().unwrap(),
            conversation_id: LONG_ID.parse().unwrap(),
            attempt: u32::MAX,
            position: u32::MAX,
            role: Role::Assistant,
            content: vec![MessageText::parse(named.repeat(5)).unwrap(); 50],
            created_at: EARLY,
        };
        holds(item, |row| Box::new(ItemOut::from(row)));
        let event = AuditEvent {
            at: text.clone(),
            action: text.clone(),
            key_id: text.clone(),
            actor: Actor {
                key_id: text.clone(),
                address: Some(text.clone()),
                user_agent: Some(text.clone()),
                request_id: text.clone(),
            },
            details: BTreeMap::from_iter(details),
        };
        holds(event.seal(None), |row| Box::new(AuditEntryOut::from(row)));
    }
}
