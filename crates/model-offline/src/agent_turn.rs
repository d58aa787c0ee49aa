//! Recognises what an agent's message asks for and does, by keywords. Only English is understood;
//! other languages count as statements and questions.

use super::words::Words;

/// A fact that a persona may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Number,
    Name,
    Email,
    Phone,
    Date,
    Address,
    Item,
    Photo,
}

impl Fact {
    pub(crate) const ALL: [Self; 8] = [
        Self::Number,
        Self::Name,
        Self::Email,
        Self::Phone,
        Self::Date,
        Self::Address,
        Self::Item,
        Self::Photo,
    ];

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Number => &[
                "order number*",
                "order id",
                "order no",
                "order #*",
                "reference*",
                "booking number",
                "account number",
                "customer number",
                "ticket number",
                "confirmation number",
                "policy number",
                "invoice number",
                "account id",
                "customer id",
                "case number",
                "tracking number",
                "booking code",
            ],
            Self::Name => &["your name", "full name", "your first name", "your last name", "your surname"],
            Self::Email => &["email*", "e-mail*"],
            Self::Phone => &["phone number", "telephone*", "mobile number", "number to call"],
            Self::Date => &["date", "which day", "what day", "when did you", "when was it"],
            Self::Address => &[
                "postal address",
                "your address",
                "delivery address",
                "shipping address",
                "postcode",
                "zip code",
            ],
            Self::Item => &[
                "which item",
                "what item",
                "which product",
                "what product",
                "which article",
                "what did you order",
                "what did you buy",
                "which order",
            ],
            Self::Photo => &["photo*", "picture*", "screenshot*"],
        }
    }
}

/// The content of one turn of the agent.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
pub(crate) struct AgentTurn {
    /// The turn is empty.
    pub(crate) empty: bool,
    /// The requested facts, in the order of [`Fact::ALL`].
    pub(crate) asks: Vec<Fact>,
    /// A yes-or-no question was asked.
    pub(crate) yes_no: bool,
    /// A hash of that question's words: the same question gets the same answer.
    pub(crate) question_hash: u64,
    /// Confirmation was requested.
    pub(crate) confirms: bool,
    /// Any question was asked.
    pub(crate) question: bool,
    /// The agent asked whether there is anything else.
    pub(crate) anything_else: bool,
    pub(crate) apology: bool,
    /// A refund was offered.
    pub(crate) offers_refund: bool,
    /// A replacement was offered.
    pub(crate) offers_replacement: bool,
    /// The agent wants to hand over to someone else.
    pub(crate) escalation: bool,
    /// Something was done, or will certainly be.
    pub(crate) done: bool,
    /// A refund was mentioned.
    pub(crate) refund: bool,
    /// A replacement was mentioned.
    pub(crate) replacement: bool,
    /// The agent refused.
    pub(crate) refuses: bool,
    /// The agent asked to wait.
    pub(crate) wait: bool,
    pub(crate) goodbye: bool,
    /// Long enough to be an answer.
    pub(crate) substance: bool,
    /// Long enough to be an answer even if it contains a question.
    pub(crate) long: bool,
}

