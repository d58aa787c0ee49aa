use super::*;
use crate::{EndReason, MessageText, Scenario, fixtures::persona};

const SCENARIO: &str =
    "A customer of a bicycle shop wants to return a helmet. The order number is ORD-48213.";

fn item(position: u32, role: Role, text: &str) -> Item {
    Item {
        id: format!("item{position:017}").parse().unwrap(),
        conversation_id: "conversation000000001".parse().unwrap(),
        attempt: 1,
        position,
        role,
        content: vec![MessageText::parse(text.to_owned()).unwrap()],
        created_at: crate::fixtures::at(0),
    }
}

/// Lines that begin with `A: ` are the agent's, others the persona's.
fn transcript(lines: &[&str], end_reason: Option<EndReason>) -> Transcript {
    let items = lines.iter().zip(0..).map(|(line, position)| match line.strip_prefix("A: ") {
        Some(text) => item(position, Role::Assistant, text),
        None => item(position, Role::User, line),
    });
    Transcript { items: items.collect(), end_reason }
}

fn faults_of(persona: &Persona, lines: &[&str], end: Option<EndReason>) -> Vec<PersonaFault> {
    persona_faults(&Scenario::parse(SCENARIO).unwrap(), persona, &transcript(lines, end))
}

/// Kinds and severities in a conversation that the persona ends.
fn found(lines: &[&str]) -> Vec<(PersonaFaultKind, FaultSeverity)> {
    let faults = faults_of(&persona(), lines, Some(EndReason::PersonaDecided));
    faults.into_iter().map(|fault| (fault.kind, fault.severity)).collect()
}

use FaultSeverity::{Critical, Minor};
use PersonaFaultKind::{Invents, LeavesCharacter, RepeatsItself, SpeaksAsAgent, StopsEarly};

#[test]
fn offer_of_help_is_speaking_as_the_agent() {
    for line in [
        "How can I help you today?",
        "Sure! How may I assist you with your return?",
        "Thank you for contacting us. We value your business.",
        "I understand. Is there anything else I can help you with?",
        "Certainly, I’d be happy to assist you with that.",
    ] {
        assert_eq!(found(&[line, "A: I am the assistant here."]), [(SpeaksAsAgent, Critical)], "{line}");
    }
    for line in [
        "You asked how can I help you, so here it is.",
        "Can you help me? Is there anything else you need from me?",
        "Thank you for contacting the courier for me.",
        "I'd be happy to take a voucher instead.",
    ] {
        assert_eq!(found(&[line, "A: Thank you."]), [], "{line}");
    }
    let nurse = Persona { summary: "A nurse who answers patients".into(), ..persona() };
    let faults = faults_of(&nurse, &["How can I help you?"], None);
    assert_eq!(faults.iter().map(|fault| fault.severity).collect::<Vec<_>>(), [Minor]);
}

#[test]
fn model_that_names_itself_leaves_its_character() {
    for line in [
        "As an AI language model, I cannot return a helmet.",
        "I'm sorry, but as an AI I don't have an order.",
        "I am an AI assistant, so I have no helmet.",
        "I’m an AI.",
        "I am playing the role of a customer.",
        "This is only a simulation, so it does not matter.",
    ] {
        assert_eq!(found(&[line, "A: I see."]), [(LeavesCharacter, Critical)], "{line}");
    }
    for line in [
        "Am I talking to an AI?",
        "As an AI, you should know my order.",
        "I am an AI engineer and I ride to work.",
        "I work as an AI researcher.",
        "You act as if I am an AI!",
        "I am not an AI, I am a person.",
        "I simulate traffic for a living.",
        "I feel like I am in a simulation of a call centre.",
    ] {
        assert_eq!(found(&[line, "A: I see."]), [], "{line}");
    }
    let actor = Persona { summary: "An actor who plays robots".into(), ..persona() };
    let faults = faults_of(&actor, &["I am playing the role of a robot at the moment."], None);
    assert_eq!(faults.iter().map(|fault| fault.severity).collect::<Vec<_>>(), [Minor]);
}

