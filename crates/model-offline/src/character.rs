//! The character of a persona: drawn from lists by the seed of the simulation's personas and the persona's
//! number alone, so that it is always the same person, and no two numbers are the same person.

use onerun_domain::{
    AgeGroup, Agent, Persona, PersonaAttributes, PersonaDraft, Seed, Simulation, derive_seed,
};

use super::{
    acts::Act,
    dice::Dice,
    facts::Facts,
    people::{self, Occupation, Register, Style, Temper},
    situation::Situation,
    words::{Slots, clean, fill, first_sentence, quoted, shorten},
};

/// The version of the attributes' format.
const ATTRIBUTES_VERSION: &str = "1";

/// The number of choices in a summary.
const CHOICES: usize = 6;

/// The sizes of the lists: given name, family name, occupation, traits, style, interest.
const SIZES: [usize; CHOICES] = [
    people::GIVEN.len(),
    people::FAMILY.len(),
    people::OCCUPATIONS.len(),
    people::TRAITS.len(),
    people::STYLES.len(),
    people::INTERESTS.len(),
];

/// The number of different people, which exceeds the number of persona numbers.
const PEOPLE: u64 = {
    let mut product = 1_u64;
    let mut index = 0;
    while index < CHOICES {
        product *= SIZES[index] as u64;
        index += 1;
    }
    product
};
const _: () = assert!(PEOPLE > u32::MAX as u64);

/// A person and the facts they know.
#[derive(Debug)]
pub(crate) struct Character {
    pub(crate) given: String,
    family: &'static str,
    years: u64,
    occupation: &'static Occupation,
    trait_text: &'static str,
    pub(crate) temper: Temper,
    pub(crate) style: &'static Style,
    interest: &'static str,
    /// A speech pattern and an example of it.
    pub(crate) pattern: (&'static str, &'static str),
    /// The seed of answers to yes-or-no questions.
    pub(crate) voice: u64,
    /// The number of the agent's messages after which they give up.
    pub(crate) patience: usize,
    /// Whether they accept another remedy for goods than the one they want.
    pub(crate) flexible: bool,
    pub(crate) situation: Situation,
    /// The facts they tell when asked.
    pub(crate) facts: Facts,
}

impl Character {
    /// The person with this number.
    pub(crate) fn of(simulation: &Simulation, seq: u32) -> Self {
        let [given, family, occupation, traits, style, interest] = choices(simulation.persona_seed(), seq);
        let number = seq.to_string();
        let mut dice = Dice::new(derive_seed(simulation.persona_seed(), &["offline", "persona", &number]));
        let (given, family) = (people::GIVEN[given], people::FAMILY[family]);
        let occupation = &people::OCCUPATIONS[occupation];
        let (trait_text, temper) = people::TRAITS[traits];
        let patience = match temper {
            Temper::Calm => 7 + dice.index(3),
            Temper::Even => 5 + dice.index(3),
            Temper::Short => 3 + dice.index(3),
        };
        let (youngest, span) = match occupation.age {
            AgeGroup::Teen => (15, 5),
            AgeGroup::YoungAdult => (20, 16),
            AgeGroup::Adult => (36, 20),
            AgeGroup::Senior => (56, 30),
        };
        Self {
            given: given.to_owned(),
            family,
            years: youngest + dice.below(span),
            occupation,
            trait_text,
            temper,
            style: &people::STYLES[style],
            interest: people::INTERESTS[interest],
            pattern: dice.pick(people::PATTERNS),
            voice: dice.roll(),
            patience,
            flexible: temper == Temper::Calm || dice.once_in(2),
            facts: Facts::of(given, family, simulation.scenario.as_str(), &mut dice),
            situation: Situation::read(simulation.scenario.as_str(), &mut dice),
        }
    }

    /// The person who speaks as this persona. One that a caller wrote speaks of its own purpose and story, and
    /// knows only what they state.
    pub(crate) fn of_persona(simulation: &Simulation, persona: &Persona) -> Self {
        let drawn = Self::of(simulation, persona.seq);
        if !simulation.has_explicit_persona(persona.seq) {
            return drawn;
        }
        let number = persona.seq.to_string();
        let mut dice = Dice::new(derive_seed(simulation.persona_seed(), &["offline", "explicit", &number]));
        let Persona { summary, story, purpose, .. } = persona;
        let situation = Situation::read(&format!("{} {story}", wish(purpose)), &mut dice);
        let name = name_in(summary).unwrap_or_else(|| drawn.facts.name.clone());
        let given = name.split(' ').next().unwrap_or_default().to_owned();
        let facts = Facts::stated(name, drawn.facts.day, &format!("{summary} {purpose} {story}"));
        Self { given, situation, facts, ..drawn }
    }

