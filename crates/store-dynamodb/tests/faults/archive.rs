//! The archive of the audit trail while calls fail.

use std::sync::atomic::{AtomicUsize, Ordering};

use onerun_auth::{AuditCheck, AuditHead, KeyPatch, KeyRecord};
use onerun_domain::{Direction, Limit, Name, PageRequest};
use onerun_store::{AuditPage, ChangeKey, KeyChange, KeyStore};
use onerun_store_dynamodb::DynamoDbStore;

use crate::{
    client::{Fault, Faulty},
    event, healthy, key, now, table,
};

/// A trail of four entries, and the head of each.
async fn trail(store: &DynamoDbStore) -> Vec<AuditHead> {
    store.insert_key(None, Box::new(|_| Ok(key()))).await.unwrap();
    for name in ["One", "Two", "Three"] {
        let rename = move |before: KeyRecord| {
            let event = event("update_key", &before.id);
            let patch = KeyPatch { name: Some(Name::parse(name).unwrap()), ..KeyPatch::default() };
            Ok(KeyChange::To { record: Box::new(before.update(patch, now())?), event, jobs: Vec::new() })
        };
        store.change_key(&key().record.id, ChangeKey::unasked(Box::new(rename))).await.unwrap();
    }
    read(store).await.entries.data.iter().map(onerun_auth::AuditEntry::head).collect()
}

/// The list, which must be one chain from the last archived entry to the head.
async fn read(store: &DynamoDbStore) -> AuditPage {
    let page = PageRequest::first(Limit::clamped(100));
    let page = store.audit(Direction::Ascending, page).await.unwrap();
    let mut check = AuditCheck::after(page.archived.clone());
    page.entries.data.iter().for_each(|entry| check.take(entry).unwrap());
    check.finish(page.head.as_ref()).unwrap();
    page
}

#[tokio::test(start_paused = true)]
async fn archive_that_ends_at_any_call_is_followed_up() {
    // Archiving makes four calls, and deleting seven.
    for end in 0..12 {
        for fault in [Fault::error(400, "AccessDeniedException"), Fault::Lost] {
            let table = table();
            let store = healthy(&table);
            let heads = trail(&store).await;
            let calls = AtomicUsize::new(0);
            let is_last = matches!(fault, Fault::Lost);
            let failing = Faulty::new(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
                call if call < end || (is_last && call > end) => Fault::None,
                _ => fault.clone(),
            });
            let failing = failing.store(&table);
            // The process ends somewhere here.
            if failing.set_audit_archived(&heads[2]).await.is_ok() {
                let _ = failing.delete_archived_audit(10).await;
            }
            let page = read(&store).await;
            assert!(page.archived.is_none_or(|archived| archived == heads[2]), "call {end}");

            store.set_audit_archived(&heads[2]).await.unwrap();
            while store.delete_archived_audit(10).await.unwrap() {}
            let page = read(&store).await;
            assert_eq!(
                (page.archived.as_ref(), page.head.as_ref()),
                (heads.get(2), heads.get(3)),
                "call {end}"
            );
            assert_eq!(page.entries.data.len(), 1, "call {end}");
        }
    }
}
