//! The matter of a scenario in the words of the person who has it.
//!
//! A scenario is free text: about somebody ("a patient wants to move an appointment"), or addressed to
//! the person who plays the persona ("you want to fly to Boston"). Sentences that cannot be converted
//! for certain give nothing; the caller then quotes the scenario.

use super::{
    grammar::{View, core, first_person, is_infinitive, is_person, skip_adverbs, verb},
    words::{sentences, shares_word},
};

/// The number of sentences that are read, and the length of each.
const SENTENCES: usize = 12;
const LENGTH: usize = 220;

/// The number of further details.
const DETAILS: usize = 4;

/// A scenario in the first person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matter {
    /// A sentence: "I got a broken kettle."
    pub(crate) statement: Option<String>,
    /// The words after "I want": "to change my booking", "a refund", "you to fix the heating".
    pub(crate) wish: Option<String>,
    /// Further sentences.
    pub(crate) details: Vec<String>,
}

impl Matter {
    /// Reads a scenario. A scenario without words that can be converted gives neither statement nor
    /// wish.
    pub(crate) fn read(scenario: &str) -> Self {
        let mut matter = Self::default();
        let sentences = sentences(scenario, SENTENCES, LENGTH);
        let is_addressed = sentences.iter().any(|sentence| {
            let first = core(sentence.split(' ').next().unwrap_or_default());
            matches!(first.as_str(), "you" | "your" | "you're" | "you've")
        });
        for sentence in &sentences {
            let Some(part) = read_sentence(sentence, is_addressed) else { continue };
            // "They want it back" alone names no subject.
            let names_nothing = |text: &String| !shares_word(text, text);
            if part.statement.is_none() && part.wish.as_ref().is_some_and(names_nothing) {
                continue;
            }
            let starts = matter.statement.is_none() && matter.wish.is_none();
            if starts {
                (matter.statement, matter.wish) = (part.statement, part.wish);
            } else if !is_conditional(sentence) {
                if matter.wish.is_none() && part.statement.is_none() {
                    matter.wish = part.wish;
                } else {
                    let wish = part.wish.map(|wish| format!("I want {wish}."));
                    matter.details.extend(part.statement.into_iter().chain(wish));
                }
            }
        }
        matter.details.truncate(DETAILS);
        matter
    }
}

/// Whether a sentence holds only under a condition, or tells the persona how to behave.
fn is_conditional(sentence: &str) -> bool {
    sentence.split(' ').any(|word| {
        matches!(
            core(word).as_str(),
            "if" | "only"
                | "unless"
                | "never"
                | "always"
                | "should"
                | "asked"
                | "asks"
                | "agent"
                | "reveal"
                | "some"
                | "others"
                | "nobody"
                | "tone"
                | "politely"
                | "insist"
        )
    }) || has_identifier(sentence)
}

/// Whether a sentence holds an identifier or an e-mail address, which is told only when asked.
fn has_identifier(sentence: &str) -> bool {
    sentence.split(' ').any(|word| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        word.contains('@') || word.contains('_') || digits >= 4
    })
}

fn read_sentence(sentence: &str, is_addressed: bool) -> Option<Matter> {
    let sentence = sentence.trim_end_matches(['.', '!', '?', '…', ' ']);
    let sentence = sentence.strip_prefix("Please ").unwrap_or(sentence);
    let words: Vec<&str> = sentence.split(' ').filter(|word| !word.is_empty()).collect();
    let cores: Vec<String> = words.iter().map(|word| core(word)).collect();
    let first = cores.first()?.as_str();
    let second = cores.get(1).map(String::as_str).unwrap_or_default();
    match first {
        "act" | "play" | "pretend" | "roleplay" | "simulate" | "imagine" | "impersonate" => {
            of_role(&words, &cores)
        }
        "you're" => of_role(&words, &cores).or_else(|| statement(&words, View::Second)),
        "you" if matches!(second, "are" | "play" | "act") => match of_role(&words, &cores) {
            Some(matter) => Some(matter),
            None if introduces_role(&words, &cores) => None,
            None => wish_of(&words, &cores, 1, View::Second).or_else(|| statement(&words, View::Second)),
        },
        "you" => of_you(&words, &cores),
        "your" => of_yours(&words, &cores),
        _ if is_addressed && is_infinitive(first) && !is_stage_direction(first) => {
            wish(&format!("to {}", lower_first(sentence)), View::Second)
        }
        _ if is_addressed => None,
        _ => of_person(&words, &cores),
    }
}

