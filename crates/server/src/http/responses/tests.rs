use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::http::serve_connection;

const BODY: usize = 4 * 1024 * 1024;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A connection on which every response has [`BODY`] bytes, with a buffer of `buffer` bytes.
fn connection(memory: &ResponseMemory, buffer: usize) -> DuplexStream {
    connection_until(memory, buffer, watch::channel(false).1)
}

/// Like [`connection`], closed while a response is read once `cut` is true.
fn connection_until(memory: &ResponseMemory, buffer: usize, cut: watch::Receiver<bool>) -> DuplexStream {
    let (client, server) = duplex(buffer);
    let memory = memory.clone();
    let answer = move |_| {
        let memory = memory.clone();
        async move { http::Response::new(memory.hold(vec![b'a'; BODY].into()).unwrap()) }
    };
    tokio::spawn(async move {
        let graceful = GracefulShutdown::new();
        serve_connection(server, answer, Duration::from_secs(15), graceful.watcher(), cut).await;
    });
    client
}

/// Reads up to `bytes` at a time, with a pause after each read, until a response is complete or the
/// connection closes.
async fn read_slowly(client: &mut DuplexStream, bytes: usize, pause: Duration) -> Vec<u8> {
    let (mut buffer, mut all) = (vec![0; bytes], Vec::new());
    let body = vec![b'a'; BODY];
    while !all.ends_with(&body) {
        match client.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => all.extend_from_slice(&buffer[..read]),
        }
        tokio::time::sleep(pause).await;
    }
    all
}

#[tokio::test(start_paused = true)]
async fn slow_reader_is_disconnected_at_the_deadline() {
    let memory = ResponseMemory::new(BODY);
    let mut client = connection(&memory, 1_024);
    client.write_all(REQUEST).await.unwrap();
    let began = Instant::now();
    // Often enough for the write timeout.
    let read = read_slowly(&mut client, 100, Duration::from_secs(9)).await;
    assert!(read.len() < 3_000, "{}", read.len());
    assert!(began.elapsed() >= RESPONSE_TIMEOUT);
    assert_eq!(memory.0.available_permits(), BODY, "its response is dropped");
}

#[tokio::test(start_paused = true)]
async fn slow_reader_is_disconnected_when_readers_are_cut() {
    let memory = ResponseMemory::new(BODY);
    let (cut_readers, cut) = watch::channel(false);
    let mut client = connection_until(&memory, 1_024, cut);
    let began = Instant::now();
    client.write_all(REQUEST).await.unwrap();
    client.read_u8().await.unwrap();
    cut_readers.send_replace(true);
    let read = read_slowly(&mut client, BODY, Duration::ZERO).await;
    assert!(read.len() < BODY, "{}", read.len());
    assert!(began.elapsed() < RESPONSE_TIMEOUT);
    assert_eq!(memory.0.available_permits(), BODY, "its response is dropped");
}

#[tokio::test(start_paused = true)]
async fn idle_connection_stays_open_when_readers_are_cut() {
    let (cut_readers, cut) = watch::channel(false);
    let mut client = connection_until(&ResponseMemory::new(BODY), 2 * BODY, cut);
    client.write_all(REQUEST).await.unwrap();
    assert!(read_slowly(&mut client, BODY, Duration::ZERO).await.len() > BODY);
    cut_readers.send_replace(true);
    client.write_all(REQUEST).await.unwrap();
    assert!(read_slowly(&mut client, BODY, Duration::ZERO).await.len() > BODY, "a fast reader is not cut");
}

#[tokio::test(start_paused = true)]
async fn page_at_one_megabit_a_second_arrives_whole() {
    let mut client = connection(&ResponseMemory::new(BODY), 64 * 1024);
    client.write_all(REQUEST).await.unwrap();
    let read = read_slowly(&mut client, 12_500, Duration::from_millis(100)).await;
    assert!(read.len() > BODY, "{}", read.len());
}

#[tokio::test(start_paused = true)]
async fn each_response_of_a_connection_has_its_own_deadline() {
    let mut client = connection(&ResponseMemory::new(BODY), 64 * 1024);
    let began = Instant::now();
    for _ in 0..3 {
        client.write_all(REQUEST).await.unwrap();
        let read = read_slowly(&mut client, 12_500, Duration::from_millis(100)).await;
        assert!(read.len() > BODY, "{}", read.len());
    }
    assert!(began.elapsed() > RESPONSE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn response_memory_is_free_after_the_response_is_read() {
    let memory = ResponseMemory::new(BODY + ALWAYS_SENT);
    let mut client = connection(&memory, 64 * 1024);
    client.write_all(REQUEST).await.unwrap();
    client.read_u8().await.unwrap();
    assert_eq!(memory.0.available_permits(), ALWAYS_SENT, "held while it is read");
    assert!(memory.hold(vec![0; ALWAYS_SENT + 1].into()).is_none(), "no memory is free for another");
    assert!(memory.hold(vec![0; ALWAYS_SENT].into()).is_some(), "a small one is always sent");
    assert!(read_slowly(&mut client, BODY, Duration::ZERO).await.len() > BODY);
    assert_eq!(memory.0.available_permits(), BODY + ALWAYS_SENT);
}

#[tokio::test]
async fn response_memory_is_free_after_a_disconnect() {
    let memory = ResponseMemory::new(BODY);
    let mut client = connection(&memory, 1_024);
    client.write_all(REQUEST).await.unwrap();
    client.read_u8().await.unwrap();
    assert!(memory.hold(vec![0; BODY].into()).is_none());
    drop(client);
    // The connection's task releases it when it notices the disconnect.
    assert!(memory.0.acquire_many(u32::try_from(BODY).unwrap()).await.is_ok());
}
