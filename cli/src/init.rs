//! `onerun init` and `onerun schema`: an example of a run, and the schema of its file.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::{output, run::RunFile, text::plain};

const FILE: &str = include_str!("init/onerun.yaml");
const AGENT: &str = include_str!("../../examples/command/agent.py");
const GITHUB: &str = include_str!("init/github.yml");
const GITLAB: &str = include_str!("init/gitlab.yml");

/// Options of `onerun init`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory to write into. It is created if it does not exist.
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Also write a workflow of this CI.
    #[arg(long)]
    ci: Option<Ci>,
}

/// A kind of CI.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ci {
    /// GitHub Actions: `.github/workflows/onerun.yml`.
    Github,
    /// GitLab CI: `.gitlab/onerun.yml`, to be included in `.gitlab-ci.yml`.
    Gitlab,
}

/// Writes the example. Existing files stay as they are.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut files = vec![("onerun.yaml", FILE), ("agent.py", AGENT)];
    files.extend(options.ci.map(|ci| match ci {
        Ci::Github => (".github/workflows/onerun.yml", GITHUB),
        Ci::Gitlab => (".gitlab/onerun.yml", GITLAB),
    }));
    let paths: Vec<(PathBuf, &str)> =
        files.into_iter().map(|(name, text)| (options.directory.join(name), text)).collect();
    // Before anything is written, so that an example is complete or absent.
    if let Some((path, _)) = paths.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        bail!("{} exists already; nothing was written. Use another directory, or remove it", path.display());
    }
    for (path, text) in &paths {
        write_new(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        output::print(&format!("wrote {}\n", plain(&path.display().to_string())))?;
    }
    let file = paths.first().map(|(path, _)| path.display().to_string()).unwrap_or_default();
    output::print(&format!("next: `onerun run {}`, and put your own agent into the file\n", plain(&file)))
}

/// Writes a file that does not exist.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Prints the JSON Schema of the file.
pub(crate) fn print_schema() -> anyhow::Result<()> {
    let schema = schemars::schema_for!(RunFile);
    output::print_json(&serde_json::to_string_pretty(&schema)?)
}
