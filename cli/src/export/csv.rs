//! An export as CSV.

use onerun_client::resource::{Conversation, Evaluation};

const HEADINGS: [&str; 16] = [
    "conversation_id",
    "number",
    "status",
    "end_reason",
    "attempt",
    "messages",
    "persona_id",
    "persona",
    "objective_id",
    "objective",
    "objective_version",
    "outcome",
    "score",
    "reason",
    "quotes",
    "judge",
];

/// The rows of a page's conversations, below the headings if it is the first page.
pub(super) fn rows(conversations: &[Conversation], with_headings: bool) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if with_headings {
        writer.write_record(HEADINGS)?;
    }
    for conversation in conversations {
        if conversation.evaluations.is_empty() {
            writer.write_record(row(conversation, None))?;
        }
        for evaluation in &conversation.evaluations {
            writer.write_record(row(conversation, Some(evaluation)))?;
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn row(conversation: &Conversation, evaluation: Option<&Evaluation>) -> [String; 16] {
    let of = |text: fn(&Evaluation) -> String| evaluation.map(text).unwrap_or_default();
    [
        conversation.id.clone(),
        conversation.seq_id.to_string(),
        conversation.status.as_str().to_owned(),
        conversation.end_reason.clone().unwrap_or_default(),
        conversation.attempt.to_string(),
        conversation.item_count.to_string(),
        conversation.persona.id.clone(),
        conversation.persona.summary.clone(),
        of(|evaluation| evaluation.objective.id.clone()),
        of(|evaluation| evaluation.objective.name.clone()),
        of(|evaluation| evaluation.objective.version.to_string()),
        of(|evaluation| evaluation.outcome.as_str().to_owned()),
        of(|evaluation| evaluation.score.map(|score| score.to_string()).unwrap_or_default()),
        of(|evaluation| evaluation.reason.clone().unwrap_or_default()),
        of(|evaluation| {
            let quotes: Vec<_> = evaluation.quotes.iter().map(|quote| quote.text.as_str()).collect();
            quotes.join("\n")
        }),
        of(|evaluation| evaluation.judge.clone()),
    ]
    .map(|cell| inert(&cell))
}

/// A cell that no spreadsheet takes for a formula: agents and personas write some of them.
fn inert(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text() {
        for formula in ["=HYPERLINK(\"http://x\")", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(inert(formula), format!("'{formula}"));
        }
        for text in ["", "0.5", "a=b", "'=1"] {
            assert_eq!(inert(text), text);
        }
    }
}
