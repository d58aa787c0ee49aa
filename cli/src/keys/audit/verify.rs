//! `onerun keys audit --verify`: the verification of the audit trail.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use anyhow::bail;
use onerun_auth::{AuditCheck, AuditEvent, NO_HASH};
use onerun_client::{
    Client,
    resource::{AuditEntry, AuditHead, AuditOrder, AuditPage, PageRequest, Start},
};
use serde::Serialize;

use super::archive::{self, ArchiveFile};
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
    /// The number of the first entry that was verified: 1, unless archived entries were left out.
    from: u64,
    /// The number of the last valid entry.
    entries: u64,
    /// The last entry; `None` if the trail is empty or invalid.
    head: Option<AuditHead>,
    /// The number of the first invalid entry.
    first_wrong: Option<u64>,
    /// Why that entry is invalid.
    reason: Option<String>,
}

/// Verifies the trail, and the files of its archive before it.
pub(super) async fn verify(
    client: &Client,
    anchors: &[Anchor],
    files: &[PathBuf],
    json: bool,
) -> anyhow::Result<()> {
    let files = archive::sorted(files)?;
    let request = PageRequest::first(PAGE as usize);
    let page = client.list_audit(AuditOrder::Oldest, request.clone()).await?.into_value();
    let archived = page.archived.clone();
    if files.is_empty()
        && let Some(archived) = &archived
        && let Some(anchor) = anchors.iter().find(|one| (1..archived.sequence).contains(&one.sequence))
    {
        bail!(
            "entry {} of `--anchor` is archived; name the files of the archive with `--archive`",
            anchor.sequence
        );
    }
    let mut trail = TrailReader::new(anchors, archived);
    let mut failed = read_archive(&mut trail, &files)?;
    if failed.is_none() {
        failed = read_pages(client, &mut trail, page, request).await?.or_else(|| trail.missing_anchor());
    }
    report(&trail, failed, json)
}

/// Reads the files, which must have all archived entries.
fn read_archive(trail: &mut TrailReader, files: &[PathBuf]) -> anyhow::Result<Option<Invalid>> {
    for path in files {
        let mut file = ArchiveFile::open(path)?;
        while let Some(entry) = file.next_entry()? {
            if let Err(invalid) = trail.read_line(&file.name, file.line, &entry) {
                return Ok(Some(invalid));
            }
        }
    }
    Ok(trail.begin(!files.is_empty()).err())
}

/// Reads the pages of the API from `page` on.
async fn read_pages(
    client: &Client,
    trail: &mut TrailReader,
    mut page: AuditPage,
    mut request: PageRequest,
) -> anyhow::Result<Option<Invalid>> {
    loop {
        if page.archived != trail.archived {
            bail!("entries were archived during the verification; run the command again");
        }
        match trail.read(&page) {
            Ok(Progress::More) => {}
            Ok(Progress::Complete) => return Ok(None),
            Err(invalid) => return Ok(Some(invalid)),
        }
        request = match page.following(&request) {
            Some(next) => next,
            // Entries were added while the last page was read.
            None => PageRequest { start: Start::Offset(u32::try_from(trail.listed())?), ..request },
        };
        page = client.list_audit(AuditOrder::Oldest, request.clone()).await?.into_value();
    }
}

