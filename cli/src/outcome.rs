//! What came of a command that asks something, and what the program exits with.

use std::{fmt, process::ExitCode};

use anyhow::anyhow;
use onerun_client::Error;

use crate::output;

/// What is said below the list of commands that read from the API.
pub(crate) const AFTER_HELP: &str = "\
Environment:
  ONERUN_API_BASE_URL  the API's address [default: http://127.0.0.1:9000]
  ONERUN_API_KEY       the key that is sent; no argument takes a key
  COLUMNS              how wide tables and texts are [default: the terminal's
                       width; to a file or a pipe, tables are not cut]

Exit codes:
  0  done
  1  the API refused (4xx): there is no such thing, or the key may not see it
  2  nothing is known of it: a wrong command line, no answer from the API, or
     one that says that it failed (5xx)

With --json, standard output is one JSON document, and nothing if the command
failed: the API's answer, or where it takes two, an object of both. Only what a
terminal would obey or not show is written otherwise, as a \\u escape.";

/// Says what went wrong, and what the program is to exit with. Fails only if standard output was closed.
pub(crate) fn told(done: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match done {
        Err(error) if !output::is_closed(&error) => {
            let code = exit_code(&error);
            output::complain(&explained(error));
            Ok(code)
        }
        done => done,
    }
}

/// That the answer is no. Anything else that goes wrong leaves open what the answer is.
#[derive(Debug)]
pub(crate) struct No(pub(crate) String);

impl fmt::Display for No {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for No {}

/// An error of the client without its causes, the last of which it has told itself, and with what helps.
fn explained(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        Some(told) if told.is_connect() => {
            anyhow!("{told}; is it running, and is ONERUN_API_BASE_URL its address?")
        }
        Some(told) => anyhow!("{told}"),
        None => error,
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    let refused = error.downcast_ref::<Error>().and_then(Error::status);
    let is_no = error.is::<No>() || refused.is_some_and(|status| (400..500).contains(&status));
    ExitCode::from(if is_no { 1 } else { 2 })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn answered(status: u16) -> anyhow::Error {
        let (code, message) = ("code".to_owned(), "message".to_owned());
        Error::Api { status, code, message, request_id: None, retry_after: None }.into()
    }

    #[test]
    fn what_is_refused_and_what_is_not_known_exit_differently() {
        let code = |error: anyhow::Error| format!("{:?}", exit_code(&error));
        let (no, unknown) = (format!("{:?}", ExitCode::from(1)), format!("{:?}", ExitCode::from(2)));
        for error in [answered(401), answered(404), answered(429), No("no".into()).into()] {
            assert_eq!(code(Err::<(), _>(error).context("with words before it").unwrap_err()), no);
        }
        for error in [answered(500), answered(503), answered(302), anyhow!("anything else")] {
            assert_eq!(code(error), unknown);
        }
    }
}
