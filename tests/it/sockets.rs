//! The program on raw sockets, with bytes that no client library would send.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use onerun_tests::process::{Process, Server, venv};
use serde_json::Value;

/// The deadline for a reply: far longer than it needs, and shorter than the server's wait for the
/// rest of a body.
const DEADLINE: Duration = Duration::from_secs(20);

/// The start of a request with the key. The test adds the rest.
fn head(server: &Server, request: &str) -> String {
    format!("{request} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\n", server.key())
}

fn connect(server: &Server) -> TcpStream {
    let address = server.base_url().strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends bytes, and reads until the server closes the connection.
fn exchange(server: &Server, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect(server);
    stream.write_all(bytes.as_ref()).unwrap();
    read_to_end(&mut stream)
}

fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the server closes the connection in time");
    String::from_utf8(bytes).unwrap()
}

/// Reads one answer, on a connection that stays open.
fn read_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while !bytes.ends_with(b"}") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_status(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "not {status}: {answer}");
}

/// A problem as the API describes it, and not only a status.
#[track_caller]
fn assert_problem(answer: &str, status: u16, code: &str) {
    assert_status(answer, status);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\ncontent-type: application/problem+json\r\n"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["status"], &body["code"]), (&status.into(), &code.into()));
}

#[tokio::test]
async fn declared_oversized_body_is_refused_before_it_is_sent() {
    let server = Server::start().await;
    let head = head(&server, "POST /v1/projects");
    for more in ["", "expect: 100-continue\r\n"] {
        let answer = exchange(&server, format!("{head}{more}content-length: 1048577\r\n\r\n"));
        assert_problem(&answer, 413, "body_too_large");
    }
}

#[tokio::test]
async fn chunked_oversized_body_is_refused() {
    let server = Server::start().await;
    let head = head(&server, "POST /v1/projects");
    let mut request = format!("{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..17 {
        request.push_str("10000\r\n");
        request.push_str(&"a".repeat(0x10000));
        request.push_str("\r\n");
    }
    request.push_str("0\r\n\r\n");
    assert_problem(&exchange(&server, request), 413, "body_too_large");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let body = "{\"name\": \"One\"}";
    let length = body.len();
    let post = format!("{}content-length: {length}\r\n\r\n{body}", head(&server, "POST /v1/projects"));
    let get = format!("{}\r\n", head(&server, "GET /v1/projects"));
    let last = format!("{}connection: close\r\n\r\n", head(&server, "GET /health"));
    let answers = exchange(&server, format!("{get}{post}{get}{last}"));
    let bodies: Vec<Value> = answers
        .split("HTTP/1.1 200 OK\r\n")
        .skip(1)
        .map(|answer| serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap())
        .collect();
    assert_eq!(bodies.len(), 4, "{answers}");
    assert_eq!(bodies[0]["data"].as_array().map(Vec::len), Some(0));
    assert_eq!(bodies[1]["name"], "One");
    assert_eq!(bodies[2]["data"][0]["id"], bodies[1]["id"]);
    assert_eq!(bodies[3]["status"], "ok");
}

