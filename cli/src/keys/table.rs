//! Keys as tables and as lists of fields.

use onerun_auth::{Preset, Scope};
use onerun_client::resource::{Key, KeyStatus, RateLimit};

use crate::text::{fields, plain, prose, table, time_or, times, utc, utc_or};

/// The width of the widest field name, in columns.
const NAME_WIDTH: usize = 12;

/// Words wrapped into lines.
fn wrapped<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    prose(&words.into_iter().collect::<Vec<_>>().join(" "), NAME_WIDTH)
}

/// The preset with exactly these scopes, a single scope, or the number of scopes.
fn scopes_in_short(scopes: &[String]) -> String {
    let known: Option<Vec<Scope>> =
        scopes.iter().map(|scope| Scope::ALL.into_iter().find(|known| known.as_str() == scope)).collect();
    let known = known.map(|scopes| scopes.into_iter().collect());
    let preset = Preset::ALL.into_iter().find(|preset| Some(preset.scopes()) == known);
    match (preset, scopes) {
        (Some(preset), _) => preset.as_str().to_owned(),
        (None, [only]) => plain(only),
        (None, several) => format!("{} scopes", several.len()),
    }
}

fn projects_in_short(all: bool, ids: &[String]) -> String {
    match ids {
        _ if all => "all".to_owned(),
        [only] => plain(only),
        several => format!("{} projects", several.len()),
    }
}

/// When a key ends, by expiry or by the end of its overlap.
fn end(key: &Key) -> String {
    let ends = [&key.overlap_ends_at, &key.expires_at];
    time_or(ends.into_iter().flatten().min().map(String::as_str), "never")
}

/// When and why a key ends: its expiry or the end of its overlap, whichever is earlier.
fn end_in_full(key: &Key) -> String {
    let expiry = key.expires_at.as_deref();
    match key.overlap_ends_at.as_deref() {
        // The API's timestamps sort as text.
        Some(overlap) if expiry.is_none_or(|expiry| overlap < expiry) => {
            let expiry = expiry
                .map_or_else(|| "would never expire".to_owned(), |at| format!("would expire {}", utc(at)));
            format!("{}, because it was replaced\n{expiry}", utc(overlap))
        }
        _ => utc_or(expiry, "never"),
    }
}

/// A table of keys.
pub(super) fn keys<'a>(keys: impl IntoIterator<Item = &'a Key>) -> String {
    keys_and(keys, "", |_| String::new())
}

/// A table of keys with their unused scopes.
pub(super) fn keys_and_unused<'a>(keys: impl IntoIterator<Item = &'a Key>) -> String {
    keys_and(keys, "NOT USED", |key| {
        let unused: Vec<String> = unused(key).map(plain).collect();
        if unused.len() == key.scopes.len() { "all of them".to_owned() } else { unused.join(" ") }
    })
}

/// A table of keys with an additional column.
fn keys_and<'a>(
    keys: impl IntoIterator<Item = &'a Key>,
    heading: &str,
    more: impl Fn(&Key) -> String,
) -> String {
    let rows: Vec<_> = keys
        .into_iter()
        .map(|key| {
            [
                plain(&key.id),
                plain(&key.name),
                key.status.as_str().to_owned(),
                scopes_in_short(&key.scopes),
                projects_in_short(key.all_projects, &key.project_ids),
                end(key),
                time_or(key.last_used_at.as_deref(), "never"),
                more(key),
            ]
        })
        .collect();
    table(
        ["ID", "NAME", "STATUS", "SCOPES", "PROJECTS", "ENDS (UTC)", "LAST USED (UTC)", heading],
        &[1, 7],
        &rows,
    )
}

/// The scopes that a key was never used with.
pub(super) fn unused(key: &Key) -> impl Iterator<Item = &str> {
    key.scopes.iter().filter(|scope| !key.used_scopes.contains(scope)).map(String::as_str)
}

