//! Checks calls against role policies, for tests that are not in Rust. The first input line is an
//! object with the ARNs of the `secret` and the `key` and the statements of each of the `roles`.
//! Each following line is one call: an object with a `role`, a `target` such as
//! `DynamoDB_20120810.GetItem`, and an `input`. The output has one line for each call: null, or the
//! missing right.

use std::io::{self, BufRead, Write};

use onerun_tests::rights::Rights;
use serde_json::Value;

fn main() -> io::Result<()> {
    let mut lines = io::stdin().lock().lines();
    let mut output = io::stdout().lock();
    let Some(first) = lines.next() else { return Ok(()) };
    let policies: Value = serde_json::from_str(&first?)?;
    let roles = policies["roles"].as_object().into_iter().flatten();
    let roles = roles.map(|(role, statements)| {
        (role.clone(), statements.as_array().into_iter().flatten().cloned().collect())
    });
    let arn = |name: &str| policies[name].as_str().unwrap_or_default();
    let rights = Rights::new(roles, arn("secret"), arn("key"));
    for line in lines {
        let call: Value = serde_json::from_str(&line?)?;
        let text = |name: &str| call[name].as_str().unwrap_or_default();
        let lacking = rights.lacking(text("role"), text("target"), &call["input"]);
        writeln!(output, "{}", serde_json::to_string(&lacking)?)?;
        output.flush()?;
    }
    Ok(())
}
