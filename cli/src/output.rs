//! Output: results on standard output or in files, errors and notes on standard error.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::Path,
};

use anyhow::Context;

use crate::text;

/// Writes text to standard output and flushes it. Control and invisible characters are escaped
/// here, also if the caller forgot to.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text::plain_lines(text).as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes JSON and a line break to standard output. Control and invisible characters are escaped.
pub(crate) fn print_json(json: &str) -> anyhow::Result<()> {
    print(&format!("{}\n", text::plain_json(json)))
}

/// Writes text to standard error. Fails if it cannot be written, as a question must be seen before
/// it is answered.
pub(crate) fn prompt(text: &str) -> io::Result<()> {
    io::stderr().lock().write_all(text::plain_lines(text).as_bytes())
}

/// Writes an error to standard error, in one line.
pub(crate) fn print_error(error: &anyhow::Error) {
    // If standard error is closed, the exit code still reports the failure.
    let _ = prompt(&format!("error: {}\n", line(error)));
}

/// Writes a note to standard error.
pub(crate) fn print_note(text: &str) {
    // The result does not depend on it.
    let _ = prompt(text);
}

/// Whether the reader of standard output closed it.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Writes a file in one step: a reader sees the old or the new text, and a failure leaves the old one.
pub(crate) fn replace_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    // A pipe or a device cannot be replaced.
    if path.exists() && !path.is_file() {
        return fs::write(path, text).with_context(failed);
    }
    // A link stays a link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".onerun-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(directory_of(&path)).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.persist(&path).with_context(failed)?;
    Ok(())
}

/// The directory of a file.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// An error and its causes. A cause that a message already contains is not repeated.
fn line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    // It may contain text from the API.
    text::plain(&line.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn file_is_replaced_in_one_step_and_links_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a"), directory.path().join("b"));
        replace_file(&file, "old").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace_file(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        assert!(replace_file(&directory.path().join("no/such"), "x").is_err());
    }

    #[test]
    fn error_line_names_each_cause_once() {
        let error = Err::<(), _>(anyhow!("in\nuse")).context("no port: in\nuse").context("no\u{1b} server");
        assert_eq!(line(&error.unwrap_err()), r"no\u{001B} server: no port: in use");
    }

    #[test]
    fn broken_pipe_is_a_closed_output() {
        assert!(is_closed(&io::Error::from(ErrorKind::BrokenPipe).into()));
        assert!(!is_closed(&io::Error::from(ErrorKind::PermissionDenied).into()));
        assert!(!is_closed(&anyhow!("broken pipe")));
    }
}