    fn summary(&self) -> String {
        let Self { given, family, years, trait_text, interest, .. } = self;
        let (occupation, style) = (self.occupation.name, self.style.text);
        let article = if occupation.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        format!(
            "{given} {family}, {years}, {article} {occupation}: {trait_text}, {style}, and enjoys {interest}."
        )
    }

    /// The persona as the engine stores it.
    pub(crate) fn draft(&self, simulation: &Simulation, agent: &Agent, seq: u32) -> PersonaDraft {
        let number = seq.to_string();
        let mut dice = Dice::new(derive_seed(simulation.seed, &["offline", "attributes", &number]));
        let economy = dice.pick(by_age(people::ECONOMY, self.occupation.age));
        let attitude = dice.pick(people::ATTITUDES);
        let behavior = dice.pick(by_temper(people::BEHAVIOR, self.temper));
        let reaction = dice.pick(by_temper(people::REACTIONS, self.temper));
        let attributes = PersonaAttributes {
            age_group: self.occupation.age,
            speech_style: self.style.text.to_owned(),
            education: self.occupation.education.to_owned(),
            occupation: self.occupation.name.to_owned(),
            economic_status: economy.to_owned(),
            personality_traits: format!("{}; {attitude}", self.trait_text),
            values: two(people::VALUES, &mut dice),
            habits: two(people::HABITS, &mut dice),
            interests: self.interest.to_owned(),
            speech_patterns: self.pattern.0.to_owned(),
            typical_behavior: behavior.to_owned(),
            stress_triggers: two(people::TRIGGERS, &mut dice),
            stress_reactions: reaction.to_owned(),
            version: ATTRIBUTES_VERSION.to_owned(),
        };
        let situation = &self.situation;
        let words = fill(dice.pick(situation.topic.openings), self);
        let detail = fill(dice.pick(situation.details()), self);
        let moment = dice.pick(people::MOMENTS);
        let facts = &self.facts;
        let story = format!(
            "{given} {economy}, and {attitude}. The situation: {quote} In {given}'s words: “{words} {detail}” {moment} \
             Told only when asked: the number is {number}, the personal number {account}, the date {date}, the e-mail \
             address {email}.",
            given = self.given,
            quote = situation.quote,
            words = words.replace(['“', '”'], "'"),
            number = facts.number,
            account = facts.account,
            date = facts.date,
            email = facts.email,
        );
        PersonaDraft { summary: self.summary(), story, purpose: self.purpose(agent), attributes }
    }

    fn purpose(&self, agent: &Agent) -> String {
        let name = agent_name(agent);
        let role = agent.description.as_ref().map(|text| first_sentence(text.as_str(), 160));
        let role = role.filter(|role| !role.is_empty()).map(|role| format!(" ({})", quoted(&role)));
        let aim = self.aim(&name);
        let flexible = if self.flexible && self.situation.is_about_goods {
            "would accept another fair way"
        } else {
            "accepts nothing else"
        };
        format!(
            "{given} comes to {name}{role} {aim} {given} {flexible}, is content once that is settled, and gives up after about \
             {patience} answers that do not help.",
            role = role.unwrap_or_default(),
            given = self.given,
            patience = self.patience,
        )
    }

    /// The second half of the purpose's first sentence.
    fn aim(&self, agent: &str) -> String {
        let Situation { matter, goal, topic, noun, sentence, is_about_goods, .. } = &self.situation;
        let remedy = match goal {
            Some(Act::Refund) if *is_about_goods => Some("the money back"),
            Some(Act::Replace) if *is_about_goods => Some("a replacement"),
            _ => None,
        };
        let remedies = remedy.map(|remedy| format!(" {} wants {remedy}.", self.given)).unwrap_or_default();
        match (&matter.wish, &matter.statement) {
            (Some(wish), statement) => {
                // "I want you to fix it": the agent is to fix it.
                let wish = wish
                    .strip_prefix("you ")
                    .map_or_else(|| of_another(wish), |wish| format!("{agent} {}", of_another(wish)));
                let wish = wish.trim_end_matches('.');
                match statement {
                    Some(statement) => {
                        format!("because of this: {} {} wants {wish}.", quoted(statement), self.given)
                    }
                    None => format!("and wants {wish}."),
                }
            }
            (None, Some(statement)) => format!("because of this: {}{remedies}", quoted(statement)),
            (None, None) if topic.noun.contains("{item}") => match remedy {
                Some(remedy) => format!("to get {remedy} for {}.", of_another(noun)),
                None => format!("to have {} dealt with.", of_another(noun)),
            },
            (None, None) => format!("for help with this: {}{remedies}", quoted(sentence)),
        }
    }
}

