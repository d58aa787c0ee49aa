use std::{collections::VecDeque, fs};

use tempfile::TempDir;

use super::*;

const KEY: &str = "sk-live-0123456789abcdef";

/// A transport that answers with prepared results.
struct Prepared(Mutex<VecDeque<Result<Response<Bytes>, TransportError>>>);

impl Prepared {
    fn new(results: impl IntoIterator<Item = Result<Response<Bytes>, TransportError>>) -> Self {
        Self(Mutex::new(results.into_iter().collect()))
    }
}

#[async_trait]
impl Transport for Prepared {
    async fn send(
        &self,
        _request: Request<Bytes>,
        _timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        self.0.lock().unwrap().pop_front().unwrap()
    }
}

fn request(body: &str) -> Request<Bytes> {
    Request::post(format!("https://api.example.com/v1/chat?api-version=1&key={KEY}"))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {KEY}"))
        .header("x-api-key", KEY)
        .header("x-amz-security-token", KEY)
        .body(Bytes::copy_from_slice(body.as_bytes()))
        .unwrap()
}

fn response(status: u16, body: &[u8]) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("retry-after", "3")
        .header("set-cookie", "session=1")
        .body(Bytes::copy_from_slice(body))
        .unwrap()
}

async fn send(transport: &dyn Transport, body: &str) -> Result<Response<Bytes>, TransportError> {
    transport.send(request(body), Duration::from_secs(1)).await
}

/// Records the results of the same request sent several times.
async fn record(
    folder: &TempDir,
    results: Vec<Result<Response<Bytes>, TransportError>>,
) -> std::path::PathBuf {
    let path = folder.path().join("calls.jsonl");
    let count = results.len();
    let recording = RecordingTransport::new(Prepared::new(results), &path).unwrap();
    for _ in 0..count {
        let _ = send(&recording, "{\"a\":1}").await;
    }
    path
}

#[tokio::test]
async fn each_trial_is_replayed_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    let bodies: [&[u8]; 4] = [b"{ \"b\" : 1.0 }\r\n", b"", b"\xff\xfe\x00", "é\u{2028}\"".as_bytes()];
    let results = bodies.iter().map(|body| Ok(response(200, body))).collect();
    let path = record(&folder, results).await;
    let replay = ReplayingTransport::open(&path).unwrap();
    for body in bodies {
        let answer = send(&replay, "{\"a\":1}").await.unwrap();
        assert_eq!(answer.body().as_ref(), body);
        assert_eq!(answer.status(), 200);
    }
    let error = send(&replay, "{\"a\":1}").await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("trial 5") && text.contains("record it again"), "{text}");
}

#[tokio::test]
async fn failures_are_replayed() {
    let folder = TempDir::new().unwrap();
    let broken = TransportError::Broken(format!("cut, {KEY}"));
    let path = record(
        &folder,
        vec![
            Ok(response(429, b"{}")),
            Err(TransportError::Timeout),
            Err(TransportError::TooLarge),
            Err(broken),
        ],
    )
    .await;
    let replay = ReplayingTransport::open(&path).unwrap();
    let answer = send(&replay, "{\"a\":1}").await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"3".parse().unwrap()));
    assert!(!answer.headers().contains_key("set-cookie"));
    assert_eq!(send(&replay, "{\"a\":1}").await.unwrap_err(), TransportError::Timeout);
    assert_eq!(send(&replay, "{\"a\":1}").await.unwrap_err(), TransportError::TooLarge);
    assert!(matches!(send(&replay, "{\"a\":1}").await, Err(TransportError::Broken(_))));
}

/// A transport whose first call never ends.
#[derive(Default)]
struct SlowAtFirst(AtomicU32);

#[async_trait]
impl Transport for SlowAtFirst {
    async fn send(
        &self,
        _request: Request<Bytes>,
        _timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            std::future::pending::<()>().await;
        }
        Ok(response(200, b"second"))
    }
}

#[tokio::test(start_paused = true)]
async fn abandoned_call_is_replayed_as_a_time_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("calls.jsonl");
    let recording = RecordingTransport::new(SlowAtFirst::default(), &path).unwrap();
    tokio::time::timeout(Duration::from_secs(1), send(&recording, "{}")).await.unwrap_err();
    send(&recording, "{}").await.unwrap();
    let replay = ReplayingTransport::open(&path).unwrap();
    assert_eq!(send(&replay, "{}").await.unwrap_err(), TransportError::Timeout);
    assert_eq!(send(&replay, "{}").await.unwrap().body(), "second");
}

