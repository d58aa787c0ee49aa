//! The situation of one persona: the scenario's matter, and the sentences that state it.
//!
//! The subject always comes from the scenario: its sentences in the first person, or else a quotation.
//! Only a scenario about a shop's order that offers several troubles ("late, damaged or wrong") has
//! sentences of its own, so that its personas differ.

use super::{
    acts::Act,
    dice::{Dice, wrap},
    scenario::Matter,
    words::{Words, first_sentence, quoted},
};

/// The sentences of a situation. Slots are filled from the character.
#[derive(Debug)]
pub(crate) struct Topic {
    keys: &'static [&'static str],
    /// Opening sentences.
    pub(crate) openings: &'static [&'static str],
    /// Further details.
    details: &'static [&'static str],
    /// The topic as a noun phrase, with `{item}`.
    pub(crate) noun: &'static str,
}

/// The troubles of a shop's order.
const ORDERS: &[Topic] = &[
    Topic {
        keys: &[
            "late",
            "delay*",
            "not arrived",
            "not arrive",
            "hasn't arrived",
            "never arrived",
            "overdue",
            "lost",
            "missing",
        ],
        openings: &[
            "My {item} has not arrived.",
            "My {item} is more than a week late.",
            "My {item} should have been here days ago.",
            "I am still waiting for my {item}; the delivery date has passed.",
            "My {item} never came.",
            "The tracking for my {item} has not moved for six days.",
        ],
        details: &[
            "The shop's page still says that it is being prepared.",
            "I stayed at home for it two days in a row.",
            "My neighbours have not seen it either.",
            "It was paid for in full when I ordered it.",
            "The first date I was given was last Monday, and since then there has been no news.",
        ],
        noun: "the {item} that has not come",
    },
    Topic {
        keys: &["damag*", "broken", "crack*", "defect*", "faulty", "scratch*"],
        openings: &[
            "My {item} arrived damaged.",
            "My {item} came today and it is broken.",
            "I unpacked my {item} and everything is damaged along one side.",
            "There is something wrong with the {item} I got: it does not work at all.",
            "The box was fine, but the inside of my {item} was broken.",
            "I have just received my {item}, and it is damaged so badly that it cannot be used.",
        ],
        details: &[
            "I have looked at it closely.",
            "The packaging had a dent on one side.",
            "It has not been used, not even once.",
            "I had looked forward to it all week.",
            "I tried it twice, to be sure that it is not my fault.",
        ],
        noun: "the damaged {item}",
    },
    Topic {
        keys: &[
            "wrong item*",
            "wrong product*",
            "wrong thing*",
            "wrong size*",
            "wrong article*",
            "wrong colour",
            "wrong color",
        ],
        openings: &[
            "I opened my {item} and something else was in the box.",
            "You sent me the wrong thing with my {item}.",
            "My {item} came, but the box holds the wrong thing.",
            "There was a mix-up with my {item}: I paid for one thing and got another.",
            "The label on my {item} is right, and the thing inside is the wrong one.",
        ],
        details: &[
            "The thing that I got is of no use to me.",
            "The paper in the box lists the right thing.",
            "I have left everything in the box as it was.",
            "I checked my order, and I did not click the wrong one.",
        ],
        noun: "the wrong {item}",
    },
];

const DETAILS: &[&str] = &[
    "I have thought about it for a while.",
    "This is new to me.",
    "There are a few things about it that I do not understand.",
    "It matters to me to get this right.",
    "I did look around before I came here.",
];

const QUOTED: Topic = Topic {
    keys: &[],
    openings: &[
        "It is about this: {quote}",
        "Here is my situation: {quote}",
        "I have come with this: {quote}",
        "Let me put it like this: {quote}",
        "This is the matter: {quote}",
        "You may know this kind of thing: {quote}",
    ],
    details: DETAILS,
    noun: "what I came for",
};

const WISHED: Topic = Topic {
    openings: &[
        "I want {wish}.",
        "I would like {wish}.",
        "I need {wish}.",
        "I am here because I want {wish}.",
        "To come to the point: I would like {wish}.",
        "It is simple: I want {wish}.",
    ],
    ..QUOTED
};

const STATED: Topic = Topic {
    openings: &[
        "{statement}",
        "Here is my problem: {statement}",
        "This is why I am here: {statement}",
        "To come to the point: {statement}",
        "It is like this: {statement}",
        "This is the matter: {statement}",
    ],
    ..QUOTED
};

const WISHES: &[&str] = &[
    "I want {wish}.",
    "I would like {wish}.",
    "So I need {wish}.",
    "Can you help? I would like {wish}.",
    "That is why I want {wish}.",
];

const ADVICE_WANTS: &[&str] = &[
    "What do you suggest?",
    "Can you help me with that?",
    "Where do we start?",
    "What would you do?",
    "How do we go about it?",
];

