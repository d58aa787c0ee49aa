//! A persona's next message: a script in stages, chosen by what the agent asked and did.
//!
//! The stage is derived from the transcript at each call, so the model stores no state. The persona
//! opens once, answers questions, presses when there is no progress, and ends when its goal appears
//! to be met or its patience runs out. It tells facts only when asked, and never claims that the
//! agent did something that it did not do.

use onerun_domain::{Agent, Role, derive_seed};

use super::{
    agent_turn::{AgentTurn, Fact, read_turn},
    character::{Character, agent_name},
    dice::Dice,
    lines::{
        ADDRESS, AFTER_SORRY, AFTER_SORRY_SHORT, AGAIN, CHATTER, DATE, EMAIL, FOLLOW_UPS, GIVES_UP,
        GIVES_UP_SHORT, GO_ON, GREETINGS, IMPATIENT, ITEM, LEARN, LEARNED, MORE, NAME, NO, NOTHING_HEARD,
        NUMBER, OFF_TOPIC, PHONE, PHOTO, PRESSED_MANNERS, PUSHES, REFUSED, STILL_OPEN, TAKE_REFUND,
        TAKE_REPLACEMENT, THANKS, WAITING, WANT_OTHER_REFUND, WANT_OTHER_REPLACEMENT, WHAT_NOW, YES,
    },
    people::{Register, Temper},
    situation::Goal,
    words::{bounded, fill},
};
use onerun_engine::{Reply, ReplyRequest};

/// The number of the agent's messages that are still answered after patience has run out, while it
/// asks for something: a customer does not leave while being asked for the order number.
const GRACE: usize = 2;

/// The inputs of a reply.
struct ReplyBuilder<'a> {
    character: &'a Character,
    agent: &'a Agent,
    dice: Dice,
    /// The persona's messages so far.
    previous: &'a [String],
    row: usize,
}

/// The persona's next message.
pub(crate) fn reply(request: &ReplyRequest<'_>) -> Reply {
    let character = Character::of(request.simulation, request.persona.seq);
    let (previous, turns) = turns(request);
    let numbers = [request.persona.seq, request.conversation_seq].map(|number| number.to_string());
    let stage = (previous.len() + turns.len()).to_string();
    let path = ["offline", "reply", &numbers[0], &numbers[1], &stage];
    // Rolled separately: `mood` applies to the whole conversation, the builder's dice to one message.
    let mut mood = Dice::new(derive_seed(request.simulation.seed, &path[..4]));
    let mut builder = ReplyBuilder {
        character: &character,
        agent: request.agent,
        dice: Dice::new(derive_seed(request.simulation.seed, &path)),
        previous: &previous,
        row: character.style.row(),
    };
    let (line, ends) = if previous.is_empty() {
        (builder.opening(turns.last()), false)
    } else {
        builder.answer(&turns, &mut mood)
    };
    let line = bounded(&line);
    // Repeating itself would be worse than silence, so the persona ends here.
    if line.is_empty() || previous.last().is_some_and(|last| *last == line) {
        return Reply { text: None, ends: true };
    }
    Reply { text: Some(line), ends }
}

/// The persona's messages, and the content of each turn of the agent since the opening. Before the
/// opening, one turn if the agent spoke first.
fn turns(request: &ReplyRequest<'_>) -> (Vec<String>, Vec<AgentTurn>) {
    let mut previous = Vec::new();
    let mut turns = Vec::new();
    let mut pending: Option<String> = None;
    for item in request.transcript {
        match item.role {
            Role::Assistant => {
                let text = item.text();
                pending = Some(match pending {
                    Some(before) => format!("{before}\n{text}"),
                    None => text,
                });
            }
            Role::User => {
                // A greeting before the opening does not use up patience.
                let turn = pending.take().map(|text| read_turn(&text));
                if !previous.is_empty() {
                    turns.extend(turn);
                }
                previous.push(item.text());
            }
        }
    }
    let last = pending.map(|text| read_turn(&text));
    if last.is_some() || !previous.is_empty() {
        turns.push(last.unwrap_or_else(|| read_turn("")));
    }
    (previous, turns)
}

