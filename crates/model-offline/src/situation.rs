//! The topic of a conversation: a scenario classified by keywords, and the sentences for it.
//!
//! A scenario is free text. A scenario that names a common topic gets that topic's sentences; one
//! that names several distributes them among the personas. Any other scenario is quoted.

use super::{
    dice::Dice,
    words::{Words, first_sentence, quoted},
};

/// The remedy that a persona wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// A refund.
    Refund,
    /// A replacement.
    Replacement,
    /// An action, such as a cancellation.
    Action,
    /// An answer.
    Answer,
}

/// A common topic.
#[derive(Debug)]
pub(crate) struct Topic {
    keys: &'static [&'static str],
    /// Used only if no other topic is named.
    last_resort: bool,
    goals: &'static [Goal],
    /// Opening sentences.
    pub(crate) openings: &'static [&'static str],
    /// Further details.
    pub(crate) details: &'static [&'static str],
    /// Requests; empty if the goal has its own.
    wants: &'static [&'static str],
    /// The topic as a noun phrase.
    pub(crate) noun: &'static str,
}

const REMEDY: &[Goal] = &[Goal::Refund, Goal::Replacement, Goal::Refund];

const TOPICS: &[Topic] = &[
    Topic {
        keys: &[
            "late",
            "delay*",
            "not arrived",
            "not arrive",
            "hasn't arrived",
            "never arrived",
            "overdue",
            "lost parcel",
            "missing parcel",
            "missing package",
            "where is my order",
        ],
        last_resort: false,
        goals: REMEDY,
        openings: &[
            "My order with the {item} has not arrived.",
            "I ordered a {item} and it is more than a week late.",
            "The {item} I bought should have been here days ago.",
            "I am still waiting for my {item}; the delivery date has passed.",
            "My parcel with a {item} in it never came.",
            "The tracking for my {item} has not moved for six days.",
        ],
        details: &[
            "The shop's page still says that it is being prepared.",
            "I stayed at home for it two days in a row.",
            "My neighbours have not seen a parcel either.",
            "It was paid for in full when I ordered it.",
            "The first date I was given was last Monday, and since then there has been no news.",
        ],
        wants: &[],
        noun: "the {item} that has not come",
    },
    Topic {
        keys: &["damag*", "broken", "crack*", "defect*", "faulty", "scratch*"],
        last_resort: false,
        goals: REMEDY,
        openings: &[
            "The {item} I ordered arrived damaged.",
            "My {item} came today and it is broken.",
            "I unpacked my new {item} and it is damaged all along one side.",
            "There is something wrong with the {item} I got: it does not work at all.",
            "The box was fine, but the {item} inside was broken.",
            "I have just received a {item} that cannot be used.",
        ],
        details: &[
            "I have taken photos of it.",
            "The packaging had a dent on one side.",
            "It has not been used, not even once.",
            "I had looked forward to it all week.",
            "I tried it twice, in two different rooms, to be sure that it is not my fault.",
        ],
        wants: &[],
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
            "not what they ordered",
        ],
        last_resort: false,
        goals: REMEDY,
        openings: &[
            "I ordered a {item} and something else was in the box.",
            "You sent me the wrong thing: it should have been a {item}.",
            "My parcel came, but the {item} I ordered is not in it.",
            "There was a mix-up with my order: I paid for a {item} and got something else.",
            "The label says {item}, and what is inside is not that.",
        ],
        details: &[
            "What I got is of no use to me.",
            "The paper in the box has the right order on it.",
            "I have left everything in the box as it was.",
            "I checked my order, and I did not click the wrong one.",
        ],
        wants: &[],
        noun: "the {item} that I did not get",
    },
    Topic {
        keys: &[
            "charged twice",
            "double charge*",
            "overcharg*",
            "billing",
            "bill",
            "bills",
            "invoice*",
            "charge*",
        ],
        last_resort: false,
        goals: &[Goal::Refund],
        openings: &[
            "I was charged {amount} twice.",
            "There is a charge of {amount} on my account that I do not understand.",
            "My last bill is {amount} higher than it should be.",
            "I think that I have been billed wrongly, for {amount}.",
            "The invoice says {amount}, and that is not what was agreed.",
        ],
        details: &[
            "I have the bank statement in front of me.",
            "Nothing has changed on my side since last month.",
            "I only noticed because I go through my statements on Sundays.",
            "It may look small, but it is not small for me.",
        ],
        wants: &[
            "Please put that right.",
            "I would like the difference back.",
            "I want that money refunded.",
        ],
        noun: "the charge of {amount}",
    },
    Topic {
        keys: &["cancel*", "unsubscrib*", "terminate*"],
        last_resort: false,
        goals: &[Goal::Action],
        openings: &[
            "I would like to cancel.",
            "I need to get out of my contract.",
            "I tried to cancel and found no way to do it.",
            "Please cancel what I have with you.",
            "I no longer need it and want to cancel.",
        ],
        details: &[
            "I hardly used it in the last months.",
            "It renews soon, and I want to be out before that.",
            "There is no button for it where I looked.",
            "It is nothing personal, my situation has changed.",
        ],
        wants: &[
            "Can you do that for me?",
            "What do I have to do?",
            "Please confirm it in writing when it is done.",
        ],
        noun: "my cancellation",
    },
    Topic {
        keys: &[
            "password*",
            "log in",
            "login",
            "locked out",
            "sign in",
            "logging in",
            "access their account",
        ],
        last_resort: false,
        goals: &[Goal::Action],
        openings: &[
            "I cannot get into my account.",
            "My password is not accepted any more.",
            "I am locked out of my account.",
            "I try to sign in and I am sent back to the start every time.",
            "The link to reset my password does nothing.",
        ],
        details: &[
            "It worked until the day before yesterday.",
            "I tried it on the phone and on the computer.",
            "I am sure that I typed it correctly.",
            "I need something that is in there, today.",
        ],
        wants: &["Can you let me back in?", "How do I get in again?", "Please reset it for me."],
        noun: "my account",
    },
    Topic {
        keys: &[
            "crash*",
            "bug",
            "bugs",
            "error*",
            "outage*",
            "not working",
            "doesn't work",
            "does not work",
            "won't start",
            "wi-fi",
            "wifi",
            "internet connection",
            "technical problem*",
            "technical issue*",
            "troubleshoot*",
        ],
        last_resort: false,
        goals: &[Goal::Action],
        openings: &[
            "It has stopped working.",
            "It worked yesterday, and today it does not.",
            "I keep getting an error, whatever I do.",
            "I have a technical problem that I cannot solve alone.",
            "Nothing happens when I start it.",
        ],
        details: &[
            "I have already switched it off and on again.",
            "It began after the last update.",
            "It is not the cable, I checked that.",
            "I am not an expert, so please go slowly.",
        ],
        wants: &["Can you help me get it running?", "What can I do?", "How do we fix that?"],
        noun: "the thing that does not work",
    },
    Topic {
        keys: &[
            "book a",
            "booking*",
            "reserv*",
            "appointment*",
            "reschedul*",
            "book an",
            "schedule a",
            "flight*",
        ],
        last_resort: false,
        goals: &[Goal::Action],
        openings: &[
            "I need to arrange a date.",
            "I would like to book, and I am not sure how.",
            "I have a booking that has to change.",
            "Something has come up, so my date does not fit any more.",
            "I am looking for a place on {date}.",
        ],
        details: &[
            "Mornings are best for me.",
            "It would be for two people.",
            "I am flexible by a day or so, but not more.",
            "I looked at the calendar on the page and could not make sense of it.",
        ],
        wants: &["Can you arrange that?", "What is possible?", "Could you put me down for {date}?"],
        noun: "my booking",
    },
    Topic {
        keys: &["refund*", "money back", "return an", "return a", "returns", "reimburse*"],
        last_resort: true,
        goals: &[Goal::Refund],
        openings: &[
            "I want to return a {item}.",
            "I would like my money back for a {item}.",
            "I bought a {item} and it is not for me.",
            "I am not happy with the {item} I bought.",
        ],
        details: &[
            "It is unused, and I still have the box.",
            "It looked different in the pictures.",
            "I read that it can be sent back within 30 days.",
        ],
        wants: &[],
        noun: "the {item} that I want to return",
    },
];

