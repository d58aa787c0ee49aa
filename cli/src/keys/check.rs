//! `onerun keys check`: whether a key is whole.

use std::{io::Read, process::ExitCode};

use anyhow::Context;
use onerun_auth::{KeyFormatError, ManagedKey, RootKey};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::outcome::No;
use crate::output;

/// The most that is read: well above what a key has.
const MAX_BYTES: u64 = 4_096;

/// What a text was found to be.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Finding {
    valid: bool,
    kind: Option<&'static str>,
    /// The public id of a managed key.
    key_id: Option<String>,
    /// Why it is no key.
    reason: Option<String>,
}

pub(super) fn run(json: bool) -> anyhow::Result<ExitCode> {
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text);
    let length = read.context("standard input cannot be read as text")?;
    if length as u64 > MAX_BYTES {
        let reason = format!("standard input has more than {MAX_BYTES} bytes; a key has fewer than 700");
        return Err(No(reason).into());
    }
    let finding = look_at(&text);
    if json {
        output::print_json(&serde_json::to_string(&finding)?)?;
    } else {
        output::print(&format!("{}\n", in_words(&finding)))?;
    }
    Ok(if finding.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn look_at(text: &str) -> Finding {
    let none = Finding { valid: false, kind: None, key_id: None, reason: None };
    match ManagedKey::parse(text) {
        Ok(key) => Finding { valid: true, kind: Some("managed"), key_id: Some(key.id().to_string()), ..none },
        // What does not begin as a managed key is perhaps a root key.
        Err(KeyFormatError::Prefix) => match RootKey::parse(text) {
            Ok(_) => Finding { valid: true, kind: Some("root"), ..none },
            Err(weak) => Finding { reason: Some(weak.to_string()), ..none },
        },
        Err(error) => Finding { kind: Some("managed"), reason: Some(error.to_string()), ..none },
    }
}

fn in_words(finding: &Finding) -> String {
    match (&finding.reason, &finding.key_id) {
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
    fn a_key_of_either_kind_is_told() {
        assert!(in_words(&look_at(&format!("{MANAGED}\n"))).starts_with("a managed key, AAECAwQFBgcI: "));
        assert!(in_words(&look_at(&format!("{ROOT}\n"))).starts_with("a root key: "));
    }

    #[test]
    fn why_a_text_is_no_key_is_told_and_the_text_is_not() {
        for (text, reason) in [
            (&MANAGED[..60], "60 characters instead of 64"),
            (&MANAGED.replace("AAEC", "AAED"), "checksum is wrong"),
            ("hunter2hunter2hunter2", "not standard base64"),
            ("", "the key is empty"),
        ] {
            let finding = look_at(text);
            let told = in_words(&finding);
            assert!(!finding.valid && told.contains(reason), "{told}");
            assert!(text.is_empty() || !told.contains(text), "{told}");
        }
    }
}
