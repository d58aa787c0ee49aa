//! Criteria with check lines against transcripts: nothing panics, quotes occur verbatim, a check
//! and its negation never agree, and a parsed line is read back.
//!
//! An input is the criteria and then the messages, alternately of agent and persona, separated by
//! zero bytes.

#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use onerun_domain::{EndReason, Item, MessageText, Outcome, Role, Rubric, Transcript};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let criteria = parts.next().unwrap_or_default();
    let rubric = match Rubric::parse(criteria) {
        Ok(rubric) => rubric,
        Err(error) => {
            let told = error.to_string();
            assert!(!told.is_empty() && !told.contains('\n'), "{told}");
            return;
        }
    };
    assert!(rubric.checks.len() <= 20);
    assert!(rubric.prose.as_deref().is_none_or(|prose| !prose.trim().is_empty()));

    let transcript = transcript(parts, data.len());
    for (check, finding) in rubric.checks.iter().zip(rubric.decide(&transcript)) {
        assert!(finding.reason.contains(check.as_str()));
        for quote in &finding.quotes {
            assert!(!quote.text.is_empty() && quote.text.len() <= 300);
            let item = transcript
                .items
                .iter()
                .find(|item| item.id == quote.item_id)
                .expect("it is of the transcript");
            assert!(item.content.iter().any(|part| part.as_str().contains(&quote.text)));
        }
        let read = Rubric::parse(check.as_str()).expect("a check is a line");
        assert_eq!(read.checks.len(), 1);
        assert_eq!(read.checks[0].as_str(), check.as_str());
        assert_eq!(read.decide(&transcript)[0], finding);
        if let Some(opposite) = opposite(check.as_str()) {
            let opposite = Rubric::parse(&opposite).expect("so is its opposite");
            let outcomes = (opposite.decide(&transcript)[0].outcome, finding.outcome);
            let is_undecided = outcomes.0 == Outcome::Inconclusive && outcomes.1 == Outcome::Inconclusive;
            assert!(is_undecided || outcomes.0 != outcomes.1, "{outcomes:?}");
        }
    }
});

fn transcript<'a>(messages: impl Iterator<Item = &'a str>, variant: usize) -> Transcript {
    let items = messages
        .filter_map(|message| MessageText::parse(message).ok())
        .zip(0_u32..32)
        .map(|(message, position)| Item {
            id: format!("item{position:017}").parse().expect("it is an id"),
            conversation_id: "conversation000000001".parse().expect("it is an id"),
            attempt: 1,
            position,
            role: if position % 2 == 0 { Role::Assistant } else { Role::User },
            content: vec![message],
            created_at: Timestamp::UNIX_EPOCH,
        })
        .collect();
    let end_reason = [None, Some(EndReason::AgentDecided), Some(EndReason::PersonaDecided)][variant % 3];
    Transcript { items, end_reason }
}

/// The negation of a line, if it has one of the same form.
fn opposite(line: &str) -> Option<String> {
    let lower = line.to_ascii_lowercase();
    let says = lower.find("says ")?;
    let before = lower[..says].trim_end();
    match before.strip_suffix("never") {
        Some(before) => Some(format!("{} {}", &line[..before.len()], &line[says..])),
        None => Some(format!("{}never {}", &line[..says], &line[says..])),
    }
}
