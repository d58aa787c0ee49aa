//! The audit trail. Only the one thread that writes seals entries, so each follows the one before it.

use onerun_auth::{AuditEntry, AuditEvent, AuditHead};
use onerun_domain::{Direction, Page, PageRequest};
use onerun_store::{AuditPage, StoreError, audit_body, read_audit};
use rusqlite::{Connection, params};

use crate::sql;

const WHAT: &str = "audit entry";

/// Adds what happened to the end of the trail.
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
    page: PageRequest,
) -> Result<AuditPage, StoreError> {
    let sql = match direction {
        Direction::Ascending => "SELECT body FROM audit ORDER BY sequence ASC LIMIT ?1 OFFSET ?2",
        Direction::Descending => "SELECT body FROM audit ORDER BY sequence DESC LIMIT ?1 OFFSET ?2",
    };
    let bounds = params![sql::overfull(page.limit), page.offset];
    let entries: Vec<AuditEntry> =
        sql::all(connection, WHAT, sql, bounds, |columns| read_audit(&columns.value::<String>()?))?;
    Ok(AuditPage { entries: Page::from_overfull(entries, page.limit), head: head(connection)? })
}

fn head(connection: &Connection) -> Result<Option<AuditHead>, StoreError> {
    let sql = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1";
    sql::one(connection, WHAT, sql, [], |columns| {
        Ok(AuditHead { sequence: columns.number()?, hash: columns.value()? })
    })
}
