//! Answers of providers of chat models on all wires: none panics, texts are bounded, no error repeats the
//! key, and the JSON in a text is found again in itself.
//!
//! An input is a byte for the wire, a byte for the status, a line for the headers, and the body. The byte 7
//! in the body stands for the key, which a fuzzer cannot guess.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, Response};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use onerun_model_chat::{
    Anthropic, AwsCredentials, ChatAnswer, Converse, Finish, OpenAi, Secret, Wire, json_text,
};

const KEY: &str = "key-0123456789abcdef";

/// The headers that wires read.
const HEADERS: [&str; 5] =
    ["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "x-ratelimit-reset", "x-amzn-errortype"];

const STATUSES: [u16; 12] = [200, 200, 200, 200, 301, 400, 401, 403, 404, 422, 429, 503];

static WIRES: LazyLock<[Wire; 3]> = LazyLock::new(|| {
    let key = || Secret::parse(KEY).expect("a key");
    let credentials = AwsCredentials::AccessKey { id: key(), secret: key(), session_token: None };
    [
        Wire::OpenAi(OpenAi::new(None, Some(key())).expect("a URL")),
        Wire::Anthropic(Anthropic::new(None, Some(key())).expect("a URL")),
        Wire::Converse(Converse::new("eu-central-1", None, credentials).expect("a region")),
    ]
});

fuzz_target!(|data: &[u8]| {
    let [wire, status, rest @ ..] = data else { return };
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let (header, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let wire = &WIRES[usize::from(*wire) % WIRES.len()];
    let mut response = Response::new(with_key(body));
    *response.status_mut() = STATUSES[usize::from(*status) % STATUSES.len()].try_into().expect("a status");
    if let Ok(value) = HeaderValue::from_bytes(header) {
        for name in HEADERS {
            response.headers_mut().insert(name, value.clone());
        }
    }
    match wire.answer(&response, Timestamp::UNIX_EPOCH) {
        Ok(answer) => check(&answer),
        Err(error) => {
            let detail = error.detail().unwrap_or_default();
            assert!(detail.len() < 520, "the detail has {} bytes", detail.len());
            assert!(!format!("{error} {error:?}").contains(KEY), "the error repeats the key: {error:?}");
            assert!(error.retry_after().is_none_or(|wait| wait.as_secs() <= 24 * 60 * 60));
        }
    }
});

fn with_key(body: &[u8]) -> Bytes {
    body.iter()
        .flat_map(|byte| if *byte == 7 { KEY.as_bytes() } else { std::slice::from_ref(byte) })
        .copied()
        .collect()
}

fn check(answer: &ChatAnswer) {
    if let Some(text) = &answer.text {
        assert!(!text.trim().is_empty(), "the text is blank");
        let json = json_text(text);
        assert_eq!(json_text(json), json);
    }
    if let Finish::Other(reason) = &answer.finish {
        assert!(reason.len() <= 256);
    }
    assert!(answer.version.as_ref().is_none_or(|version| version.len() <= 256));
    if let Some(tokens) = answer.tokens {
        assert!(tokens.reasoning <= tokens.output);
    }
}
