//! `onerun keys audit`: what was done with keys, and whether the record of it is whole.

use std::str::FromStr;

use clap::Args;
use onerun_auth::{AuditCheck, AuditEvent, NO_HASH};
use onerun_client::{
    Client, Verbatim,
    resource::{AuditEntry, AuditHead, AuditOrder, AuditPage, PageRequest, Start},
};
use serde::Serialize;

use crate::{
    api::Connection,
    list::{self, PAGE, Paging},
    outcome::No,
    output, text,
};

/// What is listed or checked.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Check that the entries' hashes fit, and print where the trail ends, as SEQUENCE:HASH. Hashes have no secret: whoever can
    /// write to the database can rewrite entries and compute them again, or remove the last. Only `--anchor` finds that.
    #[arg(long, conflicts_with_all = ["limit", "offset", "all", "oldest"])]
    verify: bool,
    /// A line that `--verify` printed before and that was kept out of the database's reach: the check fails if the trail up to
    /// that entry is another; several.
    #[arg(long, value_name = "SEQUENCE:HASH", requires = "verify")]
    anchor: Vec<Anchor>,
    /// The first entry first.
    #[arg(long)]
    oldest: bool,
    #[command(flatten)]
    paging: Paging,
    /// Print what the API answers; with `--verify`, what was found.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// An entry by its number and hash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Anchor {
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
        let (sequence, hash) = parts.ok_or("a number, a colon and 64 hexadecimal digits")?;
        if (sequence == 0) != (hash == NO_HASH) {
            return Err("0 and a hash of zeros stand for an empty trail, and for nothing else".to_owned());
        }
        Ok(Self { sequence, hash })
    }
}

pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let client = options.connection.client()?;
    if options.verify {
        return verify(&client, options).await;
    }
    let order = if options.oldest { AuditOrder::Oldest } else { AuditOrder::Newest };
    if options.paging.all {
        let (mut entries, head) = all(&client).await?;
        if order == AuditOrder::Newest {
            entries.reverse();
        }
        if !options.json {
            return output::print(&rows(&entries));
        }
        let (data, head) = (list::array(&entries), serde_json::to_string(&head)?);
        return output::print_json(&format!(
            "{{\"data\":{data},\"has_more\":false,\"next_cursor\":null,\"head\":{head}}}"
        ));
    }
    let request = options.paging.first();
    let page = client.list_audit(order, request.clone()).await?;
    if options.json {
        return output::print_json(page.json());
    }
    output::print(&rows(&page.data))?;
    options.paging.hint(page.following(&request));
    Ok(())
}

fn rows(entries: &[Verbatim<AuditEntry>]) -> String {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            // Its name first: there is room for little more.
            let (names, others): (Vec<_>, Vec<_>) =
                entry.details.iter().partition(|(name, _)| *name == "name");
            let details: Vec<String> =
                names.into_iter().chain(others).map(|(name, value)| format!("{name}={value}")).collect();
            [
                entry.sequence.to_string(),
                text::time(&entry.at),
                text::plain(&entry.action),
                text::plain(&entry.key_id),
                text::plain(&entry.actor.key_id),
                text::plain(entry.actor.address.as_deref().unwrap_or("-")),
                text::plain(&details.join(", ")),
            ]
        })
        .collect();
    text::table(["NO.", "AT (UTC)", "ACTION", "KEY", "BY", "FROM", "DETAILS"], &[6], &rows)
}

/// Every entry, oldest first, so that what is added meanwhile moves nothing.
async fn all(client: &Client) -> anyhow::Result<(Vec<Verbatim<AuditEntry>>, Option<AuditHead>)> {
    let mut entries = Vec::new();
    let mut request = PageRequest::first(PAGE as usize);
    loop {
        let page = client.list_audit(AuditOrder::Oldest, request.clone()).await?.into_value();
        let next = page.following(&request);
        entries.extend(page.data);
        match next {
            Some(next) => request = next,
            None => return Ok((entries, page.head)),
        }
    }
}

/// What `--verify --json` prints.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Finding {
    valid: bool,
    /// How many entries are as they were written, from the first on.
    entries: u64,
    /// Where the trail ends; none if it is empty or not whole.
    head: Option<AuditHead>,
    /// The number of the first entry that is wrong.
    first_wrong: Option<u64>,
    /// What is wrong with it.
    reason: Option<String>,
}