#[tokio::test]
async fn unknown_request_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = record(&folder, vec![Ok(response(200, b"{}"))]).await;
    let replay = ReplayingTransport::open(&path).unwrap();
    let text = send(&replay, "{\"a\":2}").await.unwrap_err().to_string();
    let expected =
        "trial 1 of this request to https://api.example.com/v1/chat?api-version=1 is not in the recording";
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains(KEY));
    // The order of members and white space do not matter.
    send(&replay, " {\"a\" : 1} ").await.unwrap();
}

#[tokio::test]
async fn no_secret_is_recorded() {
    let folder = TempDir::new().unwrap();
    let echo = format!("{{\"error\":\"wrong key {KEY}, sk-l***cdef\"}}");
    let path = record(
        &folder,
        vec![
            Ok(response(401, echo.as_bytes())),
            Err(TransportError::Connect(KEY.into())),
            Ok(response(200, b"{}")),
        ],
    )
    .await;
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 3);
    for secret in [KEY, "0123456789", "authorization", "Bearer", "x-api-key", "security-token", "session=1"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn signed_requests_reveal_no_part_of_the_credentials() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("calls.jsonl");
    let echo = "Credential AKIDEXAMPLE0123 Signature 64b982972fb7d790";
    let recording =
        RecordingTransport::new(Prepared::new([Ok(response(403, echo.as_bytes()))]), &path).unwrap();
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE0123/20261130/eu/bedrock/aws4_request, \
                         SignedHeaders=host, Signature=64b982972fb7d790";
    let request = Request::post("https://bedrock.example/model/x/converse")
        .header("authorization", authorization)
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    recording.send(request, Duration::from_secs(1)).await.unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert!(!text.contains("64b982972fb7d790") && !text.contains("AKIDEXAMPLE0123"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_recorders_write_whole_lines() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("calls.jsonl");
    let body = "x".repeat(50_000);
    let tasks: Vec<_> = (0..4)
        .map(|writer| {
            let results = (0..25).map(|_| Ok(response(200, body.as_bytes())));
            let recording = RecordingTransport::new(Prepared::new(results), &path).unwrap();
            tokio::spawn(async move {
                for number in 0..25 {
                    send(&recording, &format!("{{\"writer\":{writer},\"number\":{number}}}")).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let replay = ReplayingTransport::open(&path).unwrap();
    for (writer, number) in (0..4).flat_map(|writer| (0..25).map(move |number| (writer, number))) {
        let answer = send(&replay, &format!("{{\"number\":{number},\"writer\":{writer}}}")).await.unwrap();
        assert_eq!(answer.body().len(), body.len());
    }
}

#[tokio::test]
async fn half_a_line_is_ignored_and_removed_by_the_next_run() {
    let folder = TempDir::new().unwrap();
    let path = record(&folder, vec![Ok(response(200, &[b'x'; 100_000]))]).await;
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}{}", &whole[..90_000])).unwrap();
    let replay = ReplayingTransport::open(&path).unwrap();
    assert_eq!(send(&replay, "{\"a\":1}").await.unwrap().body().len(), 100_000);

    // The later answer to the same trial counts.
    record(&folder, vec![Ok(response(200, b"second"))]).await;
    let replay = ReplayingTransport::open(&path).unwrap();
    assert_eq!(send(&replay, "{\"a\":1}").await.unwrap().body(), "second");
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
}

#[test]
fn file_without_a_whole_line_is_emptied() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("calls.jsonl");
    for (text, size) in [("", 0), ("half", 0), ("one\nhalf", 4), ("one\n", 4)] {
        fs::write(&path, text).unwrap();
        assert_eq!(whole_lines(&mut File::open(&path).unwrap()).unwrap(), size, "{text:?}");
    }
}

#[tokio::test]
async fn line_that_was_edited_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = record(&folder, vec![Ok(response(200, b"first"))]).await;
    let text = fs::read_to_string(&path).unwrap().replace("{\"a\":1}", "{\"a\":2}");
    fs::write(&path, text).unwrap();
    let error = ReplayingTransport::open(&path).err().unwrap();
    assert!(error.to_string().contains("its key is not that of its request"), "{error}");
}

#[tokio::test]
async fn full_recording_stops_and_calls_continue() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("calls.jsonl");
    let results = (0..4).map(|_| Ok(response(200, &[b'x'; 400])));
    let recording = RecordingTransport {
        inner: Prepared::new(results),
        trials: Trials::default(),
        recorder: Arc::new(Recorder::open(&path, 1500).unwrap()),
    };
    for _ in 0..4 {
        send(&recording, "{\"a\":1}").await.unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.len() <= 1500 && text.ends_with('\n'));
    assert!((1..4).contains(&text.lines().count()), "{}", text.lines().count());
}
