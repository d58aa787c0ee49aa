//! Reports of leaked keys.

use std::sync::Arc;

use onerun_auth::{AuditAction, KeyRecord, ManagedKey, RateLimit};
use onerun_domain::sha256_hex;
use onerun_store::{ChangeKey, DecideKey, KeyChange};
use subtle::ConstantTimeEq;

use super::{
    Keys, KeysError, RequestOrigin,
    audit::{Details, event},
    ends::MakeChange,
    events::jobs_of,
};

/// Reports without a valid key are counted for each of this number of parts of all addresses. With many parts, one
/// reporter seldom stops another; with a fixed number, reporters cannot fill the store with counts.
const REPORT_PARTS: u32 = 256;
const REPORT_LIMIT: RateLimit = match RateLimit::new(60, 60) {
    Some(limit) => limit,
    None => panic!("60 requests in 60 s are a limit"),
};

impl Keys {
    /// Revokes every valid key in a report of leaked keys. Anyone who holds a key may revoke it, and the result does
    /// not tell whether a key was valid, so that a guess teaches nothing.
    ///
    /// Keys are revoked before the report is counted, so a valid one is revoked after any number of reports. Reports
    /// without a valid key are counted by address.
    pub async fn revoke_leaked(&self, texts: &[String], origin: &RequestOrigin) -> Result<(), KeysError> {
        let mut has_valid_key = false;
        for text in texts {
            has_valid_key |= self.revoke_if_valid(text, origin).await?;
        }
        if has_valid_key { Ok(()) } else { self.count_report(origin).await }
    }

    /// Revokes the key in a text. Returns whether the text is a valid key.
    async fn revoke_if_valid(&self, text: &str, origin: &RequestOrigin) -> Result<bool, KeysError> {
        let now = self.now();
        let Ok(key) = ManagedKey::parse(text) else { return Ok(false) };
        let Some(record) = self.store.key(key.id()).await? else { return Ok(false) };
        if !bool::from(key.digest().ct_eq(&record.digest)) {
            return Ok(false);
        }
        let record = self.in_force(record);
        if record.revoked_at.is_some() {
            return Ok(true);
        }
        let actor = origin.actor(key.id());
        let event = event(actor, AuditAction::RevokeLeaked, key.id(), Details::new(), now);
        let make_change: MakeChange = Arc::new(move || {
            let event = event.clone();
            let decide: DecideKey = Box::new(move |record: KeyRecord, _| {
                if record.revoked_at.is_some() {
                    return Ok(KeyChange::None(record));
                }
                let record = record.revoke(now);
                let jobs = jobs_of(AuditAction::RevokeLeaked, &record, &event, now);
                Ok(KeyChange::To { record: record.into(), event: event.clone(), jobs })
            });
            ChangeKey { caller: None, is_ending: true, decide }
        });
        self.write_end(record.revoke(now), make_change(), make_change).await?;
        Ok(true)
    }

    async fn count_report(&self, origin: &RequestOrigin) -> Result<(), KeysError> {
        let hash = sha256_hex([origin.address_text().unwrap_or_default().as_str()]);
        let part = u32::from_str_radix(&hash[..8], 16).unwrap_or_default() % REPORT_PARTS;
        let now = self.now();
        let count = self.store.count_request(&format!("reports#{part}"), REPORT_LIMIT, now).await?;
        let status = REPORT_LIMIT.status(count, now);
        if status.is_exceeded { Err(KeysError::TooManyReports(status)) } else { Ok(()) }
    }
}
