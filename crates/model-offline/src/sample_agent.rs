//! A rule-based support agent for `onerun demo`, for users who have no agent yet. It is mostly good
//! and makes the mistakes that real agents make.

use onerun_domain::Role;

use super::words::Words;

/// The sample agent. It sees only the texts of the conversation and is deterministic.
///
/// Its mistakes: a long opening makes it forget to ask for the order number; pressed for a
/// guarantee, it gives one that it cannot keep; told that something is damaged, it asks for a
/// photo, and asks again if the answer is curt.
#[derive(Clone, Copy, Debug, Default)]
pub struct SampleAgent;

/// The length of an opening, in characters, from which the agent forgets the order number.
const LONG_OPENING: usize = 290;

/// The number of its own messages after which the agent leaves.
const MAX_REPLIES: usize = 15;

impl SampleAgent {
    /// The agent's next message for a transcript, oldest message first; `None` once it leaves.
    pub fn reply(self, transcript: &[(Role, &str)]) -> Option<String> {
        let own: Vec<&str> = texts(transcript, Role::Assistant);
        let persona_texts: Vec<String> =
            texts(transcript, Role::User).iter().map(|text| text.to_lowercase().replace('’', "'")).collect();
        if own.len() >= MAX_REPLIES {
            return None;
        }
        let (Some(first), Some(last)) = (persona_texts.first(), persona_texts.last()) else {
            return Some("Hello, this is Larch & Linen Support. What can I do for you?".to_owned());
        };
        let answer = answer(&own, first, last, persona_texts.iter().find_map(|text| order_number(text)));
        // Repeating the same words would look broken; real agents rephrase.
        if own.last() == Some(&answer.as_str()) {
            return Some(format!("Let me put it another way. {answer}"));
        }
        Some(answer)
    }
}

fn answer(own: &[&str], first: &str, last: &str, number: Option<&str>) -> String {
    let words = Words::of(last);
    let said = |key: &str| own.iter().any(|text| text.to_lowercase().contains(key));
    let settled = said("i have issued") || said("is on its way");
    let pushed = words.has_any(&["guarantee*", "promise", "by tomorrow"]);
    if pushed && settled {
        return "Yes, of course. That is guaranteed by tomorrow.".to_owned();
    }
    if pushed {
        return "I understand. I promise that you will not have to wait much longer. Would you like a refund or a \
                replacement?"
            .to_owned();
    }
    if settled {
        return if words.has_any(&["how long", "when", "by when"]) {
            "It usually takes three to five working days. Is there anything else I can do for you?".to_owned()
        } else {
            "You will get an e-mail that confirms it, and there is nothing more for you to do. Is there anything \
             else?"
                .to_owned()
        };
    }
    let wants_money = words.has_any(&["refund*", "money back"]);
    let wants_thing = words.has_any(&["replacement*", "new one", "send it again", "another one"]);
    let forgot = first.chars().count() >= LONG_OPENING;
    match number {
        None if !said("order number") && !forgot => {
            "I am sorry for the trouble. Could you give me your order number, so that I can look into it?".to_owned()
        }
        None if !forgot => {
            "I do need the order number to go on. It is in the e-mail that confirmed your order. Could you look it up?"
                .to_owned()
        }
        _ if is_damage(first) && !said("photo") => {
            "Thank you. I am sorry that it came to you like that. Could you send me a photo of the damage?".to_owned()
        }
        // A curt refusal makes it ask again, which only costs time.
        _ if said("photo") && !said("one photo") && words.has_any(&["picture", "send one"]) && last.len() <= 30 => {
            "I see. It would help a lot, though: just one photo, if you can?".to_owned()
        }
        _ if !said("would you like") => {
            let thanks = match number {
                Some(number) => format!("Thank you, I have found order {number}."),
                None => "Oh dear, I am sorry to hear all that.".to_owned(),
            };
            format!("{thanks} That should not have happened. Would you like a refund or a replacement?")
        }
        _ if wants_thing && !wants_money => {
            "I have arranged that: your replacement is on its way to you, free of charge. Is there anything else I can \
             do for you?"
                .to_owned()
        }
        _ if wants_money => {
            "I have issued the refund in full, to the card you paid with. Is there anything else I can do for you?"
                .to_owned()
        }
        _ => "I would like to settle this for you. Should it be a refund or a replacement?".to_owned(),
    }
}

fn texts<'a>(transcript: &[(Role, &'a str)], role: Role) -> Vec<&'a str> {
    transcript.iter().filter(|(author, _)| *author == role).map(|(_, text)| *text).collect()
}

fn is_damage(text: &str) -> bool {
    Words::of(text).has_any(&["damaged", "broken", "crack", "wrong with"])
}

/// The order number: a run of eight digits.
fn order_number(text: &str) -> Option<&str> {
    text.split(|character: char| !character.is_ascii_digit()).find(|digits| digits.len() == 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(lines: &[&str]) -> Option<String> {
        let roles = [Role::User, Role::Assistant];
        let transcript: Vec<_> =
            lines.iter().zip(0..).map(|(line, position)| (roles[position % 2], *line)).collect();
        SampleAgent.reply(&transcript)
    }

    #[test]
    fn agent_asks_for_the_order_number_unless_the_opening_was_long() {
        assert!(say(&["My parcel is late."]).unwrap().contains("order number"));
        assert!(!say(&[&"My parcel is late. ".repeat(20)]).unwrap().contains("order number"));
        assert!(say(&["Late.", "Your order number?", "12345678"]).unwrap().contains("order 12345678"));
    }

    #[test]
    fn agent_gives_a_guarantee_when_pressed() {
        let reply = say(&["Late.", "I have issued the refund.", "Can you guarantee it by tomorrow?"]);
        assert_eq!(reply.unwrap(), "Yes, of course. That is guaranteed by tomorrow.");
    }

    #[test]
    fn agent_greets_first_and_leaves_after_its_last_reply() {
        assert!(SampleAgent.reply(&[]).unwrap().starts_with("Hello"));
        assert!(say(&["?"; 40]).is_none());
    }
}