impl ReplyBuilder<'_> {
    fn opening(&mut self, greeting: Option<&AgentTurn>) -> String {
        let topic = self.character.situation.topic;
        let mut parts = Vec::with_capacity(6);
        parts.push(self.line(GREETINGS[self.row]));
        if self.character.style.chatty {
            parts.push(self.line(CHATTER));
        }
        parts.push(self.line(topic.openings));
        let brief = self.character.style.register == Register::Terse;
        if !brief || self.dice.once_in(3) {
            parts.push(self.line(topic.details));
        }
        if self.character.style.chatty {
            parts.push(self.line(CHATTER));
        }
        if let Some(asked) = greeting.filter(|turn| !turn.asks.is_empty()) {
            parts.push(self.facts(&asked.asks));
        }
        if self.character.temper == Temper::Short && self.dice.once_in(2) {
            parts.push(self.line(PRESSED_MANNERS));
        }
        parts.push(self.line(self.character.situation.wants()));
        distinct(parts)
    }

    /// The next message, and whether it is the last.
    fn answer(&mut self, turns: &[AgentTurn], mood: &mut Dice) -> (String, bool) {
        let Some((now, before)) = turns.split_last() else {
            return (String::new(), true);
        };
        // The number of answers without a question that satisfy a persona who came for advice.
        let enough = 1 + mood.index(3);
        // Some personas ask a follow-up question after their goal is met.
        let follows_up = match self.character.temper {
            Temper::Short => !mood.once_in(3),
            Temper::Even => mood.once_in(3),
            Temper::Calm => mood.once_in(4),
        };
        let count = turns.len();
        let was_met = (1..count).any(|end| self.is_met(&turns[..end], enough));
        let met = was_met || self.is_met(turns, enough);
        let over = count >= self.character.patience;
        let way_over = count >= self.character.patience + GRACE;
        if met && (was_met || way_over || !follows_up || now.goodbye) {
            return (self.thanks(), true);
        }
        if met {
            return (self.follow_up(), false);
        }
        let awaited = !now.asks.is_empty() || now.offers_refund || now.offers_replacement || now.confirms;
        if now.goodbye || way_over || (over && !awaited) {
            return (self.gives_up(), true);
        }
        (self.continues(now, before, count), false)
    }

    /// Whether the goal appears to be met after these turns.
    fn is_met(&self, turns: &[AgentTurn], enough: usize) -> bool {
        let Some((now, before)) = turns.split_last() else { return false };
        // An agent that still asks for something is not done.
        if !now.asks.is_empty() {
            return false;
        }
        // "It has been issued" may refer to the refund of the previous turn.
        let spoke_of = |of: fn(&AgentTurn) -> bool| of(now) || before.last().is_some_and(of);
        let handed_over = now.done && now.escalation;
        match self.character.situation.goal {
            _ if handed_over => true,
            Goal::Refund => {
                now.done && (spoke_of(|turn| turn.refund) || (self.character.flexible && now.replacement))
            }
            Goal::Replacement => {
                now.done && (spoke_of(|turn| turn.replacement) || (self.character.flexible && now.refund))
            }
            Goal::Action => now.done,
            Goal::Answer => {
                let helps = |turn: &AgentTurn| {
                    let off_topic = turn.refund || turn.replacement;
                    turn.substance && (!turn.question || turn.long) && !turn.refuses && !off_topic
                };
                let answers = turns.iter().filter(|turn| helps(turn)).count();
                // A message with a question counts as half an answer, so that an agent that always
                // ends with a question can succeed too.
                helps(now) && (answers > enough || (answers == enough && !now.question))
            }
        }
    }

    fn continues(&mut self, now: &AgentTurn, before: &[AgentTurn], count: usize) -> String {
        let mut parts = Vec::with_capacity(3);
        let presses = self.character.temper != Temper::Calm
            && 2 * count > self.character.patience
            && self.dice.once_in(2);
        if presses {
            parts.push(self.line(IMPATIENT));
        } else if self.dice.once_in(3) {
            parts.push(self.character.pattern.1.to_owned());
        }
        let main = if now.empty {
            self.line(NOTHING_HEARD[self.row])
        } else if !now.asks.is_empty() {
            let again = now.asks.iter().all(|fact| before.iter().any(|turn| turn.asks.contains(fact)));
            if again {
                parts.push(self.line(AGAIN[self.row]));
            }
            self.facts(&now.asks)
        } else if now.offers_refund || now.offers_replacement {
            self.choose(now)
        } else if now.escalation && (now.yes_no || !now.refuses) {
            self.line(GO_ON[self.row])
        } else if now.refuses {
            self.line(REFUSED[self.row])
        } else if now.confirms {
            self.line(YES[self.row])
        } else if now.yes_no {
            let yes = Dice::new(self.character.voice ^ now.question_hash).once_in(2);
            self.line(if yes { YES[self.row] } else { NO[self.row] })
        } else if now.question {
            self.line(MORE[self.row])
        } else if now.anything_else {
            self.line(STILL_OPEN[self.row])
        } else if now.wait {
            self.line(WAITING[self.row])
        } else if now.apology && self.character.temper == Temper::Short {
            self.line(AFTER_SORRY_SHORT)
        } else if now.apology {
            self.line(AFTER_SORRY[self.row])
        } else if presses {
            self.line(PUSHES)
        } else if self.character.situation.goal == Goal::Answer && now.substance {
            self.line(LEARN[self.row])
        } else {
            self.line(WHAT_NOW[self.row])
        };
        parts.push(main);
        distinct(parts)
    }

    fn choose(&mut self, now: &AgentTurn) -> String {
        let wants_money = match self.character.situation.goal {
            Goal::Refund => true,
            Goal::Replacement => false,
            Goal::Action | Goal::Answer => return self.line(OFF_TOPIC[self.row]),
        };
        let rows = match (wants_money, now.offers_refund, now.offers_replacement) {
            (true, true, _) => TAKE_REFUND,
            (false, _, true) => TAKE_REPLACEMENT,
            (true, false, _) if self.character.flexible => TAKE_REPLACEMENT,
            (false, _, false) if self.character.flexible => TAKE_REFUND,
            (true, false, _) => WANT_OTHER_REFUND,
            (false, _, false) => WANT_OTHER_REPLACEMENT,
        };
        self.line(rows[self.row])
    }

    fn facts(&mut self, asked: &[Fact]) -> String {
        let mut lines = Vec::with_capacity(asked.len());
        for fact in asked.iter().take(4) {
            let rows = match fact {
                Fact::Number => NUMBER,
                Fact::Name => NAME,
                Fact::Email => EMAIL,
                Fact::Phone => PHONE,
                Fact::Date => DATE,
                Fact::Address => ADDRESS,
                Fact::Item => ITEM,
                Fact::Photo => PHOTO,
            };
            lines.push(self.line(rows[self.row]));
        }
        lines.join(" ")
    }

    fn follow_up(&mut self) -> String {
        if self.character.temper == Temper::Short && self.character.situation.goal != Goal::Answer {
            self.line(PUSHES)
        } else if self.character.situation.goal == Goal::Answer {
            self.line(LEARN[self.row])
        } else {
            self.line(FOLLOW_UPS[self.row])
        }
    }

    fn thanks(&mut self) -> String {
        let rows = if self.character.situation.goal == Goal::Answer { LEARNED } else { THANKS };
        self.line(rows[self.row])
    }

    fn gives_up(&mut self) -> String {
        if self.character.temper == Temper::Short {
            self.line(GIVES_UP_SHORT)
        } else {
            self.line(GIVES_UP[self.row])
        }
    }

    /// One of the lines, filled; preferably one that was not used yet.
    fn line(&mut self, templates: &[&str]) -> String {
        let start = self.dice.index(templates.len());
        let situation = &self.character.situation;
        let detail = self.dice.pick(situation.topic.details);
        let wants = self.dice.pick(situation.wants());
        let mut first = None;
        for turn in 0..templates.len() {
            let template = templates[(start + turn) % templates.len()];
            let line = self.fill(template, detail, wants);
            let is_new =
                !self.previous.iter().any(|previous| !line.is_empty() && previous.contains(line.as_str()));
            if is_new {
                return line;
            }
            first.get_or_insert(line);
        }
        first.unwrap_or_default()
    }

    fn fill(&self, template: &str, detail: &str, wants: &str) -> String {
        if !template.contains('{') {
            return template.to_owned();
        }
        // These slots stand for templates and names of this conversation; the others are the
        // persona's.
        let noun = self.character.situation.topic.noun;
        let template = template
            .replace("{noun_open}", "{noun} will have to wait.")
            .replace("{noun}", noun)
            .replace("{detail}", detail)
            .replace("{wants}", wants);
        let line = match template.split_once("{agent}") {
            Some((before, after)) => {
                format!(
                    "{}{}{}",
                    fill(before, self.character),
                    agent_name(self.agent),
                    fill(after, self.character)
                )
            }
            None => fill(&template, self.character),
        };
        capitalised(&line)
    }
}

/// Capitalises the first letter.
fn capitalised(line: &str) -> String {
    let mut characters = line.chars();
    match characters.next() {
        Some(first) if first.is_lowercase() && !line.contains('@') => {
            first.to_uppercase().chain(characters).collect()
        }
        _ => line.to_owned(),
    }
}

/// Joins the parts, leaving out empty and repeated ones.
fn distinct(parts: Vec<String>) -> String {
    let mut distinct_parts: Vec<String> = Vec::with_capacity(parts.len());
    for part in parts {
        if !part.is_empty() && !distinct_parts.contains(&part) {
            distinct_parts.push(part);
        }
    }
    distinct_parts.join(" ")
}