#[tokio::test]
async fn truncated_request_changes_nothing() {
    let server = Server::start().await;
    let post = head(&server, "POST /v1/projects");
    for cut in [
        "GET /v1/pro".to_owned(),
        post.clone(),
        format!("{post}content-length: 50\r\n\r\n{{\"name\": \"Half\"}}"),
        format!("{post}transfer-encoding: chunked\r\n\r\n10\r\n{{\"name\": \"Half\"}}\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\n10\r\n{{\"name\": \"Half\"}}\r\nno size\r\n"),
    ] {
        let mut stream = connect(&server);
        stream.write_all(cut.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = read_to_end(&mut stream);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{cut:?}: {answer}");
    }
    let projects = server.client().get("/v1/projects", 200).await;
    assert_eq!(projects["data"].as_array().map(Vec::len), Some(0), "{projects}");
}

#[tokio::test]
async fn malformed_http_is_refused() {
    let server = Server::start().await;
    let host = "host: localhost\r\n";
    let post = head(&server, "POST /v1/projects");
    let cases: [(Vec<u8>, u16); 9] = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n".to_vec(), 400),
        (b"GET /v1/projects?name=\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(), 400),
        (b"GET v1/projects HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(), 400),
        (format!("GET /health HTTP/1.1\r\n{host}x-long: {}\r\n\r\n", "a".repeat(500_000)).into(), 431),
        (format!("GET /health HTTP/1.1\r\n{host}{}\r\n", "x-many: a\r\n".repeat(500)).into(), 431),
        (format!("GET /health?{} HTTP/1.1\r\n{host}\r\n", "a".repeat(100_000)).into(), 414),
        (format!("{post}content-length: 12\r\ncontent-length: 13\r\n\r\n{{\"name\":\"x\"}}").into(), 400),
        (format!("{post}content-length: -1\r\n\r\n").into(), 400),
        (format!("{post} folded: into the line before\r\n\r\n").into(), 400),
    ];
    for (bytes, status) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
        let mut stream = connect(&server);
        // The server may refuse it and close the connection before all of it is sent.
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
    }
    let projects = server.client().get("/v1/projects", 200).await;
    assert_eq!(projects["data"].as_array().map(Vec::len), Some(0), "{projects}");
}

#[tokio::test]
async fn other_methods_and_path_spellings_get_problems() {
    let server = Server::start().await;
    for method in ["OPTIONS", "TRACE", "PUT", "CONNECT", "BREW"] {
        let request =
            format!("{}connection: close\r\n\r\n", head(&server, &format!("{method} /v1/projects")));
        let answer = exchange(&server, request);
        assert_problem(&answer, 405, "method_not_allowed");
        assert!(answer.contains("\r\nallow: POST, GET, HEAD\r\n"), "{answer}");
    }
    for path in [
        "//v1/projects",
        "/v1//projects",
        "/v1/projects/",
        "/v1/%70rojects",
        "/v1/x/../projects",
        "/V1/projects",
        "/v1/projects;a=b",
        "*",
    ] {
        let request = format!("{}connection: close\r\n\r\n", head(&server, &format!("GET {path}")));
        assert_problem(&exchange(&server, request), 404, "route_not_found");
    }
    for path in ["/v1/projects/%00", "/v1/projects/%ff", "/v1/projects/a%2Fb", "/v1/projects/%"] {
        let request = format!("{}connection: close\r\n\r\n", head(&server, &format!("GET {path}")));
        assert_problem(&exchange(&server, request), 404, "project_not_found");
    }
}

#[tokio::test]
async fn head_has_the_content_length_of_get() {
    let server = Server::start().await;
    for path in ["/v1/projects", "/v1/whoami", "/openapi.json", "/", "/v1/nothing"] {
        let request = |method: &str| {
            exchange(
                &server,
                format!("{}connection: close\r\n\r\n", head(&server, &format!("{method} {path}"))),
            )
        };
        let (get, answer) = (request("GET"), request("HEAD"));
        let (get_head, body) = get.split_once("\r\n\r\n").unwrap();
        assert_eq!(answer.lines().next(), get.lines().next(), "{path}");
        assert!(answer.ends_with("\r\n\r\n") && answer.matches("\r\n\r\n").count() == 1, "{answer}");
        let length = format!("content-length: {}", body.len());
        for head in [get_head, &answer] {
            assert!(head.lines().any(|line| line == length), "{path}: {length} in {head}");
        }
    }
}

#[tokio::test]
async fn client_that_sends_an_oversized_body_reads_the_reply() {
    const SIZE: usize = 16 * 1024 * 1024;
    let server = Server::start().await;
    let start = head(&server, "POST /v1/projects");
    let chunk = format!("100000\r\n{}\r\n", "a".repeat(0x10_0000));
    let announced = format!("{start}content-length: {SIZE}\r\n\r\n{}", "a".repeat(SIZE));
    let chunked = format!("{start}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(16));
    let stranger = format!(
        "POST /v1/projects HTTP/1.1\r\nhost: localhost\r\ncontent-length: {SIZE}\r\n\r\n{}",
        "a".repeat(SIZE)
    );
    for (request, status, code) in [
        (announced, 413, "body_too_large"),
        (chunked, 413, "body_too_large"),
        (stranger, 401, "missing_api_key"),
    ] {
        // `exchange` fails unless the last byte can be sent.
        assert_problem(&exchange(&server, request), status, code);
    }
}

/// Sends a body that is too large with the two HTTP clients of the Python environment.
const TOO_LARGE: &str = r#"
import http.client, os, httpx, requests
url, headers = os.environ["URL"], {"x-api-key": os.environ["KEY"]}
body = b"a" * (16 << 20)
parts = lambda: (body[:65536] for _ in range(256))
for _ in range(3):
    for content in [body, parts()]:
        print("httpx", httpx.post(url, headers=headers, content=content, trust_env=False).status_code)
    session = requests.Session()
    session.trust_env = False
    for data in [body, parts()]:
        print("requests", session.post(url, headers=headers, data=data).status_code)
"#;

#[tokio::test]
async fn common_clients_read_the_413_reply() {
    let server = Server::start().await;
    let mut command = venv("python");
    command.args(["-c", TOO_LARGE]);
    command.env("URL", format!("{}/v1/projects", server.base_url())).env("KEY", server.key());
    let seen = Process::spawn(command).success().await;
    assert_eq!(seen.lines().count(), 12, "{seen}");
    assert!(seen.lines().all(|line| line.ends_with(" 413")), "{seen}");
}

#[tokio::test]
async fn built_in_files_are_compressed_on_request() {
    const FETCH: &str = r#"
import os, requests
session = requests.Session()
session.trust_env = False
for path in ["/openapi.json", "/"]:
    plain, packed = [session.get(os.environ["URL"] + path, headers={"accept-encoding": coding}) for coding in ["identity", "gzip"]]
    assert plain.content == packed.content and packed.headers["content-encoding"] == "gzip", packed.headers
    assert int(packed.headers["content-length"]) * 3 < int(plain.headers["content-length"]), packed.headers
"#;
    let server = Server::start().await;
    let mut command = venv("python");
    command.args(["-c", FETCH]).env("URL", server.base_url());
    Process::spawn(command).success().await;
}

#[tokio::test]
async fn idle_connections_are_closed_and_delay_no_client() {
    let server = Server::start().await;
    let mut idle: Vec<TcpStream> = (0..200).map(|_| connect(&server)).collect();
    // Every other one has had an answer before.
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        assert_status(&read_answer(stream), 200);
    }
    let mut halfway = connect(&server);
    halfway.write_all(b"GET /heal").unwrap();
    server.client().get("/v1/whoami", 200).await;
    for stream in idle.iter_mut().chain([&mut halfway]) {
        assert_eq!(read_to_end(stream), "", "closed without a word");
    }
}

#[tokio::test]
async fn idle_connections_do_not_delay_shutdown() {
    let mut server = Server::start().await;
    let mut idle: Vec<TcpStream> = (0..50).map(|_| connect(&server)).collect();
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        assert_status(&read_answer(stream), 200);
    }
    let asked = Instant::now();
    let status = server.terminate().await;
    assert!(status.success(), "{status}: {}", server.log());
    // Before they are closed for being idle.
    assert!(asked.elapsed() < Duration::from_secs(8), "it took {:?}", asked.elapsed());
}

