//! A persona's next message: a script in stages, chosen by what the agent asked and did.
//!
//! Nothing is stored between calls: the stage is derived from the transcript each time. The persona
//! opens once, answers questions, presses when there is no progress, and ends when its goal appears
//! to be met or its patience runs out. It tells facts only when asked, and never claims that the
//! agent did something that it did not do.

use onerun_domain::{Agent, Role, derive_seed};

use super::{
    character::{Character, agent_name},
    dice::Dice,
    listen::{Fact, Heard, hear},
    matter::Goal,
    people::{Register, Temper},
    words::{bounded, fill},
};
use onerun_engine::{Reply, ReplyRequest};

/// The number of the agent's messages that are still answered after patience has run out, while it
/// asks for something: a customer does not leave while being asked for the order number.
const GRACE: usize = 2;

/// Lines by register: plain, formal, casual, terse.
type Rows = [&'static [&'static str]; 4];

const GREETINGS: Rows = [
    &[
        "Hello.",
        "Hi.",
        "Hello there.",
        "Good day.",
        "Hi, I hope this is the right place.",
        "Hello, a question.",
    ],
    &[
        "Good day.",
        "Dear {agent} team,",
        "Good day to you.",
        "Hello, and thank you for your time.",
        "Good day, I would be grateful for your help.",
        "Dear Sir or Madam,",
    ],
    &[
        "Hey!",
        "Hi there!",
        "Hey, how's it going?",
        "Hi {agent}!",
        "Hello hello!",
        "Hi! Small thing, hopefully.",
    ],
    &["", "Hi.", "", "Hello.", "Quick one.", ""],
];

const CHATTER: &[&str] = &[
    "I was going to write yesterday, but then my sister came by and the whole day was gone.",
    "I do not write to places like this often, so tell me if I leave something out.",
    "My neighbour says I should have written right away, and my neighbour is usually right.",
    "I am sitting on the train, so my answers may take a moment.",
    "It is raining here, so at least I have the time to deal with this.",
    "I told my whole family about it last night, and everybody had another opinion.",
    "Normally I sort such things out myself, I am good with that, but this time I am stuck.",
    "I had just made myself a cup of tea when I thought: now I will do it.",
];

const PRESSED_MANNERS: &[&str] = &[
    "I do not have much time.",
    "Please make it quick.",
    "I hope that this can be settled now.",
    "I have had a long day, so please no forms.",
];

const NUMBER: Rows = [
    &["It is {number}.", "The number is {number}.", "I have it here: {number}.", "That should be {number}."],
    &["The number is {number}.", "Certainly: {number}.", "According to my papers it is {number}."],
    &["Sure, it's {number}.", "Got it here: {number}.", "Yep, {number}.", "One sec... {number}."],
    &["{number}", "{number}.", "Number {number}."],
];
const NAME: Rows = [
    &["My name is {name}.", "It is {name}.", "I am {name}."],
    &["My name is {name}.", "The name is {name}."],
    &["I'm {name}.", "It's {name}, but {given} is fine."],
    &["{name}.", "{name}"],
];
const EMAIL: Rows = [
    &["My e-mail address is {email}.", "You can write to {email}.", "It is {email}."],
    &["My e-mail address is {email}.", "You may reach me at {email}."],
    &["It's {email}.", "Just use {email}."],
    &["{email}", "E-mail: {email}"],
];
const PHONE: Rows = [
    &["My phone number is {phone}.", "You can call {phone}."],
    &["I can be reached at {phone}.", "My telephone number is {phone}."],
    &["Call me on {phone}.", "It's {phone}."],
    &["{phone}", "Phone: {phone}"],
];
const DATE: Rows = [
    &["That was {date}.", "The date is {date}.", "{date}, if I am not mistaken."],
    &["The date was {date}.", "According to my notes, {date}."],
    &["Must have been {date}.", "That's {date}."],
    &["{date}.", "{date}"],
];
const ADDRESS: Rows = [
    &["The address is {address}.", "I live at {address}."],
    &["My address is {address}.", "The postal address is {address}."],
    &["It's {address}.", "I'm at {address}."],
    &["{address}", "{address}."],
];
const ITEM: Rows = [
    &["It is about the {item}.", "The {item}.", "I mean the {item}."],
    &["It concerns the {item}.", "The article in question is the {item}."],
    &["The {item}, that's the one.", "It's the {item}."],
    &["The {item}.", "{item}"],
];
const PHOTO: Rows = [
    &[
        "I cannot send pictures here, but I can describe it.",
        "I have no picture to hand. I can tell you what I see.",
    ],
    &[
        "I am afraid that I cannot attach a picture here.",
        "Regrettably, I have no picture that I could send from here.",
    ],
    &["Can't send pics from here, sorry.", "No photo on me right now, sorry."],
    &["No picture here.", "Cannot send one."],
];

