//! The archive of the audit trail: months leave the store for files, whatever fails in between.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use http::Method;
use jiff::SignedDuration;
use onerun_api::{Body, audit_line};
use onerun_auth::AuditHead;
use onerun_engine::{AuditArchive, AuditArchiveError, AuditArchiver, AuditArchiverParts};
use onerun_tests::app::TestApp;
use serde_json::{Value, json};

/// Longer than a month.
const OTHER_MONTH: SignedDuration = SignedDuration::from_hours(32 * 24);

const AFTER: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Where the archive fails next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    BeforeTheFile,
    /// The file is written, and the answer is lost.
    AfterTheFile,
}

/// An archive in memory.
#[derive(Default)]
pub(crate) struct Files {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    failure: Mutex<Option<Failure>>,
}

#[async_trait]
impl AuditArchive for Files {
    async fn add(&self, name: &str, content: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let failure = self.failure.lock().unwrap().take();
        if failure == Some(Failure::BeforeTheFile) {
            return Err("the archive is down".into());
        }
        let stored =
            self.files.lock().unwrap().entry(name.to_owned()).or_insert_with(|| content.to_vec()).clone();
        if failure == Some(Failure::AfterTheFile) {
            return Err("the connection broke".into());
        }
        Ok(stored)
    }
}

impl Files {
    fn names(&self) -> Vec<String> {
        self.files.lock().unwrap().keys().cloned().collect()
    }