fn report(trail: &TrailReader, failed: Option<Invalid>, json: bool) -> anyhow::Result<()> {
    let head = trail.head();
    let (from, entries) = (trail.from, trail.entries());
    if json {
        let verification = match &failed {
            None => Verification {
                valid: true,
                from,
                entries,
                head: head.clone(),
                first_wrong: None,
                reason: None,
            },
            Some(Invalid { sequence, reason }) => Verification {
                valid: false,
                from,
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
            let matching = match from.saturating_sub(1) {
                0 => format!("The hashes of all {entries} entries match."),
                archived => format!(
                    "The hashes of the entries after {archived} match. Entries up to {archived} are archived and were not \
                     verified: name the files of the archive with `--archive`."
                ),
            };
            output::print_note(&format!("{matching} {known} Store the line elsewhere, for `--anchor`.\n"));
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

/// Verifies an audit trail: the files of its archive, then page by page what the API lists.
struct TrailReader {
    check: AuditCheck,
    anchors: Vec<Anchor>,
    /// How many pages were empty although the head was not reached.
    empty_pages: u32,
    /// The number of the first entry that is verified.
    from: u64,
    /// The last archived entry, as the API reports it.
    archived: Option<AuditHead>,
    /// The hashes of the entries in files from the last archived one on.
    in_files: BTreeMap<u64, String>,
}

impl TrailReader {
    fn new(anchors: &[Anchor], archived: Option<AuditHead>) -> Self {
        Self {
            check: AuditCheck::default(),
            anchors: anchors.to_vec(),
            empty_pages: 0,
            from: 1,
            archived,
            in_files: BTreeMap::new(),
        }
    }

    /// The number of the last valid entry.
    fn entries(&self) -> u64 {
        self.check.head().map_or(0, |head| head.sequence)
    }

    /// How many valid entries the API has listed.
    fn listed(&self) -> u64 {
        self.entries().saturating_sub(self.last_archived())
    }

    fn last_archived(&self) -> u64 {
        self.archived.as_ref().map_or(0, |archived| archived.sequence)
    }

    /// Verifies the next entry against the one before it and the anchors.
    fn take(&mut self, entry: &AuditEntry) -> Result<(), String> {
        self.check.take(&sealed(entry)).map_err(|error| error.to_string())?;
        let anchor = self.anchors.iter().find(|anchor| anchor.sequence == entry.sequence);
        if anchor.is_some_and(|anchor| anchor.hash != entry.hash) {
            return Err("it differs from `--anchor`".to_owned());
        }
        Ok(())
    }

    /// Verifies the next entry in the files of the archive.
    fn read_line(&mut self, name: &str, line: u64, entry: &AuditEntry) -> Result<(), Invalid> {
        let (expected, found, is_first) = (self.entries() + 1, entry.sequence, line == 1);
        self.take(entry).map_err(|reason| {
            let reason = if is_first && found > expected {
                format!("no file has the entries from {expected} to {} before {name}", found - 1)
            } else if is_first && found < expected {
                format!("{name} begins with entry {found}, which another file has, too")
            } else {
                format!("{name}, line {line}: {reason}")
            };
            Invalid { sequence: expected.min(found.max(1)), reason }
        })?;
        if found >= self.last_archived() {
            self.in_files.insert(found, entry.hash.clone());
        }
        Ok(())
    }

    /// Continues with the entries that the API lists, after the last archived one. Files must have all entries up to
    /// that one, if there are any.
    fn begin(&mut self, has_files: bool) -> Result<(), Invalid> {
        let mut head = None;
        if let Some(AuditHead { sequence, hash }) = &self.archived {
            let (sequence, read) = (*sequence, self.entries());
            let differs = |reason: &str| Invalid { sequence, reason: reason.to_owned() };
            if has_files && read < sequence {
                let reason = format!("the entries up to {sequence} are archived, and no file has them");
                return Err(Invalid { sequence: read + 1, reason });
            }
            if self.in_files.get(&sequence).is_some_and(|found| found != hash) {
                return Err(differs(
                    "the API reports another hash for the last archived entry than the file has",
                ));
            }
            if self.anchors.iter().any(|anchor| anchor.sequence == sequence && anchor.hash != *hash) {
                return Err(differs("it differs from `--anchor`"));
            }
            if !has_files {
                self.from = sequence + 1;
            }
            head = Some(onerun_auth::AuditHead { sequence, hash: hash.clone() });
        }
        self.check = AuditCheck::after(head);
        Ok(())
    }

    fn head(&self) -> Option<AuditHead> {
        self.check.head().map(|head| AuditHead { sequence: head.sequence, hash: head.hash.clone() })
    }

    /// Verifies the next page against the entries before it, the anchors, and the head that the API reports.
    fn read(&mut self, page: &AuditPage) -> Result<Progress, Invalid> {
        for entry in &page.data {
            let sequence = self.entries() + 1;
            self.take(entry).map_err(|reason| Invalid { sequence, reason })?;
            if self.in_files.get(&sequence).is_some_and(|hash| *hash != entry.hash) {
                let reason = "a file of the archive has another entry with this number".to_owned();
                return Err(Invalid { sequence, reason });
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
            if let Some((last, _)) = self.in_files.last_key_value()
                && *last > end
            {
                let reason = format!(
                    "a file of the archive has entry {last}, but the API reports entry {end} as the last"
                );
                return Err(Invalid { sequence: end + 1, reason });
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
        let mut trail = TrailReader::new(anchors, None);
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

    /// A trail whose entries were changed and hashed again.
    fn forged(whole: &[Value]) -> Vec<Value> {
        let mut forged = Vec::new();
        let mut last = None;
        for entry in whole {
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
        forged
    }

    #[test]
    fn rewritten_trail_is_found_by_its_anchor() {
        let whole = trail(5);
        let forged = forged(&whole);
        assert_eq!(verify(&forged, &head(&forged), &[]), None);
        assert_eq!(verify(&forged, &head(&forged), &[anchor(&whole[2])]).unwrap().0, 3);
    }

    #[test]
    fn entry_added_during_verification_is_valid() {
        let whole = trail(4);
        let mut reading = TrailReader::new(&[], None);
        let page = |from: usize, to: usize, end: usize| -> AuditPage {
            let page = json!({"data": &whole[from..to], "has_more": false, "head": head(&whole[..end])});
            serde_json::from_value(page).unwrap()
        };
        // The head is read a moment before or after the entries.
        assert_eq!(reading.read(&page(0, 2, 3)).unwrap(), Progress::More);
        assert_eq!(reading.read(&page(2, 2, 3)).unwrap(), Progress::More);
        assert_eq!(reading.read(&page(2, 4, 4)).unwrap(), Progress::Complete);
    }

    /// Verifies files, each with some entries of a trail, and then the rest of the trail.
    fn verify_files(files: &[&[Value]], archived: u64, trail: &[Value]) -> Result<u64, (u64, String)> {
        let end = |number: u64| usize::try_from(number).unwrap();
        let archived_head: Option<AuditHead> = serde_json::from_value(head(&trail[..end(archived)])).unwrap();
        let mut reading = TrailReader::new(&[], archived_head);
        let mut read = || -> Result<u64, Invalid> {
            for (number, file) in files.iter().enumerate() {
                for (line, entry) in (1..).zip(*file) {
                    let entry = serde_json::from_value(entry.clone()).unwrap();
                    reading.read_line(&format!("file {number}"), line, &entry)?;
                }
            }
            reading.begin(!files.is_empty())?;
            let page = json!({"data": &trail[end(archived)..], "has_more": false, "head": head(trail)});
            assert_eq!(reading.read(&serde_json::from_value(page).unwrap())?, Progress::Complete);
            Ok(reading.from)
        };
        read().map_err(|Invalid { sequence, reason }| (sequence, reason))
    }

    #[test]
    fn files_and_the_rest_of_the_trail_are_one_chain() {
        let whole = trail(6);
        let (first, second) = (&whole[..2], &whole[2..4]);
        assert_eq!(verify_files(&[first, second], 4, &whole), Ok(1));
        assert_eq!(verify_files(&[], 4, &whole), Ok(5));
        // A part that was written and not recorded yet.
        assert_eq!(verify_files(&[first, second], 2, &whole), Ok(1));
        assert_eq!(verify_files(&[&whole[..]], 6, &whole), Ok(1));
    }

    #[test]
    fn missing_doubled_reordered_or_other_file_is_named() {
        let whole = trail(6);
        let files = [&whole[..2], &whole[2..4]];
        let mut swapped = files[1].to_vec();
        swapped.swap(0, 1);
        let mut changed = files[1].to_vec();
        changed[1]["actor"]["key_id"] = "other".into();
        let mut other = trail(5)[2..].to_vec();
        other[0]["details"]["name"] = "another trail".into();
        for (files, sequence, expected) in [
            (&files[1..], 1, "no file has the entries from 1 to 2 before file 0"),
            (&files[..1], 3, "the entries up to 4 are archived, and no file has them"),
            (
                &[files[0], files[0], files[1]][..],
                1,
                "file 1 begins with entry 1, which another file has, too",
            ),
            (&[files[0], &swapped][..], 3, "no file has the entries from 3 to 3 before file 1"),
            (&[files[0], &changed][..], 4, "file 1, line 2: entry 4 was changed"),
            (&[files[0], &other][..], 3, "file 1, line 1: entry 3 was changed"),
        ] {
            assert_eq!(verify_files(files, 4, &whole), Err((sequence, expected.to_owned())));
        }
        // Its hashes are right, but the API lists another trail.
        let of_another = verify_files(&[&whole[..5]], 0, &forged(&whole));
        assert_eq!(of_another.unwrap_err().1, "a file of the archive has another entry with this number");
        let longer = verify_files(&[&whole[..5]], 0, &whole[..4]).unwrap_err();
        assert_eq!(
            longer,
            (5, "a file of the archive has entry 5, but the API reports entry 4 as the last".to_owned())
        );
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