const QUOTED: Topic = Topic {
    keys: &[],
    last_resort: true,
    goals: &[Goal::Answer],
    openings: &[
        "It is about this: {quote}",
        "Here is my situation: {quote}",
        "I have come with this: {quote}",
        "Let me put it like this: {quote}",
        "What I am dealing with: {quote}",
        "You may know this kind of thing: {quote}",
    ],
    details: &[
        "I have thought about it for a while.",
        "I am new to this.",
        "There are a few things about it that I do not understand.",
        "It matters to me to get this right.",
        "I did look around before I came here.",
    ],
    wants: &[
        "What do you suggest?",
        "Can you help me with that?",
        "Where do we start?",
        "What would you do?",
        "How do we go about it?",
    ],
    noun: "what I came for",
};

const WANTED: Topic = Topic {
    openings: &[
        "I want to {want}.",
        "I would like to {want}.",
        "I need to {want}.",
        "I am trying to {want}.",
        "My plan is to {want}.",
        "What I am here for is to {want}.",
    ],
    ..QUOTED
};

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

/// Phrases that introduce a wish in a scenario.
const WANT_MARKS: &[&str] = &[
    " wants to ",
    " want to ",
    " needs to ",
    " need to ",
    " is trying to ",
    " are trying to ",
    " would like to ",
    " wishes to ",
    " wish to ",
    " tries to ",
    " hopes to ",
];

