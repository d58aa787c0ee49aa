use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// A server for one connection on this machine, which answers 302.
async fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        assert_ne!(stream.read(&mut head).await.unwrap(), 0);
        let answer = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    port
}

async fn send(allowed: &str, url: &str) -> Result<u16, TransportError> {
    let policy = Arc::new(OutboundPolicy::parse(allowed).unwrap());
    let request = Request::post(url).body(Bytes::from_static(b"{}")).unwrap();
    let response = GuardedTransport::new(policy).unwrap().send(request, Duration::from_mins(1)).await?;
    Ok(response.status().as_u16())
}

#[tokio::test]
async fn addresses_of_this_machine_are_refused() {
    let port = server().await;
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
        let sent = send("", &format!("https://{host}:{port}/")).await;
        assert_eq!(sent, Err(TransportError::Refused(OutboundError::Address)), "{host}");
    }
    // A name is resolved when it is called.
    let sent = send("", "https://localhost/").await;
    assert_eq!(sent, Err(TransportError::Refused(OutboundError::Address)));
    for host in ["2130706433", "127.1", "0x7f000001"] {
        let sent = send("", &format!("https://{host}/")).await;
        assert_eq!(sent, Err(TransportError::Refused(OutboundError::Host)), "{host}");
    }
}

#[tokio::test]
async fn allowed_host_is_called_and_redirects_are_not_followed() {
    for (allowed, host) in
        [("127.0.0.1", "127.0.0.1"), ("localhost", "localhost"), ("127.0.0.0/8", "127.0.0.1")]
    {
        let port = server().await;
        assert_eq!(send(allowed, &format!("http://{host}:{port}/")).await, Ok(302), "{allowed}");
    }
}