async fn verify(client: &Client, options: &Options) -> anyhow::Result<()> {
    let mut trail = Trail::new(&options.anchor);
    let mut failed = None;
    let mut request = PageRequest::first(PAGE as usize);
    loop {
        let page = client.list_audit(AuditOrder::Oldest, request.clone()).await?;
        let next = page.following(&request);
        match trail.take(&page) {
            Ok(Reading::Goes) => {
                request = match next {
                    Some(next) => next,
                    // The end moved while the last page was read.
                    None => PageRequest { start: Start::Offset(u32::try_from(trail.entries())?), ..request },
                };
            }
            Ok(Reading::Ends) => break,
            Err(wrong) => {
                failed = Some(wrong);
                break;
            }
        }
    }
    if failed.is_none() {
        failed = trail.missing_anchor();
    }
    report(&trail, failed, options.json)
}

fn report(trail: &Trail, failed: Option<Wrong>, json: bool) -> anyhow::Result<()> {
    let head = trail.head();
    let entries = trail.entries();
    if json {
        let finding = match &failed {
            None => Finding { valid: true, entries, head: head.clone(), first_wrong: None, reason: None },
            Some(Wrong { sequence, reason }) => Finding {
                valid: false,
                entries,
                head: None,
                first_wrong: Some(*sequence),
                reason: Some(reason.clone()),
            },
        };
        output::print_json(&serde_json::to_string(&finding)?)?;
    }
    match failed {
        Some(Wrong { sequence, reason }) => {
            Err(No(format!("the audit trail is not what it was, from entry {sequence} on: {reason}")).into())
        }
        None if json => Ok(()),
        None => {
            let AuditHead { sequence, hash } =
                head.unwrap_or_else(|| AuditHead { sequence: 0, hash: NO_HASH.to_owned() });
            output::print(&format!("{sequence}:{hash}\n"))?;
            let known = match trail.last_anchor() {
                Some(0) | None => {
                    "Whoever can write to the database can rewrite them so that they do; only an anchor shows that."
                        .to_owned()
                }
                Some(last) => format!(
                    "Up to entry {last} they are those of the anchor; whoever can write to the database can rewrite \
                     those after it."
                ),
            };
            output::remark(&format!(
                "The hashes of all {entries} entries fit. {known} Keep the line elsewhere, for `--anchor`.\n"
            ));
            Ok(())
        }
    }
}

/// The first entry that is wrong, and how.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    sequence: u64,
    reason: String,
}

/// Whether a trail has been read to its end.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Goes,
    Ends,
}

/// A trail, as far as it has been read.
struct Trail {
    check: AuditCheck,
    anchors: Vec<Anchor>,
    /// How often the API named an end that it did not list.
    short: u32,
}

impl Trail {
    fn new(anchors: &[Anchor]) -> Self {
        Self { check: AuditCheck::default(), anchors: anchors.to_vec(), short: 0 }
    }

    fn entries(&self) -> u64 {
        self.check.head().map_or(0, |head| head.sequence)
    }

    fn head(&self) -> Option<AuditHead> {
        self.check.head().map(|head| AuditHead { sequence: head.sequence, hash: head.hash.clone() })
    }

    /// Takes what the API lists next, and the end that it names with it.
    fn take(&mut self, page: &AuditPage) -> Result<Reading, Wrong> {
        for entry in &page.data {
            let expected = self.entries() + 1;
            let wrong = |reason: String| Wrong { sequence: expected, reason };
            self.check.take(&sealed(entry)).map_err(|error| wrong(error.to_string()))?;
            if let Some(anchor) = self.anchors.iter().find(|anchor| anchor.sequence == entry.sequence)
                && anchor.hash != entry.hash
            {
                return Err(wrong("it is not the one that was noted for `--anchor`".to_owned()));
            }
        }
        let named = page.head.as_ref();
        let (read, end) = (self.entries(), named.map_or(0, |head| head.sequence));
        if end < read {
            let reason = format!("it is listed, and the trail is said to end at entry {end}");
            return Err(Wrong { sequence: end + 1, reason });
        }
        if end == read {
            if self.head().as_ref() != named {
                let reason = "the trail is said to end with another entry of this number".to_owned();
                return Err(Wrong { sequence: read, reason });
            }
            return Ok(Reading::Ends);
        }
        // An entry that is added just now may be named and not listed yet; the next page has it.
        if page.data.is_empty() {
            self.short += 1;
        }
        if self.short > 3 {
            let reason = format!("it is not listed, and the trail is said to end at entry {end}");
            return Err(Wrong { sequence: read + 1, reason });
        }
        Ok(Reading::Goes)
    }

