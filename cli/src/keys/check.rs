//! `onerun keys check`: the format and checksum of a key.

use std::{io::Read, process::ExitCode};

use anyhow::Context;
use onerun_auth::{KeyFormatError, ManagedKey, RootKey};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::outcome::Negative;
use crate::output;

/// At most this much of standard input is read, well above the length of a key.
const MAX_BYTES: u64 = 4_096;

/// The result of the check, and the output of `--json`.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct KeyCheck {
    valid: bool,
    kind: Option<&'static str>,
    /// The public id of a managed key.
    key_id: Option<String>,
    /// Why the text is not a key.
    reason: Option<String>,
}

pub(super) fn run(json: bool) -> anyhow::Result<ExitCode> {
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text);
    let length = read.context("standard input cannot be read as text")?;
    if length as u64 > MAX_BYTES {
        let reason = format!("standard input has more than {MAX_BYTES} bytes; a key has fewer than 700");
        return Err(Negative(reason).into());
    }
    let result = check(&text);
    if json {
        output::print_json(&serde_json::to_string(&result)?)?;
    } else {
        output::print(&format!("{}\n", in_words(&result)))?;
    }
    Ok(if result.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(text: &str) -> KeyCheck {
    let none = KeyCheck { valid: false, kind: None, key_id: None, reason: None };
    match ManagedKey::parse(text) {
        Ok(key) => {
            KeyCheck { valid: true, kind: Some("managed"), key_id: Some(key.id().to_string()), ..none }
        }
        // Without the prefix of a managed key, it may be a root key.
        Err(KeyFormatError::Prefix) => match RootKey::parse(text) {
            Ok(_) => KeyCheck { valid: true, kind: Some("root"), ..none },
            Err(weak) => KeyCheck { reason: Some(weak.to_string()), ..none },
        },
        Err(error) => KeyCheck { kind: Some("managed"), reason: Some(error.to_string()), ..none },
    }
}

fn in_words(result: &KeyCheck) -> String {
    match (&result.reason, &result.key_id) {
        (Some(reason), _) => format!("not a key: {reason}"),
        (None, Some(id)) => format!("a managed key, {id}: its format and checksum are right"),
        (None, None) => "a root key: its format is right and it is not obviously weak".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANAGED: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";
    const ROOT: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";

    #[test]
    fn both_kinds_of_keys_are_recognized() {
        assert!(in_words(&check(&format!("{MANAGED}\n"))).starts_with("a managed key, AAECAwQFBgcI: "));
        assert!(in_words(&check(&format!("{ROOT}\n"))).starts_with("a root key: "));
    }

    #[test]
    fn reason_is_given_without_the_text() {
        for (text, reason) in [
            (&MANAGED[..60], "60 characters instead of 64"),
            (&MANAGED.replace("AAEC", "AAED"), "checksum is wrong"),
            ("hunter2hunter2hunter2", "not standard base64"),
            ("", "the key is empty"),
        ] {
            let result = check(text);
            let words = in_words(&result);
            assert!(!result.valid && words.contains(reason), "{words}");
            assert!(text.is_empty() || !words.contains(text), "{words}");
        }
    }
}