    /// The entries of all files.
    fn entries(&self) -> Vec<Value> {
        let files = self.files.lock().unwrap();
        let text: String = files.values().map(|file| String::from_utf8(file.clone()).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn archiver(app: &TestApp, files: &Arc<Files>) -> AuditArchiver {
    AuditArchiver::new(AuditArchiverParts {
        store: Arc::clone(app.engine().store()),
        archive: Arc::clone(files) as Arc<dyn AuditArchive>,
        clock: Arc::clone(app.engine().clock()),
        after: AFTER,
        line: audit_line,
    })
}

async fn run(archiver: &AuditArchiver) {
    while archiver.step().await.unwrap() {}
}

async fn listed(app: &TestApp) -> Value {
    app.root().get("/v1/audit?order=oldest&limit=100", 200).await
}

fn entries(page: &Value) -> Vec<Value> {
    page["data"].as_array().unwrap().clone()
}

fn head(entry: &Value) -> Value {
    json!({ "sequence": entry["sequence"], "hash": entry["hash"] })
}

/// A trail of two, one and two entries in three months, and its entries.
async fn months() -> (TestApp, Vec<Value>) {
    let app = TestApp::start();
    app.set_now("2031-01-05T10:00:00Z".parse().unwrap());
    for count in [2, 1, 2] {
        for _ in 0..count {
            app.root().create_key(json!({})).await;
        }
        app.advance(OTHER_MONTH);
    }
    let page = listed(&app).await;
    assert_eq!(page["archived"], Value::Null);
    (app, entries(&page))
}

/// The same long after, with an empty archive and its archiver.
async fn old_months() -> (TestApp, Vec<Value>, Arc<Files>, AuditArchiver) {
    let (app, whole) = months().await;
    app.advance(AFTER * 4);
    let files = Arc::new(Files::default());
    let archiver = archiver(&app, &files);
    (app, whole, files, archiver)
}

#[tokio::test]
async fn ended_months_are_archived_after_their_time() {
    let (app, whole) = months().await;
    let files = Arc::new(Files::default());
    let archiver = archiver(&app, &files);
    let at = |text: &str| app.set_now(text.parse().unwrap());
    // January ended at the first of February.
    at("2031-05-01T23:59:59Z");
    run(&archiver).await;
    assert_eq!(files.names(), [""; 0]);
    at("2031-05-02T00:00:00Z");
    run(&archiver).await;
    assert_eq!(files.names(), ["2031-01-0000000001.jsonl"]);
    assert_eq!(files.entries(), whole[..2]);
    let page = listed(&app).await;
    assert_eq!((&page["archived"], &page["head"]), (&head(&whole[1]), &head(&whole[4])));
    assert_eq!(entries(&page), whole[2..]);

    at("2031-12-01T00:00:00Z");
    let before = app.root().create_key(json!({})).await;
    run(&archiver).await;
    let names = ["2031-01-0000000001.jsonl", "2031-02-0000000003.jsonl", "2031-03-0000000004.jsonl"];
    assert_eq!(files.names(), names);
    assert_eq!(files.entries(), whole);
    // The open month stays, and the chain goes on.
    let page = listed(&app).await;
    assert_eq!(page["archived"], head(&whole[4]));
    let rest = entries(&page);
    assert_eq!((rest.len(), &rest[0]["key_id"]), (1, &json!(before.id)));
    assert_eq!(rest[0]["previous_hash"], whole[4]["hash"]);
}

#[tokio::test]
async fn page_after_an_archived_entry_is_refused_clearly() {
    let (app, whole) = months().await;
    let first = app.root().get("/v1/audit?order=oldest&limit=1", 200).await;
    let newest = app.root().get("/v1/audit?order=newest&limit=4", 200).await;
    app.advance(AFTER);
    run(&archiver(&app, &Arc::default())).await;
    let rest = listed(&app).await;
    assert!(rest["archived"]["sequence"].as_u64().unwrap() > 2, "{rest}");
    for (order, page) in [("oldest", &first), ("newest", &newest)] {
        let cursor = page["next_cursor"].as_str().unwrap();
        let problem = app.root().get(&format!("/v1/audit?order={order}&limit=1&cursor={cursor}"), 422).await;
        let detail = problem["errors"][0].to_string();
        assert!(detail.contains("cursor") && detail.contains("entries that are archived"), "{problem}");
    }
    let archived = rest["archived"]["sequence"].as_u64().unwrap();
    assert_eq!(entries(&rest), whole[usize::try_from(archived).unwrap()..]);
}

#[tokio::test]
async fn archive_that_fails_loses_and_doubles_nothing() {
    for failure in [Failure::BeforeTheFile, Failure::AfterTheFile] {
        let (app, whole, files, archiver) = old_months().await;
        for _ in 0..3 {
            *files.failure.lock().unwrap() = Some(failure);
            let before = listed(&app).await;
            let failed = archiver.step().await;
            assert!(matches!(failed, Err(AuditArchiveError::Archive { .. })), "{failed:?}");
            assert_eq!(listed(&app).await, before, "{failure:?}");
            assert!(archiver.step().await.unwrap());
        }
        run(&archiver).await;
        assert_eq!(files.entries(), whole, "{failure:?}");
        assert_eq!(entries(&listed(&app).await), [Value::Null; 0]);
    }
}

#[tokio::test]
async fn process_that_ends_before_it_deletes_is_followed_up() {
    let (app, whole, files, archiver) = old_months().await;
    assert!(archiver.step().await.unwrap());
    // The second part was archived and recorded.
    let last = &whole[2];
    let last = AuditHead {
        sequence: last["sequence"].as_u64().unwrap(),
        hash: last["hash"].as_str().unwrap().to_owned(),
    };
    files.add("2031-02-0000000003.jsonl", format!("{}\n", whole[2]).as_bytes()).await.unwrap();
    assert!(app.engine().store().set_audit_archived(&last).await.unwrap());
    assert_eq!(entries(&listed(&app).await), whole[3..]);
    run(&archiver).await;
    assert_eq!(files.entries(), whole);
    assert!(!app.engine().store().delete_archived_audit(1).await.unwrap());
}

#[tokio::test]
async fn archivers_at_the_same_time_do_no_harm() {
    let (app, whole) = months().await;
    app.advance(AFTER * 4);
    let files = Arc::new(Files::default());
    let [one, other, third] = [(); 3].map(|()| archiver(&app, &files));
    let change = async {
        for _ in 0..4 {
            app.root().create_key(json!({})).await;
        }
    };
    tokio::join!(run(&one), run(&other), run(&third), change);
    assert_eq!(files.entries(), whole);
    let page = listed(&app).await;
    assert_eq!((&page["archived"], entries(&page).len()), (&head(&whole[4]), 4));
    assert_eq!(page["data"][0]["previous_hash"], whole[4]["hash"]);
}

#[tokio::test]
async fn other_content_in_the_archive_keeps_the_entries() {
    let (app, whole) = months().await;
    app.advance(AFTER * 4);
    for other in ["", "other\n", &format!("{}", whole[0]), &format!("{}\n{}\n", whole[0], whole[2])] {
        let files = Arc::new(Files::default());
        files.add("2031-01-0000000001.jsonl", other.as_bytes()).await.unwrap();
        let failed = archiver(&app, &files).step().await;
        assert!(matches!(failed, Err(AuditArchiveError::OtherFile { .. })), "{other}: {failed:?}");
        assert_eq!(entries(&listed(&app).await), whole);
    }
}

/// The order of members is that of the API, so the text is the same.
#[tokio::test]
async fn beginning_of_a_part_in_the_archive_is_taken_over() {
    let (app, whole, files, archiver) = old_months().await;
    let (_, reply) =
        app.root().ask(Method::GET, "/v1/audit?order=oldest&limit=1", Body::Read("".into())).await;
    let first = reply.text.split_once("\"data\":[").unwrap().1.rsplit_once("],\"has_more\"").unwrap().0;
    files.add("2031-01-0000000001.jsonl", format!("{first}\n").as_bytes()).await.unwrap();
    run(&archiver).await;
    assert_eq!(files.names()[..2], ["2031-01-0000000001.jsonl", "2031-01-0000000002.jsonl"]);
    assert_eq!(files.entries(), whole);
}
