//! `onerun keys audit --verify`: the verification of the audit trail.

use std::str::FromStr;

use onerun_auth::{AuditCheck, AuditEvent, NO_HASH};
use onerun_client::{
    Client,
    resource::{AuditEntry, AuditHead, AuditOrder, AuditPage, PageRequest, Start},
};
use serde::Serialize;

use crate::{list::PAGE, outcome::Negative, output};

/// The number and hash of an entry, noted at an earlier verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    sequence: u64,
    hash: String,
}

impl FromStr for Anchor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.trim().split_once(':').and_then(|(sequence, hash)| {
            let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hash.then_some((sequence.parse().ok()?, hash.to_ascii_lowercase()))
        });
        let (sequence, hash) = parts.ok_or("use a number, a colon and 64 hexadecimal digits")?;
        if (sequence == 0) != (hash == NO_HASH) {
            return Err("use 0 and a hash of zeros only together, for an empty trail".to_owned());
        }
        Ok(Self { sequence, hash })
    }
}

/// The output of `--verify --json`.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Verification {
    valid: bool,
    /// How many entries from the first on are valid.
    entries: u64,
    /// The last entry; `None` if the trail is empty or invalid.
    head: Option<AuditHead>,
    /// The number of the first invalid entry.
    first_wrong: Option<u64>,
    /// Why that entry is invalid.
    reason: Option<String>,
}

pub(super) async fn verify(client: &Client, anchors: &[Anchor], json: bool) -> anyhow::Result<()> {
    let mut trail = TrailReader::new(anchors);
    let mut failed = None;
    let mut request = PageRequest::first(PAGE as usize);
    loop {
        let page = client.list_audit(AuditOrder::Oldest, request.clone()).await?;
        let next = page.following(&request);
        match trail.read(&page) {
            Ok(Progress::More) => {
                request = match next {
                    Some(next) => next,
                    // Entries were added while the last page was read.
                    None => PageRequest { start: Start::Offset(u32::try_from(trail.entries())?), ..request },
                };
            }
            Ok(Progress::Complete) => break,
            Err(invalid) => {
                failed = Some(invalid);
                break;
            }
        }
    }
    if failed.is_none() {
        failed = trail.missing_anchor();
    }
    report(&trail, failed, json)
}

fn report(trail: &TrailReader, failed: Option<Invalid>, json: bool) -> anyhow::Result<()> {
    let head = trail.head();
    let entries = trail.entries();
    if json {
        let verification = match &failed {
            None => {
                Verification { valid: true, entries, head: head.clone(), first_wrong: None, reason: None }
            }
            Some(Invalid { sequence, reason }) => Verification {
                valid: false,
                entries,
                head: None,
                first_wrong: Some(*sequence),
                reason: Some(reason.clone()),
            },
        };
        output::print_json(&serde_json::to_string(&verification)?)?;
    }
    match failed {
        Some(Invalid { sequence, reason }) => {
            Err(Negative(format!("the audit trail was changed, from entry {sequence} on: {reason}")).into())
        }
        None if json => Ok(()),
        None => {
            let AuditHead { sequence, hash } =
                head.unwrap_or_else(|| AuditHead { sequence: 0, hash: NO_HASH.to_owned() });
            output::print(&format!("{sequence}:{hash}\n"))?;
            let known = match trail.last_anchor() {
                Some(0) | None => {
                    "Anyone with write access to the database can rewrite entries and hashes; only an anchor detects that."
                        .to_owned()
                }
                Some(last) => format!(
                    "Entries up to {last} match the anchor; anyone with write access to the database can rewrite \
                     later ones."
                ),
            };
            output::print_note(&format!(
                "The hashes of all {entries} entries match. {known} Store the line elsewhere, for `--anchor`.\n"
            ));
            Ok(())
        }
    }
}

/// The first invalid entry, and why it is invalid.
#[derive(Debug, PartialEq, Eq)]
struct Invalid {
    sequence: u64,
    reason: String,
}

/// Whether a trail has been read to its end.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Complete,
}

/// Verifies an audit trail page by page.
struct TrailReader {
    check: AuditCheck,
    anchors: Vec<Anchor>,
    /// How many pages were empty although the head was not reached.
    empty_pages: u32,
}

impl TrailReader {
    fn new(anchors: &[Anchor]) -> Self {
        Self { check: AuditCheck::default(), anchors: anchors.to_vec(), empty_pages: 0 }
    }

    fn entries(&self) -> u64 {
        self.check.head().map_or(0, |head| head.sequence)
    }

    fn head(&self) -> Option<AuditHead> {
        self.check.head().map(|head| AuditHead { sequence: head.sequence, hash: head.hash.clone() })
    }

