//! Tests of the list of cases, which need not compile the cases.

/// A case that the macro does not list would never run.
#[test]
fn every_case_is_in_the_macro() {
    let text = include_str!("../contract.rs");
    let groups = [
        ("agents", include_str!("agents.rs")),
        ("audit", include_str!("audit.rs")),
        ("batches", include_str!("batches.rs")),
        ("conversations", include_str!("conversations.rs")),
        ("deletion", include_str!("deletion.rs")),
        ("evaluation_runs", include_str!("evaluation_runs.rs")),
        ("idempotency", include_str!("idempotency.rs")),
        ("imports", include_str!("imports.rs")),
        ("isolation", include_str!("isolation.rs")),
        ("jobs", include_str!("jobs.rs")),
        ("judging", include_str!("judging.rs")),
        ("key_bounds", include_str!("key_bounds.rs")),
        ("key_jobs", include_str!("key_jobs.rs")),
        ("keys", include_str!("keys.rs")),
        ("monitors", include_str!("monitors.rs")),
        ("objectives", include_str!("objectives.rs")),
        ("overdue", include_str!("overdue.rs")),
        ("pages", include_str!("pages.rs")),
        ("personas", include_str!("personas.rs")),
        ("projects", include_str!("projects.rs")),
        ("queue", include_str!("queue.rs")),
        ("results", include_str!("results.rs")),
        ("retention", include_str!("retention.rs")),
        ("settling", include_str!("settling.rs")),
        ("simulations", include_str!("simulations.rs")),
        ("turns", include_str!("turns.rs")),
        ("usage", include_str!("usage.rs")),
        ("webhooks", include_str!("webhooks.rs")),
    ];
    // `hot_path` has no cases.
    let modules = text.lines().filter(|line| line.starts_with("pub mod ") && *line != "pub mod hot_path;");
    assert_eq!(groups.len(), modules.count());
    for (group, source) in groups {
        let start = text.find(&format!("            {group} {{\n")).unwrap();
        let listed = text[start..].lines().skip(1).map(str::trim).take_while(|line| *line != "}");
        let written = source.lines().filter_map(|line| line.strip_prefix("pub async fn "));
        let written = written.map(|line| line.split('(').next().unwrap());
        assert_eq!(listed.collect::<Vec<_>>(), written.collect::<Vec<_>>(), "{group}");
    }
}
