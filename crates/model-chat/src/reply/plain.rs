//! Removes from a persona's message what models write around it: labels, end markers and quotation marks.

/// Words before a colon that name who speaks.
const LABELS: [&str; 8] = ["user", "customer", "client", "caller", "person", "persona", "human", "me"];

/// Words in brackets, or alone on the last line, that models write to end a conversation. Only their letters
/// are compared.
const END_MARKERS: [&str; 34] = [
    "end",
    "stop",
    "done",
    "exit",
    "quit",
    "finish",
    "finished",
    "terminate",
    "hangup",
    "eos",
    "eot",
    "eotid",
    "eom",
    "s",
    "imend",
    "endoftext",
    "endofturn",
    "endofchat",
    "endchat",
    "chatend",
    "chatended",
    "chatover",
    "endconversation",
    "endofconversation",
    "conversationend",
    "conversationended",
    "conversationover",
    "conversationcomplete",
    "stopconversation",
    "goalcompleted",
    "gaveup",
    "transferred",
    "transfer",
    "outofscope",
];

/// The longest label or end marker, in bytes.
const MAX_MARKER: usize = 60;

/// How often labels, markers and quotation marks may surround each other.
const MAX_LAYERS: usize = 8;

/// The message alone. `summary` starts with the person's name.
pub(super) fn plain(text: &str, summary: &str) -> String {
    let mut text = text.trim();
    for _ in 0..MAX_LAYERS {
        let before = text.len();
        text = without_label(text, summary).trim();
        text = without_end_marker(text).trim();
        text = without_quotation_marks(text).trim();
        if text.len() == before {
            break;
        }
    }
    text.to_owned()
}

fn without_label<'a>(text: &'a str, summary: &str) -> &'a str {
    let Some((head, rest)) = text.split_once([':', '\u{ff1a}']).filter(|(head, _)| head.len() <= MAX_MARKER)
    else {
        return text;
    };
    let is_mark = |character: char| matches!(character, '*' | '_' | '[' | ']' | '<' | '>' | '#');
    let label = head.trim().trim_matches(is_mark).trim().to_lowercase();
    let full_name = summary.split(',').next().unwrap_or_default().trim();
    let first_name = full_name.split(' ').next().unwrap_or_default();
    let mut names = LABELS.into_iter().chain([full_name, first_name]);
    if label.is_empty() || !names.any(|name| name.to_lowercase() == label) {
        return text;
    }
    // In `**Ann:** Hi`, the emphasis ends behind the colon.
    if head.starts_with(is_mark) { rest.trim_start_matches(is_mark) } else { rest }
}

fn without_end_marker(text: &str) -> &str {
    for (open, close) in [('[', ']'), ('<', '>'), ('(', ')'), ('{', '}'), ('【', '】')] {
        if text.ends_with(close)
            && let Some(start) = text.rfind(open)
            && is_end_marker(&text[start..])
        {
            // `[[END]]` has more brackets.
            return text[..start].trim_end_matches(open);
        }
    }
    let word = text.char_indices().rfind(|(_, character)| character.is_whitespace());
    let word = word.map_or(0, |(at, space)| at + space.len_utf8());
    let is_marked = text[word..].starts_with(['#', '*', '_', '~', '=', '-', '|']);
    if is_marked && is_end_marker(&text[word..]) {
        return &text[..word];
    }
    let line = text.rfind('\n').map_or(0, |at| at + 1);
    let is_upper = !text[line..].chars().any(char::is_lowercase);
    if is_upper && is_end_marker(&text[line..]) { &text[..line] } else { text }
}

fn is_end_marker(text: &str) -> bool {
    if text.len() > MAX_MARKER {
        return false;
    }
    let letters: String = text.chars().filter(|character| character.is_alphanumeric()).collect();
    END_MARKERS.contains(&letters.to_lowercase().as_str())
}

fn without_quotation_marks(text: &str) -> &str {
    for (open, close) in [('"', '"'), ('\u{201c}', '\u{201d}'), ('\u{201e}', '\u{201c}'), ('«', '»')] {
        let inner = text.strip_prefix(open).and_then(|text| text.strip_suffix(close));
        if let Some(inner) = inner.filter(|inner| !inner.contains([open, close])) {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUMMARY: &str = "Gita Mbeki, 25, a hairdresser";

    #[test]
    fn labels_markers_and_quotation_marks_are_removed() {
        for text in [
            "I need help.",
            " \"I need help.\" ",
            "„I need help.“",
            "User: I need help.",
            "**Customer:** I need help.",
            "[Gita]: I need help.",
            "Gita Mbeki: \"I need help.\"",
            "gita：I need help.",
            "\"Me: I need help. [END]\"",
            "I need help. [END] ",
            "I need help.\n\n[End of conversation]",
            "I need help. ###STOP###",
            "I need help.<|im_end|>",
            "I need help.</s>",
            "I need help. [[DONE]] (end)",
            "I need help.\nEND",
            "I need help. **END_OF_CONVERSATION**",
            "I need help. [goal_completed]",
        ] {
            assert_eq!(plain(text, SUMMARY), "I need help.", "{text}");
        }
    }

    #[test]
    fn words_of_the_message_stay() {
        for text in [
            "Please stop",
            "My options: [A] or [B]",
            "It says: wait (in the end)",
            "\"Yes\", she said, \"now\"",
            "Order: 12345",
            "It is at the end",
            "STOP IT",
            "3 > 2",
            "",
        ] {
            assert_eq!(plain(text, SUMMARY), text);
        }
        assert_eq!(plain("[END]", SUMMARY), "");
        assert_eq!(plain(": hi", ""), ": hi");
    }

    proptest! {
        #[test]
        fn plain_message_is_a_part_of_the_text(text in r#"(?:User|Gita|END|["\[\]()<>#*:„“ \n]|.){0,30}"#) {
            let message = plain(&text, SUMMARY);
            prop_assert!(text.contains(&message));
            prop_assert_eq!(message.trim(), &message);
        }
    }
}
