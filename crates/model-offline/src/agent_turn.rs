//! Recognises what an agent's message asks, does and refuses, by keywords. Only English is understood;
//! other languages count as statements and questions.
//!
//! Each clause is read alone, so that a negation, a condition or a report in one clause does not
//! change what another clause says.

use super::{
    acts::Act,
    deeds::read_deeds,
    facts::repeated,
    requests::{Fact, is_request, requested},
    words::Words,
};

/// The content of one turn of the agent.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
pub(crate) struct AgentTurn {
    /// The turn is empty.
    pub(crate) empty: bool,
    /// The requested facts, in the order of [`Fact::ALL`].
    pub(crate) asks: Vec<Fact>,
    /// Values that the agent attributes to the persona and wants confirmed.
    pub(crate) repeated: Vec<(Fact, String)>,
    /// A yes-or-no question was asked.
    pub(crate) yes_no: bool,
    /// A hash of that question's words: the same question gets the same answer.
    pub(crate) question_hash: u64,
    /// Confirmation was requested.
    pub(crate) confirms: bool,
    /// The agent asked for permission to go ahead.
    pub(crate) proposes: bool,
    /// The agent waits for an answer: to any question or request, except whether there is anything
    /// else.
    pub(crate) question: bool,
    /// The agent asked whether there is anything else.
    pub(crate) anything_else: bool,
    pub(crate) apology: bool,
    /// The acts that the agent offered or asked about.
    pub(crate) offers: Vec<Act>,
    /// The agent wants to hand over to someone else.
    pub(crate) escalation: bool,
    /// Something was done, or will certainly be.
    pub(crate) done: bool,
    /// The acts that were done. Empty if the agent did not name them.
    pub(crate) done_acts: Vec<Act>,
    /// Whether the matter as a whole was done: "all set", "that has been resolved".
    pub(crate) done_generic: bool,
    /// The clauses that say what was done.
    pub(crate) deeds: String,
    /// All acts that were mentioned.
    pub(crate) mentions: Vec<Act>,
    /// The agent refused, or something failed.
    pub(crate) refuses: bool,
    /// The agent asked to wait.
    pub(crate) wait: bool,
    pub(crate) goodbye: bool,
    /// Long enough to be an answer.
    pub(crate) substance: bool,
    /// Long enough to be an answer even if it contains a question.
    pub(crate) long: bool,
}

const OPEN_REQUEST: &[&str] = &[
    "tell me more",
    "tell me a bit",
    "tell me a little",
    "tell me what",
    "describe",
    "explain",
    "more detail*",
    "more about",
    "what happened",
    "let me know what",
    "how can i help",
    "how may i help",
];
pub(crate) const YES_NO: &[&str] = &[
    "is", "are", "was", "were", "do", "does", "did", "have", "has", "had", "can", "could", "would", "will",
    "shall", "should", "may",
];

/// Questions at the end of a matter, which nobody has to answer.
const CLOSING: &[&str] = &[
    "anything else",
    "something else",
    "any other question*",
    "any other concern*",
    "any further question*",
    "any more questions",
    "further assistance",
    "does that help",
    "does this help",
    "does that make sense",
    "does that answer",
    "was that helpful",
    "did that help",
];

const REFUSALS: &[&str] = &[
    "cannot",
    "can't",
    "unable",
    "not able to",
    "unfortunately",
    "won't be",
    "not possible",
    "not allowed",
    "no longer possible",
    "don't have access",
    "do not have access",
    "couldn't",
    "could not",
    "wasn't able",
    "weren't able",
    "declined",
    "rejected",
    "denied",
    "failed",
    "not eligible",
    "ineligible",
    "against our policy",
    "against the policy",
    "non-refundable",
    "not permitted",
    "not available",
];
const OFFERS: &[&str] = &[
    "i can",
    "we can",
    "i could",
    "we could",
    "would you like",
    "do you want",
    "would you prefer",
    "which would you",
    "shall i",
    "shall we",
    "should i",
    "should we",
    "may i",
    "can i",
    "want me to",
    "like me to",
    "happy to",
    "able to",
    "offer*",
    "prefer*",
    "you want",
    "you'd like",
    "you would like",
];
const PROPOSALS: &[&str] = &[
    "shall i",
    "shall we",
    "should i",
    "should we",
    "may i proceed",
    "can i proceed",
    "want me to",
    "like me to",
    "go ahead",
    "proceed",
    "okay with you",
    "ok with you",
    "is that okay",
    "is that ok",
    "do you agree",
    "do you accept",
    "do you want to continue",
    "would that work",
    "does that work",
    "sound good",
    "sounds good",
];

