//! Cursors: parsing never panics, and a cursor has only one form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onerun_api::cursor::{Cursor, MAX_CURSOR};

fuzz_target!(|text: &str| {
    if let Ok(cursor) = Cursor::decode(text) {
        assert!(text.len() <= MAX_CURSOR);
        assert_eq!(cursor.encode(), text);
        assert!(!cursor.position.as_str().is_empty());
    }
});
