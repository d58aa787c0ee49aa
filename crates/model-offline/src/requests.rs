//! Recognises what an agent asks for.

use super::{agent_turn::YES_NO, words::Words};

/// A fact that a persona may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The number of an order, a booking or a case.
    Number,
    /// The number of the person: a user, customer, member or patient.
    Account,
    Name,
    Email,
    Phone,
    Date,
    /// The day that suits the persona.
    Day,
    Address,
    Item,
    Photo,
    /// A code that was sent. The persona has no device that receives it.
    Code,
    /// A password, a PIN or a card's number, which the persona does not tell.
    Secret,
}

impl Fact {
    pub(crate) const ALL: [Self; 12] = [
        Self::Number,
        Self::Account,
        Self::Name,
        Self::Email,
        Self::Phone,
        Self::Date,
        Self::Day,
        Self::Address,
        Self::Item,
        Self::Photo,
        Self::Code,
        Self::Secret,
    ];

    /// Phrases for the fact. Numbers are found by [`number_at`] instead.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Number | Self::Account | Self::Day => &[],
            Self::Name => &[
                "your name",
                "full name",
                "first name",
                "last name",
                "surname",
                "the name",
                "your names",
                "who am i speaking",
                "who i am speaking",
            ],
            Self::Email => &["email*", "e-mail*"],
            Self::Phone => &["number to call", "telephone", "your phone"],
            Self::Date => {
                &["date", "dates", "which day", "what day", "when did you", "when was it", "when did it"]
            }
            Self::Address => &[
                "postal address",
                "your address",
                "home address",
                "delivery address",
                "shipping address",
                "billing address",
                "postcode",
                "zip code",
                "post code",
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
            Self::Code => &["passcode", "one-time password", "otp"],
            Self::Secret => &["your password", "your pin", "cvv", "cvc", "expiry date", "mother's maiden"],
        }
    }
}

/// Words before "number" or "ID" that make it the person's.
pub(crate) const PERSONAL: &[&str] = &[
    "user",
    "customer",
    "account",
    "member",
    "membership",
    "client",
    "patient",
    "student",
    "employee",
    "personal",
    "login",
    "profile",
    "passenger",
    "subscriber",
    "card",
    "insurance",
    "tax",
    "loyalty",
    "flyer",
    "reader",
    "resident",
    "tenant",
    "taxpayer",
];

/// A word of a lower-case sentence, with its offset.
pub(crate) type Token<'a> = (usize, &'a str);

