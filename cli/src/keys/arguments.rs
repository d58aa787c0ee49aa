//! Command-line arguments that describe a key.

use anyhow::bail;
use clap::Args;
use onerun_auth::KeyId;
use onerun_client::resource::{Grants, Lifetime, Projects, RateLimit};
use serde_json::{Map, Value};

const DAY: u32 = 86_400;

/// The scopes of a key.
#[derive(Debug, Args)]
#[group(id = "grants", multiple = false)]
pub(super) struct GrantArguments {
    /// A scope, such as `agents:read`. Repeat the option or separate scopes with commas.
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scope: Vec<String>,
    /// A named set of scopes: `worker`, `ci`, `monitor`, `read_only` or `admin`.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
}

impl GrantArguments {
    pub(super) fn grants(&self) -> Option<Grants> {
        match &self.preset {
            Some(preset) => Some(Grants::Preset(preset.clone())),
            None => (!self.scope.is_empty()).then(|| Grants::Scopes(self.scope.clone())),
        }
    }
}

/// The projects of a key.
#[derive(Debug, Args)]
#[group(id = "projects", multiple = false)]
pub(super) struct ProjectArguments {
    /// The id of a project that the key may access. Repeat the option or separate ids with commas.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    project: Vec<String>,
    /// The key may access every project, also future ones.
    #[arg(long)]
    all_projects: bool,
}

impl ProjectArguments {
    pub(super) fn projects(&self) -> Option<Projects> {
        if self.all_projects {
            return Some(Projects::All);
        }
        (!self.project.is_empty()).then(|| Projects::Only(self.project.clone()))
    }
}

/// The lifetime of a key.
#[derive(Clone, Copy, Debug, Args)]
#[group(id = "lifetime", multiple = false)]
pub(super) struct LifetimeArguments {
    /// The lifetime from now, in whole days: `30d` or `2w` [default: 90 days for a new key; the
    /// lifetime of the old key for a replacement].
    #[arg(long, value_name = "TIME", value_parser = days)]
    expires_in: Option<u32>,
    /// The key works until it is revoked.
    #[arg(long)]
    never_expires: bool,
}

impl LifetimeArguments {
    pub(super) fn lifetime(self) -> Option<Lifetime> {
        if self.never_expires { Some(Lifetime::Unlimited) } else { self.expires_in.map(Lifetime::Days) }
    }
}

/// The metadata of a key.
#[derive(Debug, Args)]
pub(super) struct MetadataArguments {
    /// Your own data, such as `team=checkout`. Repeat the option for more. An update replaces all
    /// metadata.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

impl MetadataArguments {
    pub(super) fn metadata(&self) -> Map<String, Value> {
        self.metadata.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
    }
}

/// Parses the id of a key: 12 characters, with or without the `onr_` before them.
///
/// This is not a clap parser, because clap repeats the text in its error, and the text may be a whole key.
pub(super) fn key_id(text: &str) -> anyhow::Result<String> {
    let id = text.strip_prefix("onr_").unwrap_or(text);
    match KeyId::restore(id) {
        Some(id) => Ok(id.to_string()),
        None if id.len() > 12 => bail!(
            "that is longer than a key's id. If it is a whole key, revoke it: shell histories, logs and other \
             programs see command lines, so it has leaked. Its id is the 12 characters after `onr_`"
        ),
        None => bail!("a key's id has 12 characters, as printed by `onerun keys list`"),
    }
}

/// Parses a duration such as `2w`, `7d`, `24h`, `30m` or `0s` into seconds.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    seconds_or(text, "use a number and a unit: `2w`, `7d`, `24h`, `30m` or `0s`")
}

fn seconds_or(text: &str, advice: &str) -> Result<u32, String> {
    let advice = || advice.to_owned();
    let number = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "w" => 7 * DAY,
        "d" => DAY,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return Err(advice()),
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(advice());
    }
    let number: u32 = number.parse().map_err(|_| advice())?;
    number.checked_mul(unit).ok_or_else(|| "the duration is too long".to_owned())
}

/// Parses a duration in whole days.
pub(super) fn days(text: &str) -> Result<u32, String> {
    const ADVICE: &str = "use whole days: `1d`, `30d` or `2w`";
    match seconds_or(text, ADVICE)? {
        seconds if seconds >= DAY && seconds % DAY == 0 => Ok(seconds / DAY),
        _ => Err(ADVICE.to_owned()),
    }
}

/// Parses a rate such as `100/60s`.
pub(super) fn rate(text: &str) -> Result<RateLimit, String> {
    let advice = || "use a number of requests and a duration: `100/60s`".to_owned();
    let (requests, window) = text.split_once('/').ok_or_else(advice)?;
    let requests = requests.parse().map_err(|_| advice())?;
    Ok(RateLimit { requests, window_seconds: seconds(window).map_err(|_| advice())? })
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("use a name and a value: `team=checkout`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, expected) in [("7d", 604_800), ("24h", DAY), ("30m", 1_800), ("90s", 90), ("0s", 0)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        assert_eq!(seconds("2w"), Ok(14 * DAY));
        for text in ["", "7", "d", "-7d", "+7d", "7 d", "1.5h", "7days", "7y", "1d12h", "١d", "99999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lifetimes_are_whole_days_and_the_advice_is_valid() {
        assert_eq!(["7d", "2w", "48h", "24h"].map(days), [Ok(7), Ok(14), Ok(2), Ok(1)]);
        for text in ["12h", "36h", "0d", "30m", "7", ""] {
            let error = days(text).unwrap_err();
            let suggested: Vec<_> = error.split('`').skip(1).step_by(2).collect();
            assert!(!suggested.is_empty() && suggested.into_iter().all(|text| days(text).is_ok()), "{error}");
        }
    }

    #[test]
    fn rate_is_a_count_and_a_duration() {
        assert_eq!(rate("100/60s"), Ok(RateLimit { requests: 100, window_seconds: 60 }));
        assert_eq!(rate("5/1h"), Ok(RateLimit { requests: 5, window_seconds: 3_600 }));
        for text in ["", "100", "100/60", "/60s", "many/60s"] {
            assert!(rate(text).unwrap_err().contains("`100/60s`"), "{text}");
        }
    }

    #[test]
    fn metadata_value_may_be_any_text() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }

    #[test]
    fn key_id_is_parsed_and_a_wrong_one_never_repeated() {
        for text in ["AAECAwQFBgcI", "onr_AAECAwQFBgcI"] {
            assert_eq!(key_id(text).unwrap(), "AAECAwQFBgcI");
        }
        assert_eq!(key_id("-_ECAwQFBgc-").unwrap(), "-_ECAwQFBgc-");
        let whole = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";
        for text in [whole, "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=", "", "AAECAwQ", "AAECAwQF/gcI"] {
            let error = key_id(text).unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
