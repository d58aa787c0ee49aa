//! The rules of the source that no linter checks: lengths of test names, comments and files, examples that no test
//! runs, and files that the build of the worker's image would miss.

use std::{fs, path::Path, process::Command};

use onerun_tests::process::workspace;

/// The longest name of a test, in characters.
const NAME: usize = 75;

/// The longest comment line, in columns. Tables and addresses cannot be wrapped.
const COLUMNS: usize = 120;

/// The longest production part of a file, in lines. Unit tests at its end do not count.
const LINES: usize = 500;

/// Longer files, with the reason.
const LONG_FILES: [(&str, &str); 1] = [("crates/model-offline/src/people.rs", "data: names of personas")];

/// Every Rust file of the repository that git tracks or will track, with its text.
fn sources() -> Vec<(String, String)> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"];
    let output = Command::new("git").args(list).current_dir(workspace()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let paths = String::from_utf8(output.stdout).unwrap();
    let sources = paths.lines().filter_map(|path| {
        let text = fs::read_to_string(workspace().join(path)).ok()?;
        Some((path.to_owned(), text))
    });
    let sources: Vec<_> = sources.collect();
    assert!(sources.len() > 100, "git lists only {} files", sources.len());
    sources
}

/// Fails with one line for each violation.
fn assert_none(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n{}", violations.join("\n"));
}

/// The lines that are comments, with their numbers from 1.
fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| line.trim_start().starts_with("//"))
}

#[test]
fn function_names_have_at_most_75_characters() {
    let mut violations = Vec::new();
    for (path, text) in sources() {
        for line in text.lines() {
            let Some((before, rest)) = line.split_once("fn ") else { continue };
            let is_declared =
                before.split_whitespace().all(|word| word == "async" || word.starts_with("pub"));
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            if is_declared && name.len() > NAME {
                violations.push(format!("{path}: {name} ({})", name.len()));
            }
        }
    }
    assert_none("shorten these names to subject, condition and result", &violations);
}

#[test]
fn no_comment_starts_with_what() {
    let mut violations = Vec::new();
    for (path, text) in sources() {
        for (number, line) in comments(&text) {
            if line.trim_start().trim_start_matches(['/', '!']).starts_with(" What ") {
                violations.push(format!("{path}:{number}"));
            }
        }
    }
    assert_none("begin these comments with their subject", &violations);
}

#[test]
fn comment_lines_have_at_most_120_columns() {
    let mut violations = Vec::new();
    for (path, text) in sources() {
        for (number, line) in comments(&text) {
            let can_wrap = !line.contains(" | ") && !line.contains("://");
            if can_wrap && line.chars().count() > COLUMNS {
                violations.push(format!("{path}:{number}"));
            }
        }
    }
    assert_none("wrap these comments", &violations);
}

#[test]
fn production_files_have_at_most_500_lines() {
    let mut violations = Vec::new();
    for (path, text) in sources() {
        let is_production =
            path.contains("/src/") && !path.starts_with("tests/") && !path.contains("/contract/");
        let is_known = LONG_FILES.iter().any(|(known, _)| *known == path);
        let unit_tests = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
        let lines = text[..unit_tests].lines().count();
        if is_production && !is_known && lines > LINES {
            violations.push(format!("{path}: {lines} lines"));
        }
    }
    assert_none("split these files by subject", &violations);
}

/// Cargo reads a library once more to look for its examples, so libraries without any turn that off.
#[test]
fn each_example_in_documentation_is_compiled() {
    let mut violations = Vec::new();
    for (path, text) in sources() {
        let Some((package, _)) = path.split_once("/src/") else { continue };
        let manifest = fs::read_to_string(workspace().join(package).join("Cargo.toml")).unwrap();
        if !manifest.contains("\ndoctest = false\n") {
            continue;
        }
        let fences = comments(&text).filter_map(|(number, line)| {
            let fence =
                line.trim_start().strip_prefix("//")?.strip_prefix(['/', '!'])?.trim().strip_prefix("```")?;
            Some((number, fence))
        });
        // Every second fence ends a block.
        for (number, language) in fences.step_by(2) {
            if language != "text" {
                violations.push(format!("{path}:{number}"));
            }
        }
    }
    assert_none("remove `doctest = false` from the manifests of these packages", &violations);
}

#[test]
fn image_of_the_worker_is_built_from_all_included_files() {
    let ignored = fs::read_to_string(workspace().join("examples/worker/Dockerfile.dockerignore")).unwrap();
    let sent: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).map(Path::new).collect();
    let (mut violations, mut included) = (Vec::new(), 0);
    for (source, text) in sources() {
        if !source.starts_with("cli/src/") && !source.starts_with("crates/") {
            continue;
        }
        let mut paths = vec![source.clone()];
        for macro_name in ["include_str!(", "include_bytes!("] {
            let after = text.split(macro_name).skip(1);
            let argument = after.map(|rest| rest.trim_start_matches("concat!("));
            paths.extend(argument.filter_map(|rest| {
                let path = rest.strip_prefix('"')?.split('"').next()?;
                Some(join(&source, path))
            }));
        }
        included += paths.len() - 1;
        let missing = |path: &&String| !sent.iter().any(|sent| Path::new(path).starts_with(sent));
        violations.extend(paths.iter().filter(missing).map(|path| format!("{source} needs {path}")));
    }
    assert!(included > 20, "only {included} included files were found");
    assert_none("add these files to Dockerfile.dockerignore", &violations);
}

/// A path relative to a file, without `..`.
fn join(file: &str, path: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}