/// Prefixes for a fact that was requested again.
const AGAIN: Rows = [
    &["I told you already.", "Once more, then.", "As I wrote before."],
    &[
        "I have already stated this, but please.",
        "I believe that I mentioned it before.",
        "Once again, then.",
    ],
    &["Said that already, but okay.", "Again? Okay.", "Like I said."],
    &["Again:", "Already said.", "See above."],
];

const YES: Rows = [
    &["Yes, that is right.", "Yes.", "Yes, exactly.", "Yes, it is as you say."],
    &["Yes, that is correct.", "Indeed.", "That is right, yes."],
    &["Yep!", "Yeah, that's it.", "Yes, sure.", "Right, exactly."],
    &["Yes.", "Right.", "Correct."],
];
const NO: Rows = [
    &["No, not that I know of.", "No.", "I do not think so.", "No, it is not like that."],
    &["No, I do not believe so.", "I am afraid not.", "No, that is not the case."],
    &["Nope.", "Nah, don't think so.", "No, not really."],
    &["No.", "Not really.", "No, why?"],
];

const TAKE_REFUND: Rows = [
    &["The refund, please.", "Yes, I would like the refund.", "Then please do the refund."],
    &[
        "I should prefer the refund, thank you.",
        "Please proceed with the refund.",
        "A refund would be appropriate.",
    ],
    &["A refund would be great.", "I'll take the refund, please.", "Refund sounds good."],
    &["Refund.", "The refund.", "Refund, please."],
];
const TAKE_REPLACEMENT: Rows = [
    &["The replacement, please.", "Yes, please send a replacement.", "I would like the replacement."],
    &["I should prefer the replacement, thank you.", "Please proceed with the replacement."],
    &["A replacement would be great.", "I'll take the replacement, please."],
    &["Replacement.", "Replacement, please.", "The replacement."],
];
const WANT_OTHER_REFUND: Rows = [
    &["I do not want another one, I want a refund.", "That does not help me. I would like the money back."],
    &["That is not what I asked for: I would like a refund.", "I must insist on the money back."],
    &["Nah, I'd rather have my money back.", "Honestly, just a refund, please."],
    &["No. Refund.", "No, money back."],
];
const WANT_OTHER_REPLACEMENT: Rows = [
    &[
        "I do not want the money, I need the {item}. Can you send a replacement?",
        "I would rather have a replacement.",
    ],
    &[
        "I would much rather have a replacement, if I may.",
        "It is the {item} itself that I need: a replacement, please.",
    ],
    &["I'd rather have a new {item}, to be fair. A replacement?", "Can't I just get a replacement?"],
    &["No. Replacement.", "I need the {item}. Replacement, please."],
];

const NOT_MY_MATTER: Rows = [
    &["That is not what I came for. {wants}", "I think that you mean something else. It is about {noun}."],
    &["I believe there is a misunderstanding. It concerns {noun}.", "That is not my concern. {wants}"],
    &["Huh? That's not what I'm here for. {wants}", "Wait, no. It's about {noun}."],
    &["Not my question.", "No. It is about {noun}."],
];