/// Whether an imperative tells the persona how to play.
fn is_stage_direction(word: &str) -> bool {
    matches!(
        word,
        "be" | "speak"
            | "keep"
            | "stay"
            | "do"
            | "know"
            | "remember"
            | "use"
            | "stop"
            | "start"
            | "let"
            | "give"
            | "say"
            | "tell"
            | "answer"
            | "respond"
            | "write"
            | "make"
            | "try"
            | "avoid"
            | "add"
            | "mention"
            | "talk"
    )
}

/// Whether the words after "you are" name a role: "a customer", a user's ID, "Maria Silva".
fn introduces_role(words: &[&str], cores: &[String]) -> bool {
    let Some(next) = words.get(2) else { return true };
    matches!(cores[2].as_str(), "a" | "an" | "the" | "as")
        || has_identifier(next)
        || next.chars().any(|character| character.is_ascii_digit())
        || next.starts_with(char::is_uppercase)
}

/// "Act as a customer who …", "you are a tenant whose …", "play a patient with …".
fn of_role(words: &[&str], cores: &[String]) -> Option<Matter> {
    let limit = cores.len().min(14);
    let at = cores[..limit].iter().position(|word| matches!(word.as_str(), "who" | "whose" | "with"))?;
    let rest = cores.get(at + 1)?;
    match cores[at].as_str() {
        "whose" => of_third_statement("their", &words[at + 1..], &cores[at + 1..]),
        "who" if verb(rest).is_some() || !rest.is_empty() => {
            of_verb(words, cores, skip_adverbs(cores, at + 1))
        }
        "with" => third_statement(&format!("they have {}", words[at + 1..].join(" "))),
        _ => None,
    }
}

/// "You want to …", "you lost your card".
fn of_you(words: &[&str], cores: &[String]) -> Option<Matter> {
    wish_of(words, cores, 1, View::Second).or_else(|| {
        let is_negative =
            cores.iter().any(|word| matches!(word.as_str(), "don't" | "not" | "never" | "should"));
        let is_modal = cores
            .get(1)
            .is_some_and(|word| matches!(word.as_str(), "must" | "should" | "may" | "can" | "will"));
        (!is_negative && !is_modal).then(|| statement(words, View::Second)).flatten()
    })
}

/// "Your heating is broken", "your goal is to …".
fn of_yours(words: &[&str], cores: &[String]) -> Option<Matter> {
    let is = cores.iter().position(|word| matches!(word.as_str(), "is" | "was" | "are" | "were"));
    let Some(is) = is else { return statement(words, View::Second) };
    let about_role = cores[1..is].iter().any(|word| {
        matches!(
            word.as_str(),
            "goal" | "task" | "aim" | "objective" | "purpose" | "job" | "role" | "intention"
        )
    });
    if about_role {
        return (cores.get(is + 1)? == "to")
            .then(|| wish(&words[is + 1..].join(" "), View::Second))
            .flatten();
    }
    let about_self = cores[1..is].iter().any(|word| {
        matches!(
            word.as_str(),
            "name" | "id" | "email" | "e-mail" | "number" | "address" | "age" | "personality" | "tone"
        )
    });
    if about_self || has_identifier(&words.join(" ")) { None } else { statement(words, View::Second) }
}

