//! Replies to kinds of messages that real agents send.

use onerun_domain::Role;

use crate::{
    character::Character,
    testing::{answer, simulation},
};
use onerun_engine::Reply;

const BOOKING: &str = "A guest wants to change their hotel booking.";
const FLIGHT: &str = "A passenger wants to change the seat on a flight.";
const CANCEL: &str = "A gym member wants to cancel a membership.";

/// The replies of 20 personas to messages of the agent. The persona's messages between them are its
/// own.
fn replies(scenario: &str, agent: &[&str]) -> Vec<Reply> {
    (0..20)
        .map(|seed| {
            let simulation = simulation(seed, scenario);
            let mut lines: Vec<(Role, String)> = Vec::new();
            let say = |lines: &[(Role, String)]| {
                let lines: Vec<_> = lines.iter().map(|(role, text)| (*role, text.as_str())).collect();
                answer(&simulation, 1, 1, &lines)
            };
            for text in agent {
                let own = say(&lines).text.unwrap();
                lines.push((Role::User, own));
                lines.push((Role::Assistant, (*text).to_owned()));
            }
            say(&lines)
        })
        .collect()
}

#[test]
fn persona_stays_while_the_agent_waits_for_an_answer() {
    for text in [
        "Your identity is confirmed. Shall I change the flight?",
        "Identity confirmed; shall I change the flight?",
        "I have verified your details. Would you like me to go ahead with the change?",
        "Thank you, that has been confirmed. Do you want me to proceed?",
        "The fee has been waived. To proceed, please reply yes.",
        "I've found a seat for you. Is that okay?",
        "A code was sent, please read it to me.",
        "I've sent a code to your phone. Please read it to me.",
        "We have emailed you a passcode. Could you tell me the six digits?",
        "I've changed it to 14A. Would you like an aisle seat instead?",
        "Everything has been prepared. Which seat do you want?",
    ] {
        for reply in replies(FLIGHT, &[text]) {
            assert!(!reply.ends && reply.text.is_some(), "{text}\n{reply:?}");
        }
        for reply in replies(FLIGHT, &[text; 12]) {
            assert!(!reply.ends && reply.text.is_some(), "{text}\n{reply:?}");
        }
    }
}

#[test]
fn permission_for_the_wish_is_given() {
    for text in [
        "Your identity is confirmed. Shall I change the flight?",
        "Would you like me to go ahead with the change?",
        "I can change your seat to 14A. Do you want me to proceed?",
        "So you want to change your seat, correct?",
    ] {
        for reply in replies(FLIGHT, &[text]) {
            let lower = reply.text.unwrap().to_lowercase();
            let agrees = ["yes", "please", "sure", "go ahead", "do that", "sounds good", "appreciate"];
            assert!(agrees.iter().any(|word| lower.contains(word)), "{text}\n{lower}");
        }
    }
}

#[test]
fn persona_is_not_content_before_it_is_done() {
    for text in [
        "Nothing has been cancelled so far.",
        "Your cancellation couldn't be processed.",
        "The request could not be completed, and the membership was not cancelled.",
        "Unfortunately the cancellation failed.",
        "Once you confirm, your membership will be cancelled.",
        "I see that your membership was renewed in May and is not cancelled.",
        "Your membership would be cancelled by the end of the month.",
        "Memberships are usually cancelled within three days.",
        "I have added a note to your file.",
        "No cancellation has been recorded yet.",
        "It hasn't been cancelled.",
        "Your identity has been verified.",
        "I have sent you a link.",
    ] {
        for reply in replies(CANCEL, &[text]) {
            assert!(!reply.ends, "{text}\n{reply:?}");
            let lower = reply.text.unwrap().to_lowercase();
            assert!(!lower.starts_with("thank") && !lower.contains("that settles it"), "{text}\n{lower}");
        }
    }
}

#[test]
fn persona_ends_after_the_deed_and_a_closing_note() {
    for text in [
        "I have cancelled your membership. Please check your email for the confirmation.",
        "Your membership has been cancelled. You will find the details in your e-mail.",
        "Done: your membership is now cancelled. Please keep your membership number for your records.",
        "I've cancelled it. A confirmation was sent to your email address. Is there anything else I can help you with?",
        "All set! The membership has been terminated. Please note that an email follows.",
        "Your membership has been cancelled. Feel free to send me your number if you want a call. Goodbye!",
    ] {
        for reply in replies(CANCEL, &[text, "You're welcome. Have a nice day!"]) {
            assert!(reply.ends, "{text}\n{reply:?}");
        }
        for reply in replies(CANCEL, &[text]) {
            assert!(!reply.text.unwrap().contains("@example.com"), "{text}");
        }
    }
}

