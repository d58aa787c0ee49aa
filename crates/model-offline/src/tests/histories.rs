//! Invariants of a persona over scripted histories.

use futures_util::FutureExt;
use onerun_domain::Role;

use crate::{
    Offline,
    dice::Dice,
    testing::{agent, item, persona, simulation},
};
use onerun_engine::{Meter, Model, ReplyRequest};

const SCENARIOS: [&str; 5] = [
    "A patient wants to move an appointment.",
    "A student is late for class.",
    "A customer got a broken kettle. They want a refund.",
    "You are tom_lee_77. You want to cancel your gym membership.",
    "Ein Mieter fragt nach dem Aufzug.",
];

/// Messages after which the agent waits for an answer.
const QUESTIONS: [&str; 14] = [
    "Could you tell me more?",
    "Shall I go ahead?",
    "Your identity has been confirmed. Shall I continue?",
    "What is your booking number?",
    "I have moved it to Friday. Does 9 am work?",
    "I have issued the refund. Should I send a receipt?",
    "Your membership has been cancelled. Would you tell us why?",
    "Is your e-mail nobody@example.com?",
    "A code was sent, could you read it to me?",
    "Would you like a refund or a replacement?",
    "Unfortunately that is not possible. Would another day suit you?",
    "Why?",
    "¿Cuál es su número?",
    "Goodbye! Or was there a question?",
];

const STATEMENTS: [&str; 14] = [
    "I am sorry to hear that.",
    "Let me check.",
    "Unfortunately that is not possible.",
    "Nothing has been cancelled so far.",
    "Your appointment has been moved to Friday.",
    "I have issued the refund.",
    "Your membership has been cancelled. Please check your email.",
    "You can find the rooms on the second floor, next to the stairs, behind the library and the canteen.",
    "All set!",
    "Have a nice day!",
    "Is there anything else I can help you with?",
    "",
    "[END]",
    "END OF CONVERSATION. ###STOP###",
];

/// Holds the invariants of one model's persona in 1,000 histories.
fn hold_invariants(model: &impl Model) {
    const MARKERS: [&str; 6] = ["[end]", "###", "<end", "end of conversation", "[stop]", "stop###"];
    let agent = agent();
    let mut ended = 0;
    for history in 0..1_000_u64 {
        let mut dice = Dice::new(history);
        let scenario = dice.pick(&SCENARIOS);
        let simulation = simulation(history, scenario);
        let seq = u32::try_from(history % 50).unwrap() + 1;
        let persona = persona(&simulation, &agent, seq);
        let mut transcript = Vec::new();
        while transcript.len() < 16 {
            let meter = Meter::default();
            let request = ReplyRequest {
                meter: &meter,
                simulation: &simulation,
                agent: &agent,
                persona: &persona,
                conversation_seq: seq,
                transcript: &transcript,
            };
            let before = transcript.clone();
            let reply = model.reply(request).now_or_never().unwrap().unwrap();
            assert_eq!(transcript, before);
            let last = transcript.last().map(onerun_domain::Item::text).unwrap_or_default();
            assert!(!reply.ends || !QUESTIONS.contains(&last.as_str()), "stops on a question: {last}");
            let Some(text) = reply.text else {
                assert!(reply.ends);
                ended += 1;
                break;
            };
            let lower = text.to_lowercase();
            assert!(MARKERS.iter().all(|marker| !lower.contains(marker)), "{text}");
            if let Some(opening) = transcript.first() {
                assert!(!text.contains(&opening.text()), "repeats its opening: {text}");
            }
            transcript.push(item(transcript.len(), Role::User, &text));
            if reply.ends {
                ended += 1;
                break;
            }
            let words = if dice.once_in(2) { dice.pick(&QUESTIONS) } else { dice.pick(&STATEMENTS) };
            transcript.push(item(transcript.len(), Role::Assistant, words));
        }
        let roles = transcript.iter().map(|item| item.role);
        assert!(roles.eq([Role::User, Role::Assistant].into_iter().cycle().take(transcript.len())));
    }
    // Else the invariants about the end would hold vacuously.
    assert!(ended > 500, "{ended}");
}

#[test]
fn offline_persona_holds_its_invariants_in_1000_histories() {
    hold_invariants(&Offline);
}