/// A purpose in a form that [`Situation`] reads: "To get a refund." is what a customer wants.
fn wish(purpose: &str) -> String {
    let purpose = clean(purpose);
    let first = purpose.split(' ').next().unwrap_or_default();
    let rest = purpose.get(first.len()..).unwrap_or_default();
    let stop = if purpose.ends_with(['.', '!', '?']) { "" } else { "." };
    match first {
        "To" | "to" => format!("A customer wants to{rest}{stop}"),
        "Wants" | "wants" => format!("A customer wants{rest}{stop}"),
        _ => format!("{purpose}{stop}"),
    }
}

/// The name that a summary begins with: "Ada Lovelace, 38, a clerk", "Ada is a clerk".
fn name_in(summary: &str) -> Option<String> {
    let summary = clean(summary);
    let is_name = |word: &&str| {
        let letters = word.trim_end_matches(',');
        letters.starts_with(char::is_uppercase)
            && letters.chars().all(|letter| letter.is_alphabetic() || matches!(letter, '-' | '\'' | '’'))
    };
    let mut name: Vec<&str> = Vec::new();
    let mut words = summary.split(' ').peekable();
    while let Some(word) = words.next_if(is_name) {
        name.push(word.trim_end_matches(','));
        if word.ends_with(',') {
            break;
        }
    }
    let next = words.peek().copied().unwrap_or_default();
    let names_one = summary.split(' ').next().is_some_and(|first| first.ends_with(','))
        || next.starts_with('(')
        || next == "is";
    let is_article = name.first().is_some_and(|first| matches!(*first, "A" | "An" | "The"));
    let is_known = !is_article && (matches!(name.len(), 2..=4) || (name.len() == 1 && names_one));
    is_known.then(|| name.join(" "))
}

/// Converts first-person words to the third person.
fn of_another(words: &str) -> String {
    let words: Vec<&str> = words
        .split(' ')
        .map(|word| match word {
            "my" => "their",
            "I" => "they",
            "me" => "them",
            "myself" => "themselves",
            _ => word,
        })
        .collect();
    words.join(" ")
}

/// The agent's name in a form that fits into a sentence.
pub(crate) fn agent_name(agent: &Agent) -> String {
    let name = shorten(&clean(agent.name.as_str()), 60);
    if name.is_empty() { "the agent".to_owned() } else { name }
}

impl Slots for Character {
    fn slot(&self, name: &str) -> &str {
        match name {
            "number" => &self.facts.number,
            "name" => &self.facts.name,
            "given" => &self.given,
            "email" => &self.facts.email,
            "phone" => &self.facts.phone,
            "date" => &self.facts.date,
            "address" => &self.facts.address,
            "account" => &self.facts.account,
            "day" => &self.facts.day,
            "item" => self.situation.item,
            "noun" => &self.situation.noun,
            "quote" => &self.situation.quote,
            "statement" => self.situation.matter.statement.as_deref().unwrap_or_default(),
            "wish" => self.situation.matter.wish.as_deref().unwrap_or_default().trim_end_matches('.'),
            "detail0" | "detail1" | "detail2" | "detail3" => {
                let index = usize::from(name.as_bytes()[6] - b'0');
                self.situation.matter.details.get(index).map_or("", String::as_str)
            }
            _ => "",
        }
    }
}

/// The choices in a summary, as a bijection of `seq`: `seq` is scaled and shifted modulo the number
/// of people, then split into one digit per list, and each digit is rotated by an amount that
/// depends on the digits before it. Neighbours therefore share nothing, a given name repeats only
/// after all were used, and no two numbers give the same person before all people were used.
fn choices(seed: Seed, seq: u32) -> [usize; CHOICES] {
    let base = derive_seed(seed, &["offline", "people"]);
    let mut dice = Dice::new(base);
    let offset = dice.below(PEOPLE);
    let mut step = 1 + dice.below(PEOPLE - 1);
    while greatest_common_divisor(step, PEOPLE) != 1 {
        step = step % (PEOPLE - 1) + 1;
    }
    let index = (u128::from(seq) * u128::from(step) + u128::from(offset)) % u128::from(PEOPLE);
    let mut rest = u64::try_from(index).unwrap_or_default();
    let mut turn = Dice::new(base ^ 0x5EED);
    let mut chosen = [0; CHOICES];
    for (slot, size) in chosen.iter_mut().zip(SIZES) {
        let digit = super::dice::wrap(rest, size);
        *slot = (digit + turn.index(size)) % size;
        rest /= size as u64;
        turn = Dice::new(turn.roll() ^ digit as u64);
    }
    chosen
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn by_age(lists: [&'static [&'static str]; 4], age: AgeGroup) -> &'static [&'static str] {
    let [teen, young_adult, adult, senior] = lists;
    match age {
        AgeGroup::Teen => teen,
        AgeGroup::YoungAdult => young_adult,
        AgeGroup::Adult => adult,
        AgeGroup::Senior => senior,
    }
}

