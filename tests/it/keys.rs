//! `onerun keys` as people, hooks and CI jobs use it: its output and exit codes.

mod api;
mod archive;
mod offline;
mod trail;

use std::{
    io::{ErrorKind, Write},
    process::{Output, Stdio},
};

use onerun_tests::process::onerun;

/// A key that no server knows: the bytes 0 to 40 and their checksum.
const MANAGED: &str = "onr_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyjI1Z3e";

/// The outcome of a command.
#[derive(Debug)]
struct CliOutput {
    code: i32,
    stdout: String,
    stderr: String,
}

impl CliOutput {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            code: output.status.code().expect("not killed"),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The standard output, if it exited with this code.
    #[track_caller]
    fn exits(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stdout
    }

    /// The standard error, if it exited with this code and printed no result.
    #[track_caller]
    fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        self.stderr
    }
}

/// Runs `onerun keys` with these arguments, only these variables, and this input.
fn keys(arguments: &[&str], environment: &[(&str, &str)], stdin: &str) -> CliOutput {
    let mut command = onerun(&[&["keys"], arguments].concat());
    command.envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    match child.stdin.take().unwrap().write_all(stdin.as_bytes()) {
        // The command did not read its input.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.unwrap(),
    }
    CliOutput::of(&child.wait_with_output().unwrap())
}
