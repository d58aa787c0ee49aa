//! A persona's next message: a script in stages, chosen by what the agent asked and did.
//!
//! The stage is derived from the transcript at each call, so the model stores no state. The persona
//! opens once, answers questions, presses when there is no progress, and ends when its goal appears
//! to be met or its patience runs out. It tells facts only when asked, and never claims that the
//! agent did something that it did not do.

use onerun_domain::{Agent, Role, derive_seed};

use super::{
    acts::Act,
    agent_turn::{AgentTurn, read_turn},
    character::{Character, agent_name},
    dice::Dice,
    lines::{
        ACCEPTS, ACCOUNT, ADDRESS, AFTER_SORRY, AFTER_SORRY_SHORT, AGAIN, CHATTER, CODE, CORRECTS, DATE, DAY,
        EMAIL, ENOUGH, FOLLOW_UPS, GIVES_UP, GIVES_UP_SHORT, GO_ON, GREETINGS, IMPATIENT, ITEM, LEARN,
        LEARNED, MORE, NAME, NO, NOTHING_HEARD, NUMBER, OFF_TOPIC, PHONE, PHOTO, PRESSED_MANNERS, PUSHES,
        REFUSED, Rows, SECRET, STILL_OPEN, TAKE_REFUND, TAKE_REPLACEMENT, THANKS, UNKNOWN, WAITING,
        WANT_OTHER_REFUND, WANT_OTHER_REPLACEMENT, WHAT_NOW, YES,
    },
    people::{Register, Temper},
    requests::Fact,
    words::{bounded, fill, shares_word},
};
use onerun_engine::{Reply, ReplyRequest};

