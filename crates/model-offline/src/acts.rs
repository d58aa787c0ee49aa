//! The things that an agent can do for a persona. They tell a deed that settles the matter from one
//! that has nothing to do with it.

use super::words::Words;

/// Something that an agent does, offers or is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    Refund,
    Replace,
    Repair,
    Cancel,
    Change,
    Book,
    Access,
    Renew,
    Enrol,
    Block,
    Dispute,
}

impl Act {
    const ALL: [Self; 11] = [
        Self::Refund,
        Self::Replace,
        Self::Repair,
        Self::Cancel,
        Self::Change,
        Self::Book,
        Self::Access,
        Self::Renew,
        Self::Enrol,
        Self::Block,
        Self::Dispute,
    ];

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Refund => &["refund*", "money back", "reimburse*", "credited", "paid back"],
            Self::Replace => &[
                "replace*",
                "new one",
                "send it again",
                "send another",
                "another one",
                "resend*",
                "resent",
                "ship another",
                "reship*",
                "exchange*",
            ],
            Self::Repair => {
                &["repair*", "fix", "fixed", "fixing", "technician*", "troubleshoot*", "plumber*"]
            }
            Self::Cancel => {
                &["cancel*", "terminat*", "unsubscrib*", "withdraw*", "withdrawn", "close my account"]
            }
            Self::Change => &[
                "change",
                "changed",
                "changing",
                "reschedul*",
                "rebook*",
                "move",
                "moved",
                "moving",
                "switch*",
                "swap*",
                "postpon*",
                "update",
                "updated",
                "modif*",
                "amend*",
                "correct my",
                "corrected",
                "upgrad*",
            ],
            Self::Book => &[
                "book",
                "booked",
                "reserve",
                "reserved",
                "schedule",
                "scheduled",
                "make an appointment",
                "get an appointment",
                "arrange a",
                "arrange an",
            ],
            Self::Access => &[
                "unlock*",
                "reset",
                "log in",
                "login",
                "sign in",
                "password*",
                "locked out",
                "restore*",
                "unblock*",
            ],
            Self::Renew => &["renew*", "extend", "extended", "extending", "extension*", "prolong*"],
            Self::Enrol => &["enrol*", "register", "registered", "sign up", "signed up"],
            Self::Block => &["block", "blocked", "blocking", "freeze", "froze", "frozen", "deactivat*"],
            Self::Dispute => &["disput*", "appeal*", "contest", "contested"],
        }
    }

    /// The acts that a text names, in a fixed order.
    pub(crate) fn named_in(words: &Words<'_>) -> Vec<Self> {
        Self::ALL.into_iter().filter(|act| words.has_any(act.keys())).collect()
    }

    /// The act that a text names first.
    pub(crate) fn first_in(words: &Words<'_>) -> Option<Self> {
        let place = |act: &Self| act.keys().iter().filter_map(|key| words.find(key)).min();
        Self::ALL.into_iter().filter(|act| place(act).is_some()).min_by_key(place)
    }

    /// Whether another act gives a person who wants this one what they want.
    pub(crate) fn fulfilled_by(self, other: Self) -> bool {
        let similar = match self {
            Self::Change | Self::Enrol => other == Self::Book,
            Self::Book => other == Self::Change,
            Self::Repair => matches!(other, Self::Replace | Self::Book),
            Self::Dispute => matches!(other, Self::Refund | Self::Cancel),
            _ => false,
        };
        self == other || similar
    }

    /// Whether this is a remedy for goods: the others answer a request.
    pub(crate) fn is_remedy(self) -> bool {
        matches!(self, Self::Refund | Self::Replace | Self::Repair)
    }

    /// The act as the object of "please": `None` if it has lines of its own.
    pub(crate) fn request(self) -> Option<&'static str> {
        Some(match self {
            Self::Refund | Self::Replace => return None,
            Self::Repair => "repair it",
            Self::Cancel => "cancel it",
            Self::Change => "change it",
            Self::Book => "book it",
            Self::Access => "let me back in",
            Self::Renew => "renew it",
            Self::Enrol => "sign me up",
            Self::Block => "block it",
            Self::Dispute => "take up the dispute",
        })
    }
}