/// "A patient …": a person, and what they do.
fn of_person(words: &[&str], cores: &[String]) -> Option<Matter> {
    for at in 0..cores.len().min(7) {
        let possessive = cores[at]
            .strip_suffix("'s")
            .or_else(|| words[at].ends_with(['\'', '’']).then_some(cores[at].as_str()));
        if possessive.is_some_and(is_person) {
            return of_third_statement("their", &words[at + 1..], &cores[at + 1..]);
        }
        if !is_person(&cores[at]) {
            continue;
        }
        if cores.get(at + 1).is_some_and(|word| word == "whose") {
            return of_third_statement("their", &words[at + 2..], &cores[at + 2..]);
        }
        if matches!(cores[at].as_str(), "someone" | "somebody")
            && cores.get(at + 1).is_some_and(|word| word == "else")
        {
            return None;
        }
        let next = skip_adverbs(cores, at + 1);
        if cores.get(next).is_some_and(|word| verb(word).is_some()) {
            return of_verb(words, cores, next);
        }
        // "A customer of a small shop, who lives far away, writes …": a verb after a preposition.
        let preposition = cores.get(at + 1).is_some_and(|word| {
            matches!(
                word.as_str(),
                "of" | "from" | "at" | "in" | "with" | "on" | "for" | "without" | "near" | "after"
            )
        });
        if !preposition {
            continue;
        }
        let later = later_verb(cores, at);
        let later = later?;
        let mut matter = of_verb(words, cores, later)?;
        if cores[at + 1] == "with" && matter.statement.is_none() {
            let thing = words[at + 2..later].join(" ");
            matter.statement = third_statement(&format!("they have {thing}"))?.statement;
        }
        return Some(matter);
    }
    wish_anywhere(words, cores)
}

/// The verb of a person at a position, after "of a small shop" or the like.
fn later_verb(cores: &[String], person: usize) -> Option<usize> {
    let is_plural = cores[person].ends_with('s')
        || matches!(cores[person].as_str(), "people" | "children" | "men" | "women");
    let limit = cores.len().min(person + 18);
    let mut previous = "";
    for (index, word) in cores.iter().enumerate().take(limit).skip(person + 2) {
        if matches!(word.as_str(), "that" | "which" | "because" | "when" | "if" | "while") {
            return None;
        }
        let is_noun = matches!(
            previous,
            "a" | "an" | "the" | "their" | "of" | "to" | "for" | "in" | "at" | "from" | "with" | "on"
        );
        let is_finite = is_plural
            || matches!(word.as_str(), "is" | "has" | "cannot" | "can't" | "doesn't")
            || word.ends_with('s')
            || word.ends_with("ed");
        if index > person + 2 && is_finite && !is_noun && verb(word).is_some() {
            return Some(index);
        }
        previous = word;
    }
    None
}

/// A sentence without a known person: "the caller's aunt wants to …".
fn wish_anywhere(words: &[&str], cores: &[String]) -> Option<Matter> {
    let is_other_side = cores.iter().take(4).any(|word| {
        matches!(
            word.as_str(),
            "agent" | "assistant" | "bot" | "chatbot" | "nobody" | "company" | "clerk" | "they"
        )
    });
    if is_other_side {
        return None;
    }
    // A wish in a later clause may refer to the first one.
    let end = words.iter().position(|word| word.ends_with([',', ';', ':'])).map_or(cores.len(), |at| at + 1);
    (1..end).find_map(|at| wish_of(words, cores, at, View::Third))
}

/// The sentence from a verb on, whose subject is the persona.
fn of_verb(words: &[&str], cores: &[String], at: usize) -> Option<Matter> {
    if let Some(matter) = wish_of(words, cores, at, View::Third) {
        return Some(matter);
    }
    let known = verb(cores.get(at)?)?;
    let (rest, rest_cores) = (&words[at + 1..], &cores[at + 1..]);
    match known.base.as_str() {
        "call" | "write" | "contact" | "phone" | "ring" | "email" | "message" | "chat" | "come" | "go"
        | "turn" | "visit" | "return" | "use" | "talk" | "speak" | "apply" => of_contact(rest, rest_cores)
            .or_else(|| {
                matches!(known.base.as_str(), "visit" | "use" | "return")
                    .then(|| of_third_statement("they", &words[at..], &cores[at..]))
                    .flatten()
            }),
        "ask" | "request" | "inquire" => of_question(rest, rest_cores),
        "say" | "complain" | "report" | "claim" | "explain" | "mention" => {
            of_report(&known.base, rest, rest_cores)
        }
        _ => of_third_statement("they", &words[at..], &cores[at..]),
    }
}

