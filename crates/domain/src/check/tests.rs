use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{Item, MAX_QUOTES, MessageText};

fn transcript(lines: &[(Role, &str)], end_reason: Option<EndReason>) -> Transcript {
    let items = lines
        .iter()
        .zip(0_u32..)
        .map(|((role, text), position)| Item {
            id: format!("item{position:017}").parse().unwrap(),
            conversation_id: "conversation000000001".parse().unwrap(),
            attempt: 1,
            position,
            role: *role,
            content: vec![MessageText::parse(*text).unwrap()],
            created_at: Timestamp::UNIX_EPOCH,
        })
        .collect();
    Transcript { items, end_reason }
}

fn decide(check: &str, transcript: &Transcript) -> CheckResult {
    let rubric = Rubric::parse(check).unwrap();
    assert_eq!(rubric.checks.len(), 1, "{check}");
    rubric.decide(transcript).remove(0)
}

fn holds(check: &str, transcript: &Transcript) -> bool {
    let result = decide(check, transcript);
    assert_ne!(result.outcome, Outcome::Inconclusive, "{check}");
    result.outcome == Outcome::Passed
}

/// A message of the agent with these parts.
fn agent_says(parts: &[&str]) -> Transcript {
    let mut transcript = transcript(&[(Role::Assistant, "")], None);
    transcript.items[0].content = parts.iter().map(|part| MessageText::parse(*part).unwrap()).collect();
    transcript
}

#[test]
fn each_kind_of_check_is_decided() {
    let transcript = transcript(
        &[
            (Role::User, "I want my money back"),
            (Role::Assistant, "Your REFUND is on its way, see a/b"),
            (Role::User, "Thank you"),
        ],
        Some(EndReason::PersonaDecided),
    );
    for check in [
        "check: agent says /refund/i",
        "  CHECK:   Agent Says   /refund/i  ",
        r"check: agent says /a\/b/",
        "check: agent says /a/b/",
        "check: agent never says /money/",
        "check: persona says /^thank/i",
        "check: agent replies <= 1",
        "check: agent replies == 1",
        "check: persona replies >= 2",
        "check: persona replies > 1",
        "check: agent replies < 2",
        "check: persona ended",
    ] {
        assert!(holds(check, &transcript), "{check}");
    }
    for check in [
        "check: agent says /refund/",
        "check: agent never says /refund/i",
        "check: agent replies > 1",
        "check: agent ended",
    ] {
        assert!(!holds(check, &transcript), "{check}");
    }
}

#[test]
fn says_check_quotes_the_matched_words() {
    let transcript = transcript(&[(Role::Assistant, "ok, REFUND sent")], None);
    let result = decide("check: agent never says /refund/i", &transcript);
    let quote = &result.quotes[0];
    assert_eq!((quote.text.as_str(), &quote.item_id), ("REFUND", &transcript.items[0].id));
}

#[test]
fn check_about_a_silent_side_is_inconclusive() {
    let silent = [
        transcript(&[(Role::User, "Hello?")], Some(EndReason::AgentDecided)),
        transcript(&[(Role::User, "Hello?"), (Role::Assistant, "")], Some(EndReason::AgentDecided)),
        transcript(
            &[(Role::User, "Hello?"), (Role::Assistant, " \n\u{200b}")],
            Some(EndReason::AgentDecided),
        ),
    ];
    for transcript in &silent {
        for check in ["says /x/", "never says /x/", "replies <= 6", "replies == 0", "ended"] {
            let result = decide(&format!("check: agent {check}"), transcript);
            assert_eq!(result.outcome, Outcome::Inconclusive, "{check}");
            assert!(result.reason.ends_with("the agent said nothing"), "{}", result.reason);
        }
        assert!(holds("check: persona never says /x/", transcript));
    }
    let result = decide("check: persona never says /x/", &agent_says(&["Hello"]));
    assert_eq!(result.outcome, Outcome::Inconclusive);
    assert!(result.reason.ends_with("the persona said nothing"), "{}", result.reason);
}

#[test]
fn message_is_matched_whole_and_quoted_by_part() {
    let transcript = agent_says(&["We give you a full ", "refund."]);
    let result = decide(r"check: agent never says /full\s+refund/i", &transcript);
    assert_eq!(result.outcome, Outcome::Failed);
    let quotes: Vec<_> = result.quotes.iter().map(|quote| quote.text.as_str()).collect();
    assert_eq!(quotes, ["full ", "refund"]);
}

#[test]
fn match_over_many_parts_has_bounded_quotes() {
    let result = decide(r"check: agent says /(a|\n)+/", &agent_says(&["a"; 1_000]));
    assert_eq!(result.quotes.len(), MAX_QUOTES + 1);
}

#[test]
fn lookalike_text_matches_and_is_quoted_as_written() {
    for (pattern, text, quote) in [
        ("/guarantee/i", "We guaran\u{200b}tee it.", "guaran\u{200b}tee"),
        ("/guarantee/i", "We Guaran\u{ad}tee it.", "Guaran\u{ad}tee"),
        ("/guarantee/i", "We guaran\u{2060}tee it.", "guaran\u{2060}tee"),
        ("/can't/", "I can\u{2019}t.", "can\u{2019}t"),
        ("/can\u{2019}t/", "I can't.", "can't"),
        ("/caf\u{e9}/", "A cafe\u{301}!", "cafe\u{301}"),
        ("/refund/i", "\u{ff32}\u{ff45}fund", "\u{ff32}\u{ff45}fund"),
        ("/by tomorrow/i", "Done by\u{a0}tomorrow.", "by\u{a0}tomorrow"),
    ] {
        let result = decide(&format!("check: agent never says {pattern}"), &agent_says(&[text]));
        assert_eq!(result.outcome, Outcome::Failed, "{pattern} {text:?}");
        assert_eq!(result.quotes[0].text, quote);
    }
}

