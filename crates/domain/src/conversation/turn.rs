//! The turn that a call holds.

use jiff::Timestamp;

use crate::{ItemId, Random};

/// The end of the token of a turn whose reply is undelivered.
const UNDELIVERED: &str = ".undelivered";

/// Identifies one claim of a turn, and the input of its call. The text is `id.input`, or
/// `id.input.undelivered` once the turn is complete. Earlier releases stored the id alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnToken(String);

impl TurnToken {
    /// A new, unique token of a call with this input, which is a hash.
    pub fn generate(input: &str, random: &dyn Random) -> Self {
        Self(format!("{}.{input}", ItemId::generate(random)))
    }

    /// The hash of the call's input; `None` in a token of an earlier release.
    pub fn input(&self) -> Option<&str> {
        let text = self.0.strip_suffix(UNDELIVERED).unwrap_or(&self.0);
        text.split_once('.').map(|(_, input)| input)
    }

    /// Whether the turn is complete and its reply is undelivered.
    pub fn is_undelivered(&self) -> bool {
        self.0.ends_with(UNDELIVERED)
    }

    /// The token of the same turn once it is complete and its reply is undelivered.
    #[must_use]
    pub fn undelivered(&self) -> Self {
        if self.is_undelivered() { self.clone() } else { Self(format!("{}{UNDELIVERED}", self.0)) }
    }

    /// Restores a stored token.
    pub fn restore(text: String) -> Self {
        Self(text)
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The claim of a call that is being answered, or that was answered after its caller had left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnClaim {
    /// Identifies the call.
    pub token: TurnToken,
    /// When another call may take over, in case this one died. The time of the answer if it was answered.
    pub expires_at: Timestamp,
}
