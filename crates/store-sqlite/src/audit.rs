//! The audit trail. Only the writer thread seals entries, so each follows the one before it.

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
    let (sql, first) = match direction {
        Direction::Ascending => {
            ("SELECT body FROM audit WHERE sequence > ?1 ORDER BY sequence ASC LIMIT ?2 OFFSET ?3", 0)
        }
        Direction::Descending => {
            ("SELECT body FROM audit WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2 OFFSET ?3", i64::MAX)
        }
    };
    let mut entries = PageBuilder::new(page.limit);
    let bounds = params![after.unwrap_or(first), sql::overfull(page.limit), offset];
    sql::each(connection, WHAT, sql, bounds, |columns| {
        let entry = read_audit(&columns.value::<String>()?)?;
        let position = position(&entry.sequence);
        Ok(entries.push(entry, position))
    })?;
    Ok(AuditPage { entries: entries.finish(), head: head(connection)? })
}

fn head(connection: &Connection) -> Result<Option<AuditHead>, StoreError> {
    let sql = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1";
    sql::one(connection, WHAT, sql, [], |columns| {
        Ok(AuditHead { sequence: columns.number()?, hash: columns.value()? })
    })
}
