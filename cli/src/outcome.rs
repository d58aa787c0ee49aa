//! Exit codes and error messages of commands that use the API.

use std::{fmt, process::ExitCode};

use anyhow::anyhow;
use onerun_client::Error;

use crate::output;

/// Help text below the subcommands that read from the API.
pub(crate) const AFTER_HELP: &str = "\
Environment:
  ONERUN_API_BASE_URL  the API's address [default: http://127.0.0.1:9000]
  ONERUN_API_KEY       the API key; no argument accepts one
  ONERUN_PROJECT       the project's id or name, unless --project is given
  COLUMNS              the width of tables and text [default: the terminal's
                       width; tables in a file or a pipe are not cut]

Exit codes:
  0  success
  1  the API refused the request (4xx): the resource does not exist, or the key
     may not read it
  2  the result is unknown: wrong command line, no response from the API, or a
     server error (5xx)

With --json, standard output is one JSON document, or empty if the command
failed. The document is the API's response, or an object of two responses.
Control and invisible characters in it are replaced by \\u escapes.";

/// Prints the error of a command and returns the exit code. Fails only if standard output was closed.
pub(crate) fn report(result: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    report_as(result, REFUSED, UNKNOWN)
}

/// [`report`] with other exit codes.
pub(crate) fn report_as(
    result: anyhow::Result<ExitCode>,
    refused: u8,
    unknown: u8,
) -> anyhow::Result<ExitCode> {
    match result {
        Err(error) if !output::is_closed(&error) => {
            let code = if is_refused(&error) { refused } else { unknown };
            output::print_error(&simplified(error));
            Ok(ExitCode::from(code))
        }
        result => result,
    }
}

/// Exit codes of errors.
const REFUSED: u8 = 1;
const UNKNOWN: u8 = 2;

/// A negative answer (exit code 1). Any other error means that the answer is unknown (exit code 2).
#[derive(Debug)]
pub(crate) struct Negative(pub(crate) String);

impl fmt::Display for Negative {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Negative {}

/// A client error without its causes, which its message already contains, and with advice if there
/// was no connection.
fn simplified(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        Some(client) if client.is_connect() => {
            anyhow!("{client}; is it running, and is ONERUN_API_BASE_URL its address?")
        }
        Some(client) => anyhow!("{client}"),
        None => error,
    }
}

/// Whether the answer is negative. Otherwise it is unknown.
fn is_refused(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Error>().and_then(Error::status);
    error.is::<Negative>() || refused.is_some_and(|status| (400..500).contains(&status))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn answered(status: u16) -> anyhow::Error {
        let (code, message) = ("code".to_owned(), "message".to_owned());
        Error::Api { status, code, message, request_id: None, retry_after: None, fields: Vec::new() }.into()
    }

    #[test]
    fn refused_and_unknown_results_exit_differently() {
        for error in [answered(401), answered(404), answered(429), Negative("no".into()).into()] {
            assert!(is_refused(&Err::<(), _>(error).context("context").unwrap_err()));
        }
        for error in [answered(500), answered(503), answered(302), anyhow!("anything else")] {
            assert!(!is_refused(&error));
        }
    }
}
