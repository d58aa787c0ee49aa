//! Reports as text for people and for other programs.

use crate::Report;

/// The report as Markdown.
pub fn markdown(report: &Report) -> String {
    format!("# {}: {}\n", report.name, report.verdict)
}

/// The report as a JUnit document.
pub fn junit(report: &Report) -> String {
    let _ = report;
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites/>\n".to_owned()
}

/// The report as one self-contained HTML page.
pub fn html(report: &Report) -> String {
    let _ = report;
    String::new()
}

/// Workflow commands that make GitHub show annotations.
pub fn github_annotations(report: &Report) -> String {
    let _ = report;
    String::new()
}

/// The report as a step summary of GitHub Actions.
pub fn github_summary(report: &Report) -> String {
    markdown(report)
}