const REQUEST: &[&str] = &[
    "please",
    "could you",
    "can you",
    "would you",
    "need",
    "provide",
    "share",
    "tell me",
    "let me know",
    "send me",
    "give me",
    "what is",
    "what's",
    "may i have",
    "can i have",
    "could i have",
    "require",
    "confirm your",
];
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
const YES_NO: &[&str] = &[
    "is", "are", "was", "were", "do", "does", "did", "have", "has", "had", "can", "could", "would", "will",
    "shall", "should", "may",
];
const DONE_WORDS: &[&str] = &[
    "refunded",
    "processed",
    "issued",
    "approved",
    "arranged",
    "sent",
    "shipped",
    "dispatched",
    "replaced",
    "fixed",
    "reset",
    "resolved",
    "canceled",
    "cancelled",
    "booked",
    "rebooked",
    "scheduled",
    "rescheduled",
    "confirmed",
    "completed",
    "corrected",
    "unlocked",
    "restored",
    "credited",
    "reimbursed",
    "escalated",
    "forwarded",
    "transferred",
    "solved",
    "sorted",
];
const DONE_PHRASES: &[&str] = &[
    "on its way",
    "all set",
    "is done",
    "taken care of",
    "you will receive",
    "you'll receive",
    "it is settled",
];
const HELPERS: &[&str] = &[
    "i have",
    "i've",
    "we have",
    "we've",
    "has been",
    "have been",
    "is",
    "are",
    "was",
    "were",
    "will be",
    "i just",
    "i had",
    "been",
    "i",
    "we",
];
const NOT_YET: &[&str] = &[
    "once", "if", "after", "before", "until", "when", "not", "cannot", "can't", "unable", "never", "hasn't",
    "haven't", "isn't", "wasn't", "won't", "unless",
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
    "should i",
    "happy to",
    "able to",
    "offer*",
    "prefer*",
];
const REFUND: &[&str] = &["refund*", "money back", "reimburse*", "credited"];
const REPLACEMENT: &[&str] = &[
    "replace*",
    "new one",
    "send it again",
    "send another",
    "another one",
    "resend*",
    "ship another",
    "reship*",
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
        anything_else: words.has_any(&[
            "anything else",
            "something else",
            "any other question*",
            "any further question*",
            "further assistance",
        ]),
        refund: words.has_any(REFUND),
        replacement: words.has_any(REPLACEMENT),
        escalation: words.has_any(&[
            "supervisor",
            "colleague",
            "specialist",
            "human agent",
            "escalat*",
            "manager",
            "transfer you",
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
        ]),
        substance: letters >= SUBSTANCE,
        long: letters >= LONG,
        ..AgentTurn::default()
    };
    for sentence in sentences(text) {
        read_sentence(sentence, &mut turn);
    }
    turn.asks.sort_by_key(|fact| Fact::ALL.iter().position(|other| other == fact));
    turn.asks.dedup();
    turn
}

fn read_sentence(sentence: &str, turn: &mut AgentTurn) {
    let words = Words::of(sentence);
    let asks = sentence.ends_with('?');
    turn.question |= asks && !words.has_any(&["anything else", "something else"]);
    let open = words.has_any(OPEN_REQUEST);
    turn.question |= open;
    let refuses = words.has_any(REFUSALS);
    turn.refuses |= refuses;
    if asks || words.has_any(REQUEST) {
        let facts = Fact::ALL.into_iter().filter(|fact| words.has_any(fact.keys()));
        turn.asks.extend(facts);
    }
    if words.has_any(OFFERS) && !refuses {
        turn.offers_refund |= words.has_any(REFUND);
        turn.offers_replacement |= words.has_any(REPLACEMENT);
    }
    if asks && !open {
        let start = sentence.trim_start_matches(|character: char| !character.is_alphanumeric());
        let start = start.trim_start_matches("and ").trim_start_matches("so ").trim_start_matches("or ");
        let first = start.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default();
        if YES_NO.contains(&first) {
            turn.yes_no = true;
            turn.question_hash = hash(start);
        }
        turn.confirms |= words.has_any(&["correct", "right", "confirm", "accurate"]);
    }
    let certain = words.has_any(DONE_PHRASES) || (words.has_any(DONE_WORDS) && words.has_any(HELPERS));
    turn.done |= certain && !asks && !words.has_any(NOT_YET);
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// Splits a text into sentences with their closing marks. A line break also ends a sentence.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['.', '!', '?', '\n', ';', '。', '？'])
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
    fn done_is_distinguished_from_promised_and_asked() {
        for text in [
            "I have issued the refund.",
            "Your replacement is on its way!",
            "It's fixed. The account was unlocked",
            "A refund will be processed today",
        ] {
            assert!(read_turn(text).done, "{text}");
        }
        for text in [
            "Once I have the number, the refund will be processed.",
            "Has it been sent?",
            "It has not been sent.",
            "I can refund you.",
            "Hello!",
        ] {
            assert!(!read_turn(text).done, "{text}");
        }
    }

    #[test]
    fn offers_refusals_and_closings_are_recognised() {
        let turn = read_turn("I'm sorry. Would you prefer a refund or a replacement?");
        assert!(turn.apology && turn.offers_refund && turn.offers_replacement && turn.yes_no);
        let turn = read_turn("Unfortunately we can't offer a refund.");
        assert!(turn.refuses && !turn.offers_refund);
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
