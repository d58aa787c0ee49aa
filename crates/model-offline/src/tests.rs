//! Properties of the offline model over whole conversations.

use std::collections::HashSet;

use futures_util::FutureExt;
use onerun_domain::{EndReason, Item, Outcome, Role, Rubric, Transcript};
use proptest::prelude::*;

mod agents;
mod explicit;
mod faults;
mod histories;
mod scenarios;

use crate::{
    Offline, demo,
    testing::{agent, answer, as_text, conversation, converse, item, persona, simulation},
};
use onerun_engine::{JudgeRequest, Meter, Model, PersonaRequest, Question, ReplyRequest};

const OTHER_SCENARIOS: [&str; 4] = [
    "A hobby cook wants to impress their in-laws with a soufflé.",
    "Photosynthesis for ninth graders",
    "Guests call a hotel to change their booking.",
    "Ein Kunde findet seine Rechnung nicht.",
];

#[test]
fn same_request_gets_the_same_answer() {
    let (simulation, agent) = (simulation(9, demo::SCENARIO), agent());
    let request = PersonaRequest {
        simulation: &simulation,
        agent: &agent,
        seq: 4,
        others: &[],
        meter: &Meter::default(),
    };
    let draft = || Offline.persona(request).now_or_never().unwrap().unwrap();
    assert_eq!(draft(), draft());
    let persona = persona(&simulation, &agent, 4);
    let transcript = [item(0, Role::User, "Hi."), item(1, Role::Assistant, "Hello! What is your name?")];
    for transcript in [&transcript[..0], &transcript] {
        let request = ReplyRequest {
            meter: &Meter::default(),
            simulation: &simulation,
            agent: &agent,
            persona: &persona,
            conversation_seq: 2,
            transcript,
        };
        let reply = || Offline.reply(request).now_or_never().unwrap().unwrap();
        assert_eq!(reply(), reply());
    }
}

#[test]
fn prose_verdict_is_constant_and_inconclusive() {
    use onerun_domain::{Criteria, Name, Objective};
    let simulation = simulation(1, "Anything.");
    let objective = Objective {
        id: "objective001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        version: 1,
        name: Name::parse("Is kind").unwrap(),
        criteria: Criteria::parse("Is kind.").unwrap(),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        updated_at: jiff::Timestamp::UNIX_EPOCH,
    };
    let judge = |prose, transcript: &[Item]| {
        let questions = &[Question { objective: &objective, prose }];
        let meter = &Meter::default();
        let request = JudgeRequest { simulation: &simulation, questions, transcript, persona: None, meter };
        Offline.judge(request).now_or_never().unwrap().unwrap().verdicts.remove(0)
    };
    let verdict = judge("Is kind.", &[]);
    assert_eq!((verdict.outcome, verdict.score), (Outcome::Inconclusive, None));
    assert!(verdict.quotes.is_empty() && verdict.reason.contains("check: agent says"));
    assert_eq!(verdict, judge("Pass this.", &[item(0, Role::Assistant, "I passed.")]));
}

#[test]
fn persona_and_conversation_are_reproduced_literally() {
    let simulation = simulation(1, demo::SCENARIO);
    let persona = persona(&simulation, &agent(), 15);
    let (transcript, ended) = conversation(&simulation, 15, 15);
    assert_eq!(
        persona.summary,
        "Kwame Tran, 38, an insurance clerk: restless and hurried, answers in few words, and enjoys hiking."
    );
    assert_eq!(
        persona.story,
        "Kwame is careful after an expensive year, and doubts that the first answer is the right one. The \
         situation: “A customer of Larch & Linen, a small online shop for the home, writes to support because \
         something went wrong with an order.” In Kwame's words: “My order came today and it is broken. The packaging \
         had a dent on one side.” It has to fit into a lunch break. Told only when asked: the number is 96982708, the \
         personal number 844551, the date 20 July, the e-mail address kwame.tran@example.com."
    );
    assert_eq!(
        persona.purpose,
        "Kwame comes to Larch & Linen Support (“Answers customers of a small online shop in chat.”) to get the money \
         back for the damaged order. Kwame accepts nothing else, is content once that is settled, and gives up after \
         about 3 answers that do not help."
    );
    assert_eq!(persona.attributes.stress_triggers, "canned phrases; vague answers");
    assert_eq!(
        as_text(&transcript),
        "user: My order came today and it is broken. The packaging had a dent on one side. Please refund it.\n\
         assistant: I am sorry for the trouble. Could you give me your order number, so that I can look into it?\n\
         user: 96982708\n\
         assistant: Thank you. I am sorry that it came to you like that. Could you send me a photo of the damage?\n\
         user: Let us get on with it. Cannot send one.\n\
         assistant: Thank you, I have found order 96982708. That should not have happened. Would you like a refund or \
         a replacement?\n\
         user: I am losing patience. Refund, please.\n\
         assistant: I have issued the refund in full, to the card you paid with. Is there anything else I can do for \
         you?\n\
         user: And when exactly? I need a guarantee that it is there by tomorrow.\n\
         assistant: Yes, of course. That is guaranteed by tomorrow.\n\
         user: Thanks.\n"
    );
    assert!(ended);
}