/// The number of the agent's offers that are still answered after patience has run out.
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
    let character = Character::of_persona(request.simulation, request.persona);
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
    let mut line = bounded(&line);
    if previous.last().is_some_and(|last| *last == line) {
        line = bounded(&format!("{} {line}", builder.line(AGAIN[builder.row])));
    }
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
            parts.push(self.line(self.character.situation.details()));
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
        // Never leaves while the agent waits for an answer.
        if now.question {
            return (self.continues(now, before, met), false);
        }
        let way_over = count >= self.character.patience + GRACE;
        if met && (was_met || way_over || !follows_up || now.goodbye) {
            return (self.thanks(), true);
        }
        if met {
            return (self.follow_up(), false);
        }
        let over = count >= self.character.patience;
        if now.goodbye || way_over || (over && now.offers.is_empty()) {
            return (self.gives_up(), true);
        }
        (self.continues(now, before, met), false)
    }

    /// Whether the persona takes this act for what they want.
    fn accepts(&self, act: Act) -> bool {
        let situation = &self.character.situation;
        match situation.goal {
            Some(goal) => {
                let other_remedy = self.character.flexible && situation.is_about_goods && act.is_remedy();
                goal.fulfilled_by(act) || other_remedy
            }
            None => !situation.is_unrelated(act),
        }
    }

    /// Whether the goal appears to be met by the last of these turns.
    fn is_met(&self, turns: &[AgentTurn], enough: usize) -> bool {
        let Some((now, before)) = turns.split_last() else { return false };
        if now.done && now.escalation {
            return true;
        }
        let situation = &self.character.situation;
        let did_it = now.done
            && match now.done_acts.is_empty() {
                false => now.done_acts.iter().any(|act| self.accepts(*act)),
                // "It is done" may refer to an offer that the persona did not accept.
                true if now.done_generic => before.last().is_none_or(|turn| {
                    turn.offers.is_empty() || turn.offers.iter().any(|act| self.accepts(*act))
                }),
                true => {
                    let matter = &situation.matter;
                    let own = matter.wish.iter().chain(&matter.statement).chain([&situation.sentence]);
                    own.into_iter().any(|text| shares_word(text, &now.deeds))
                }
            };
        if did_it || situation.goal.is_some() {
            return did_it;
        }
        let helps = |turn: &AgentTurn| {
            let off_topic = turn.mentions.iter().any(|act| situation.is_unrelated(*act));
            turn.substance && (!turn.question || turn.long) && !turn.refuses && !off_topic
        };
        let answers = turns.iter().filter(|turn| helps(turn)).count();
        // A message with a question counts as half an answer, so that an agent that always ends with a
        // question can succeed too.
        helps(now) && (answers > enough || (answers == enough && !now.question))
    }

    fn continues(&mut self, now: &AgentTurn, before: &[AgentTurn], met: bool) -> String {
        let mut parts = Vec::with_capacity(3);
        let presses = !met
            && self.character.temper != Temper::Calm
            && 2 * (before.len() + 1) > self.character.patience
            && self.dice.once_in(2);
        if presses {
            parts.push(self.line(IMPATIENT));
        } else if self.dice.once_in(3) {
            parts.push(self.character.pattern.1.to_owned());
        }
        parts.push(self.main_part(now, before, met, presses));
        distinct(parts)
    }

    /// The sentence that answers what the agent asked, did or refused, in this order.
    fn main_part(&mut self, now: &AgentTurn, before: &[AgentTurn], met: bool, presses: bool) -> String {
        if now.empty {
            return self.line(NOTHING_HEARD[self.row]);
        }
        let wrong = self.character.facts.wrong(&now.repeated);
        if !wrong.is_empty() {
            return format!("{} {}", self.line(CORRECTS[self.row]), self.facts(&wrong));
        }
        if !now.asks.is_empty() {
            let again = now.asks.iter().all(|fact| before.iter().any(|turn| turn.asks.contains(fact)));
            let prefix = if again { self.line(AGAIN[self.row]) + " " } else { String::new() };
            return prefix + &self.facts(&now.asks);
        }
        let unrelated = |act: &Act| self.character.situation.is_unrelated(*act);
        let did_something_else = now.done && !now.done_acts.is_empty() && now.done_acts.iter().all(unrelated);
        let is_short = self.character.temper == Temper::Short;
        let gets_advice = self.character.situation.goal.is_none() && now.substance;
        let rows: &[&str] = if !(now.offers.is_empty() || (met && now.done)) {
            return self.choose(now);
        } else if now.escalation && (now.yes_no || !now.refuses) {
            GO_ON[self.row]
        } else if now.refuses && !now.question {
            REFUSED[self.row]
        } else if now.confirms {
            YES[self.row]
        } else if now.proposes {
            GO_ON[self.row]
        } else if now.yes_no {
            let yes = Dice::new(self.character.voice ^ now.question_hash).once_in(2);
            if yes { YES[self.row] } else { NO[self.row] }
        } else if now.question && met {
            ENOUGH[self.row]
        } else if now.question {
            MORE[self.row]
        } else if did_something_else {
            OFF_TOPIC[self.row]
        } else if now.anything_else {
            STILL_OPEN[self.row]
        } else if now.wait {
            WAITING[self.row]
        } else if now.apology && is_short {
            AFTER_SORRY_SHORT
        } else if now.apology {
            AFTER_SORRY[self.row]
        } else if presses {
            PUSHES
        } else if gets_advice {
            LEARN[self.row]
        } else {
            WHAT_NOW[self.row]
        };
        self.line(rows)
    }

    /// Chooses among the acts that the agent offers. Accepts only an act that gives what the persona
    /// wants.
    fn choose(&mut self, now: &AgentTurn) -> String {
        let goal = self.character.situation.goal;
        let fit: Vec<Act> = now.offers.iter().copied().filter(|act| self.accepts(*act)).collect();
        let best = fit.iter().copied().find(|act| Some(*act) == goal).or_else(|| fit.first().copied());
        let rows: &Rows = match best {
            Some(Act::Refund) => &TAKE_REFUND,
            Some(Act::Replace) => &TAKE_REPLACEMENT,
            Some(act) if now.offers.len() > 1 => {
                let request = act.request().unwrap_or_default();
                return self.line(ACCEPTS[self.row]).replace("{act}", request);
            }
            Some(_) => &GO_ON,
            None if goal == Some(Act::Refund) => &WANT_OTHER_REFUND,
            None if goal == Some(Act::Replace) => &WANT_OTHER_REPLACEMENT,
            None => &OFF_TOPIC,
        };
        self.line(rows[self.row])
    }

    fn facts(&mut self, asked: &[Fact]) -> String {
        let mut lines = Vec::with_capacity(asked.len());
        for fact in asked.iter().take(4) {
            let rows = match fact {
                _ if self.character.facts.is_unknown(*fact) => UNKNOWN,
                Fact::Number => NUMBER,
                Fact::Account => ACCOUNT,
                Fact::Name => NAME,
                Fact::Email => EMAIL,
                Fact::Phone => PHONE,
                Fact::Date => DATE,
                Fact::Day => DAY,
                Fact::Address => ADDRESS,
                Fact::Item => ITEM,
                Fact::Photo => PHOTO,
                Fact::Code => CODE,
                Fact::Secret => SECRET,
            };
            lines.push(self.line(rows[self.row]));
        }
        lines.join(" ")
    }

    fn follow_up(&mut self) -> String {
        if self.character.temper == Temper::Short && self.character.situation.goal.is_some() {
            self.line(PUSHES)
        } else if self.character.situation.goal.is_none() {
            self.line(LEARN[self.row])
        } else {
            self.line(FOLLOW_UPS[self.row])
        }
    }

    fn thanks(&mut self) -> String {
        let rows = if self.character.situation.goal.is_none() { LEARNED } else { THANKS };
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
        let detail = self.dice.pick(situation.details());
        let wants = self.dice.pick(situation.wants());
        // If all were used: one that differs from the last message.
        let mut fallback: Option<String> = None;
        for turn in 0..templates.len() {
            let template = templates[(start + turn) % templates.len()];
            let line = self.fill(template, detail, wants);
            let is_new =
                !self.previous.iter().any(|previous| !line.is_empty() && previous.contains(line.as_str()));
            if is_new {
                return line;
            }
            if fallback.is_none()
                || self
                    .previous
                    .last()
                    .is_some_and(|last| fallback.as_ref().is_some_and(|line| last.contains(line.as_str())))
            {
                fallback = Some(line);
            }
        }
        fallback.unwrap_or_default()
    }

    fn fill(&self, template: &str, detail: &str, wants: &str) -> String {
        if !template.contains('{') {
            return template.to_owned();
        }
        // These slots stand for templates and names of this conversation; the others are the
        // persona's.
        let template = template.replace("{detail}", detail).replace("{wants}", wants);
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
    // E-mail addresses and identifiers stay as they are.
    let word = line.split(' ').next().unwrap_or_default();
    let is_value = word.contains(['@', '_']) || word.contains(|character: char| character.is_ascii_digit());
    let mut characters = line.chars();
    match characters.next() {
        Some(first) if first.is_lowercase() && !is_value => first.to_uppercase().chain(characters).collect(),
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
