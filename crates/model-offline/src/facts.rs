//! The facts that a persona knows, and the agent's repetitions of them.

use super::{
    dice::Dice,
    people,
    requests::{Fact, PERSONAL, number_at, tokens},
    words::{Words, clean},
};

/// The facts of one persona, the same in all of its conversations.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) number: String,
    pub(crate) account: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    pub(crate) date: String,
    pub(crate) day: String,
    pub(crate) address: String,
}

impl Facts {
    /// Draws the facts, except those that the scenario states.
    pub(crate) fn of(given: &str, family: &str, scenario: &str, dice: &mut Dice) -> Self {
        let mail = |name: &str| {
            name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase()
        };
        let mut facts = Self {
            number: (10_000_000 + dice.below(90_000_000)).to_string(),
            account: (100_000 + dice.below(900_000)).to_string(),
            name: format!("{given} {family}"),
            // A domain reserved for examples (RFC 2606), and a range of phone numbers reserved for
            // fiction.
            email: format!("{}.{}@example.com", mail(given), mail(family)),
            phone: format!("555 01{:02}", dice.below(100)),
            date: format!("{} {}", 1 + dice.below(28), dice.pick(people::MONTHS)),
            day: dice.pick(people::DAYS).to_owned(),
            address: format!("{} {}", 1 + dice.below(120), dice.pick(people::STREETS)),
        };
        facts.read_stated(scenario);
        facts
    }

    /// Only the facts that a text states. The others are empty.
    pub(crate) fn stated(name: String, day: String, text: &str) -> Self {
        let unknown = String::new;
        let mut facts = Self {
            number: unknown(),
            account: unknown(),
            name,
            email: unknown(),
            phone: unknown(),
            date: unknown(),
            day,
            address: unknown(),
        };
        facts.read_stated(text);
        facts
    }

    /// Whether the persona does not know a fact.
    pub(crate) fn is_unknown(&self, fact: Fact) -> bool {
        match fact {
            Fact::Number => self.number.is_empty(),
            Fact::Account => self.account.is_empty(),
            Fact::Email => self.email.is_empty(),
            Fact::Phone => self.phone.is_empty(),
            Fact::Date => self.date.is_empty(),
            Fact::Address => self.address.is_empty(),
            Fact::Name | Fact::Day | Fact::Item | Fact::Photo | Fact::Code | Fact::Secret => false,
        }
    }

    /// Takes identifiers and the e-mail address from a scenario that states them.
    fn read_stated(&mut self, scenario: &str) {
        let scenario = clean(scenario);
        let mut label = None;
        let mut age = 0;
        let (mut number, mut account) = (None, None);
        for word in scenario.split(' ') {
            let value = word.trim_matches(|character: char| {
                !(character.is_alphanumeric() || matches!(character, '#' | '_'))
            });
            let lower = value.to_lowercase();
            if value.contains('@') && value.contains('.') {
                value.clone_into(&mut self.email);
                continue;
            }
            let digits = value.chars().filter(char::is_ascii_digit).count();
            let is_identifier = value.len() <= 40
                && value.chars().all(|character| {
                    character.is_ascii_alphanumeric() || matches!(character, '#' | '_' | '-')
                })
                && ((digits > 0 && value.contains('_'))
                    || digits >= 5
                    || (age <= 3
                        && label.is_some()
                        && value.len() >= 5
                        && (digits > 0 || lower != value)
                        && lower.to_uppercase() == value));
            age += 1;
            if is_identifier {
                let fact = label.unwrap_or(if value.contains('_') { Fact::Account } else { Fact::Number });
                let slot = if fact == Fact::Account { &mut account } else { &mut number };
                slot.get_or_insert_with(|| value.to_owned());
                continue;
            }
            let is_personal = PERSONAL.contains(&lower.as_str()) || lower == "username";
            if is_personal
                || matches!(
                    lower.as_str(),
                    "order"
                        | "booking"
                        | "reservation"
                        | "ticket"
                        | "case"
                        | "policy"
                        | "reference"
                        | "number"
                        | "id"
                )
            {
                // "User ID" stays personal.
                if is_personal || age > 1 || label.is_none() {
                    label = Some(if is_personal { Fact::Account } else { Fact::Number });
                }
                age = 0;
            }
        }
        self.number = number.unwrap_or_else(|| std::mem::take(&mut self.number));
        self.account = account.unwrap_or_else(|| std::mem::take(&mut self.account));
    }