/// The minimum number of letters in an answer.
const SUBSTANCE: usize = 60;

/// The minimum number of letters in an answer that contains a question.
const LONG: usize = 160;

/// Reads one turn of the agent: everything since the persona's last message.
pub(crate) fn read_turn(text: &str) -> AgentTurn {
    let text = ends_of(text).to_lowercase().replace('’', "'");
    let text = text.trim();
    let words = Words::of(text);
    let letters = text.chars().filter(|character| character.is_alphanumeric()).take(LONG).count();
    let mut turn = AgentTurn {
        empty: text.is_empty(),
        apology: words.has_any(&["sorry", "apolog*", "regret"]),
        anything_else: words.has_any(CLOSING),
        mentions: Act::named_in(&words),
        escalation: words.has_any(&[
            "supervisor",
            "colleague",
            "specialist",
            "human agent",
            "escalat*",
            "manager",
            "transfer you",
            "transferred you",
            "transferring you",
        ]),
        wait: words.has_any(&[
            "one moment",
            "a moment",
            "please hold",
            "let me check",
            "let me look",
            "looking into",
            "bear with me",
        ]),
        goodbye: words.has_any(&[
            "goodbye",
            "good bye",
            "bye",
            "have a great day",
            "have a nice day",
            "take care",
        ]) && !words.has("taken care of"),
        substance: letters >= SUBSTANCE,
        long: letters >= LONG,
        ..AgentTurn::default()
    };
    for sentence in sentences(text) {
        read_sentence(sentence, &mut turn);
    }
    // "A code was sent. Please read it to me."
    if turn.question
        && turn.asks.is_empty()
        && words.has_any(&["read it", "tell me it", "enter it", "digits"])
        && words.has_any(&["code", "passcode", "pin"])
    {
        turn.asks.push(Fact::Code);
    }
    // Values count only where the agent wants them confirmed.
    if !turn.confirms {
        turn.repeated.clear();
    }
    turn.asks.sort_by_key(|fact| Fact::ALL.iter().position(|other| other == fact));
    turn.asks.dedup();
    for acts in [&mut turn.offers, &mut turn.done_acts] {
        acts.sort_unstable();
        acts.dedup();
    }
    turn
}

