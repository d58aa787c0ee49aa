//! `onerun keys report-leak`: revokes leaked keys. Possession of a key is the permission to revoke it.

use std::io::{self, BufRead, Read};

use anyhow::{Context, bail};
use clap::Args;
use onerun_auth::{KeyFormatError, ManagedKey};
use onerun_client::resource::SecretKey;
use zeroize::Zeroizing;

use crate::{api::Connection, confirm::Consent, outcome::Negative, output};

/// The most keys in one report.
const MAX_KEYS: usize = 100;

/// At most this much of standard input is read, well above the length of [`MAX_KEYS`] keys.
const MAX_BYTES: u64 = 16 * 1024;

/// Options of `onerun keys report-leak`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    consent: Consent,
    /// Print the API's response as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let client = options.connection.anonymous()?;
    let interactive = Consent::can_be_asked();
    if !interactive && !options.consent.is_given() {
        // Fail before the keys are read: standard input cannot carry the confirmation, too.
        options.consent.ask("")?;
    }
    let text = if interactive { typed()? } else { piped()? };
    let keys = keys(&text)?;
    let ids: Vec<String> = keys.iter().map(|key| key.id().to_string()).collect();
    if interactive {
        options.consent.ask(&format!("Revoke {}?", ids.join(", ")))?;
    }
    let keys: Vec<SecretKey> = keys.iter().map(|key| key.expose().to_owned().into()).collect();
    let answer = client.revoke_leaked_keys(&keys).await?;
    if options.json {
        return output::print_json(answer.json());
    }
    // Not "revoked": the API does not reveal whether it knew them.
    output::print(&format!("reported {}: those that the API knew are revoked\n", ids.join(", ")))
}

fn typed() -> anyhow::Result<Zeroizing<String>> {
    output::prompt("Leaked key: ")?;
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().take(MAX_BYTES).read_line(&mut text)?;
    Ok(text)
}

fn piped() -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text);
    if read.context("standard input cannot be read as text")? as u64 > MAX_BYTES {
        bail!("standard input has more than {MAX_BYTES} bytes; send at most {MAX_KEYS} keys, one per line");
    }
    Ok(text)
}

/// Parses one key per line. One invalid line refuses the whole report, as the user would think that
/// key revoked.
fn keys(text: &str) -> anyhow::Result<Vec<ManagedKey>> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match ManagedKey::parse(line) {
            Ok(key) => keys.push(key),
            Err(error) => {
                let advice = match error {
                    KeyFormatError::Prefix => "; rotate a root key where it is stored",
                    _ => "",
                };
                return Err(
                    Negative(format!("line {}: {error}{advice}. Nothing was reported", number + 1)).into()
                );
            }
        }
    }
    match keys.len() {
        0 => bail!("there is no key on standard input"),
        1..=MAX_KEYS => Ok(keys),
        many => bail!("{many} keys on standard input; send at most {MAX_KEYS} at once"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";

    #[test]
    fn report_needs_valid_keys_one_per_line() {
        assert_eq!(keys(&format!("\n {KEY}\r\n\n{KEY}")).unwrap().len(), 2);
        assert!(keys(" \n").is_err());
        assert!(keys(&format!("{KEY}\n").repeat(101)).unwrap_err().to_string().contains("at most 100"));
        let changed = KEY.replace("AAEC", "AAED");
        for (line, reason) in [(changed.as_str(), "checksum"), ("c2VjcmV0", "root key")] {
            let error = keys(&format!("{KEY}\n{line}")).unwrap_err();
            assert!(error.is::<Negative>());
            let error = error.to_string();
            assert!(error.starts_with("line 2: ") && error.contains(reason), "{error}");
            assert!(!error.contains(line), "{error}");
        }
    }
}
