//! Personas that a caller wrote.

use onerun_domain::{Item, Persona, Role, Simulation};
use onerun_engine::{Meter, Reply, ReplyRequest};
use proptest::prelude::*;

use crate::{
    reply::reply,
    testing::{agent, item, persona, simulation},
};

fn explicit(summary: &str, story: &str, purpose: &str) -> (Simulation, Persona) {
    let mut simulation = simulation(3, "A customer of a shop has a problem with an order.");
    simulation.options.explicit_personas = true;
    let persona = Persona {
        summary: summary.to_owned(),
        story: story.to_owned(),
        purpose: purpose.to_owned(),
        ..persona(&simulation, &agent(), 1)
    };
    (simulation, persona)
}

fn say(simulation: &Simulation, persona: &Persona, lines: &[(Role, &str)]) -> Reply {
    let transcript: Vec<Item> =
        lines.iter().enumerate().map(|(position, (role, text))| item(position, *role, text)).collect();
    reply(&ReplyRequest {
        meter: &Meter::default(),
        simulation,
        agent: &agent(),
        persona,
        conversation_seq: 1,
        transcript: &transcript,
    })
}

#[test]
fn explicit_persona_opens_with_its_purpose() {
    for (purpose, words) in [
        ("To cancel the gym membership.", "to cancel the gym membership"),
        ("Wants to know when the parcel arrives", "to know when"),
        ("Get a refund for the dented pan.", "Get a refund for the dented pan."),
        ("Eine Rechnung finden", "Eine Rechnung finden."),
    ] {
        let (simulation, persona) = explicit("Ada Lovelace, 36.", "", purpose);
        let opening = say(&simulation, &persona, &[]).text.unwrap();
        assert!(opening.contains(words), "{purpose}: {opening}");
    }
}

#[test]
fn explicit_persona_tells_only_what_is_stated() {
    let (simulation, persona) =
        explicit("Ada Lovelace, 36.", "Her order is #A-10427.", "To cancel the order.");
    for (question, words) in [
        ("What is your name?", "Ada"),
        ("What is your order number?", "#A-10427"),
        ("What is your e-mail address?", "have"),
        ("What is your phone number?", "have"),
    ] {
        let told = say(&simulation, &persona, &[(Role::User, "Hello."), (Role::Assistant, question)]);
        let told = told.text.unwrap();
        assert!(told.contains(words) && !told.contains("example.com") && !told.contains("555"), "{told}");
    }
}

#[test]
fn replacement_of_an_explicit_persona_is_drawn() {
    let (simulation, _) = explicit("", "", "");
    let replacement = persona(&simulation, &agent(), 11);
    let told =
        say(&simulation, &replacement, &[(Role::User, "Hi."), (Role::Assistant, "What is your name?")]);
    let given = replacement.summary.split(' ').next().unwrap().to_owned();
    assert!(told.text.unwrap().contains(&given));
}

proptest! {
    #[test]
    fn any_explicit_persona_has_an_answer(
        summary in any::<String>(), story in any::<String>(), purpose in any::<String>(), asked in any::<String>(),
    ) {
        let (simulation, persona) = explicit(&summary, &story, &purpose);
        let opening = say(&simulation, &persona, &[]).text.unwrap();
        prop_assert!(opening.chars().count() <= 32_000);
        say(&simulation, &persona, &[(Role::User, "Hi."), (Role::Assistant, &asked)]);
    }
}