    /// Whether a value that the agent repeated is not this persona's.
    fn contradicts(&self, fact: Fact, value: &str) -> bool {
        if self.is_unknown(fact) {
            return false;
        }
        let same = |own: &str| letters(own) == letters(value);
        match fact {
            Fact::Email => self.email.to_lowercase() != value,
            Fact::Name => {
                !self.name.to_lowercase().split(' ').any(|part| value.split(' ').any(|word| word == part))
            }
            Fact::Address => {
                let address = self.address.to_lowercase();
                !Words::of(value).has(&address)
            }
            Fact::Date => {
                let date = self.date.to_lowercase();
                let (day, month) = date.split_once(' ').unwrap_or((&date, ""));
                let words = Words::of(value);
                let days = [
                    day.to_owned(),
                    format!("{day}st"),
                    format!("{day}nd"),
                    format!("{day}rd"),
                    format!("{day}th"),
                ];
                !(words.has(month) && days.iter().any(|day| words.has(day)))
            }
            _ => ![&self.number, &self.account, &self.phone].into_iter().any(|own| same(own)),
        }
    }

    /// The repeated facts that are wrong.
    pub(crate) fn wrong(&self, repeated: &[(Fact, String)]) -> Vec<Fact> {
        let mut wrong: Vec<Fact> = repeated
            .iter()
            .filter(|(fact, value)| self.contradicts(*fact, value))
            .map(|(fact, _)| *fact)
            .collect();
        wrong.sort_by_key(|fact| Fact::ALL.iter().position(|other| other == fact));
        wrong.dedup();
        wrong
    }
}

