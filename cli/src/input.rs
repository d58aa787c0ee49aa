//! Text from files and standard input.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, anyhow, bail};

use crate::text::plain;

/// Reads a text from a file, or from standard input if the path is `-`. `option` names it in errors.
pub(crate) fn read(option: &str, path: &Path, max_bytes: u64) -> anyhow::Result<String> {
    let is_stdin = path.as_os_str() == "-";
    let shown = if is_stdin { "standard input".to_owned() } else { plain(&path.to_string_lossy()) };
    let source: Box<dyn Read> = if is_stdin {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("{option}: cannot read {shown}"))?)
    };
    read_bounded(source, &shown, max_bytes).with_context(|| option.to_owned())
}

/// Reads a text of at most `max_bytes`. `shown` names it in errors.
pub(crate) fn read_bounded(source: impl Read, shown: &str, max_bytes: u64) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let read = source.take(max_bytes + 1).read_to_end(&mut bytes);
    let length = read.with_context(|| format!("cannot read {shown}"))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > max_bytes {
        bail!("{shown} has more than {max_bytes} bytes");
    }
    String::from_utf8(bytes).map_err(|_| anyhow!("{shown} is not UTF-8 text"))
}