fn by_temper(lists: [&'static [&'static str]; 3], temper: Temper) -> &'static [&'static str] {
    let [calm, even, short] = lists;
    match temper {
        Temper::Calm => calm,
        Temper::Even => even,
        Temper::Short => short,
    }
}

/// Two different entries of a list of at least two.
fn two(list: &[&str], dice: &mut Dice) -> String {
    let first = dice.index(list.len());
    let second = (first + 1 + dice.index(list.len() - 1)) % list.len();
    format!("{}; {}", list[first], list[second])
}

impl Style {
    /// Its row in a table with one row per register.
    pub(crate) fn row(&self) -> usize {
        match self.register {
            Register::Plain => 0,
            Register::Formal => 1,
            Register::Casual => 2,
            Register::Terse => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{agent, simulation};

    #[test]
    fn summary_lists_have_unique_and_unambiguous_entries() {
        let occupations: Vec<_> = people::OCCUPATIONS.iter().map(|occupation| occupation.name).collect();
        let traits: Vec<_> = people::TRAITS.iter().map(|(text, _)| *text).collect();
        let styles: Vec<_> = people::STYLES.iter().map(|style| style.text).collect();
        for list in [people::GIVEN, people::FAMILY, &occupations, &traits, &styles, people::INTERESTS] {
            let unique: HashSet<_> = list.iter().collect();
            assert_eq!(unique.len(), list.len());
            assert!(list.iter().all(|entry| !entry.contains([',', ':', '{'])));
        }
        assert!(people::GIVEN.iter().chain(people::FAMILY).all(|name| !name.contains(' ')));
    }

    #[test]
    fn two_million_numbers_give_distinct_people() {
        let simulation = simulation(3, "Anything.");
        let base: Vec<_> = (1..=2_000_000_u32)
            .step_by(if cfg!(debug_assertions) { 17 } else { 1 })
            .map(|seq| choices(simulation.seed, seq))
            .collect();
        let unique: HashSet<_> = base.iter().collect();
        assert_eq!(unique.len(), base.len());
    }

    #[test]
    fn first_hundred_people_have_distinct_given_names() {
        let simulation = simulation(11, "Anything.");
        let names: HashSet<_> = (1..=100).map(|seq| Character::of(&simulation, seq).given).collect();
        assert_eq!(names.len(), 100);
    }

    #[test]
    fn name_is_read_from_a_summary() {
        for (summary, name) in [
            ("Kwame Tran, 38, an insurance clerk: restless.", Some("Kwame Tran")),
            ("Ada is a nurse.", Some("Ada")),
            ("Mia, a student.", Some("Mia")),
            ("Zoë O'Neill-Ray (52) repairs clocks.", Some("Zoë O'Neill-Ray")),
            ("A hurried clerk.", None),
            ("Busy nurse with two children.", None),
            ("", None),
        ] {
            assert_eq!(name_in(summary).as_deref(), name, "{summary}");
        }
    }

    #[test]
    fn every_attribute_is_filled() {
        let simulation = simulation(5, "A guest wants to change their booking.");
        for seq in 1..=200 {
            let draft = Character::of(&simulation, seq).draft(&simulation, &agent(), seq);
            let attributes = draft.attributes;
            let own = [draft.summary.as_str(), &draft.story, &draft.purpose];
            for text in own.into_iter().chain(attributes.texts()) {
                assert!(!text.is_empty() && !text.contains(['{', '}']), "{text}");
            }
            assert_eq!(attributes.version, "1");
            assert!(draft.story.contains("“A guest wants to change their booking.”"), "{}", draft.story);
        }
    }

    proptest! {
        #[test]
        fn two_numbers_never_share_a_summary(seed in 0_u64..1 << 53, a in 1_u32..2_000_001, b in 1_u32..2_000_001) {
            prop_assume!(a != b);
            let simulation = simulation(seed, "Anything.");
            prop_assert_ne!(Character::of(&simulation, a).summary(), Character::of(&simulation, b).summary());
        }

        #[test]
        fn any_scenario_gives_a_bounded_persona(seed in 0_u64..1 << 53, scenario in any::<String>(), seq in any::<u32>()) {
            prop_assume!(!scenario.trim().is_empty() && !scenario.chars().any(char::is_control));
            let simulation = simulation(seed, &scenario);
            let draft = Character::of(&simulation, seq).draft(&simulation, &agent(), seq);
            for text in [&draft.summary, &draft.story, &draft.purpose] {
                prop_assert!(text.chars().count() <= 2_000 && !text.chars().any(char::is_control));
            }
        }
    }
}
