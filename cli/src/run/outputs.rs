//! The files that a run writes, and what GitHub Actions shows.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use onerun_report::{Report, render};

use super::failure::Failure;
use crate::{api::variable, output};

/// Standard output in place of a file.
const STDOUT: &str = "-";

/// The reports to write. `-` is standard output, for one of them.
#[derive(Debug, Default, Args)]
pub(crate) struct Outputs {
    /// Write the report as JSON. It can become a baseline.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as one self-contained HTML page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Outputs {
    fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let named = [
            ("--json", &self.json),
            ("--junit", &self.junit),
            ("--markdown", &self.markdown),
            ("--html", &self.html),
        ];
        named.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?)))
    }

    /// Whether a report goes to standard output.
    pub(crate) fn use_stdout(&self) -> bool {
        self.paths().any(|(_, path)| path == Path::new(STDOUT))
    }

    /// Checks what can be checked before the run, so that its results are not lost.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.paths().filter(|(_, path)| *path == Path::new(STDOUT)).count() > 1 {
            return Err(Failure::config("only one report can be written to standard output"));
        }
        let mut seen: Vec<&Path> = Vec::new();
        for (name, path) in self.paths().filter(|(_, path)| *path != Path::new(STDOUT)) {
            if seen.contains(&path) {
                return Err(Failure::config(format!("{name}: {} is named twice", path.display())));
            }
            seen.push(path);
            let directory = output::directory_of(path);
            if !directory.is_dir() {
                let directory = directory.display();
                return Err(Failure::config(format!("{name}: the directory {directory} does not exist")));
            }
            if path.is_dir() {
                return Err(Failure::config(format!("{name}: {} is a directory", path.display())));
            }
        }
        Ok(())
    }

    /// Writes every report. If one fails, the others are still written.
    pub(crate) fn write(&self, report: &Report) -> anyhow::Result<()> {
        let mut result = Ok(());
        for (name, path) in self.paths() {
            let text = match name {
                "--json" => to_json(report)?,
                "--junit" => render::junit(report),
                "--markdown" => render::markdown(report),
                _ => render::html(report),
            };
            let written = if path != Path::new(STDOUT) {
                output::replace_file(path, &text)
            } else if name == "--json" {
                output::print_json(text.trim_end())
            } else {
                output::print(&text)
            };
            result = result.and(written.with_context(|| name));
        }
        result
    }
}

/// A report as a JSON document with a line break at its end.
pub(crate) fn to_json(report: &Report) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}

/// GitHub Actions, if this process runs in it.
pub(crate) struct GitHub {
    /// The word that ends the lines in which GitHub obeys no commands.
    token: Option<String>,
    uses_stdout: bool,
}

impl GitHub {
    /// Detects GitHub Actions. From now on it obeys no line of the output, which repeats texts of agents.
    pub(crate) fn detect(uses_stdout: bool) -> anyhow::Result<Option<Self>> {
        if variable("GITHUB_ACTIONS")?.as_deref() != Some("true") {
            return Ok(None);
        }
        let token = format!("{:016x}", getrandom::u64()?);
        let github = Self { token: Some(token.clone()), uses_stdout };
        github.say(&format!("::stop-commands::{token}\n"))?;
        Ok(Some(github))
    }

    /// Shows annotations, and the report as the summary of the step.
    pub(crate) fn show(&mut self, report: &Report) -> anyhow::Result<()> {
        self.resume()?;
        self.say(&render::github_annotations(report))?;
        if let Some(path) = variable("GITHUB_STEP_SUMMARY")? {
            let file = OpenOptions::new().append(true).create(true).open(&path);
            let written = file.and_then(|mut file| file.write_all(render::github_summary(report).as_bytes()));
            written.with_context(|| format!("cannot write the step summary {path}"))?;
        }
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        match self.token.take() {
            Some(token) => self.say(&format!("::{token}::\n")),
            None => Ok(()),
        }
    }

    /// Prints commands. GitHub reads both streams.
    fn say(&self, commands: &str) -> anyhow::Result<()> {
        if self.uses_stdout { Ok(output::prompt(commands)?) } else { output::print(commands) }
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        // Later steps of the job do not depend on it.
        let _ = self.resume();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_outputs_are_refused_before_the_run() {
        let path = |text: &str| Some(PathBuf::from(text));
        let twice = Outputs { json: path("-"), html: path("-"), ..Outputs::default() };
        assert!(twice.check().unwrap_err().reason.contains("only one"));
        let same = Outputs { json: path("a"), html: path("a"), ..Outputs::default() };
        assert!(same.check().unwrap_err().reason.contains("--html: a is named twice"));
        let missing = Outputs { junit: path("no/such/directory/a.xml"), ..Outputs::default() };
        assert!(missing.check().unwrap_err().reason.contains("--junit: the directory no/such/directory"));
        let directory = Outputs { markdown: path("/"), ..Outputs::default() };
        assert!(directory.check().is_err());
        assert!(Outputs { json: path("report.json"), ..Outputs::default() }.check().is_ok());
    }
}