const GO_ON: Rows = [
    &["Yes, please do that.", "Yes, go ahead.", "Please do."],
    &["Yes, please proceed.", "I would appreciate that.", "Please do so."],
    &["Yes please!", "Sure, go for it.", "Sounds good, go ahead."],
    &["Yes.", "Do that.", "Go ahead."],
];
const STILL_OPEN: Rows = [
    &["Yes: {noun} is still not settled.", "We have not settled {noun} yet.", "What about {noun}?"],
    &["Yes, indeed: the matter of {noun} is still open.", "May I remind you of {noun}?"],
    &["Well, {noun}? That's still open.", "Yeah, {noun}, that's what I came for."],
    &["Yes. {noun}.", "Still open: {noun}."],
];
const WAITING: Rows = [
    &["All right, I will wait.", "Okay, take a look.", "Thank you, I am here."],
    &["Thank you, I shall wait.", "Please take the time you need."],
    &["No worries, I'm here.", "Sure, take your time."],
    &["OK.", "Waiting.", "Fine."],
];
const NOTHING_HEARD: Rows = [
    &["Hello? Are you still there?", "I did not get an answer.", "There was nothing in your message."],
    &["Excuse me, are you still there?", "I am afraid that your message was empty."],
    &["Hello? Anybody there?", "Your message came through empty."],
    &["Hello?", "Still there?", "Empty message."],
];
const AFTER_SORRY: Rows = [
    &["Thank you for saying so. What can be done about {noun}?", "These things happen. How do we go on?"],
    &["I appreciate the apology. How shall we proceed?", "Thank you. What do you propose?"],
    &["It's okay, not your fault. What now?", "No hard feelings. So what do we do?"],
    &["OK. And now?", "Fine. What now?"],
];
const AFTER_SORRY_SHORT: &[&str] = &[
    "Being sorry does not settle it. What happens now?",
    "I do not need an apology, I need this settled.",
    "Apologies do not get me anywhere. What will you do?",
];
const REFUSED: Rows = [
    &[
        "Is there really no other way?",
        "That is disappointing. What can you do instead?",
        "Why is that not possible?",
    ],
    &[
        "I find that hard to accept. Is there an alternative?",
        "Would you kindly tell me what is possible instead?",
    ],
    &["Oh come on, there must be something.", "Hm, that's a pity. Any other way?"],
    &["Why not?", "What else?", "There must be a way."],
];
const MORE: Rows = [
    &[
        "There is not much more to say. {detail}",
        "It comes down to this. {wants}",
        "What else do you need to know? {detail}",
    ],
    &["Allow me to add this: {detail}", "To be more precise: {detail}", "In short: {wants}"],
    &["Okay, so. {detail}", "Let me put it another way. {wants}", "Okay, more detail: {detail}"],
    &["{detail}", "{wants}", "As said. {wants}"],
];
const WHAT_NOW: Rows = [
    &[
        "And what happens now?",
        "What is the next step?",
        "How does that settle {noun}?",
        "So what do you suggest?",
    ],
    &["May I ask what the next step is?", "And how do we proceed?", "What does that mean for {noun}?"],
    &["Okay, and what happens now?", "So what do we do about {noun}?", "And then?"],
    &["And?", "Next step?", "And {noun}?", "So?"],
];
const LEARN: Rows = [
    &[
        "That helps. And what comes after that?",
        "I see. What should I watch out for?",
        "How would I begin?",
        "Could you give me an example?",
    ],
    &[
        "Thank you. Could you go into more detail?",
        "That is useful. What would be the first step?",
        "Might you give an example?",
    ],
    &["Oh nice. And how do I start?", "Cool, what's the catch?", "Got it. Got an example?"],
    &["OK. First step?", "Example?", "And the risks?"],
];
const PUSHES: &[&str] = &[
    "And when exactly? I need a guarantee that it is there by tomorrow.",
    "Can you promise that it is settled by tomorrow?",
    "I have heard \"soon\" too often. Can you guarantee it by tomorrow?",
    "By when? I want that guaranteed.",
];
const IMPATIENT: &[&str] = &[
    "This takes too long.",
    "I have little time left.",
    "Let us get on with it.",
    "I expected this to be faster.",
    "I am losing patience.",
];
const FOLLOW_UPS: Rows = [
    &[
        "Good. How long will that take?",
        "Thank you. Will I get that in writing?",
        "And do I have to do anything else?",
    ],
    &["Thank you. May I ask how long it will take?", "I appreciate it. Will there be a confirmation?"],
    &["Great! How long does that take?", "Nice, thanks. Do I need to do anything?"],
    &["How long?", "Do I get a mail?", "When?"],
];
const LEARNED: Rows = [
    &[
        "Thank you, that is what I wanted to know.",
        "That helps me, thank you.",
        "Good, now I know how to go on. Thanks.",
    ],
    &["Thank you very much, that answers my question.", "I am obliged to you. That was most helpful."],
    &["Awesome, that's what I needed. Thanks!", "Great, now I get it. Thanks, bye!"],
    &["Thanks. Clear.", "Got it. Thanks.", "Good. Bye."],
];
const THANKS: Rows = [
    &[
        "Thank you, that settles it for me.",
        "That is all I needed. Thanks.",
        "Good, thank you for your help.",
        "No, that is all. Thank you.",
    ],
    &[
        "Thank you very much for your help.",
        "That is satisfactory, thank you. Good day.",
        "I am much obliged. Goodbye.",
    ],
    &["Perfect, thanks a lot!", "Great, you made my day. Bye!", "Thanks, that's all!", "Lovely, thank you!"],
    &["Thanks.", "Good. Bye.", "That is all. Thanks.", "Fine. Thanks."],
];
const GIVES_UP: Rows = [
    &[
        "This does not lead anywhere. I will leave it at that.",
        "I do not think that you can help me. Goodbye.",
        "I have to stop here. {noun_open}",
    ],
    &["I am sorry to say that this was of no help. Good day.", "I shall pursue this elsewhere. Goodbye."],
    &["Okay, this isn't working. I'm off.", "I give up, sorry. Bye."],
    &["Forget it.", "No use. Bye.", "I am done here."],
];
const GIVES_UP_SHORT: &[&str] = &[
    "Enough. I will take this elsewhere.",
    "That was a waste of my time. Goodbye.",
    "I am not going to say it again. Goodbye.",
    "Forget it, I will go to somebody who can help.",
];