pub(crate) fn tokens(sentence: &str) -> Vec<Token<'_>> {
    let is_part =
        |character: char| character.is_alphanumeric() || matches!(character, '\'' | '_' | '#' | '-');
    let mut found = Vec::new();
    let mut start = None;
    for (index, character) in sentence.char_indices().chain([(sentence.len(), ' ')]) {
        match start {
            None if is_part(character) => start = Some(index),
            Some(from) if !is_part(character) => {
                found.push((from, &sentence[from..index]));
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// The kind of number that a word such as "number", "ID" or "reference" names.
pub(crate) fn number_at(tokens: &[Token<'_>], at: usize) -> Option<Fact> {
    let before = |back: usize| at.checked_sub(back).map_or("", |index| tokens[index].1);
    let after = tokens.get(at + 1).map_or("", |token| token.1);
    let word = tokens[at].1;
    match word {
        "number" | "numbers" | "no" | "#"
            if matches!(before(1), "phone" | "telephone" | "mobile" | "cell" | "contact") =>
        {
            Some(Fact::Phone)
        }
        "number" | "numbers" if matches!(before(1), "credit" | "debit" | "security" | "routing") => {
            Some(Fact::Secret)
        }
        "number"
            if before(1) == "card"
                && matches!(before(2), "credit" | "debit" | "bank" | "your" | "payment") =>
        {
            Some(Fact::Secret)
        }
        "number" | "numbers"
            if after == "of" || matches!(before(1), "a" | "large" | "small" | "any" | "the" | "house") =>
        {
            None
        }
        "no" if !matches!(
            before(1),
            "order" | "booking" | "reference" | "account" | "customer" | "ticket" | "policy"
        ) =>
        {
            None
        }
        "number" | "numbers" | "id" | "ids" | "no" | "#" => {
            Some(if PERSONAL.contains(&before(1)) { Fact::Account } else { Fact::Number })
        }
        "username" | "user-id" | "userid" => Some(Fact::Account),
        "reference" | "references" if before(1) != "for" && after != "number" => Some(Fact::Number),
        "code" if matches!(before(1), "booking" | "confirmation" | "reservation" | "order" | "reference") => {
            Some(Fact::Number)
        }
        "code" | "codes"
            if !matches!(
                before(1),
                "zip" | "post" | "postal" | "source" | "your" | "qr" | "promo" | "discount" | "error"
            ) =>
        {
            Some(Fact::Code)
        }
        _ => None,
    }
}

/// Words that ask for a fact which follows them.
const REQUESTS: &[&str] = &[
    "provide",
    "share",
    "tell me",
    "give me",
    "give us",
    "send me",
    "send us",
    "let me know",
    "enter",
    "confirm",
    "verify",
    "state",
    "what is",
    "what's",
    "what was",
    "what are",
    "what",
    "may i have",
    "can i have",
    "could i have",
    "can i get",
    "could i get",
    "may i get",
    "do you have",
    "have you got",
    "need",
    "require",
    "which",
    "who",
    "when",
    "spell",
    "specify",
    "reply with",
    "supply",
    "include",
    "ask for",
    "remind me",
    "could you",
    "can you",
    "would you",
    "will you",
    "please",
    "type",
    "read me",
    "may i ask",
    "i'll need",
    "asking for",
    "upload",
    "attach",
];

/// Words after which a fact is only mentioned: "please check your e-mail".
const MENTIONS: &[&str] = &[
    "check",
    "see",
    "look",
    "refer",
    "open",
    "click",
    "follow",
    "visit",
    "watch",
    "keep",
    "save",
    "note",
    "find",
    "sent",
    "send it",
    "emailed",
    "expect",
    "wait",
    "feel free",
    "allow",
    "be aware",
    "reach",
];

/// Whether a lower-case sentence asks the persona to do something, or to tell something.
pub(crate) fn is_request(words: &Words<'_>, is_question: bool) -> bool {
    const ASKS: &[&str] = &[
        "tell me",
        "give me",
        "give us",
        "let me know",
        "send me",
        "send us",
        "provide",
        "share",
        "specify",
        "reply with",
        "read it",
        "read me",
        "i need your",
        "i need the",
        "i need you",
        "i'll need",
        "we need your",
        "i will need",
        "we'll need",
        "could you",
        "can you",
        "would you",
        "confirm your",
        "confirm that",
        "confirm whether",
        "confirm if",
        "confirm the",
        "verify your",
        "go ahead and",
        "i require",
        "type yes",
        "say yes",
        "reply yes",
        "answer yes",
        "enter the",
        "enter your",
    ];
    if is_question || words.has_any(ASKS) {
        let waits = words.has_any(&[
            "feel free",
            "don't hesitate",
            "do not hesitate",
            "if you need",
            "if you have any",
            "once you",
            "should you",
        ]);
        return is_question || !waits;
    }
    false
}

/// The facts that a lower-case sentence asks for, in the order of [`Fact::ALL`].
pub(crate) fn requested(sentence: &str, words: &Words<'_>, is_question: bool) -> Vec<Fact> {
    let request = REQUESTS.iter().filter_map(|key| words.find(key)).min();
    let tokens = tokens(sentence);
    let first = tokens.first().map_or("", |token| token.1);
    // "Your order number, please?"
    let is_bare = is_question && !YES_NO.contains(&first);
    let Some(from) = is_bare.then_some(0).or(request) else { return Vec::new() };
    let mention = MENTIONS.iter().filter_map(|key| words.find(key)).min().unwrap_or(usize::MAX);
    let asked = |at: usize| {
        let before = sentence[..at].trim_end();
        let is_place = [
            " to your",
            " in your",
            " via",
            " by",
            " from your",
            " to the",
            " through",
            " at your",
            " sent your",
            " an",
            " this",
        ]
        .iter()
        .any(|place| before.ends_with(place));
        at >= from && !(mention >= from && mention < at) && !is_place
    };
    let mut facts: Vec<Fact> = Vec::new();
    for (index, (offset, _)) in tokens.iter().enumerate() {
        if let Some(fact) = number_at(&tokens, index)
            && (asked(*offset) || fact == Fact::Code)
        {
            facts.push(fact);
        }
    }
    for fact in Fact::ALL {
        let found = fact.keys().iter().filter_map(|key| {
            // The preposition is before "your", which some phrases contain.
            words.find(key).filter(|at| asked(*at))
        });
        if found.count() > 0 {
            facts.push(fact);
        }
    }
    let suits = words.has_any(&[
        "would you like",
        "would you prefer",
        "do you prefer",
        "works for you",
        "suits you",
        "work for you",
        "suit you",
        "would work",
    ]);
    if suits && words.has_any(&["date", "dates", "day", "days", "time", "times", "when"]) {
        facts.retain(|fact| *fact != Fact::Date);
        facts.push(Fact::Day);
    }
    if facts.contains(&Fact::Secret) {
        facts.retain(|fact| *fact != Fact::Date);
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(sentence: &str) -> Vec<Fact> {
        requested(sentence, &Words::of(sentence), sentence.ends_with('?'))
    }

    #[test]
    fn numbers_of_every_kind_are_requested() {
        for sentence in [
            "could you provide your user id?",
            "what is your customer number?",
            "please share your member id.",
            "your account number, please?",
            "may i have your patient id?",
        ] {
            assert_eq!(asked(sentence), [Fact::Account], "{sentence}");
        }
        for sentence in [
            "could you give me the reservation id?",
            "what is your booking code?",
            "i need your case number to go on.",
            "your claim number?",
            "what's the confirmation number?",
            "do you have a reference?",
            "please tell me your prescription number.",
        ] {
            assert_eq!(asked(sentence), [Fact::Number], "{sentence}");
        }
        assert_eq!(
            asked("could you provide your user id and reservation id?"),
            [Fact::Account, Fact::Number]
        );
    }

    #[test]
    fn mentions_are_no_requests() {
        for sentence in [
            "please check your email for the confirmation.",
            "please see the e-mail that we sent.",
            "you will find the order number in your email.",
            "i have sent the details to your email address.",
            "you can reach us by email or by phone.",
            "we will contact you by email if we need anything.",
            "did you get the email?",
            "your order number is in the letter.",
        ] {
            assert_eq!(asked(sentence), [], "{sentence}");
        }
    }

    #[test]
    fn codes_and_secrets_are_requested_as_such() {
        assert_eq!(asked("i sent you a 6-digit code, please read it to me."), [Fact::Code]);
        assert_eq!(asked("could you tell me the verification code?"), [Fact::Code]);
        assert_eq!(asked("please give me your credit card number."), [Fact::Secret]);
        assert_eq!(asked("what is your password?"), [Fact::Secret]);
        assert_eq!(asked("which day suits you?"), [Fact::Day]);
    }
}
