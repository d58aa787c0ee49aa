//! Finds out whether the agent waits for an answer.

use onerun_domain::{Item, Role};

/// Questions that need no answer, such as an offer of more help.
const OFFERS: [&str; 22] = [
    "anything else",
    "something else",
    "anything more",
    "anything further",
    "any more question",
    "any other question",
    "any further",
    "other questions",
    "further questions",
    "further assist",
    "further help",
    "more help",
    "help you with today",
    "help you today",
    "is that all",
    "that be all",
    "answer your question",
    "sonst noch",
    "autre chose",
    "algo más",
    "altro",
    "mais alguma coisa",
];

/// Words that ask for something without a question mark.
const REQUESTS: [&str; 16] = [
    "please confirm",
    "please provide",
    "please tell me",
    "please give me",
    "please share",
    "please send me",
    "please enter",
    "please read",
    "please type",
    "please reply",
    "please choose",
    "please select",
    "please specify",
    "please let me know which",
    "please let me know what",
    "please let me know your",
];

/// Whether the agent's last message asks for something. If the agent has sent the same message before, it may
/// never stop asking, so the person may leave.
pub(super) fn awaits_answer(transcript: &[Item]) -> bool {
    let Some((last, earlier)) = transcript.split_last() else { return false };
    if last.role != Role::Assistant {
        return false;
    }
    let text = last.text();
    let is_same = |item: &Item| item.role == Role::Assistant && item.text().trim() == text.trim();
    !earlier.iter().any(is_same) && sentences(&text).any(asks)
}

fn asks(sentence: &str) -> bool {
    let sentence = sentence.to_lowercase();
    let is_question = sentence.contains(['?', '\u{ff1f}', '\u{61f}']);
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| sentence.contains(phrase));
    (is_question || has(&REQUESTS)) && !has(&OFFERS)
}

/// The sentences of a text. A full stop within a word or a number ends none.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().find_map(|(at, character)| {
            let after = at + character.len_utf8();
            let is_end = match character {
                '.' => rest[after..].starts_with(char::is_whitespace),
                '?' | '!' | '\n' | '。' | '？' | '！' | '؟' => true,
                _ => false,
            };
            is_end.then_some(after)
        });
        let (sentence, others) = rest.split_at(end.unwrap_or(rest.len()));
        rest = others;
        Some(sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::transcript;

    #[test]
    fn questions_and_requests_await_an_answer() {
        for text in [
            "Identity confirmed; shall I change the flight?",
            "Shall I book it? Is there anything else?",
            "Which one? I can offer Monday or Tuesday.",
            "I sent you a code. Please read it to me.",
            "Nothing was cancelled so far. Please confirm with yes or no.",
            "¿Cuál es su número?",
            "ご予約番号は何ですか？",
        ] {
            assert!(awaits_answer(&transcript(&["Hello", text])), "{text}");
        }
    }

    #[test]
    fn statements_and_offers_await_no_answer() {
        for text in [
            "Your refund of 3.50 is done.",
            "It is done. Is there anything else I can help you with?",
            "Done! Does that answer your question?",
            "Done. Please let me know if you need more help.",
            "Kann ich sonst noch etwas tun?",
        ] {
            assert!(!awaits_answer(&transcript(&["Hello", text])), "{text}");
        }
        assert!(!awaits_answer(&[]));
        assert!(!awaits_answer(&transcript(&["Can you help me?"])));
    }

    #[test]
    fn question_that_was_asked_before_awaits_no_answer() {
        let asked = "I did not understand that. Can you say it in other words?";
        assert!(awaits_answer(&transcript(&["Hello", asked])));
        assert!(!awaits_answer(&transcript(&["Hello", asked, "I want a refund", asked])));
    }
}
