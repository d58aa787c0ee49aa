//! Recognises what an agent did, and tells it from what it promises, denies or reports.

use super::{acts::Act, agent_turn::AgentTurn, words::Words};

/// Participles of deeds.
const DEEDS: &[&str] = &[
    "activated",
    "added",
    "adjusted",
    "amended",
    "approved",
    "arranged",
    "blocked",
    "booked",
    "canceled",
    "cancelled",
    "changed",
    "closed",
    "completed",
    "confirmed",
    "corrected",
    "credited",
    "deleted",
    "disabled",
    "dispatched",
    "disputed",
    "enrolled",
    "ended",
    "escalated",
    "exchanged",
    "extended",
    "filed",
    "fixed",
    "forwarded",
    "frozen",
    "froze",
    "issued",
    "merged",
    "modified",
    "moved",
    "ordered",
    "paid",
    "postponed",
    "processed",
    "reactivated",
    "rebooked",
    "refunded",
    "registered",
    "reimbursed",
    "removed",
    "renewed",
    "repaired",
    "replaced",
    "rescheduled",
    "reserved",
    "reset",
    "resolved",
    "restored",
    "scheduled",
    "sent",
    "shipped",
    "signed you up",
    "solved",
    "sorted",
    "submitted",
    "swapped",
    "switched",
    "terminated",
    "transferred",
    "unblocked",
    "unlocked",
    "unsubscribed",
    "updated",
    "upgraded",
    "waived",
    "withdrawn",
];

/// Deeds that settle whatever was asked for.
const GENERIC_DEEDS: &[&str] =
    &["approved", "arranged", "completed", "fixed", "issued", "processed", "resolved", "solved", "sorted"];

/// Participles that describe a state as often as a deed: "your visit is booked for Monday".
const STATES: &[&str] =
    &["booked", "scheduled", "reserved", "confirmed", "registered", "enrolled", "ordered", "closed", "paid"];

const DONE_PHRASES: &[&str] = &[
    "on its way",
    "all set",
    "is done",
    "that's done",
    "is now done",
    "taken care of",
    "it is settled",
    "you're booked",
    "done that",
];

/// Words that make a participle a deed of the agent.
const PERFECT: &[&str] = &[
    "i have",
    "i've",
    "we have",
    "we've",
    "has been",
    "have been",
    "i just",
    "we just",
    "i had",
    "been",
    "now",
    "i",
    "we",
    "has now been",
    "successfully",
];

/// Words that take a deed back, or put it off.
const NEGATIONS: &[&str] = &[
    "not",
    "cannot",
    "unable",
    "never",
    "nothing",
    "none",
    "nobody",
    "neither",
    "no",
    "without",
    "failed",
    "fails",
    "yet",
    "trying",
    "would be",
    "can be",
    "could be",
    "may be",
    "might be",
    "must be",
    "should be",
    "need to be",
    "needs to be",
    "has to be",
    "to be",
    "about to",
    "going to",
    "usually",
    "normally",
    "typically",
    "policy",
    "almost",
    "nearly",
    "would have",
    "could have",
    "pending",
];

const CONDITIONS: &[&str] = &[
    "once",
    "if",
    "after",
    "before",
    "until",
    "when",
    "unless",
    "as soon as",
    "whether",
    "provided",
    "in case",
    "while",
];

/// Words that report what the agent reads or heard, rather than what it did.
const REPORTS: &[&str] = &[
    "i see",
    "i can see",
    "i found",
    "i find",
    "looks like",
    "according to",
    "records",
    "it shows",
    "currently",
    "i understand",
    "you mentioned",
    "you said",
    "you want*",
    "you'd like",
    "you would like",
    "originally",
    "your request to",
    "as i understand",
    "i notice",
    "it appears",
    "seems",
    "you asked",
    "i hear",
    "sorry that",
    "sorry to",
    "shows that",
];