/// "… calls the clinic to move an appointment", "… writes because the app crashes".
fn of_contact(rest: &[&str], cores: &[String]) -> Option<Matter> {
    let find = |mark: &str| cores.iter().position(|word| word == mark);
    if let Some(to) = purpose(cores) {
        return wish(&rest[to..].join(" "), View::Third);
    }
    if let Some(because) = find("because") {
        // Who "they" are in "because they sent the wrong one" is unknown.
        let by_others = ["they", "he", "she"].contains(&cores.get(because + 1)?.as_str())
            && cores.get(because + 2).is_some_and(|word| {
                matches!(
                    word.as_str(),
                    "sent" | "delivered" | "charged" | "refused" | "told" | "promised" | "shipped" | "billed"
                )
            });
        if by_others {
            return None;
        }
        return of_third_statement("", &rest[because + 1..], &cores[because + 1..]);
    }
    if let Some(about) = find("about") {
        return about_statement(&rest[about + 1..]);
    }
    if let Some(at) = find("for") {
        return wish(&rest[at + 1..].join(" "), View::Third);
    }
    let with = find("with")?;
    third_statement(&format!("they have {}", rest[with + 1..].join(" ")))
}

/// "… asks whether the museum is open", "… asks the landlord to fix the heating".
fn of_question(rest: &[&str], cores: &[String]) -> Option<Matter> {
    for (at, word) in cores.iter().enumerate().take(8) {
        let after = || rest[at + 1..].join(" ");
        match word.as_str() {
            "about" => return about_statement(&rest[at + 1..]),
            "for" => return wish(&after(), View::Third),
            "to" if at == 0 => return wish(&rest.join(" "), View::Third),
            "to" if cores.get(at + 1).is_some_and(|next| is_infinitive(next)) => {
                return wish(&format!("you {}", rest[at..].join(" ")), View::Third);
            }
            "whether" | "if" | "how" | "why" | "when" | "where" | "what" | "which" => {
                return wish(&format!("to know {}", rest[at..].join(" ")), View::Third);
            }
            _ => {}
        }
    }
    // "requests a copy".
    matches!(cores.first()?.as_str(), "a" | "an" | "the" | "their" | "some" | "more")
        .then(|| wish(&rest.join(" "), View::Third))
        .flatten()
}

/// "… complains that the room is cold", "… reports a gas leak".
fn of_report(base: &str, rest: &[&str], cores: &[String]) -> Option<Matter> {
    if let Some(that) = cores.iter().take(6).position(|word| word == "that") {
        return of_third_statement("", &rest[that + 1..], &cores[that + 1..]);
    }
    if let Some(about) = cores.iter().take(6).position(|word| matches!(word.as_str(), "about" | "of")) {
        return about_statement(&rest[about + 1..]);
    }
    if rest.is_empty() {
        return None;
    }
    wish(&format!("to {base} {}", rest.join(" ")), View::Third)
}

/// The position of the "to" that states a purpose.
fn purpose(cores: &[String]) -> Option<usize> {
    cores.windows(2).position(|pair| pair[0] == "to" && is_infinitive(&pair[1]) && pair[1] != "support")
}

/// The wish that a verb at this position states.
fn wish_of(words: &[&str], cores: &[String], at: usize, view: View) -> Option<Matter> {
    let at = skip_adverbs(cores, at);
    let at = match (cores.get(at)?.as_str(), cores.get(at + 1).map(String::as_str)) {
        (
            "want" | "wants" | "wanted" | "need" | "needs" | "wish" | "wishes" | "try" | "tries" | "hope"
            | "hopes" | "plan" | "plans" | "intend" | "intends" | "prefer" | "prefers",
            _,
        ) => at + 1,
        ("would" | "you'd", Some("like" | "prefer"))
        | ("is" | "are", Some("trying" | "hoping" | "planning" | "wanting" | "looking")) => at + 2,
        _ => return None,
    };
    let looks_for = cores.get(at).is_some_and(|word| word == "for");
    let at =
        if looks_for && cores.get(at - 1).is_some_and(|word| matches!(word.as_str(), "looking" | "hoping")) {
            at + 1
        } else {
            at
        };
    let next = cores.get(at)?.as_str();
    let is_thing = is_wanted_verb(cores, at) || looks_for;
    if next != "to" && !is_thing {
        return None;
    }
    wish(&words[at..].join(" "), view)
}