    /// Verifies the next page against the entries before it, the anchors, and the head that the API reports.
    fn read(&mut self, page: &AuditPage) -> Result<Progress, Invalid> {
        for entry in &page.data {
            let expected = self.entries() + 1;
            let invalid = |reason: String| Invalid { sequence: expected, reason };
            self.check.take(&sealed(entry)).map_err(|error| invalid(error.to_string()))?;
            if let Some(anchor) = self.anchors.iter().find(|anchor| anchor.sequence == entry.sequence)
                && anchor.hash != entry.hash
            {
                return Err(invalid("it differs from `--anchor`".to_owned()));
            }
        }
        let named = page.head.as_ref();
        let (read, end) = (self.entries(), named.map_or(0, |head| head.sequence));
        if end < read {
            let reason = format!("it is listed, but the API reports entry {end} as the last");
            return Err(Invalid { sequence: end + 1, reason });
        }
        if end == read {
            if self.head().as_ref() != named {
                let reason = "the API reports another hash for the last entry".to_owned();
                return Err(Invalid { sequence: read, reason });
            }
            return Ok(Progress::Complete);
        }
        // A new entry may be the head before it is listed; the next page has it.
        if page.data.is_empty() {
            self.empty_pages += 1;
        }
        if self.empty_pages > 3 {
            let reason = format!("it is missing, and the API reports entry {end} as the last");
            return Err(Invalid { sequence: read + 1, reason });
        }
        Ok(Progress::More)
    }

    /// The number of the last anchor.
    fn last_anchor(&self) -> Option<u64> {
        self.anchors.iter().map(|anchor| anchor.sequence).max()
    }

    /// The error if an anchor is for an entry after the last one.
    fn missing_anchor(&self) -> Option<Invalid> {
        let end = self.entries();
        let noted = self.anchors.iter().map(|anchor| anchor.sequence).filter(|noted| *noted > end).max()?;
        let reason =
            format!("it is missing: there is an anchor for entry {noted}, but the trail ends at entry {end}");
        Some(Invalid { sequence: end + 1, reason })
    }
}