/// Objects of a step on the way: a code that was sent settles nothing.
const STEPS: &[&str] = &[
    "identity",
    "verif*",
    "code",
    "codes",
    "passcode",
    "link",
    "security check",
    "your details",
    "your information",
    "form",
    "questionnaire",
    "instructions",
    "ticket",
    "your account is",
    "your message",
];

const FUTURE_PHRASES: &[&str] = &["you will receive", "you'll receive", "will be"];

const STATIVE: &[&str] = &["is", "are", "was", "were", "it's", "that's", "you're", "you are"];

/// Finds what was done, clause by clause.
pub(crate) fn read_deeds(sentence: &str, words: &Words<'_>, turn: &mut AgentTurn) {
    let is_conditional = words.has_any(CONDITIONS);
    // "I see that your visit was cancelled" reports; the deeds of a new clause still count.
    let mut reports = false;
    for clause in clauses(sentence) {
        let words = Words::of(clause);
        let is_own = words.has_any(&["i have", "i've", "we have", "we've", "i just", "we just"]);
        reports = words.has_any(REPORTS) || (reports && !is_own);
        let is_negated = words.has_any(NEGATIONS)
            || words.has_any(CONDITIONS)
            || clause.split_whitespace().any(|word| {
                word.trim_matches(|character: char| !character.is_alphanumeric()).ends_with("n't")
            });
        if is_negated || reports {
            continue;
        }
        let deed = words.has_any(DEEDS);
        let is_state = DEEDS.iter().filter(|deed| words.has(deed)).all(|deed| STATES.contains(deed));
        let perfect = words.has_any(PERFECT);
        let future = words.has_any(FUTURE_PHRASES)
            && (deed || words.has("you'll receive") || words.has("you will receive"));
        let stated = deed && words.has_any(STATIVE) && !is_state;
        let is_step = words.has_any(STEPS);
        let done = words.has_any(DONE_PHRASES)
            || stated
            || (deed && perfect && !future)
            || (future && !is_conditional);
        if done && !is_step {
            turn.done = true;
            turn.done_acts.extend(Act::named_in(&words));
            turn.done_generic |= words.has_any(DONE_PHRASES) || words.has_any(GENERIC_DEEDS);
            turn.deeds.push_str(clause);
            turn.deeds.push(' ');
        }
    }
}

/// The clauses of a sentence.
fn clauses(sentence: &str) -> impl Iterator<Item = &str> {
    sentence
        .split([',', '–', '—', ':', '('])
        .flat_map(|part| part.split(" but "))
        .flat_map(|part| part.split(" so "))
        .flat_map(|part| part.split(" because "))
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::agent_turn::read_turn;

    #[test]
    fn done_is_distinguished_from_promised_and_asked() {
        for text in [
            "I have issued the refund.",
            "Your replacement is on its way!",
            "It's fixed. The account was unlocked",
            "A refund will be processed today",
            "I have cancelled the booking. Please check your email for the confirmation.",
            "Your appointment has been moved to Friday.",
            "After a look at it, I have renewed your book",
            "If you look now, it is unlocked; I've reset it",
        ] {
            assert!(read_turn(text).done, "{text}");
        }
        for text in [
            "Once I have the number, the refund will be processed.",
            "Has it been sent?",
            "It has not been sent.",
            "I can refund you.",
            "Nothing has been cancelled so far.",
            "Your payment couldn't be processed.",
            "A code was sent, please read it to me.",
            "Your identity has been confirmed.",
            "I have sent you a link to verify your account.",
            "I see that your visit is booked for Monday.",
            "Your flight was originally scheduled for 9 am.",
            "No refund has been issued yet.",
            "The booking has not been changed.",
            "The refund would have been processed by now.",
            "Refunds are usually processed within a week.",
            "I am going to have it cancelled.",
            "The cancellation failed, and no change was made.",
            "Hello!",
        ] {
            assert!(!read_turn(text).done, "{text}");
        }
    }
}
