//! A server for tests. It sends prepared responses, one per connection, and records the requests.

use std::{collections::VecDeque, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{ApiKey, Client, Error};

pub(crate) fn key() -> ApiKey {
    ApiKey::new("a-key").unwrap()
}

/// A client of a server that sends these responses in order, and the requests that the server receives.
pub(crate) async fn answering(answers: Vec<&'static str>) -> (Client, mpsc::UnboundedReceiver<String>) {
    let mut answers = VecDeque::from(answers);
    serving(move |_| answers.pop_front().unwrap_or_default().to_owned()).await
}

/// A client of a server that responds with `answer`. An empty response breaks the connection.
pub(crate) async fn serving(
    mut answer: impl FnMut(&str) -> String + Send + 'static,
) -> (Client, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sent, requests) = mpsc::unbounded_channel();
    let sent = Arc::new(sent);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = read(&mut stream).await;
            // The client gave the call up before it sent anything.
            if request.is_empty() {
                continue;
            }
            let answer = answer(&request);
            let _ = sent.send(request);
            let _ =
                stream.write_all(answer.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes()).await;
        }
    });
    (Client::new(&address, &key()).unwrap(), requests)
}

/// The error of a call that the server refused.
pub(crate) fn refused(status: u16, code: &str) -> Error {
    let (code, message) = (code.to_owned(), "no".to_owned());
    Error::Api { status, code, message, request_id: None, retry_after: None, fields: Vec::new() }
}

/// An address without a listener.
pub(crate) async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Reads one complete request.
async fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => text.push_str(str::from_utf8(&buffer[..read]).unwrap()),
            _ => return text,
        }
    }
}