/// An entry in the form that is hashed.
fn sealed(entry: &AuditEntry) -> onerun_auth::AuditEntry {
    let onerun_client::resource::Actor { key_id, address, user_agent, request_id } = entry.actor.clone();
    onerun_auth::AuditEntry {
        sequence: entry.sequence,
        event: AuditEvent {
            at: entry.at.clone(),
            action: entry.action.clone(),
            key_id: entry.key_id.clone(),
            actor: onerun_auth::Actor { key_id, address, user_agent, request_id },
            details: entry.details.clone(),
        },
        previous_hash: entry.previous_hash.clone(),
        hash: entry.hash.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    /// A trail with this many entries, as the API returns it.
    fn trail(entries: u64) -> Vec<Value> {
        let mut head = None;
        (1..=entries)
            .map(|number| {
                let event = AuditEvent {
                    at: format!("2026-11-25T10:00:{:02}.000000Z", number % 60),
                    action: "create_key".into(),
                    key_id: "AAECAwQFBgcI".into(),
                    actor: onerun_auth::Actor {
                        key_id: "root".into(),
                        address: Some("203.0.113.9".into()),
                        user_agent: None,
                        request_id: format!("req_{number}"),
                    },
                    details: BTreeMap::from([("name".to_owned(), format!("key {number}"))]),
                };
                let entry = event.seal(head.as_ref());
                head = Some(entry.head());
                let event = entry.event;
                json!({
                    "sequence": entry.sequence, "at": event.at, "action": event.action, "key_id": event.key_id,
                    "actor": {
                        "key_id": event.actor.key_id, "address": event.actor.address,
                        "user_agent": event.actor.user_agent, "request_id": event.actor.request_id,
                    },
                    "details": event.details, "previous_hash": entry.previous_hash, "hash": entry.hash,
                })
            })
            .collect()
    }

    fn head(trail: &[Value]) -> Value {
        trail.last().map_or(Value::Null, |last| json!({"sequence": last["sequence"], "hash": last["hash"]}))
    }

    fn anchor(entry: &Value) -> Anchor {
        format!("{}:{}", entry["sequence"], entry["hash"].as_str().unwrap()).parse().unwrap()
    }

    /// Verifies a trail that is listed in pages of two.
    fn verify(listed: &[Value], head: &Value, anchors: &[Anchor]) -> Option<(u64, String)> {
        let mut trail = TrailReader::new(anchors);
        for _ in 0..listed.len() + 5 {
            let data: Vec<_> =
                listed.iter().skip(usize::try_from(trail.entries()).unwrap()).take(2).collect();
            let page = json!({"data": data, "has_more": false, "head": head});
            match trail.read(&serde_json::from_value(page).unwrap()) {
                Ok(Progress::More) => {}
                Ok(Progress::Complete) => {
                    return trail.missing_anchor().map(|Invalid { sequence, reason }| (sequence, reason));
                }
                Err(Invalid { sequence, reason }) => return Some((sequence, reason)),
            }
        }
        panic!("the trail does not end")
    }

    #[test]
    fn unchanged_trail_is_valid() {
        for length in 0..6 {
            let trail = trail(length);
            assert_eq!(verify(&trail, &head(&trail), &[]), None, "{length}");
            for entry in &trail {
                assert_eq!(verify(&trail, &head(&trail), &[anchor(entry)]), None);
            }
            let empty = format!("0:{NO_HASH}").parse().unwrap();
            assert_eq!(verify(&trail, &head(&trail), &[empty]), None);
        }
    }

    #[test]
    fn every_change_of_a_member_is_found() {
        let whole = trail(5);
        for place in 0..5 {
            for pointer in [
                "/sequence",
                "/at",
                "/action",
                "/key_id",
                "/actor/key_id",
                "/actor/address",
                "/actor/user_agent",
                "/actor/request_id",
                "/details/name",
                "/previous_hash",
                "/hash",
            ] {
                let mut trail = whole.clone();
                let member = trail[place].pointer_mut(pointer).unwrap();
                *member = if member.is_u64() { json!(77) } else { json!("other") };
                let (sequence, reason) = verify(&trail, &head(&whole), &[]).unwrap();
                assert_eq!(sequence, place as u64 + 1, "{pointer}: {reason}");
            }
            let mut trail = whole.clone();
            trail[place]["details"]["more"] = "x".into();
            assert_eq!(verify(&trail, &head(&whole), &[]).unwrap().0, place as u64 + 1);
        }
    }

    #[test]
    fn removed_inserted_or_moved_entry_is_found() {
        let whole = trail(5);
        for place in 0..4 {
            let mut shorter = whole.clone();
            shorter.remove(place);
            assert_eq!(verify(&shorter, &head(&whole), &[]).unwrap().0, place as u64 + 1);
            let mut longer = whole.clone();
            longer.insert(place, whole[place].clone());
            assert_eq!(verify(&longer, &head(&whole), &[]).unwrap().0, place as u64 + 2);
            let mut moved = whole.clone();
            moved.swap(place, place + 1);
            assert_eq!(verify(&moved, &head(&whole), &[]).unwrap().0, place as u64 + 1);
        }
    }

    #[test]
    fn truncated_trail_is_found_by_its_anchor() {
        let whole = trail(5);
        let cut = &whole[..3];
        assert_eq!(verify(cut, &head(&whole), &[]).unwrap().0, 4, "the head of the API");
        assert_eq!(verify(cut, &head(cut), &[]), None, "a changed head hides it");
        let (sequence, reason) = verify(cut, &head(cut), &[anchor(&whole[4])]).unwrap();
        assert_eq!(sequence, 4);
        assert!(reason.contains("anchor for entry 5"), "{reason}");
        assert_eq!(verify(&whole, &head(cut), &[]).unwrap().0, 4, "a head that was set back");
    }

    #[test]
    fn rewritten_trail_is_found_by_its_anchor() {
        let whole = trail(5);
        let mut forged = Vec::new();
        let mut last = None;
        for entry in &whole {
            let mut entry = sealed(&serde_json::from_value(entry.clone()).unwrap());
            entry.event.actor.key_id = "somebody else".into();
            let again = entry.event.seal(last.as_ref());
            last = Some(again.head());
            let mut shown = whole[forged.len()].clone();
            shown["actor"]["key_id"] = "somebody else".into();
            shown["previous_hash"] = again.previous_hash.into();
            shown["hash"] = again.hash.into();
            forged.push(shown);
        }
        assert_eq!(verify(&forged, &head(&forged), &[]), None);
        assert_eq!(verify(&forged, &head(&forged), &[anchor(&whole[2])]).unwrap().0, 3);
    }

    #[test]
    fn entry_added_during_verification_is_valid() {
        let whole = trail(4);
        let mut reading = TrailReader::new(&[]);
        let page = |from: usize, to: usize, end: usize| -> AuditPage {
            let page = json!({"data": &whole[from..to], "has_more": false, "head": head(&whole[..end])});
            serde_json::from_value(page).unwrap()
        };
        // The head is read a moment before or after the entries.
        assert_eq!(reading.read(&page(0, 2, 3)).unwrap(), Progress::More);
        assert_eq!(reading.read(&page(2, 2, 3)).unwrap(), Progress::More);
        assert_eq!(reading.read(&page(2, 4, 4)).unwrap(), Progress::Complete);
    }

    #[test]
    fn anchor_is_a_number_and_a_hash() {
        let hash = "AB".repeat(32);
        let expected = Anchor { sequence: 12, hash: hash.to_ascii_lowercase() };
        assert_eq!(format!("12:{hash}\n").parse(), Ok(expected));
        for text in ["", "12", "12:ab", &format!("x:{hash}"), &format!("0:{hash}"), &format!("1:{NO_HASH}")] {
            assert!(text.parse::<Anchor>().is_err(), "{text}");
        }
    }
}
