//! What people read: columns that are aligned, lines of readable length, and nothing that a terminal would obey.

use std::fmt::{self, Write};

/// The longest line of prose, in characters.
pub(crate) const WIDTH: usize = 80;

/// Rows below their headings. Each column is as wide as it must be.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let headings = headings.map(str::to_owned);
    let all = || std::iter::once(&headings).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| width(&row[column])).max().unwrap_or(0));
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (cell, wanted) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', wanted - width(cell) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one a line; further lines of a value stand below its first.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let wanted = fields.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields {
        let mut name = *name;
        for line in value.lines() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:wanted$}  {line}");
            name = "";
        }
    }
    text
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A text of somebody's, of which a terminal shows every character and obeys none.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        // What turns the direction of writing around is no control character to Unicode, and hides as much.
        let turns =
            matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if char.is_control() || turns {
            plain.extend(char.escape_unicode());
        } else {
            plain.push(char);
        }
    }
    plain
}

/// A name for a row of a table.
pub(crate) fn short(text: &str, most: usize) -> String {
    let text = plain(text);
    if width(&text) <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A text in lines of at most `width` characters, broken between words; a longer word has a line of its own.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut length = 0;
    for word in text.split_whitespace().map(plain) {
        let wanted = self::width(&word);
        match lines.last_mut() {
            Some(line) if length + 1 + wanted <= width => {
                line.push(' ');
                line.push_str(&word);
                length += 1 + wanted;
            }
            _ => {
                lines.push(word);
                length = wanted;
            }
        }
    }
    lines
}

/// Writes a text after a label, in lines that are indented by the label's width. Its own lines stay apart.
pub(crate) fn labelled(out: &mut impl Write, label: &str, text: &str) -> fmt::Result {
    let indent = width(label);
    let mut label = label;
    for line in text.lines().flat_map(|line| wrap(line, WIDTH - indent)) {
        writeln!(out, "{label:indent$}{line}")?;
        label = "";
    }
    Ok(())
}

/// So many of something.
pub(crate) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A time to the minute, in UTC as the API has it.
pub(crate) fn time(text: &str) -> String {
    match (text.get(..10), text.get(10..11), text.get(11..16)) {
        (Some(day), Some("T"), Some(minute)) if text.ends_with('Z') => format!("{day} {minute}"),
        _ => plain(text),
    }
}

/// A time that stands alone.
pub(crate) fn utc(text: &str) -> String {
    format!("{} UTC", time(text))
}

pub(crate) fn utc_or(text: Option<&str>, otherwise: &str) -> String {
    text.map_or_else(|| otherwise.to_owned(), utc)
}

pub(crate) fn time_or(text: Option<&str>, otherwise: &str) -> String {
    text.map_or_else(|| otherwise.to_owned(), time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\u{1b}[2J\u{202e}x\ny";

    #[test]
    fn what_somebody_wrote_is_never_obeyed() {
        assert_eq!(plain(HOSTILE), r"\u{1b}[2J\u{202e}x\u{a}y");
        assert_eq!(wrap(HOSTILE, 60), [r"\u{1b}[2J\u{202e}x y"]);
        let mut text = String::new();
        labelled(&mut text, "says  ", HOSTILE).unwrap();
        assert_eq!(text, "says  \\u{1b}[2J\\u{202e}x\n      y\n");
        assert_eq!(time(HOSTILE), plain(HOSTILE));
    }

    #[test]
    fn what_is_too_long_for_a_row_is_cut() {
        assert_eq!(short(&"x".repeat(33), 32), format!("{}…", "x".repeat(31)));
        assert_eq!(short(&"x".repeat(32), 32), "x".repeat(32));
    }
}
