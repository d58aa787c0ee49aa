//! What the program says: results on standard output, complaints on standard error.

use std::io::{self, ErrorKind, Write};

use crate::text;

/// Writes a text to standard output, all of it at once. Characters that a terminal would obey or hide become codes here, also
/// where a caller forgot them.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text::plain_lines(text).as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes JSON to standard output, and a line break. Characters that a terminal would obey or hide are escaped.
pub(crate) fn print_json(json: &str) -> anyhow::Result<()> {
    print(&format!("{}\n", text::plain_json(json)))
}

/// Writes a text to standard error that must be seen before the program goes on.
pub(crate) fn prompt(text: &str) -> io::Result<()> {
    io::stderr().lock().write_all(text::plain_lines(text).as_bytes())
}

/// Writes one line that says why the program gives up.
pub(crate) fn complain(error: &anyhow::Error) {
    // If nobody can be told, the exit code still tells.
    let _ = prompt(&format!("error: {}\n", line(error)));
}

/// Writes a text to standard error that a person may want beside the result.
pub(crate) fn remark(text: &str) {
    // The result is there without it.
    let _ = prompt(text);
}

/// Whether the reader of standard output went away.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// An error with its causes, each said once: some errors say their cause in their own message.
fn line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    // It may have words of the API's in it.
    text::plain(&line.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_each_cause_once() {
        let error = Err::<(), _>(anyhow!("in\nuse")).context("no port: in\nuse").context("no\u{1b} server");
        assert_eq!(line(&error.unwrap_err()), r"no\u{001B} server: no port: in use");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        assert!(is_closed(&io::Error::from(ErrorKind::BrokenPipe).into()));
        assert!(!is_closed(&io::Error::from(ErrorKind::PermissionDenied).into()));
        assert!(!is_closed(&anyhow!("broken pipe")));
    }
}
