use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;

#[cfg(target_os = "linux")]
mod private_network;

const MINUTE: Duration = Duration::from_mins(1);

/// A server for one connection. It reads a request with a body of four bytes, sends `answer`, and closes
/// the connection.
async fn server(answer: Vec<u8>) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = request(&mut stream).await;
        // A client that reads no more ends the connection.
        let _ = stream.write_all(&answer).await;
        request
    });
    (address, served)
}

async fn request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\nbody") {
        let mut part = [0; 1024];
        let read = stream.read(&mut part).await.unwrap();
        assert_ne!(read, 0, "the request is cut");
        text.extend_from_slice(&part[..read]);
    }
    String::from_utf8(text).unwrap()
}

async fn send(address: SocketAddr, time: Duration) -> Result<Response<Bytes>, TransportError> {
    let request = Request::post(format!("http://{address}/v1/chat/completions?api-version=1"))
        .header("authorization", "Bearer sk-1")
        .body(Bytes::from_static(b"body"))
        .unwrap();
    HttpTransport::new().send(request, time).await
}

#[tokio::test]
async fn response_is_returned_whatever_its_status() {
    for status in ["200 OK", "307 Temporary Redirect", "429 Too Many Requests"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nlocation: /elsewhere\r\nretry-after: 3\r\ncontent-length: 2\r\n\r\nhi"
        );
        let (address, served) = server(answer.into_bytes()).await;
        let response = send(address, MINUTE).await.unwrap();
        assert_eq!(response.status().as_str(), &status[..3]);
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(response.body(), "hi");
        let request = served.await.unwrap();
        assert!(request.starts_with("POST /v1/chat/completions?api-version=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer sk-1\r\n"), "{request}");
    }
}

#[tokio::test]
async fn closed_port_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = send(address, MINUTE).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect(_)), "{error:?}");
}

#[tokio::test]
async fn answer_that_is_cut_is_broken() {
    for answer in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "no HTTP\r\n\r\n"]
    {
        let (address, _served) = server(answer.as_bytes().to_vec()).await;
        let error = send(address, MINUTE).await.unwrap_err();
        assert!(matches!(error, TransportError::Broken(_)), "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn body_of_at_most_the_limit_is_accepted() {
    for (length, is_accepted) in [(MAX_RESPONSE_BYTES, true), (MAX_RESPONSE_BYTES + 1, false)] {
        let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        answer.resize(answer.len() + length, b'a');
        let (address, _served) = server(answer).await;
        match send(address, MINUTE).await {
            Ok(response) => assert!(is_accepted && response.body().len() == length, "{length}"),
            Err(error) => assert!(!is_accepted && error == TransportError::TooLarge, "{length}: {error}"),
        }
    }
}

#[tokio::test]
async fn silent_provider_is_a_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = send(listener.local_addr().unwrap(), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error, TransportError::Timeout);
}

#[tokio::test]
async fn guarded_transport_refuses_addresses_of_this_network() {
    let send = async |allowed: &str, url: String| {
        let policy = Arc::new(OutboundPolicy::parse(allowed).unwrap());
        let request = Request::post(url).body(Bytes::from_static(b"body")).unwrap();
        GuardedTransport::new(policy).send(request, MINUTE).await.map(|response| response.status().as_u16())
    };
    for (host, error) in [
        ("127.0.0.1", OutboundError::Address),
        ("[::ffff:127.0.0.1]", OutboundError::Address),
        // A name is resolved when it is called.
        ("localhost", OutboundError::Address),
        ("2130706433", OutboundError::Host),
    ] {
        let sent = send("", format!("https://{host}/")).await;
        assert_eq!(sent, Err(TransportError::Refused(error)), "{host}");
    }
    for (allowed, host) in [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")] {
        let answer = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n";
        let (address, _served) = server(answer.to_vec()).await;
        let sent = send(allowed, format!("http://{host}:{}/", address.port())).await;
        assert_eq!(sent, Ok(302), "{allowed}");
    }
}