fn read_sentence(sentence: &str, turn: &mut AgentTurn) {
    let words = Words::of(sentence);
    let end = sentence.trim_end_matches(['"', '”', '\'', ')', '*', '_', ' ']);
    let asks = end.ends_with(['?', '？', '؟']);
    let closes = words.has_any(CLOSING);
    let open = words.has_any(OPEN_REQUEST) && (asks || words.has_any(&["please", "tell me", "let me know"]));
    let requests = is_request(&words, asks) && !closes;
    turn.question |= requests || open;
    let refuses = words.has_any(REFUSALS);
    turn.refuses |= refuses && !asks;
    let stated = if closes { Vec::new() } else { repeated(sentence) };
    if !closes {
        // "Your name is Ada, right?" states the name.
        let requested = requested(sentence, &words, asks).into_iter();
        turn.asks.extend(requested.filter(|fact| !stated.iter().any(|(stated, _)| stated == fact)));
        turn.question |= !turn.asks.is_empty();
    }
    let start = sentence.trim_start_matches(|character: char| !character.is_alphanumeric());
    let start = ["and ", "so ", "or ", "but ", "then ", "okay, ", "great, "]
        .iter()
        .fold(start, |start, prefix| start.strip_prefix(prefix).unwrap_or(start));
    let first = start.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default();
    let is_past = matches!(first, "did" | "was" | "were" | "has" | "had" | "have");
    if words.has_any(OFFERS) && !closes && !is_past {
        // "I cannot refund it, but I can send a new one."
        let offer = if refuses && !asks {
            sentence.rsplit_once(" but ").map_or("", |(_, offer)| offer)
        } else {
            sentence
        };
        turn.offers.extend(Act::named_in(&Words::of(offer)));
    }
    if asks && !open && !closes {
        if YES_NO.contains(&first) {
            turn.yes_no = true;
            turn.question_hash = hash(start);
        }
        turn.confirms |= words.has_any(&["correct", "right", "confirm", "accurate", "is that you"]);
        turn.confirms |= !stated.is_empty() && (YES_NO.contains(&first) || words.has("am i"));
        turn.proposes |= words.has_any(PROPOSALS);
        if !is_past && turn.confirms {
            turn.offers.extend(Act::named_in(&words));
        }
    } else if requests {
        turn.proposes |=
            words.has_any(&["to proceed", "to go ahead", "to continue", "reply yes", "say yes", "type yes"]);
        turn.confirms |= words.has_any(&["please confirm", "confirm that", "confirm whether", "confirm if"])
            && turn.asks.is_empty();
    }
    turn.repeated.extend(stated);
    if !asks && !closes {
        read_deeds(sentence, &words, turn);
    }
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Splits a text into sentences with their closing marks. A line break also ends a sentence; a mark
/// within an address or a number does not.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().find_map(|(index, character)| {
            let end = index + character.len_utf8();
            let is_last =
                rest[end..].chars().next().is_none_or(|next| !next.is_alphanumeric() && next != '/');
            let ends = match character {
                '\n' | '。' | '？' | '！' | '؟' | ';' => true,
                '.' | '!' | '?' => is_last,
                _ => false,
            };
            ends.then_some(end)
        });
        let (sentence, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(sentence)
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

/// A text of up to 8,000 bytes unchanged; the start and end of a longer one, where questions
/// usually are.
fn ends_of(text: &str) -> std::borrow::Cow<'_, str> {
    const HALF: usize = 4_000;
    if text.len() <= 2 * HALF {
        return text.into();
    }
    let (mut head, mut tail) = (HALF, text.len() - HALF);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}\n{}", &text[..head], &text[tail..]).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requested_facts_are_recognised() {
        for (text, asks) in [
            ("Could you give me your order number and your e-mail address?", vec![Fact::Number, Fact::Email]),
            ("Please share your full name.", vec![Fact::Name]),
            ("When did you order it?", vec![Fact::Date]),
            ("What date was that?", vec![Fact::Date]),
            ("I found your order number, thanks.", vec![]),
            ("Please send me a photo", vec![Fact::Photo]),
        ] {
            assert_eq!(read_turn(text).asks, asks, "{text}");
        }
    }

    #[test]
    fn offers_refusals_and_closings_are_recognised() {
        let turn = read_turn("I'm sorry. Would you prefer a refund or a replacement?");
        assert!(turn.apology && turn.offers == [Act::Refund, Act::Replace] && turn.yes_no);
        let turn = read_turn("Unfortunately we can't offer a refund.");
        assert!(turn.refuses && turn.offers.is_empty());
        let turn = read_turn("Is there anything else I can do? Bye!");
        assert!(turn.anything_else && turn.goodbye && !turn.question);
        assert!(read_turn("").empty && read_turn(" \n").empty);
        assert!(read_turn("Could you tell me more about it?").question);
        assert!(!read_turn("Could you tell me more about it?").yes_no);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>(), times in 0_usize..3_000) {
            read_turn(&text);
            read_turn(&text.repeat(times.min(20_000 / (text.len() + 1))));
        }
    }
}