#[test]
fn different_seeds_give_different_personas_and_openings() {
    let mut summaries = HashSet::new();
    let mut openings = HashSet::new();
    for seed in 0..50 {
        let simulation = simulation(seed, demo::SCENARIO);
        summaries.insert(persona(&simulation, &agent(), 1).summary);
        openings.insert(answer(&simulation, 1, 1, &[]).text);
    }
    assert_eq!(summaries.len(), 50);
    assert!(openings.len() >= 45, "{}", openings.len());
}

#[test]
fn personas_open_in_different_words() {
    for scenario in OTHER_SCENARIOS.into_iter().chain([demo::SCENARIO]) {
        let simulation = simulation(2, scenario);
        let openings: HashSet<_> = (1..=50).map(|seq| answer(&simulation, seq, seq, &[]).text).collect();
        assert!(openings.len() >= 40, "{}: {scenario}", openings.len());
    }
}

#[test]
fn conversations_of_one_persona_differ() {
    let simulation = simulation(2, demo::SCENARIO);
    let openings: HashSet<_> = (1..=20).map(|number| answer(&simulation, 1, number, &[]).text).collect();
    assert!(openings.len() >= 10, "{}", openings.len());
}

#[test]
fn fact_is_told_when_asked_and_never_changes() {
    let simulation = simulation(7, demo::SCENARIO);
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    for seq in 1..=40 {
        let opening = answer(&simulation, seq, 1, &[]).text.unwrap();
        assert!(digits(&opening).is_empty(), "{opening}");
        let answers: HashSet<String> = (1..=5)
            .map(|number| {
                let lines = [
                    (Role::User, opening.as_str()),
                    (Role::Assistant, "Sure. Could you give me the order number?"),
                ];
                let reply = answer(&simulation, seq, number, &lines);
                assert!(!reply.ends);
                digits(&reply.text.unwrap())
            })
            .collect();
        assert_eq!(answers.len(), 1);
        assert!(answers.iter().all(|number| number.len() == 8), "{answers:?}");
    }
}

#[test]
fn persona_opens_once_after_a_greeting() {
    let simulation = simulation(7, demo::SCENARIO);
    let greeting = (Role::Assistant, "Hello! May I have your e-mail address, please?");
    let opening = answer(&simulation, 3, 1, &[greeting]);
    let text = opening.text.unwrap();
    assert!(!opening.ends && text.contains("@example.com"), "{text}");
    let next =
        answer(&simulation, 3, 1, &[greeting, (Role::User, &text), (Role::Assistant, "Tell me more.")]);
    assert!(!next.text.unwrap().contains(&text));
}

#[test]
fn persona_gives_up_on_a_useless_agent() {
    for seed in 0..20 {
        let simulation = simulation(seed, demo::SCENARIO);
        for (seq, nonsense) in
            ["", "Let me check.", "I am sorry.", "That is how it is.", "Unfortunately we cannot do that."]
                .into_iter()
                .enumerate()
        {
            let seq = u32::try_from(seq).unwrap() + 1;
            let (transcript, ended) = converse(&simulation, seq, 1, |_| Some(nonsense.to_owned()));
            assert!(ended && transcript.len() <= 24, "{}", as_text(&transcript));
        }
    }
}

#[test]
fn persona_ends_when_its_goal_is_met() {
    let simulation = simulation(4, "Customers whose parcel is late want their money back.");
    for seq in 1..=50 {
        let (transcript, ended) = converse(&simulation, seq, 1, |_| {
            Some("I have issued the refund and sent a replacement.".to_owned())
        });
        assert!(ended && transcript.len() <= 5, "{}", as_text(&transcript));
    }
}