/// The scenario as one persona experiences it.
#[derive(Debug)]
pub(crate) struct Situation {
    pub(crate) topic: &'static Topic,
    pub(crate) goal: Goal,
    /// The scenario's first sentence.
    pub(crate) sentence: String,
    /// The scenario's first sentence in quotation marks.
    pub(crate) quote: String,
    /// The stated wish, in the first person.
    pub(crate) want: String,
}

impl Situation {
    /// Classifies a scenario for one persona. The dice make its choices.
    pub(crate) fn read(scenario: &str, dice: &mut Dice) -> Self {
        let mut sentence = first_sentence(scenario, 220);
        if sentence.is_empty() {
            "a matter of one's own".clone_into(&mut sentence);
        }
        if !sentence.ends_with(['.', '!', '?', '…', '。', '！', '？']) {
            sentence.push('.');
        }
        let want = wanted(&sentence).unwrap_or_default();
        // The number of rolls does not depend on the scenario, so that the persona stays the same
        // person.
        let (which, goal) = (dice.roll(), dice.roll());
        let text: String = scenario.chars().take(3_000).collect::<String>().to_lowercase().replace('’', "'");
        let words = Words::of(&text);
        let named: Vec<&'static Topic> = TOPICS.iter().filter(|topic| words.has_any(topic.keys)).collect();
        let first_class: Vec<&'static Topic> =
            named.iter().copied().filter(|topic| !topic.last_resort).collect();
        let named = if first_class.is_empty() { named } else { first_class };
        let topic = if let Some(topic) = named.get(super::dice::wrap(which, named.len())) {
            topic
        } else if want.is_empty() {
            &QUOTED
        } else {
            &WANTED
        };
        let goal = topic.goals[super::dice::wrap(goal, topic.goals.len())];
        let quote = quoted(&sentence);
        Self { topic, goal, sentence, quote, want }
    }

    /// The sentences for the request.
    pub(crate) fn wants(&self) -> &'static [&'static str] {
        match self.goal {
            _ if !self.topic.wants.is_empty() => self.topic.wants,
            Goal::Replacement => REPLACEMENT_WANTS,
            Goal::Refund | Goal::Action | Goal::Answer => REFUND_WANTS,
        }
    }
}

/// The text after "wants to", in the first person.
fn wanted(sentence: &str) -> Option<String> {
    let lower = sentence.to_ascii_lowercase();
    let (at, mark) = WANT_MARKS
        .iter()
        .filter_map(|mark| lower.find(mark).map(|at| (at, mark)))
        .min_by_key(|(at, _)| *at)?;
    let rest = sentence.get(at + mark.len()..)?.trim_end_matches(['.', '!', '?', '…', ' ']);
    let words: Vec<&str> = rest
        .split(' ')
        .map(|word| match word.trim_end_matches([',', ';']).to_ascii_lowercase().as_str() {
            "their" | "his" | "her" => "my",
            "they" | "he" | "she" => "I",
            "them" | "him" => "me",
            "themselves" | "himself" | "herself" => "myself",
            _ => word,
        })
        .collect();
    let want = words.join(" ");
    want.chars().any(char::is_alphanumeric).then_some(want)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scenario: &str, seed: u64) -> Situation {
        Situation::read(scenario, &mut Dice::new(seed))
    }

    #[test]
    fn scenario_with_several_topics_is_distributed() {
        let scenario = "An order went wrong: it is late, it arrived damaged, or it is the wrong thing.";
        let mut nouns: Vec<_> = (0..30).map(|seed| read(scenario, seed).topic.noun).collect();
        nouns.sort_unstable();
        nouns.dedup();
        assert_eq!(nouns.len(), 3);
    }

    #[test]
    fn want_is_converted_to_the_first_person() {
        let situation = read("A hobby cook wants to impress their in-laws with a soufflé. Be kind.", 1);
        assert_eq!(situation.want, "impress my in-laws with a soufflé");
        assert_eq!(situation.goal, Goal::Answer);
    }

    #[test]
    fn scenario_without_a_known_topic_is_quoted() {
        let situation = read("Ein Schüler fragt nach \"Photosynthese\".", 1);
        assert_eq!(situation.quote, "“Ein Schüler fragt nach 'Photosynthese'.”");
        assert!(situation.want.is_empty());
    }
}