/// The inputs of a reply.
struct Scene<'a> {
    who: &'a Character,
    agent: &'a Agent,
    dice: Dice,
    /// The persona's messages so far.
    said: &'a [String],
    row: usize,
}

/// The persona's next message.
pub(crate) fn reply(request: &ReplyRequest<'_>) -> Reply {
    let who = Character::of(request.simulation, request.persona.seq);
    let (said, turns) = turns(request);
    let numbers = [request.persona.seq, request.conversation_seq].map(|number| number.to_string());
    let stage = (said.len() + turns.len()).to_string();
    let path = ["offline", "reply", &numbers[0], &numbers[1], &stage];
    // Rolled separately: `mood` applies to the whole conversation, the scene's dice to one message.
    let mut mood = Dice::new(derive_seed(request.simulation.seed, &path[..4]));
    let mut scene = Scene {
        who: &who,
        agent: request.agent,
        dice: Dice::new(derive_seed(request.simulation.seed, &path)),
        said: &said,
        row: who.style.row(),
    };
    let (line, ends) =
        if said.is_empty() { (scene.opening(turns.last()), false) } else { scene.answer(&turns, &mut mood) };
    let line = bounded(&line);
    // Repeating itself would be worse than silence, so the persona ends here.
    if line.is_empty() || said.last().is_some_and(|last| *last == line) {
        return Reply { text: None, ends: true };
    }
    Reply { text: Some(line), ends }
}