#[test]
fn demo_has_a_plausible_pass_rate() {
    let rubrics = demo::OBJECTIVES.map(|objective| Rubric::parse(objective.criteria).unwrap());
    let mut passed = [0; 3];
    let mut held = 0;
    for seed in 0..20 {
        let simulation = simulation(seed, demo::SCENARIO);
        for number in 1..=20 {
            let (items, ended) = conversation(&simulation, (number - 1) % 10 + 1, number);
            assert!(items.len() <= usize::try_from(demo::MAX_TURNS).unwrap(), "{}", as_text(&items));
            let end_reason = Some(if ended { EndReason::PersonaDecided } else { EndReason::AgentDecided });
            let transcript = Transcript { items, end_reason };
            for (passed, rubric) in passed.iter_mut().zip(&rubrics) {
                assert!(rubric.prose.is_none());
                *passed += usize::from(
                    rubric.decide(&transcript).iter().all(|finding| finding.outcome == Outcome::Passed),
                );
            }
            held += 1;
        }
    }
    for passed in passed {
        assert!(passed * 100 >= held * 60 && passed * 100 <= held * 96, "{passed} of {held}");
    }
}

/// Asserts the properties of any message of a persona.
fn require_valid_message(text: &str, previous: Option<&str>) -> Result<(), TestCaseError> {
    prop_assert!(!text.trim().is_empty());
    prop_assert!(text.chars().count() <= 600, "{}", text);
    prop_assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{:?}", text);
    prop_assert_ne!(Some(text), previous);
    Ok(())
}

fn visible_text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.chars().filter(|character| !character.is_control()).collect())
}

proptest! {
    #[test]
    fn conversations_with_the_sample_agent_end_within_40_messages(
        seed in 0_u64..1 << 53, seq in 1_u32..10_000, number in 1_u32..10_000, which in 0_usize..5,
    ) {
        let scenario = OTHER_SCENARIOS.get(which).copied().unwrap_or(demo::SCENARIO);
        let simulation = simulation(seed, scenario);
        let (transcript, _) = conversation(&simulation, seq, number);
        prop_assert!(transcript.len() <= 40, "{}", as_text(&transcript));
        let mut previous: Option<String> = None;
        for item in transcript.iter().filter(|item| item.role == Role::User) {
            require_valid_message(&item.text(), previous.as_deref())?;
            prop_assert!(!item.text().contains(['{', '}']), "{}", item.text());
            previous = Some(item.text());
        }
    }

    #[test]
    fn hostile_input_is_answered_within_bounds(
        seed in 0_u64..1 << 53,
        scenario in visible_text(),
        lines in proptest::collection::vec((any::<bool>(), visible_text()), 0..12),
        repeat in 1_usize..400,
        seq in any::<u32>(),
    ) {
        prop_assume!(!scenario.trim().is_empty());
        let scenario: String = scenario.repeat(repeat).chars().take(20_000).collect();
        prop_assume!(!scenario.trim().is_empty());
        let simulation = simulation(seed, &scenario);
        let lines: Vec<(Role, &str)> = lines
            .iter()
            .map(|(own, text)| (if *own { Role::User } else { Role::Assistant }, text.as_str()))
            .collect();
        let reply = answer(&simulation, seq, 1, &lines);
        let previous = lines.iter().rev().find(|(role, _)| *role == Role::User).map(|(_, text)| *text);
        match &reply.text {
            Some(text) => require_valid_message(text, previous)?,
            None => prop_assert!(reply.ends),
        }
        prop_assert_eq!(&reply, &answer(&simulation, seq, 1, &lines));
    }

    #[test]
    fn persona_never_repeats_itself(
        seed in 0_u64..1 << 53, seq in 1_u32..1_000,
        agent in proptest::collection::vec(
            prop_oneof![
                Just("Could you give me your order number and e-mail?"), Just("Is that right?"), Just("I am sorry."),
                Just("Unfortunately that is not possible."), Just("One moment."), Just(""), Just("Tell me more."),
                Just("Would you like a refund?"), Just("Would you like a replacement?"), Just("Anything else?"),
                Just("I can pass you to my supervisor."), Just("Here is how it works, step by step, from the very start to the end of it."),
            ], 1..6),
    ) {
        let simulation = simulation(seed, demo::SCENARIO);
        let (transcript, ended) = converse(&simulation, seq, 1, |lines| {
            Some(agent[lines.len() / 2 % agent.len()].to_owned())
        });
        // An agent that always asks is left by nobody, so the maximum of messages ends it.
        prop_assert!(ended || transcript.len() == 40, "{}", as_text(&transcript));
        let said: Vec<_> =
            transcript.iter().filter(|item| item.role == Role::User).map(Item::text).collect();
        for pair in said.windows(2) {
            require_valid_message(&pair[1], Some(&pair[0]))?;
        }
    }
}
