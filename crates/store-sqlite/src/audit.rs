//! The audit trail. Only the writer thread seals entries, so each follows the one before it.
//!
//! No list has archived entries, whether they are deleted or not.

use onerun_auth::{AuditEvent, AuditHead};
use onerun_domain::{Direction, PageRequest};
use onerun_store::{AuditPage, PageBuilder, StoreError, audit_body, position, read_audit};
use rusqlite::{Connection, params};

use crate::{lists, sql};

const WHAT: &str = "audit entry";

/// Appends an event to the trail.
pub(crate) fn append(connection: &Connection, event: AuditEvent) -> Result<(), StoreError> {
    let entry = event.seal(head(connection)?.as_ref());
    sql::execute(
        connection,
        WHAT,
        "INSERT INTO audit (sequence, hash, body) VALUES (?1, ?2, ?3)",
        params![sql::integer(entry.sequence), entry.hash, audit_body(&entry)],
    )?;
    Ok(())
}

/// One page of the trail, and its head at the same moment.
pub(crate) fn list(
    connection: &Connection,
    direction: Direction,
    page: &PageRequest,
) -> Result<AuditPage, StoreError> {
    let (after, offset) = lists::numbered(&page.start)?;
    let archived = archived(connection)?;
    let beginning = archived.as_ref().map_or(0, |archived| sql::integer(archived.sequence));
    let (sql, first, is_archived) = match direction {
        Direction::Ascending => (
            "SELECT body FROM audit WHERE sequence > ?1 AND sequence > ?4 ORDER BY sequence ASC LIMIT ?2 OFFSET ?3",
            0,
            after.is_some_and(|after| after < beginning),
        ),
        Direction::Descending => (
            "SELECT body FROM audit WHERE sequence < ?1 AND sequence > ?4 ORDER BY sequence DESC LIMIT ?2 OFFSET ?3",
            i64::MAX,
            archived.is_some() && after.is_some_and(|after| after <= beginning),
        ),
    };
    if is_archived {
        return Err(StoreError::ArchivedPosition);
    }
    let mut entries = PageBuilder::new(page.limit);
    let bounds = params![after.unwrap_or(first), sql::overfull(page.limit), offset, beginning];
    sql::each(connection, WHAT, sql, bounds, |columns| {
        let entry = read_audit(&columns.value::<String>()?)?;
        let position = position(&entry.sequence);
        Ok(entries.push(entry, position))
    })?;
    Ok(AuditPage { entries: entries.finish(), head: head(connection)?, archived })
}

/// Records that the archive has all entries up to `last`.
pub(crate) fn set_archived(connection: &Connection, last: &AuditHead) -> Result<bool, StoreError> {
    let changed = sql::execute(
        connection,
        WHAT,
        "INSERT INTO audit_archive (only_row, sequence, hash)
        SELECT 1, sequence, hash FROM audit
        WHERE sequence = ?1 AND hash = ?2 AND sequence > coalesce((SELECT sequence FROM audit_archive), 0)
        ON CONFLICT (only_row) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash",
        params![sql::integer(last.sequence), last.hash],
    )?;
    Ok(changed == 1)
}

/// Whether an archived entry is not deleted yet.
pub(crate) fn has_archived(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM audit WHERE sequence <= (SELECT sequence FROM audit_archive) LIMIT 1";
    Ok(sql::one(connection, WHAT, sql, [], |_| Ok(()))?.is_some())
}

/// Deletes up to `limit` archived entries. Returns whether some may be left.
pub(crate) fn delete_archived(connection: &Connection, limit: u32) -> Result<bool, StoreError> {
    let sql = "DELETE FROM audit WHERE sequence IN (
            SELECT sequence FROM audit WHERE sequence <= (SELECT sequence FROM audit_archive)
            ORDER BY sequence LIMIT ?1)";
    Ok(sql::execute(connection, WHAT, sql, params![limit])? == usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The last entry of the trail, which may be archived.
fn head(connection: &Connection) -> Result<Option<AuditHead>, StoreError> {
    let last = entry(connection, "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")?;
    if last.is_some() { Ok(last) } else { archived(connection) }
}

/// The last archived entry.
fn archived(connection: &Connection) -> Result<Option<AuditHead>, StoreError> {
    entry(connection, "SELECT sequence, hash FROM audit_archive")
}

fn entry(connection: &Connection, sql: &str) -> Result<Option<AuditHead>, StoreError> {
    sql::one(connection, WHAT, sql, [], |columns| {
        Ok(AuditHead { sequence: columns.number()?, hash: columns.value()? })
    })
}
