//! A persona that ends the conversation while the agent waits for an answer.

use super::{
    FaultSeverity, Message, PersonaFault, PersonaFaultKind,
    words::{contains_any, sentences, words},
};
use crate::EndReason;

/// How an agent closes: nothing depends on the answer.
const CLOSING: [&str; 15] = [
    "anything else",
    "something else",
    "anything more",
    "any other",
    "any further",
    "any more",
    "any questions",
    "else i can",
    "more i can",
    "help you today",
    "assist you today",
    "feedback",
    "rate",
    "survey",
    "how was",
];

/// How an agent asks before it acts.
const ASKS_TO_ACT: [&str; 11] = [
    "shall i",
    "should i",
    "would you like me to",
    "do you want me to",
    "may i go",
    "may i proceed",
    "want me to go ahead",
    "like to proceed",
    "want to proceed",
    "like to go ahead",
    "okay to proceed",
];

/// Offers beside the matter: a person may accept one and leave.
const EXTRAS: [&str; 16] = [
    "email",
    "e mail",
    "mail",
    "copy",
    "receipt",
    "summary",
    "link",
    "text",
    "sms",
    "remind",
    "reminder",
    "notify",
    "notification",
    "recommend",
    "note",
    "update",
];

/// How a person declines, or leaves because of a trouble.
const DECLINES: [&str; 26] = [
    "no",
    "not",
    "nope",
    "nah",
    "dont",
    "wont",
    "cant",
    "never",
    "nothing",
    "neither",
    "nevermind",
    "none",
    "stop",
    "leave it",
    "forget",
    "cancel",
    "later",
    "instead",
    "useless",
    "ridiculous",
    "enough",
    "give up",
    "elsewhere",
    "frustrating",
    "complaint",
    "wasting",
];

pub(super) fn faults(end: Option<EndReason>, messages: &[Message<'_>]) -> Option<PersonaFault> {
    if end != Some(EndReason::PersonaDecided) {
        return None;
    }
    let (last, before) = messages.split_last()?;
    let (farewell, question) = if last.is_persona() { (Some(last), before.last()?) } else { (None, last) };
    let sentence = sentences(&question.text).last().filter(|sentence| sentence.ends_with('?'))?;
    let asked = words(sentence);
    let said = farewell.map(|farewell| words(&farewell.text)).unwrap_or_default();
    if question.is_persona() || contains_any(&asked, &CLOSING) || contains_any(&said, &DECLINES) {
        return None;
    }
    let is_critical = contains_any(&asked, &ASKS_TO_ACT) && !contains_any(&asked, &EXTRAS);
    let severity = if is_critical { FaultSeverity::Critical } else { FaultSeverity::Minor };
    let (item, quote) = match farewell {
        Some(farewell) => (farewell.item, farewell.text.as_ref()),
        None => (question.item, sentence),
    };
    Some(PersonaFault::new(PersonaFaultKind::StopsEarly, severity, item, quote))
}
