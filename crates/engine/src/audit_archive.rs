//! The archive of the audit trail: whole months of entries that ended some time ago leave the store for files.
//!
//! A step archives one part: consecutive entries of one month, from the first one that the store lists. It writes the
//! part's file, reads it back, records the part's last entry in the store, after which no list has the part, and
//! deletes the entries. A step that is interrupted is repeated: the file is found, or the entries that are left are
//! deleted. An entry never changes and the name of a file follows from its first entry, so steps at the same time do
//! the same.
//!
//! A part is verified before it is archived. A trail that was tampered with stays in the store.

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{AuditCheck, AuditEntry, AuditError, AuditHead};
use onerun_domain::{Clock, Direction, Limit, PageRequest, later, wire_time};
use onerun_store::{Store, StoreError};

/// How many archived entries one write deletes.
const ENTRIES_A_WRITE: u32 = 200;

/// The length of a month such as `2031-03`, with which times in the trail begin.
const MONTH: usize = 7;

/// Files that are added and never changed.
#[async_trait]
pub trait AuditArchive: Send + Sync {
    /// Adds a file durably, unless there is one with this name, and returns what the archive has under the name. Names
    /// consist of digits, hyphens and the ending `.jsonl`. A file has at most
    /// [`MAX_PAGE_BYTES`](onerun_store::MAX_PAGE_BYTES), unless it has one entry only.
    async fn add(&self, name: &str, content: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>>;
}

/// Why a step archived nothing. The entries are still in the store, or in the archive.
#[derive(Debug, thiserror::Error)]
pub enum AuditArchiveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive failed.
    #[error("the file {name} was not written to the archive")]
    Archive {
        /// The file.
        name: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The archive has other content under the name of the file.
    #[error(
        "the archive has another file {name}; compare it with the audit trail, and move it away if it does not belong \
         there"
    )]
    OtherFile {
        /// The file.
        name: String,
    },
    /// The trail was tampered with.
    #[error("the audit trail was changed, so it is not archived; `onerun keys audit --verify` says more")]
    Invalid(#[from] AuditError),
    /// An entry has no valid time.
    #[error("entry {sequence} of the audit trail has no valid time, so it is not archived")]
    Time {
        /// The entry.
        sequence: u64,
    },
}

/// The dependencies of an [`AuditArchiver`].
pub struct AuditArchiverParts {
    /// The store with the trail.
    pub store: Arc<dyn Store>,
    /// The archive.
    pub archive: Arc<dyn AuditArchive>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// How long after its end a month is archived.
    pub after: SignedDuration,
    /// The line of an entry in a file.
    pub line: fn(AuditEntry) -> String,
}

/// Archives the audit trail.
pub struct AuditArchiver(AuditArchiverParts);

/// Entries that are archived together.
struct Part {
    name: String,
    content: Vec<u8>,
    /// The number and hash of each entry.
    heads: Vec<AuditHead>,
}

impl AuditArchiver {
    /// An archiver over a store.
    pub fn new(parts: AuditArchiverParts) -> Self {
        Self(parts)
    }

    /// Archives one part of at most 1,000 entries. Returns whether there may be more.
    ///
    /// # Errors
    ///
    /// If the store or the archive fails, or if the trail or the archive was tampered with. Nothing is lost then, and a
    /// later step goes on.
    pub async fn step(&self) -> Result<bool, AuditArchiveError> {
        // An interrupted step may have left archived entries behind.
        self.delete_archived().await?;
        let Some(part) = self.next_part().await? else { return Ok(false) };
        let added = self.0.archive.add(&part.name, &part.content).await;
        let stored =
            added.map_err(|source| AuditArchiveError::Archive { name: part.name.clone(), source })?;
        let Some(last) = part.last_of(&stored) else {
            return Err(AuditArchiveError::OtherFile { name: part.name });
        };
        if self.0.store.set_audit_archived(last).await? {
            tracing::info!(
                file = part.name,
                last = last.sequence,
                hash = last.hash,
                "entries of the audit trail were archived"
            );
        }
        self.delete_archived().await?;
        Ok(true)
    }

    async fn delete_archived(&self) -> Result<(), StoreError> {
        while self.0.store.delete_archived_audit(ENTRIES_A_WRITE).await? {}
        Ok(())
    }

    /// The first entries of the trail that are in one month, if that ended long enough ago.
    async fn next_part(&self) -> Result<Option<Part>, AuditArchiveError> {
        let over: Timestamp = later(self.0.clock.now(), -self.0.after);
        let page = PageRequest::first(Limit::clamped(Limit::MAX));
        let page = self.0.store.audit(Direction::Ascending, page).await?;
        let mut check = AuditCheck::after(page.archived);
        let Some(first) = page.entries.data.first() else { return Ok(None) };
        let (month, sequence) = (month_of(first)?.to_owned(), first.sequence);
        if month.as_str() >= wire_time(over).get(..MONTH).unwrap_or_default() {
            return Ok(None);
        }
        let mut part =
            Part { name: format!("{month}-{sequence:010}.jsonl"), content: Vec::new(), heads: Vec::new() };
        for entry in page.entries.data {
            // A clock may have been behind. Such an entry belongs to the month before it.
            if month_of(&entry)? > month.as_str() {
                break;
            }
            check.take(&entry)?;
            part.heads.push(entry.head());
            part.content.extend((self.0.line)(entry).into_bytes());
            part.content.push(b'\n');
        }
        Ok(Some(part))
    }
}

impl Part {
    /// The last entry of a stored file: of this part, or of its beginning, which an interrupted step wrote when the
    /// trail or its bounds were smaller. `None` for other content.
    fn last_of(&self, stored: &[u8]) -> Option<&AuditHead> {
        let is_beginning = self.content.starts_with(stored) && stored.ends_with(b"\n");
        let lines = stored.split_inclusive(|byte| *byte == b'\n').count();
        is_beginning.then(|| self.heads.get(lines.checked_sub(1)?)).flatten()
    }
}

/// The month of an entry. It becomes a part of a file's name.
fn month_of(entry: &AuditEntry) -> Result<&str, AuditArchiveError> {
    let month = entry.event.at.get(..MONTH).filter(|month| {
        month.bytes().enumerate().all(|(index, byte)| match index {
            4 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    });
    month.ok_or(AuditArchiveError::Time { sequence: entry.sequence })
}