const ACTION_WANTS: &[&str] = &[
    "Can you do that for me?",
    "Can you help me with that?",
    "Please take care of it.",
    "How do we go about it?",
    "Could you see to that?",
];

const REFUND_WANTS: &[&str] = &[
    "I would like my money back.",
    "I want a refund.",
    "Please refund it.",
    "Can I get a refund?",
    "At this point I would rather have the money back.",
];

const REPLACEMENT_WANTS: &[&str] = &[
    "Can you send me a new one?",
    "I would like a replacement.",
    "Please send it again.",
    "I still need it, so please send a replacement.",
    "Could I have another one?",
];

const SCENARIO_DETAILS: &[&str] = &["{detail0}", "{detail1}", "{detail2}", "{detail3}"];

/// The maximum length of a wish that serves as a noun phrase.
const NOUN: usize = 60;

/// The scenario as one persona experiences it.
#[derive(Debug)]
pub(crate) struct Situation {
    pub(crate) topic: &'static Topic,
    /// The act that the persona wants from the agent; `None` if the persona wants advice.
    pub(crate) goal: Option<Act>,
    /// Whether the goal is a remedy for goods, for which there are several.
    pub(crate) is_about_goods: bool,
    /// All acts that the scenario names.
    named: Vec<Act>,
    pub(crate) matter: Matter,
    /// The scenario's first sentence.
    pub(crate) sentence: String,
    /// The scenario's first sentence in quotation marks.
    pub(crate) quote: String,
    /// The scenario's word for an order.
    pub(crate) item: &'static str,
    /// The matter as a noun phrase in the first person.
    pub(crate) noun: String,
}

impl Situation {
    /// Reads a scenario for one persona. The dice make its choices.
    pub(crate) fn read(scenario: &str, dice: &mut Dice) -> Self {
        let mut sentence = first_sentence(scenario, 220);
        if sentence.is_empty() {
            "a matter of one's own".clone_into(&mut sentence);
        }
        if !sentence.ends_with(['.', '!', '?', '…', '。', '！', '？', '।', '؟']) {
            sentence.push('.');
        }
        // The number of rolls does not depend on the scenario, so that the persona stays the same
        // person.
        let (which, goal) = (dice.roll(), dice.roll());
        let text: String = scenario.chars().take(3_000).collect::<String>().to_lowercase().replace('’', "'");
        let words = Words::of(&text);
        let item =
            ["order", "parcel", "package", "shipment", "delivery"].into_iter().find(|item| words.has(item));
        let is_shop =
            words.has_any(&["shop*", "store", "online", "parcel", "package", "shipment", "retail*"]);
        let troubles: Vec<&'static Topic> = ORDERS.iter().filter(|topic| words.has_any(topic.keys)).collect();
        let mut matter = Matter::read(scenario);
        let order =
            (item.is_some() && is_shop && troubles.len() > 1).then(|| troubles[wrap(which, troubles.len())]);
        let topic = match order {
            Some(order) => {
                matter = Matter::default();
                order
            }
            None if matter.statement.is_some() => &STATED,
            None if matter.wish.is_some() => &WISHED,
            None => &QUOTED,
        };
        let is_about_goods = order.is_some() || (!troubles.is_empty() && is_goods(&words));
        let named = Act::named_in(&words);
        let goal = goal_of(&matter, is_about_goods, &named, goal);
        let item = item.unwrap_or("order");
        let noun = noun(topic, &matter, item);
        let quote = quoted(&sentence);
        Self { topic, goal, is_about_goods, named, matter, sentence, quote, item, noun }
    }

    /// The sentences for the request.
    pub(crate) fn wants(&self) -> &'static [&'static str] {
        match self.goal {
            _ if self.matter.statement.is_some() && self.matter.wish.is_some() => WISHES,
            Some(_) if self.matter.wish.is_some() => ACTION_WANTS,
            Some(Act::Refund) => REFUND_WANTS,
            Some(Act::Replace) => REPLACEMENT_WANTS,
            Some(_) => ACTION_WANTS,
            None => ADVICE_WANTS,
        }
    }

    /// The sentences for details.
    pub(crate) fn details(&self) -> &'static [&'static str] {
        match self.matter.details.len() {
            0 => self.topic.details,
            count => &SCENARIO_DETAILS[..count.min(SCENARIO_DETAILS.len())],
        }
    }

    /// Whether an act has nothing to do with the scenario.
    pub(crate) fn is_unrelated(&self, act: Act) -> bool {
        match self.goal {
            Some(goal) => !(goal.fulfilled_by(act) || (self.is_about_goods && act.is_remedy())),
            None => matches!(act, Act::Refund | Act::Replace | Act::Cancel) && !self.named.contains(&act),
        }
    }
}