#[test]
fn repeated_message_is_a_fault_unless_it_was_asked_for() {
    let opening = "Hello, I would like to return my helmet because it is too small.";
    assert_eq!(found(&[opening, "A: Which size is it?", opening, "A: Fine."]), [(RepeatsItself, Minor)]);
    let stuck = [opening, "A: Which size?", opening, "A: What colour?", opening, "A: Noted."];
    assert_eq!(found(&stuck), [(RepeatsItself, Minor), (RepeatsItself, Critical)]);
    let shouting = opening.to_uppercase();
    assert_eq!(found(&[opening, "A: Which size?", &shouting, "A: Fine."]), [(RepeatsItself, Minor)]);

    for answer in ["A: Could you repeat that?", "A: Sorry, I did not get it.", "A: Please try again."] {
        assert_eq!(found(&[opening, answer, opening, "A: Thanks."]), [], "{answer}");
    }
    let again = ["A: Why?", opening, "A: Why?", opening, "A: Thanks."];
    assert_eq!(found(&again), [], "asked twice, the same answer");
    let short = ["Yes, please do that.", "A: Done.", "Yes, please do that.", "A: Done too."];
    assert_eq!(found(&short), [], "people repeat short messages");
}

#[test]
fn identifier_from_nowhere_is_invented() {
    let invented = "My order number is 99812.";
    assert_eq!(found(&[invented, "A: Thank you."]), [(Invents, Minor)]);
    for answer in [
        "A: I couldn't find an order with that number.",
        "A: There is no record of it.",
        "A: That order does not exist.",
    ] {
        assert_eq!(found(&[invented, answer]), [(Invents, Critical)], "{answer}");
    }
    let once = [invented, "A: I see.", "As I said, order 99812.", "A: I cannot find it."];
    assert_eq!(found(&once), [(Invents, Minor)], "a repetition is the same fault");
    let faults = faults_of(&persona(), &["It is booking #XK7721, please."], None);
    assert_eq!(faults[0].quote, "XK7721");

    for line in [
        "My order number is ORD-48213.",
        "The order is 48213.",
        "It was order ord 48213, I think.",
        "I ordered it on 2026-11-02 and paid $12000 for the order.",
        "Order two helmets for 2 people at 10:30, order sum 12,000.",
        "My account is anna12345@example.org.",
        "I ride 15000 kilometres a year.",
        "Case closed since 2019.",
    ] {
        assert_eq!(found(&[line, "A: I cannot find it."]), [], "{line}");
    }
    let told = ["A: Your new case number is CS-77120.", "Thanks, I note case CS77120.", "A: Good."];
    assert_eq!(found(&told), [], "the agent gave it");
    let story = Persona { story: "Her membership number is 5550123.".into(), ..persona() };
    assert_eq!(faults_of(&story, &["My membership number is 555 0123, or 5550123."], None), []);
}

#[test]
fn persona_that_leaves_a_question_open_stops_early() {
    let asks = "A: I can refund the helmet. Shall I go ahead?";
    assert_eq!(found(&["Please refund it.", asks, "Thank you, goodbye!"]), [(StopsEarly, Critical)]);
    assert_eq!(found(&["Please refund it.", asks]), [(StopsEarly, Critical)]);
    assert_eq!(found(&["Please refund it.", "A: Which size is it?", "Thanks, bye."]), [(StopsEarly, Minor)]);

    for (question, farewell) in [
        ("A: Shall I go ahead?", "No, leave it. Goodbye."),
        ("A: Done. Is there anything else I can help you with?", "Thank you, that was all."),
        ("A: Shall I go ahead? I wait for your answer.", "Thanks, bye."),
        ("A: It is refunded.", "Thank you!"),
        ("A: How would you rate this chat?", "Five stars. Bye."),
        ("A: Which size is it?", "This is useless, I go elsewhere."),
    ] {
        assert_eq!(found(&["Please refund it.", question, farewell]), [], "{question} {farewell}");
    }
    let extra = "A: It is refunded. Would you like me to send you a copy by email?";
    assert_eq!(found(&["Please refund it.", extra, "Yes, thank you, bye."]), [(StopsEarly, Minor)]);
    for end in [None, Some(EndReason::AgentDecided), Some(EndReason::MaxTurnsReached)] {
        assert_eq!(faults_of(&persona(), &["Please refund it.", asks], end), [], "{end:?}");
    }
}