/// The persona's messages, and the content of each turn of the agent since the opening. Before the
/// opening, one turn if the agent spoke first.
fn turns(request: &ReplyRequest<'_>) -> (Vec<String>, Vec<Heard>) {
    let mut said = Vec::new();
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
                let heard = pending.take().map(|text| hear(&text));
                if !said.is_empty() {
                    turns.extend(heard);
                }
                said.push(item.text());
            }
        }
    }
    let last = pending.map(|text| hear(&text));
    if last.is_some() || !said.is_empty() {
        turns.push(last.unwrap_or_else(|| hear("")));
    }
    (said, turns)
}

impl Scene<'_> {
    fn opening(&mut self, greeting: Option<&Heard>) -> String {
        let topic = self.who.matter.topic;
        let mut parts = Vec::with_capacity(6);
        parts.push(self.line(GREETINGS[self.row]));
        if self.who.style.chatty {
            parts.push(self.line(CHATTER));
        }
        parts.push(self.line(topic.matters));
        let brief = self.who.style.register == Register::Terse;
        if !brief || self.dice.once_in(3) {
            parts.push(self.line(topic.details));
        }
        if self.who.style.chatty {
            parts.push(self.line(CHATTER));
        }
        if let Some(asked) = greeting.filter(|heard| !heard.asks.is_empty()) {
            parts.push(self.facts(&asked.asks));
        }
        if self.who.temper == Temper::Short && self.dice.once_in(2) {
            parts.push(self.line(PRESSED_MANNERS));
        }
        parts.push(self.line(self.who.matter.wants()));
        distinct(parts)
    }

    /// The next message, and whether it is the last.
    fn answer(&mut self, turns: &[Heard], mood: &mut Dice) -> (String, bool) {
        let Some((now, before)) = turns.split_last() else {
            return (String::new(), true);
        };
        // The number of answers without a question that satisfy a persona who came for advice.
        let enough = 1 + mood.index(3);
        // Some personas ask a follow-up question after their goal is met.
        let follows_up = match self.who.temper {
            Temper::Short => !mood.once_in(3),
            Temper::Even => mood.once_in(3),
            Temper::Calm => mood.once_in(4),
        };
        let count = turns.len();
        let was_met = (1..count).any(|end| self.is_met(&turns[..end], enough));
        let met = was_met || self.is_met(turns, enough);
        let over = count >= self.who.patience;
        let way_over = count >= self.who.patience + GRACE;
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
        (self.goes_on(now, before, count), false)
    }

    /// Whether the goal appears to be met after these turns.
    fn is_met(&self, turns: &[Heard], enough: usize) -> bool {
        let Some((now, before)) = turns.split_last() else { return false };
        // An agent that still asks for something is not done.
        if !now.asks.is_empty() {
            return false;
        }
        // "It has been issued" may refer to the refund of the previous turn.
        let spoke_of = |of: fn(&Heard) -> bool| of(now) || before.last().is_some_and(of);
        let handed_over = now.done && now.escalation;
        match self.who.matter.goal {
            _ if handed_over => true,
            Goal::Refund => {
                now.done && (spoke_of(|heard| heard.refund) || (self.who.flexible && now.replacement))
            }
            Goal::Replacement => {
                now.done && (spoke_of(|heard| heard.replacement) || (self.who.flexible && now.refund))
            }
            Goal::Action => now.done,
            Goal::Answer => {
                let helps = |heard: &Heard| {
                    let off_topic = heard.refund || heard.replacement;
                    heard.substance && (!heard.question || heard.long) && !heard.refuses && !off_topic
                };
                let answers = turns.iter().filter(|heard| helps(heard)).count();
                // A message with a question counts as half an answer, so that an agent that always
                // ends with a question can succeed too.
                helps(now) && (answers > enough || (answers == enough && !now.question))
            }
        }
    }

    fn goes_on(&mut self, now: &Heard, before: &[Heard], count: usize) -> String {
        let mut parts = Vec::with_capacity(3);
        let presses =
            self.who.temper != Temper::Calm && 2 * count > self.who.patience && self.dice.once_in(2);
        if presses {
            parts.push(self.line(IMPATIENT));
        } else if self.dice.once_in(3) {
            parts.push(self.who.pattern.1.to_owned());
        }
        let main = if now.nothing {
            self.line(NOTHING_HEARD[self.row])
        } else if !now.asks.is_empty() {
            let again = now.asks.iter().all(|fact| before.iter().any(|heard| heard.asks.contains(fact)));
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
            let yes = Dice::new(self.who.voice ^ now.question_hash).once_in(2);
            self.line(if yes { YES[self.row] } else { NO[self.row] })
        } else if now.question {
            self.line(MORE[self.row])
        } else if now.anything_else {
            self.line(STILL_OPEN[self.row])
        } else if now.wait {
            self.line(WAITING[self.row])
        } else if now.apology && self.who.temper == Temper::Short {
            self.line(AFTER_SORRY_SHORT)
        } else if now.apology {
            self.line(AFTER_SORRY[self.row])
        } else if presses {
            self.line(PUSHES)
        } else if self.who.matter.goal == Goal::Answer && now.substance {
            self.line(LEARN[self.row])
        } else {
            self.line(WHAT_NOW[self.row])
        };
        parts.push(main);
        distinct(parts)
    }

    fn choose(&mut self, now: &Heard) -> String {
        let wants_money = match self.who.matter.goal {
            Goal::Refund => true,
            Goal::Replacement => false,
            Goal::Action | Goal::Answer => return self.line(NOT_MY_MATTER[self.row]),
        };
        let rows = match (wants_money, now.offers_refund, now.offers_replacement) {
            (true, true, _) => TAKE_REFUND,
            (false, _, true) => TAKE_REPLACEMENT,
            (true, false, _) if self.who.flexible => TAKE_REPLACEMENT,
            (false, _, false) if self.who.flexible => TAKE_REFUND,
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
        if self.who.temper == Temper::Short && self.who.matter.goal != Goal::Answer {
            self.line(PUSHES)
        } else if self.who.matter.goal == Goal::Answer {
            self.line(LEARN[self.row])
        } else {
            self.line(FOLLOW_UPS[self.row])
        }
    }

    fn thanks(&mut self) -> String {
        let rows = if self.who.matter.goal == Goal::Answer { LEARNED } else { THANKS };
        self.line(rows[self.row])
    }

    fn gives_up(&mut self) -> String {
        if self.who.temper == Temper::Short {
            self.line(GIVES_UP_SHORT)
        } else {
            self.line(GIVES_UP[self.row])
        }
    }

    /// One of the lines, filled; preferably one that was not used yet.
    fn line(&mut self, templates: &[&str]) -> String {
        let start = self.dice.index(templates.len());
        let matter = &self.who.matter;
        let detail = self.dice.pick(matter.topic.details);
        let wants = self.dice.pick(matter.wants());
        let mut first = None;
        for turn in 0..templates.len() {
            let template = templates[(start + turn) % templates.len()];
            let line = self.fill(template, detail, wants);
            let is_new = !self.said.iter().any(|said| !line.is_empty() && said.contains(line.as_str()));
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
        let noun = self.who.matter.topic.noun;
        let template = template
            .replace("{noun_open}", "{noun} will have to wait.")
            .replace("{noun}", noun)
            .replace("{detail}", detail)
            .replace("{wants}", wants);
        let line = match template.split_once("{agent}") {
            Some((before, after)) => {
                format!("{}{}{}", fill(before, self.who), agent_name(self.agent), fill(after, self.who))
            }
            None => fill(&template, self.who),
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
    let mut kept: Vec<String> = Vec::with_capacity(parts.len());
    for part in parts {
        if !part.is_empty() && !kept.contains(&part) {
            kept.push(part);
        }
    }
    kept.join(" ")
}