#[test]
fn line_ends_before_every_kind_of_line_break() {
    for text in ["It is done\r\nBye", "It is done\nBye", "It is done\rBye", "It is done"] {
        assert!(holds("check: agent says /done$/m", &agent_says(&[text])), "{text:?}");
    }
    assert!(!holds("check: agent says /done$/", &agent_says(&["It is done\r\nBye"])));
}

#[test]
fn conversation_too_long_for_its_patterns_is_inconclusive() {
    let rubric = Rubric::parse(&["check: agent never says /[ab]{200}c/"; 2].join("\n")).unwrap();
    let part = "b ".repeat(16_000);
    let message = vec![part.as_str(); 30];
    let mut transcript = agent_says(&message);
    assert!(rubric.decide(&transcript).iter().all(|result| result.outcome == Outcome::Passed));
    transcript.items.push(transcript.items[0].clone());
    for result in rubric.decide(&transcript) {
        assert_eq!(result.outcome, Outcome::Inconclusive);
        assert!(result.reason.contains("the conversation is too long"), "{}", result.reason);
    }
    let found = Rubric::parse("check: agent never says /b/").unwrap();
    assert_eq!(found.decide(&transcript)[0].outcome, Outcome::Failed);
}

#[test]
fn deciding_in_steps_gives_the_same_results() {
    let criteria = "check: agent says /b{3}/\ncheck: persona says /a/\ncheck: agent never says /c$/m\n\
                    check: agent replies > 1";
    let rubrics = [criteria, "check: agent says /x/"].map(|text| Arc::new(Rubric::parse(text).unwrap()));
    let lines = [(Role::Assistant, "abbb"), (Role::User, "xa"), (Role::Assistant, "c\r\nd")];
    let transcript = Arc::new(transcript(&lines, None));
    let mut examination = Examination::new(rubrics.to_vec(), Arc::clone(&transcript));
    let mut pieces = 1;
    while !examination.advance(1) {
        pieces += 1;
    }
    assert!(pieces > 6, "{pieces}");
    let whole: Vec<_> = rubrics.iter().map(|rubric| rubric.decide(&transcript)).collect();
    assert_eq!(examination.results(), whole);
}

#[test]
fn prose_and_checks_are_separated() {
    let rubric = Rubric::parse("Is polite.\ncheck: agent says /hello/\nAnd brief.").unwrap();
    assert_eq!(rubric.prose.as_deref(), Some("Is polite.\nAnd brief."));
    assert_eq!(rubric.checks.len(), 1);
    assert!(Rubric::parse("check: persona ended").unwrap().prose.is_none());
}

#[test]
fn unknown_check_is_refused_with_its_line() {
    for rule in [
        "",
        "agent",
        "someone says /x/",
        "agent says x",
        "agent says /x",
        "agent says /x/q",
        "agent replies 6",
        "agent replies <= -1",
        "agent replies <= +1",
        "agent replies <= 99999999999",
        "agent ended early",
    ] {
        let error = Rubric::parse(&format!("first\ncheck: {rule}")).unwrap_err();
        assert_eq!(error, CheckLineError::Unknown { line: 2 }, "{rule}");
    }
    assert!(matches!(Rubric::parse("check: agent says /(/"), Err(CheckLineError::Pattern { line: 1, .. })));
    assert!(matches!(Rubric::parse("check: agent says //"), Err(CheckLineError::Pattern { .. })));
    let near = Rubric::parse("Kind.\nchecks: agent says /x/").unwrap_err();
    assert_eq!(near, CheckLineError::Near { line: 2, rule: "agent says /x/".to_owned() });
    assert!(near.to_string().contains("write `check: agent says /x/`"), "{near}");
}

#[test]
fn expensive_patterns_are_refused() {
    let bomb = "check: agent says /((((a{99}){99}){99}){99})/";
    assert!(matches!(Rubric::parse(bomb), Err(CheckLineError::Pattern { line: 1, .. })));
    let each_small = ["check: agent says /[ab]{250}c/"; 5].join("\n");
    assert_eq!(Rubric::parse(&each_small).unwrap_err(), CheckLineError::TooMuch { line: 5 });
    let classes = [r"check: agent says /[\x{80}-\x{10ffff}]/i"; 3].join("\n");
    assert_eq!(Rubric::parse(&classes).unwrap_err(), CheckLineError::TooMuch { line: 3 });
    assert_eq!(Rubric::parse(&"check: persona ended\n".repeat(21)).unwrap_err(), CheckLineError::TooMany);
}

proptest! {
    #[test]
    fn parsing_and_deciding_never_panic(criteria in "(check: (agent|persona) (says|never says|replies|ended)? ?.{0,20}\n?|.{0,10}\n){0,4}", text in any::<String>()) {
        if let Ok(rubric) = Rubric::parse(&criteria)
            && let Ok(text) = MessageText::parse(text)
        {
            let transcript = transcript(&[(Role::Assistant, text.as_str()), (Role::User, text.as_str())], None);
            for quote in rubric.decide(&transcript).iter().flat_map(|result| &result.quotes) {
                prop_assert!(text.as_str().contains(&quote.text));
            }
        }
    }
}