/// Whether the words before this position want a thing: "wants a refund", "needs help".
fn is_wanted_verb(cores: &[String], at: usize) -> bool {
    at.checked_sub(1)
        .and_then(|before| cores.get(before))
        .is_some_and(|word| matches!(word.as_str(), "want" | "wants" | "wanted" | "need" | "needs" | "like"))
}

fn about_statement(rest: &[&str]) -> Option<Matter> {
    let about = first_person(&rest.join(" "), View::Third);
    has_words(&about)
        .then(|| Matter { statement: Some(format!("It is about {about}.")), ..Matter::default() })
}

fn wish(words: &str, view: View) -> Option<Matter> {
    let wish = first_person(words.trim_end_matches([',', ';', ' ']), view);
    has_words(&wish).then(|| Matter { wish: Some(wish), ..Matter::default() })
}

fn statement(words: &[&str], view: View) -> Option<Matter> {
    let text = first_person(&words.join(" "), view);
    has_words(&text).then(|| Matter { statement: Some(sentence(&text)), ..Matter::default() })
}

fn third_statement(text: &str) -> Option<Matter> {
    statement(&text.split(' ').collect::<Vec<_>>(), View::Third)
}

/// A statement, and the wish after it: "their parcel is late, and they want a refund".
fn of_third_statement(subject: &str, words: &[&str], cores: &[String]) -> Option<Matter> {
    let split = (1..cores.len()).find_map(|at| {
        if cores[at - 1] == "and" && matches!(cores[at].as_str(), "asks" | "ask") {
            return of_question(&words[at + 1..], &cores[at + 1..]).map(|matter| (at, matter));
        }
        let is_subject =
            matches!(cores[at - 1].as_str(), "they" | "he" | "she" | "and" | "but" | "who" | "so");
        let is_verb = matches!(cores[at].as_str(), "want" | "wants" | "wish" | "wishes") || is_subject;
        let is_refused = matches!(cores[at - 1].as_str(), "not" | "don't" | "doesn't" | "never" | "to");
        (is_verb && !is_refused)
            .then(|| wish_of(words, cores, at, View::Third).map(|matter| (at, matter)))
            .flatten()
    });
    let (end, wish) = split.map_or((cores.len(), None), |(at, matter)| (at, matter.wish));
    let mut end = end;
    while end > 0 && split_ends(&cores[end - 1], end < cores.len()) {
        end -= 1;
    }
    let text = format!("{subject} {}", words[..end].join(" "));
    let text = text.trim().trim_end_matches([',', ';', ':']).to_owned();
    let statement = third_statement(&text)?;
    Some(Matter { wish, ..statement })
}

fn split_ends(word: &str, is_split: bool) -> bool {
    is_split
        && matches!(word, "and" | "but" | "who" | "so" | "they" | "he" | "she" | "now" | "therefore" | "then")
}

