//! Tables and texts on screens of several widths, and with names in several scripts.

use onerun_tests::process::Server;
use serde_json::json;

use super::{Show, run, run_with};

const CHINESE: &str = "订单服务台夜间监控";
const ARABIC: &str = "مراقب مكتب الطلبات";

/// Each takes two columns: a family, a flag of two letters, a flag of four characters, and a person with a skin tone.
const EMOJI: [&str; 4] =
    ["👨\u{200d}👩\u{200d}👧\u{200d}👦", "🇩🇪", "🏳\u{fe0f}\u{200d}🌈", "👩\u{1f3fd}\u{200d}💻"];

/// How many columns a line takes in these tests: two for each emoji and each Chinese or Japanese character.
fn columns_of(line: &str) -> usize {
    let line = EMOJI.iter().fold(line.to_owned(), |line, emoji| line.replace(emoji, "##"));
    let wide =
        |char: &char| ('\u{3000}'..='\u{9fff}').contains(char) || ('\u{ff00}'..='\u{ff60}').contains(char);
    line.chars().count() + line.chars().filter(wide).count()
}

#[tokio::test]
async fn columns_align_beside_names_of_any_script() {
    let server = Server::start().await;
    let joined = EMOJI.concat();
    let names = ["Shop", CHINESE, ARABIC, joined.as_str(), "שירות לקוחות", "返金デスク（夜間）"];
    for name in names {
        server.client().post("/v1/projects", &json!({ "name": name }), 200).await;
    }
    for columns in ["48", "80", "200"] {
        let environment = [("COLUMNS", columns)];
        let output = run_with(server.base_url(), server.key(), &["projects", "list"], &environment).await;
        let listed = output.exits(0);
        let mut lines = listed.lines();
        let headings = lines.next().unwrap();
        let expected = columns_of(&headings[..headings.find("CREATED").unwrap()]);
        let mut shown = 0;
        for line in lines {
            let created = line.rfind("  20").expect("a time of creation") + 2;
            assert_eq!(columns_of(&line[..created]), expected, "COLUMNS={columns}:\n{listed}");
            shown += 1;
        }
        assert_eq!(shown, names.len());
        assert_eq!(listed.contains(CHINESE), columns != "48", "cut only on a narrow screen:\n{listed}");
    }
}

#[tokio::test]
async fn every_list_fits_narrow_and_wide_screens() {
    let show = Show::open().await;
    let long = "A shop with a name that is rather long, 日本語のお店".repeat(3);
    for name in [long.as_str(), &EMOJI.concat().repeat(5), &CHINESE.repeat(5)] {
        show.project.client.post("/v1/projects", &json!({ "name": name }), 200).await;
    }
    let (url, key) = (show.server.base_url(), show.server.key());
    let (project, simulation) = (show.project.id.as_str(), show.simulation.as_str());
    for arguments in [
        ["projects", "list"].as_slice(),
        &["simulations", "list", "--project", project],
        &["simulations", "show", simulation, "--project", project],
        &["personas", "list", simulation, "--project", project],
        &["conversations", "list", "--simulation", simulation, "--project", project],
    ] {
        let mut printed = Vec::new();
        for columns in [40, 80, 200] {
            let environment = [("COLUMNS", columns.to_string())];
            let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
            let text = run_with(url, key, arguments, &environment).await.exits(0);
            // The command that approves personas stays whole, so it can be copied.
            for line in text.lines().filter(|line| !line.contains("--all")) {
                assert!(columns_of(line) <= columns, "{arguments:?} at {columns}: {line}");
            }
            printed.push(text);
        }
        assert_ne!(printed[0], printed[2], "{arguments:?}");
    }
    // Without COLUMNS, a pipe gets uncut names.
    assert!(run(url, key, &["projects", "list"]).await.exits(0).contains(&long));
}

#[tokio::test]
async fn a_narrow_screen_loses_no_column() {
    let show = Show::open().await;
    let (url, key) = (show.server.base_url(), show.server.key());
    let arguments = ["simulations", "list", "--project", &show.project.id];
    let wide = run_with(url, key, &arguments, &[("COLUMNS", "200")]).await.exits(0);
    assert_eq!(wide.lines().count(), 2, "headings and a row:\n{wide}");
    let narrow = run_with(url, key, &arguments, &[("COLUMNS", "40")]).await.exits(0);
    assert!(narrow.lines().count() > 2, "a line for each value:\n{narrow}");
    let [headings, row] = wide.lines().collect::<Vec<_>>()[..] else { panic!("{wide}") };
    for word in headings.split_whitespace().filter(|word| *word != "NOTE").chain(row.split_whitespace()) {
        assert!(narrow.contains(word), "{word} of {wide} in {narrow}");
    }
}