#[test]
fn every_requested_number_is_told() {
    for text in [
        "Could you give me your user ID and your reservation ID?",
        "Please provide your customer number and the booking number.",
        "I need your member ID and the confirmation number to go on.",
        "What's your account number, and what's the reservation code?",
    ] {
        for seed in 0..20 {
            let simulation = simulation(seed, BOOKING);
            let facts = Character::of(&simulation, 1).facts;
            let opening = answer(&simulation, 1, 1, &[]).text.unwrap();
            let lines = [(Role::User, opening.as_str()), (Role::Assistant, text)];
            let reply = answer(&simulation, 1, 1, &lines).text.unwrap();
            assert!(reply.contains(&facts.account) && reply.contains(&facts.number), "{text}\n{reply}");
            assert_ne!(facts.account, facts.number);
        }
    }
}

#[test]
fn stated_identifiers_are_told_when_asked() {
    let scenario =
        "You are mia_li_3668. You want to change your reservation JG7FMM. Your email is mia@example.org.";
    for reply in replies(scenario, &["What is your user ID, your reservation number and your email?"]) {
        let text = reply.text.unwrap();
        assert!(
            ["mia_li_3668", "JG7FMM", "mia@example.org"].iter().all(|fact| text.contains(fact)),
            "{text}"
        );
    }
}

#[test]
fn wrong_read_back_is_corrected() {
    for text in [
        "So your booking number is 11112222, correct?",
        "Your booking number is 11112222. Is that right?",
        "Just to confirm: is your user ID 999-999-9?",
        "Your e-mail is john.smith@example.com, is that correct?",
        "Am I speaking with John Smith?",
        "Your name is John Smith, right?",
        "Is your address 999 Nowhere Road?",
    ] {
        for reply in replies(BOOKING, &[text]) {
            let lower = reply.text.unwrap().to_lowercase();
            let corrects = ["no,", "no.", "nope", "mistake", "mistaken", "wrong"];
            assert!(
                corrects.iter().any(|word| lower.contains(word)) && !lower.contains("yes"),
                "{text}\n{lower}"
            );
        }
    }
}

#[test]
fn right_read_back_is_confirmed() {
    for seed in 0..20 {
        let simulation = simulation(seed, BOOKING);
        let facts = Character::of(&simulation, 1).facts;
        let opening = answer(&simulation, 1, 1, &[]).text.unwrap();
        for text in [
            format!("So your booking number is {}, correct?", facts.number),
            format!("Your name is {}, right?", facts.name),
            format!("Your e-mail is {}, is that correct?", facts.email),
        ] {
            let reply =
                answer(&simulation, 1, 1, &[(Role::User, &opening), (Role::Assistant, &text)]).text.unwrap();
            let lower = reply.to_lowercase();
            assert!(
                ["yes", "yep", "yeah", "right", "correct", "indeed"].iter().any(|word| lower.contains(word)),
                "{text}\n{reply}"
            );
            assert!(!lower.contains("wrong") && !lower.contains("no,"), "{text}\n{reply}");
        }
    }
}

#[test]
fn persona_settles_for_nothing_unrelated() {
    for text in [
        "I have issued a full refund for your booking.",
        "Your booking has been cancelled.",
        "I've refunded you, and you are all set.",
        "A replacement is on its way to you.",
        "Your booking was cancelled and the money was credited to your card.",
    ] {
        for reply in replies(BOOKING, &[text, "You're welcome."]) {
            assert!(!reply.text.is_some_and(|text| text.to_lowercase().contains("thank")), "{text}");
        }
        for reply in replies(BOOKING, &[text]) {
            assert!(!reply.ends, "{text}");
        }
    }
    for text in [
        "Would you like a refund?",
        "I can offer you a refund or a replacement.",
        "Shall I cancel the booking?",
    ] {
        for reply in replies(BOOKING, &[text]) {
            let lower = reply.text.unwrap().to_lowercase();
            let declines = ["not", "no.", "no,", "misunderstanding", "something else"];
            assert!(
                declines.iter().any(|word| lower.contains(word)) && !lower.contains("yes"),
                "{text}\n{lower}"
            );
        }
    }
}

#[test]
fn scripts_of_every_writing_system_stay_whole() {
    let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
    for whole in [
        family,
        "می\u{200c}خواهم",
        "\u{1f1e8}\u{1f1e6}",
        "क्षत्रिय",
        "क्\u{200d}ष",
        "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    ] {
        let scenario = format!("Zeichen {whole} und {whole} auf einem Schild.");
        let long = format!("Zeichen {}", whole.repeat(150));
        for seed in 0..20 {
            let opening = answer(&simulation(seed, &scenario), 1, 1, &[]).text.unwrap();
            assert!(opening.contains(&scenario), "{opening}");
            let opening = answer(&simulation(seed, &long), 1, 1, &[]).text.unwrap();
            let start = opening.find("Zeichen ").unwrap() + "Zeichen ".len();
            let shown = &opening[start..start + opening[start..].find('…').unwrap()];
            let whole_count = shown.len() / whole.len();
            assert!(
                shown == whole.repeat(whole_count) || whole == "क्षत्रिय" || whole.starts_with('م'),
                "{opening}"
            );
        }
    }
}
