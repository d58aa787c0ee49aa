//! Texts as keys: nothing panics, a generated key is read back, an accepted text is the only one of
//! its bytes, and a key with one changed character is refused.

#![no_main]

use std::convert::Infallible;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use libfuzzer_sys::fuzz_target;
use onerun_auth::{ManagedKey, RootKey, find_managed_keys};

const PREFIX: &str = "onr_";
const CHARS: usize = 64;
/// The random part of a managed key: its id and its secret.
const DRAWN: usize = 41;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = str::from_utf8(data) {
        managed(text);
        root(text);
    }
    found(data);
    if let Some((drawn, rest)) = data.split_first_chunk::<DRAWN>() {
        made(drawn, rest);
    }
    if let Some((drawn, _)) = data.split_first_chunk::<32>() {
        let made = RootKey::generate(|bytes| {
            bytes.copy_from_slice(drawn);
            Ok::<(), Infallible>(())
        });
        // Most inputs of a fuzzer are too weak for a root key.
        if let Ok(key) = made {
            assert_eq!(key.expose(), STANDARD.encode(drawn));
            root(key.expose());
        }
    }
});

fn make(drawn: &[u8; DRAWN]) -> ManagedKey {
    let made = ManagedKey::generate(|bytes| {
        bytes.copy_from_slice(drawn);
        Ok::<(), Infallible>(())
    });
    let Ok(key) = made;
    key
}

fn managed(text: &str) {
    let Ok(key) = ManagedKey::parse(text) else { return };
    assert_eq!(key.expose(), text.trim());
    assert_eq!(key.expose().len(), CHARS);
    let body = key.expose().strip_prefix(PREFIX).expect("a key begins with its prefix");
    assert_eq!(key.id().as_str(), &body[..12]);
    let bytes = URL_SAFE_NO_PAD.decode(body).expect("a key is base64url");
    let drawn = bytes.first_chunk::<DRAWN>().expect("a key is 45 bytes");
    assert_eq!(make(drawn).expose(), key.expose(), "two texts are one key");
}

fn root(text: &str) {
    let Ok(key) = RootKey::parse(text) else { return };
    assert_eq!(key.expose(), text.trim());
    let engine = if key.expose().ends_with('=') { &STANDARD } else { &STANDARD_NO_PAD };
    let bytes = engine.decode(key.expose()).expect("a key is base64");
    assert!((32..=512).contains(&bytes.len()));
    assert_eq!(engine.encode(bytes), key.expose(), "two texts are one key");
}

/// The scan finds every key, and nothing else.
fn found(data: &[u8]) {
    let found: Vec<_> = find_managed_keys(data).map(|(place, id)| (place, id.to_string())).collect();
    let there: Vec<_> = (0..data.len())
        .filter_map(|place| {
            let text = str::from_utf8(data.get(place..place + CHARS)?).ok()?;
            // A window that begins or ends with white space has too few characters for a key.
            Some((place, ManagedKey::parse(text).ok()?.id().to_string()))
        })
        .collect();
    assert_eq!(found, there);
}

fn made(drawn: &[u8; DRAWN], rest: &[u8]) {
    let key = make(drawn);
    managed(key.expose());
    managed(&format!("\t {}\r\n", key.expose()));

    // At any position in a file.
    let before = rest.len() / 2;
    let file = [&rest[..before], key.expose().as_bytes(), &rest[before..]].concat();
    assert!(find_managed_keys(&file).any(|(place, id)| place == before && id == *key.id()));

    // One character changed, chosen by the rest of the input.
    if let [place, character, ..] = rest {
        let mut changed = key.expose().as_bytes().to_vec();
        let place = usize::from(*place) % changed.len();
        changed[place] = *character;
        if let Ok(changed) = str::from_utf8(&changed)
            && changed != key.expose()
        {
            assert!(ManagedKey::parse(changed).is_err(), "a changed key is a key");
        }
    }
}