#[test]
fn normal_conversations_have_no_fault() {
    let conversations: [&[&str]; 7] = [
        &[
            "Hi, I bought a helmet and it is too small. Can I return it?",
            "A: Of course. What is your order number?",
            "It's ORD-48213.",
            "A: Thank you. I have sent you a label. Is there anything else?",
            "No, that's all. Thanks for your help!",
        ],
        &[
            "A: Welcome to the dental practice. How can I help you today?",
            "Hello, I need an appointment for next Tuesday at 14:30 if possible.",
            "A: 14:30 is taken. Would 15:00 work?",
            "Yes, 15:00 is fine. My date of birth is 12/03/1984.",
            "A: Booked. See you on Tuesday.",
            "Perfect, see you then.",
        ],
        &[
            "Are you a bot? I asked as an adult, not as a child.",
            "A: I am a virtual assistant.",
            "Fine. As an artist I need an invoice for my order.",
            "A: It is in your account.",
            "Great, I found it. Thank you.",
        ],
        &[
            "I've told you already. My fridge makes a noise and I want somebody to come.",
            "A: When did you buy it?",
            "In 2021, for 899 euros, with 5 years of warranty.",
            "A: A technician will call you.",
            "Okay.",
        ],
        &["مرحبا، أريد إرجاع الخوذة رقم 48213", "A: حسنا، هل أتابع؟", "نعم، شكرا"],
        &[
            "Ich möchte den Helm zurückgeben. Die Bestellnummer ist ORD-48213.",
            "A: Gerne. Ich habe Ihnen ein Etikett geschickt.",
            "Vielen Dank, auf Wiedersehen!",
        ],
        &[
            "How can I help my daughter choose a helmet?",
            "A: Measure her head.",
            "How can I help her with the strap?",
            "A: Pull it below the chin.",
            "Thanks, I can help her now. 👩‍👧",
        ],
    ];
    for lines in conversations {
        assert_eq!(found(lines), [], "{lines:?}");
    }
}

#[test]
fn faults_are_bounded_and_critical_ones_stay() {
    let mut lines: Vec<String> =
        (0..40).map(|number| format!("My order number is {}.", 700_000 + number)).collect();
    lines.push("I am an AI language model.".into());
    lines.push("I see the long word ".to_owned() + &"é".repeat(5_000) + " and as an AI I wonder.");
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let faults = faults_of(&persona(), &lines, None);
    assert_eq!(faults.len(), MAX_PERSONA_FAULTS);
    assert_eq!(faults.iter().filter(|fault| fault.kind == LeavesCharacter).count(), 2);
    assert!(faults.iter().all(|fault| fault.quote.len() <= MAX_QUOTE));
    let items = transcript(&lines, None).items;
    for fault in faults {
        let item = items.iter().find(|item| item.id == fault.item_id).unwrap();
        assert!(item.text().contains(&fault.quote));
    }
}

proptest::proptest! {
    #[test]
    fn any_transcript_is_examined_without_a_panic(
        lines in proptest::collection::vec("(A: )?x[-a-z0-9 #$./?!'’é\u{1f600}]{0,80}", 0..12),
    ) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let faults = faults_of(&persona(), &lines, Some(EndReason::PersonaDecided));
        proptest::prop_assert!(faults.len() <= MAX_PERSONA_FAULTS);
    }
}