/// The letters and digits of a value, in lower case.
fn letters(value: &str) -> String {
    value.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The values that a lower-case sentence attributes to the persona.
pub(crate) fn repeated(sentence: &str) -> Vec<(Fact, String)> {
    let words = Words::of(sentence);
    let mut found = Vec::new();
    for word in sentence.split_whitespace() {
        let word = word.trim_matches(|character: char| !character.is_alphanumeric());
        if word.contains('@') && word.contains('.') {
            found.push((Fact::Email, word.to_owned()));
        }
    }
    let tokens = tokens(sentence);
    let is_address = words.has_any(&["address", "live at"]) && !words.has_any(&["email*", "e-mail*"]);
    if is_address && sentence.contains(|character: char| character.is_ascii_digit()) {
        found.push((Fact::Address, sentence.to_owned()));
        return found;
    }
    let kind = (0..tokens.len()).find_map(|at| number_at(&tokens, at)).unwrap_or(Fact::Number);
    let mut digits = String::new();
    for (offset, word) in tokens.iter().chain([&(sentence.len(), "")]) {
        let is_mail = sentence[..*offset].ends_with('@')
            || sentence[*offset..].split_whitespace().next().is_some_and(|word| word.contains('@'));
        let is_price = sentence[..*offset].ends_with(['$', '€', '£']);
        let is_digits = !word.is_empty() && word.chars().all(|character| character.is_ascii_digit());
        if is_digits && !is_mail && !is_price {
            digits.push_str(word);
            continue;
        }
        if digits.len() >= 5 {
            found.push((kind, digits.clone()));
        }
        digits.clear();
        let count = word.chars().filter(char::is_ascii_digit).count();
        let is_date = word.len() == 10 && word.matches('-').count() == 2;
        let is_code = count > 0 && word.len() >= 5 && word.chars().any(char::is_alphabetic) && !is_date;
        if (is_code || count >= 5) && !is_mail && !is_price && !is_date {
            found.push((kind, (*word).to_owned()));
        }
    }
    for key in [
        "name is",
        "name as",
        "speaking with",
        "speaking to",
        "talking to",
        "talking with",
        "mr",
        "mrs",
        "ms",
    ] {
        let Some(at) = words.find(key) else { continue };
        let name: Vec<&str> = sentence[at + key.len()..]
            .split(|character: char| !character.is_alphanumeric() && character != '-' && character != '\'')
            .filter(|word| !word.is_empty())
            .take(3)
            .collect();
        let is_name = name.first().is_some_and(|first| {
            !matches!(
                *first,
                "spelled"
                    | "correct"
                    | "right"
                    | "on"
                    | "the"
                    | "in"
                    | "listed"
                    | "not"
                    | "that"
                    | "a"
                    | "an"
                    | "me"
                    | "us"
                    | "my"
                    | "our"
            )
        });
        if is_name {
            found.push((Fact::Name, name.join(" ")));
        }
    }
    let is_past = words.has_any(&[
        "ordered on",
        "order date",
        "placed on",
        "bought on",
        "purchased on",
        "date is",
        "date was",
        "date of",
        "dated",
    ]);
    if is_past && people::MONTHS.iter().any(|month| words.has(&month.to_lowercase())) {
        found.push((Fact::Date, sentence.to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(scenario: &str) -> Facts {
        Facts::of("Kwame", "Tran", scenario, &mut Dice::new(1))
    }

    #[test]
    fn stated_facts_are_taken_from_the_scenario() {
        let stated = facts("You are mia_li_3668. Your reservation is JG7FMM. Your email is mia@example.org.");
        assert_eq!((stated.account.as_str(), stated.number.as_str()), ("mia_li_3668", "JG7FMM"));
        assert_eq!(stated.email, "mia@example.org");
        let stated = facts("A customer (user ID 4821973) asks about order #W2378156.");
        assert_eq!((stated.account.as_str(), stated.number.as_str()), ("4821973", "#W2378156"));
        let drawn = facts("A student is late for class.");
        assert_eq!((drawn.account.len(), drawn.number.len()), (6, 8));
    }

    #[test]
    fn facts_that_a_text_does_not_state_are_unknown() {
        let facts =
            Facts::stated("Ada".into(), "Monday".into(), "Her order is #A-10427, her email ada@example.org.");
        assert_eq!((facts.number.as_str(), facts.email.as_str()), ("#A-10427", "ada@example.org"));
        for fact in [Fact::Account, Fact::Phone, Fact::Date, Fact::Address] {
            assert!(facts.is_unknown(fact), "{fact:?}");
        }
        assert_eq!(facts.wrong(&repeated("your phone number is 555 99 88, right?")), []);
        assert_eq!(facts.wrong(&repeated("your order number is 11112222, correct?")), [Fact::Number]);
    }

    #[test]
    fn wrong_repetitions_are_found() {
        let facts = facts("Anything.");
        let number = facts.number.clone();
        let wrong = |sentence: &str| facts.wrong(&repeated(sentence));
        for (sentence, fact) in [
            ("your order number is 11112222, correct?", Fact::Number),
            ("is your user id 9999999?", Fact::Account),
            ("your e-mail is kwame.tram@example.com, right?", Fact::Email),
            ("so your name is john smith, correct?", Fact::Name),
            ("am i speaking with mary jones?", Fact::Name),
            ("you ordered on 3 brumaire or 31 march, right?", Fact::Date),
            ("your address is 999 nowhere road, right?", Fact::Address),
            ("your phone number is 555 99 88, right?", Fact::Phone),
        ] {
            assert_eq!(wrong(sentence), [fact], "{sentence}");
        }
        for sentence in [
            format!("your order number is {number}, correct?"),
            format!("order {} {}, right?", &number[..4], &number[4..]),
            "your name is kwame tran, right?".to_owned(),
            "am i speaking with mr tran?".to_owned(),
            "it costs $10500, is that right?".to_owned(),
            format!("your e-mail is {}, right?", facts.email),
            format!("you live at {}, right?", facts.address.to_lowercase()),
            format!("you ordered on {}, right?", facts.date.to_lowercase()),
            "that is 2026-05-15, right?".to_owned(),
        ] {
            assert_eq!(wrong(&sentence), [], "{sentence}");
        }
    }
}