fn has_words(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    let text = format!("{first}{}", characters.as_str());
    if text.ends_with(['.', '!', '?', '…']) { text } else { format!("{text}.") }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_lowercase).collect();
    format!("{first}{}", characters.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scenarios_are_told_in_the_first_person() {
        for (scenario, statement, wish) in [
            ("A customer got a broken kettle.", "I got a broken kettle.", ""),
            ("A student is late for class.", "I am late for class.", ""),
            (
                "A hobby cook wants to impress their in-laws with a soufflé.",
                "",
                "to impress my in-laws with a soufflé",
            ),
            (
                "A customer got a broken kettle and wants to return it.",
                "I got a broken kettle.",
                "to return it",
            ),
            ("A customer got a broken kettle. They want a refund.", "I got a broken kettle.", "a refund"),
            ("Guests call a hotel to change their booking.", "", "to change my booking"),
            ("A tenant asks the landlord to fix the heating.", "", "you to fix the heating"),
            (
                "A visitor asks whether the museum is open on Mondays.",
                "",
                "to know whether the museum is open on Mondays",
            ),
            ("A gym member complains that they were charged twice.", "I was charged twice.", ""),
            ("A resident reports a gas leak.", "", "to report a gas leak"),
            ("A patient's crown fell out.", "My crown fell out.", ""),
            ("Customers whose parcel is late want their money back.", "My parcel is late.", "my money back"),
            ("A kettle's lid is missing.", "", ""),
            ("A bank customer who lost their card wants to block it.", "I lost my card.", "to block it"),
            (
                "A customer of a small, old shop writes to support because something is wrong with a bill.",
                "Something is wrong with a bill.",
                "",
            ),
            (
                "A patient with a toothache calls the clinic to get an appointment.",
                "I have a toothache.",
                "to get an appointment",
            ),
            ("Members of a climbing gym complain that the showers are cold.", "The showers are cold.", ""),
            (
                "Someone has a broken kettle and asks how to repair it.",
                "I have a broken kettle.",
                "to know how to repair it",
            ),
            ("A code-review bot comments on a pull request.", "", ""),
            ("A customer service bot answers questions.", "", ""),
            ("A member cannot log in to the library's site.", "I cannot log in to the library's site.", ""),
        ] {
            let matter = Matter::read(scenario);
            assert_eq!(matter.statement.unwrap_or_default(), statement, "{scenario}");
            assert_eq!(matter.wish.unwrap_or_default(), wish, "{scenario}");
        }
    }

    #[test]
    fn instructions_are_not_spoken() {
        for (scenario, statement, wish) in [
            ("You are maria_silva_42. You want to cancel your flight.", "", "to cancel my flight"),
            ("You are Maria Silva, a nurse. Your card was stolen. Be rude.", "My card was stolen.", ""),
            ("You are a tenant whose heating is broken.", "My heating is broken.", ""),
            ("Act as an angry customer who wants a refund for a course.", "", "a refund for a course"),
            ("You are late for class.", "I am late for class.", ""),
            ("Your goal is to get your fine waived. Never give your name.", "", "to get my fine waived"),
            ("You are trying to move your exam.", "", "to move my exam"),
            (
                "You are mia_42. Your user id is mia_42. Cancel your gym membership.",
                "",
                "to cancel my gym membership",
            ),
        ] {
            let matter = Matter::read(scenario);
            assert_eq!(matter.statement.unwrap_or_default(), statement, "{scenario}");
            assert_eq!(matter.wish.unwrap_or_default(), wish, "{scenario}");
            assert!(!matter.details.iter().any(|detail| detail.to_lowercase().contains("you")), "{scenario}");
        }
    }

    #[test]
    fn conditions_and_identifiers_are_no_details() {
        let matter = Matter::read(
            "You want to fly to Boston. You have two bags. Your user id is mia_li_3668. If the agent refuses, you insist. \
             You only pay by card.",
        );
        assert_eq!(matter.wish.as_deref(), Some("to fly to Boston"));
        assert_eq!(matter.details, ["I have two bags."]);
    }

    proptest! {
        #[test]
        fn any_scenario_is_read_within_bounds(text in any::<String>(), times in 1_usize..200) {
            let matter = Matter::read(&text.repeat(times));
            for part in matter.statement.iter().chain(&matter.wish).chain(&matter.details) {
                prop_assert!(part.chars().count() <= 2 * LENGTH && !part.chars().any(char::is_control));
            }
        }

        #[test]
        fn any_words_are_read_without_panic(words in proptest::collection::vec(
            proptest::sample::select(vec![
                "A", "you", "You", "are", "patient", "customer's", "who", "whose", "wants", "to", "cancel", "asks", "because", "they", "with",
                "calls", "about", "and", "is", "looking", "for", "that", "complains", "would", "like", "just", ".", ",", "act", "your", "goal",
            ]), 0..12,
        )) {
            Matter::read(&words.join(" "));
        }
    }
}