/// All details of a key.
pub(super) fn key(key: &Key) -> String {
    let mut lines = vec![
        ("id", plain(&key.id)),
        ("name", plain(&key.name)),
        ("status", status(key)),
        ("scopes", wrapped(key.scopes.iter().map(String::as_str))),
        ("projects", projects(key.all_projects, &key.project_ids)),
    ];
    lines.extend(key.not_before.as_deref().map(|at| ("not before", utc(at))));
    lines.push(("ends", end_in_full(key)));
    lines.push(("addresses", addresses(key.allowed_cidrs.as_deref())));
    lines.push(("rate limit", rate_limit(key.rate_limit)));
    if !key.metadata.is_empty() {
        let pairs: Vec<String> = key.metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.push(("metadata", wrapped(pairs.iter().map(String::as_str))));
    }
    lines.push(("created", format!("{} by {}", utc(&key.created_at), plain(&key.created_by))));
    lines.push(("last used", utc_or(key.last_used_at.as_deref(), "never")));
    let unused = wrapped(unused(key));
    // Redundant for a key that was never used.
    if key.last_used_at.is_some() && !unused.is_empty() {
        lines.push(("never needed", unused));
    }
    lines.extend(key.replaces.as_deref().map(|id| ("replaces", plain(id))));
    if let Some(id) = &key.replaced_by {
        lines.push(("replaced by", format!("{} at {}", plain(id), utc_or(key.replaced_at.as_deref(), "?"))));
        lines.push((
            "used since",
            match &key.last_used_since_replaced_at {
                Some(last) => format!("{}, last {}", times(key.uses_since_replaced), utc(last)),
                None => "never".to_owned(),
            },
        ));
    }
    fields(&lines)
}

fn status(key: &Key) -> String {
    let since = match key.status {
        KeyStatus::Disabled => key.disabled_at.as_deref(),
        KeyStatus::Revoked => key.revoked_at.as_deref(),
        _ => None,
    };
    match since {
        Some(since) => format!("{} since {}", key.status.as_str(), utc(since)),
        None => key.status.as_str().to_owned(),
    }
}

/// All details of the caller's key.
pub(super) fn whoami(key: &onerun_client::resource::Whoami) -> String {
    let mut lines = vec![("id", plain(&key.key_id)), ("kind", plain(&key.kind))];
    lines.extend(key.name.as_deref().map(|name| ("name", plain(name))));
    lines.extend([
        ("scopes", wrapped(key.scopes.iter().map(String::as_str))),
        ("projects", projects(key.all_projects, &key.project_ids)),
        ("expires", utc_or(key.expires_at.as_deref(), "never")),
        ("addresses", addresses(key.allowed_cidrs.as_deref())),
        ("rate limit", rate_limit(key.rate_limit)),
        ("last used", utc_or(key.last_used_at.as_deref(), "not known")),
    ]);
    fields(&lines)
}

fn projects(all: bool, ids: &[String]) -> String {
    if all { "all".to_owned() } else { wrapped(ids.iter().map(String::as_str)) }
}

fn addresses(cidrs: Option<&[String]>) -> String {
    cidrs.map_or_else(|| "any".to_owned(), |cidrs| wrapped(cidrs.iter().map(String::as_str)))
}