/// Whether a scenario is about goods that somebody bought.
fn is_goods(words: &Words<'_>) -> bool {
    let bought =
        ["order", "ordered", "bought", "purchas*", "parcel", "package", "shipment", "delivered", "product*"];
    words.has_any(&bought)
        || (words.has_any(&["customer*", "buyer*", "shopper*", "consumer*"])
            && words.has_any(&["got", "received", "arrived", "gets", "receives"]))
}

/// The act that the persona wants.
fn goal_of(matter: &Matter, is_about_goods: bool, named: &[Act], roll: u64) -> Option<Act> {
    if let Some(wish) = &matter.wish {
        let wish = wish.to_lowercase();
        if is_about_goods && wish.starts_with("to return") {
            return Some(Act::Refund);
        }
        let words = Words::of(&wish);
        return Act::first_in(&words)
            .or_else(|| is_about_goods.then_some(Act::Refund).filter(|_| wish.contains("money")));
    }
    if is_about_goods {
        let remedies = [Act::Refund, Act::Replace, Act::Refund];
        let named: Vec<Act> =
            named.iter().copied().filter(|act| matches!(act, Act::Refund | Act::Replace)).collect();
        // A scenario in which others "still want what they ordered" names a replacement in other words.
        let choices = if named == [Act::Replace] { &named[..] } else { &remedies[..] };
        return Some(choices[wrap(roll, choices.len())]);
    }
    let statement = matter.statement.as_ref()?.to_lowercase();
    let words = Words::of(&statement);
    if words.has_any(&[
        "broken",
        "broke",
        "leak*",
        "not work",
        "not working",
        "doesn't work",
        "stopped working",
        "crash*",
        "faulty",
    ]) {
        return Some(Act::Repair);
    }
    words.has_any(&["log in", "locked out", "sign in", "password*"]).then_some(Act::Access)
}

fn noun(topic: &Topic, matter: &Matter, item: &str) -> String {
    if let Some(statement) = &matter.statement {
        let about =
            statement.strip_prefix("It is about ").map(|about| about.trim_end_matches('.').to_owned());
        return about
            .filter(|about| about.chars().count() <= NOUN)
            .unwrap_or_else(|| "my problem".to_owned());
    }
    let Some(wish) = &matter.wish else { return topic.noun.replace("{item}", item) };
    let is_short = wish.chars().count() <= NOUN;
    let first = wish.split(' ').next().unwrap_or_default();
    match first {
        "to" if wish.starts_with("to know ") => "my question".to_owned(),
        "to" if is_short => format!("my request {wish}"),
        "a" | "an" | "the" | "my" if is_short => wish.clone(),
        _ => "my request".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scenario: &str, seed: u64) -> Situation {
        Situation::read(scenario, &mut Dice::new(seed))
    }

    #[test]
    fn order_with_several_troubles_is_distributed() {
        let scenario = "A shop's order went wrong: it is late, it arrived damaged, or it is the wrong thing.";
        let mut nouns: Vec<_> = (0..30).map(|seed| read(scenario, seed).noun).collect();
        nouns.sort_unstable();
        nouns.dedup();
        assert_eq!(nouns.len(), 3);
    }

    #[test]
    fn goal_follows_from_the_scenario() {
        for (scenario, goal) in [
            ("A guest wants to change their booking.", Some(Act::Change)),
            ("A customer got a broken kettle. They want a refund.", Some(Act::Refund)),
            ("A customer got a broken kettle and wants to return it.", Some(Act::Refund)),
            ("A gym member wants to cancel their membership.", Some(Act::Cancel)),
            ("A patient calls to reschedule an appointment.", Some(Act::Change)),
            ("A tenant's heating is broken.", Some(Act::Repair)),
            ("A reader wants to renew a loan.", Some(Act::Renew)),
            ("A member cannot log in.", Some(Act::Access)),
            ("A student is late for class.", None),
            ("A passenger's flight was cancelled.", None),
            ("A hobby cook wants to impress their in-laws.", None),
        ] {
            assert_eq!(read(scenario, 1).goal, goal, "{scenario}");
        }
    }

    #[test]
    fn unrelated_acts_are_recognised() {
        let booking = read("A guest wants to change their booking.", 1);
        assert!(booking.is_unrelated(Act::Refund) && booking.is_unrelated(Act::Cancel));
        assert!(!booking.is_unrelated(Act::Change));
        let kettle = read("A customer got a broken kettle.", 1);
        assert!(
            !kettle.is_unrelated(Act::Refund)
                && !kettle.is_unrelated(Act::Replace)
                && kettle.is_unrelated(Act::Cancel)
        );
        let class = read("A student is late for class.", 1);
        assert!(class.is_unrelated(Act::Refund) && !class.is_unrelated(Act::Book));
    }

    #[test]
    fn scenario_that_cannot_be_converted_is_quoted() {
        let situation = read("Ein Schüler fragt nach \"Photosynthese\".", 1);
        assert_eq!(situation.quote, "“Ein Schüler fragt nach 'Photosynthese'.”");
        assert_eq!(situation.matter, Matter::default());
    }
}