    /// An entry that was noted, and comes after the end.
    fn last_anchor(&self) -> Option<u64> {
        self.anchors.iter().map(|anchor| anchor.sequence).max()
    }

    fn missing_anchor(&self) -> Option<Wrong> {
        let end = self.entries();
        let noted = self.anchors.iter().map(|anchor| anchor.sequence).filter(|noted| *noted > end).max()?;
        let reason = format!("it is gone: entry {noted} was noted, and the trail ends at entry {end}");
        Some(Wrong { sequence: end + 1, reason })
    }
}

/// An entry as it was hashed.
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

    /// A trail of so many entries, as the API has it.
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

    /// What is found in a trail that is listed in pages of two.
    fn verify(listed: &[Value], head: &Value, anchors: &[Anchor]) -> Option<(u64, String)> {
        let mut trail = Trail::new(anchors);
        for _ in 0..listed.len() + 5 {
            let data: Vec<_> =
                listed.iter().skip(usize::try_from(trail.entries()).unwrap()).take(2).collect();
            let page = json!({"data": data, "has_more": false, "head": head});
            match trail.take(&serde_json::from_value(page).unwrap()) {
                Ok(Reading::Goes) => {}
                Ok(Reading::Ends) => {
                    return trail.missing_anchor().map(|Wrong { sequence, reason }| (sequence, reason));
                }
                Err(Wrong { sequence, reason }) => return Some((sequence, reason)),
            }
        }
        panic!("it does not end")
    }

    #[test]
    fn a_whole_trail_is_whole() {
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
    fn every_change_of_every_member_is_found_where_it_is() {
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
    fn what_is_taken_out_put_in_or_moved_is_found_where_it_is() {
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
    fn an_end_that_is_gone_is_found_by_what_was_noted() {
        let whole = trail(5);
        let cut = &whole[..3];
        assert_eq!(verify(cut, &head(&whole), &[]).unwrap().0, 4, "the head that the API names");
        assert_eq!(verify(cut, &head(cut), &[]), None, "if that is changed too, nothing can be seen");
        let (sequence, reason) = verify(cut, &head(cut), &[anchor(&whole[4])]).unwrap();
        assert_eq!(sequence, 4);
        assert!(reason.contains("entry 5 was noted"), "{reason}");
        assert_eq!(verify(&whole, &head(cut), &[]).unwrap().0, 4, "a head that was set back");
    }

    #[test]
    fn a_trail_that_was_written_anew_is_found_by_what_was_noted() {
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
    fn what_is_added_meanwhile_is_no_fault() {
        let whole = trail(4);
        let mut reading = Trail::new(&[]);
        let page = |from: usize, to: usize, end: usize| -> AuditPage {
            let page = json!({"data": &whole[from..to], "has_more": false, "head": head(&whole[..end])});
            serde_json::from_value(page).unwrap()
        };
        // The end is read a moment before, or after, what is listed.
        assert_eq!(reading.take(&page(0, 2, 3)).unwrap(), Reading::Goes);
        assert_eq!(reading.take(&page(2, 2, 3)).unwrap(), Reading::Goes);
        assert_eq!(reading.take(&page(2, 4, 4)).unwrap(), Reading::Ends);
    }

    #[test]
    fn an_anchor_is_a_number_and_a_hash() {
        let hash = "AB".repeat(32);
        let expected = Anchor { sequence: 12, hash: hash.to_ascii_lowercase() };
        assert_eq!(format!("12:{hash}\n").parse(), Ok(expected));
        for text in ["", "12", "12:ab", &format!("x:{hash}"), &format!("0:{hash}"), &format!("1:{NO_HASH}")] {
            assert!(text.parse::<Anchor>().is_err(), "{text}");
        }
    }
}