fn rate_limit(limit: Option<RateLimit>) -> String {
    match limit {
        Some(RateLimit { requests, window_seconds }) => format!("{requests} in {window_seconds} s"),
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A key as the API sends it, changed by `change`.
    fn sample(change: &Value) -> Key {
        let mut value = json!({
            "id": "AAECAwQFBgcI", "prefix": "onr_AAECAwQFBgcI", "name": "ci of checkout", "status": "active",
            "scopes": ["agents:read", "simulations:read", "conversations:read", "conversations:write"],
            "all_projects": false, "project_ids": ["AbCdEfGhIjKl"], "not_before": null,
            "expires_at": "2027-02-23T10:33:43.514881Z", "allowed_cidrs": null, "rate_limit": null,
            "metadata": {}, "created_at": "2026-11-25T10:33:43.514881Z", "created_by": "root",
            "updated_at": "2026-11-25T10:33:43.514881Z", "disabled_at": null, "revoked_at": null,
            "replaces": null, "replaced_by": null, "replaced_at": null, "overlap_ends_at": null,
            "last_used_at": null, "used_scopes": [], "uses_since_replaced": 0,
            "last_used_since_replaced_at": null,
        });
        value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn key_table_has_aligned_columns() {
        let listed = keys(&[
            sample(&json!({})),
            sample(&json!({
                "id": "BBECAwQFBgcI", "name": "Ä", "status": "expired", "scopes": ["agents:read", "new:one"],
                "all_projects": true, "project_ids": [], "overlap_ends_at": "2026-11-26T10:00:00Z",
                "last_used_at": "2026-11-25T11:00:00Z",
            })),
            sample(&json!({"scopes": ["keys:read"], "project_ids": ["a", "b"], "expires_at": null})),
        ]);
        insta::assert_snapshot!(listed, @r#"
        ID            NAME            STATUS   SCOPES     PROJECTS      ENDS (UTC)        LAST USED (UTC)
        AAECAwQFBgcI  ci of checkout  active   worker     AbCdEfGhIjKl  2027-02-23 10:33  never
        BBECAwQFBgcI  Ä               expired  2 scopes   all           2026-11-26 10:00  2026-11-25 11:00
        AAECAwQFBgcI  ci of checkout  active   keys:read  2 projects    never             never
        "#);
    }

    #[test]
    fn key_details_show_every_field() {
        insta::assert_snapshot!(key(&sample(&json!({}))), @r#"
        id          AAECAwQFBgcI
        name        ci of checkout
        status      active
        scopes      agents:read simulations:read conversations:read
                    conversations:write
        projects    AbCdEfGhIjKl
        ends        2027-02-23 10:33 UTC
        addresses   any
        rate limit  none
        created     2026-11-25 10:33 UTC by root
        last used   never
        "#);
        let replaced = sample(&json!({
            "status": "disabled", "disabled_at": "2026-11-25T12:00:00Z", "used_scopes": ["agents:read"],
            "last_used_at": "2026-11-25T12:30:00Z",
            "not_before": "2026-11-25T11:00:00Z", "allowed_cidrs": ["10.0.0.0/8", "2001:db8::/32"],
            "rate_limit": {"requests": 100, "window_seconds": 60}, "metadata": {"team": "qa", "n": 1},
            "replaces": "CCECAwQFBgcI", "replaced_by": "BBECAwQFBgcI", "replaced_at": "2026-11-25T12:00:00Z",
            "overlap_ends_at": "2026-11-26T12:00:00Z", "uses_since_replaced": 3,
            "last_used_since_replaced_at": "2026-11-25T12:30:00Z",
            "scopes": Scope::ALL.map(Scope::as_str),
        }));
        insta::assert_snapshot!(key(&replaced), @r#"
        id            AAECAwQFBgcI
        name          ci of checkout
        status        disabled since 2026-11-25 12:00 UTC
        scopes        projects:read projects:write agents:read agents:write
                      objectives:read objectives:write simulations:read
                      simulations:write personas:read personas:write conversations:read
                      conversations:write monitors:read monitors:write webhooks:read
                      webhooks:write keys:read keys:write audit:read
        projects      AbCdEfGhIjKl
        not before    2026-11-25 11:00 UTC
        ends          2026-11-26 12:00 UTC, because it was replaced
                      would expire 2027-02-23 10:33 UTC
        addresses     10.0.0.0/8 2001:db8::/32
        rate limit    100 in 60 s
        metadata      n=1 team="qa"
        created       2026-11-25 10:33 UTC by root
        last used     2026-11-25 12:30 UTC
        never needed  projects:read projects:write agents:write objectives:read
                      objectives:write simulations:read simulations:write personas:read
                      personas:write conversations:read conversations:write
                      monitors:read monitors:write webhooks:read webhooks:write
                      keys:read keys:write audit:read
        replaces      CCECAwQFBgcI
        replaced by   BBECAwQFBgcI at 2026-11-25 12:00 UTC
        used since    3 times, last 2026-11-25 12:30 UTC
        "#);
    }

    #[test]
    fn key_name_is_escaped() {
        let named = sample(&json!({"name": "\u{1b}[2J\u{202e}x\ny"}));
        for text in [keys([&named]), key(&named)] {
            assert!(text.contains(r"\u{001B}[2J\u{202E}x\u{000A}y"), "{text}");
            assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        }
    }
}