/// Asks for more and more without reading an answer, until sending fails; how it does.
fn send_without_reading(stream: &mut TcpStream, wait: Duration) -> ErrorKind {
    stream.set_write_timeout(Some(wait)).unwrap();
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    loop {
        if let Err(error) = stream.write_all(requests.as_bytes()) {
            return error.kind();
        }
    }
}

#[tokio::test]
async fn client_that_reads_nothing_is_disconnected() {
    let server = Server::start().await;
    let failure = send_without_reading(&mut connect(&server), DEADLINE);
    assert!(matches!(failure, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{failure}");
}

#[tokio::test]
async fn client_that_reads_nothing_does_not_delay_shutdown() {
    let mut server = Server::start().await;
    let mut stream = connect(&server);
    let failure = send_without_reading(&mut stream, Duration::from_millis(500));
    assert!(matches!(failure, ErrorKind::WouldBlock | ErrorKind::TimedOut), "not full, but {failure}");
    let asked = Instant::now();
    let status = server.terminate().await;
    assert!(status.success(), "{status}: {}", server.log());
    assert!(asked.elapsed() < DEADLINE, "it took {:?}", asked.elapsed());
}

#[tokio::test]
async fn refused_request_gets_no_100_continue() {
    let server = Server::start().await;
    let key = format!("x-api-key: {}\r\n", server.key());
    let refused = [
        ("POST /v1/projects HTTP/1.1\r\n".to_owned(), 401, "missing_api_key"),
        ("POST /v1/projects HTTP/1.1\r\nx-api-key: wrong\r\n".to_owned(), 401, "invalid_api_key"),
        (format!("POST /v1/agents?project_id=none HTTP/1.1\r\n{key}"), 404, "project_not_found"),
        (format!("POST /v1/nothing HTTP/1.1\r\n{key}"), 404, "route_not_found"),
        (format!("PUT /v1/projects HTTP/1.1\r\n{key}"), 405, "method_not_allowed"),
    ];
    // The server waits some seconds for the rest of each body, so the requests are sent at once.
    std::thread::scope(|scope| {
        for (request, status, code) in &refused {
            // Neither is waited for: the server closes the connection, because it cannot know where
            // the next request starts.
            for more in ["expect: 100-continue\r\n", ""] {
                let server = &server;
                scope.spawn(move || {
                    let head = format!("{request}host: localhost\r\n{more}content-length: 100\r\n\r\n");
                    let answer = exchange(server, head);
                    assert_problem(&answer, *status, code);
                    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
                });
            }
        }
    });
    let wanted =
        format!("{}expect: 100-continue\r\nconnection: close\r\n", head(&server, "POST /v1/projects"));
    let answer = exchange(&server, format!("{wanted}content-length: 15\r\n\r\n{{\"name\": \"One\"}}"));
    assert!(answer.contains("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn client_that_sends_its_body_first_reads_the_refusal() {
    let server = Server::start().await;
    let mut stream = connect(&server);
    let body = "a".repeat(1024 * 1024);
    for _ in 0..2 {
        let head = format!("POST /v1/projects HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        // On the same connection each time.
        assert_problem(&read_answer(&mut stream), 401, "missing_api_key");
    }
}

#[tokio::test]
async fn unreadable_body_is_answered_and_ends_the_connection() {
    let server = Server::start().await;
    let post = head(&server, "POST /v1/projects");
    let half = "{\"name\": \"Half\"}";
    for rest in [
        format!("content-length: 50\r\n\r\n{half}"),
        format!("transfer-encoding: chunked\r\n\r\n10\r\n{half}\r\n"),
        format!("transfer-encoding: chunked\r\n\r\n10\r\n{half}\r\nno size\r\n"),
    ] {
        let mut stream = connect(&server);
        stream.write_all(format!("{post}{rest}").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = read_to_end(&mut stream);
        assert_problem(&answer, 400, "body_unreadable");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    let projects = server.client().get("/v1/projects", 200).await;
    assert_eq!(projects["data"].as_array().map(Vec::len), Some(0), "{projects}");
}

/// The head of a report of a leak; the length of its body, and the end, are the test's.
const REPORT: &str =
    "POST /v1/keys/revoke-leaked HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";

#[tokio::test]
async fn declared_oversized_leak_report_is_refused_unsent() {
    let server = Server::start().await;
    for more in ["", "expect: 100-continue\r\n"] {
        let answer = exchange(&server, format!("{REPORT}{more}content-length: 16385\r\n\r\n"));
        assert_problem(&answer, 413, "body_too_large");
    }
    let plain = REPORT.replace("content-type: application/json\r\n", "");
    let answer = exchange(&server, format!("{plain}connection: close\r\ncontent-length: 2\r\n\r\n{{}}"));
    assert_problem(&answer, 415, "unsupported_media_type");
}

#[tokio::test]
async fn unfinished_leak_reports_delay_no_client() {
    let server = Server::start().await;
    let new = serde_json::json!({ "name": "Leaked", "preset": "ci", "all_projects": true });
    let made = server.client().post("/v1/keys", &new, 200).await;
    let mut unfinished = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(&server);
        stream.write_all(format!("{REPORT}content-length: 100\r\n\r\n{{").as_bytes()).unwrap();
        unfinished.push(stream);
    }
    // A complete report needs no permit.
    let report = serde_json::json!({ "keys": [made["key"]] }).to_string();
    let length = report.len();
    let whole = format!("{REPORT}connection: close\r\ncontent-length: {length}\r\n\r\n{report}");
    assert_status(&exchange(&server, whole), 202);
    server.client().get("/v1/whoami", 200).await;
    let mut statuses = BTreeMap::<String, u32>::new();
    for mut stream in unfinished {
        let answer = read_to_end(&mut stream);
        *statuses.entry(answer[9..12].to_owned()).or_default() += 1;
    }
    // Too many at once, too slow, or too many from one address: no report was accepted.
    assert!(statuses.keys().all(|status| ["503", "400", "429"].contains(&status.as_str())), "{statuses:?}");
    assert!(statuses.contains_key("503"), "{statuses:?}");
}

#[tokio::test]
async fn key_revoked_during_its_request_creates_no_key() {
    let server = Server::start().await;
    let new = "{\"name\": \"Child\", \"preset\": \"admin\", \"all_projects\": true}";
    let made = server.client().post("/v1/keys", &serde_json::from_str(new).unwrap(), 200).await;
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let mut stream = connect(&server);
    let length = new.len();
    // The reply to the expectation shows that the request is admitted and that the server waits for
    // its body.
    let head = format!(
        "POST /v1/keys HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\nexpect: 100-continue\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&new.as_bytes()[..1]).unwrap();
    server.client().post_empty(&format!("/v1/keys/{id}/revoke"), 200).await;
    stream.write_all(&new.as_bytes()[1..]).unwrap();
    assert_problem(&read_answer(&mut stream), 401, "revoked_api_key");
    let keys = server.client().get("/v1/keys", 200).await;
    assert_eq!(keys["data"].as_array().map(Vec::len), Some(1), "{keys}");
}
