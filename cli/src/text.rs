//! Text for terminals: aligned columns, wrapped lines, and escapes for control and invisible characters.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    io::{self, IsTerminal},
    sync::OnceLock,
};

use unicode_width::UnicodeWidthStr;

/// The longest line of prose, in columns.
pub(crate) const WIDTH: usize = 80;

/// Narrower screens are treated as this wide.
const NARROWEST: usize = 20;

/// The least width of a column that is cut.
const LEAST: usize = 8;

/// Spaces between two columns.
const GAP: usize = 2;

/// The width of the screen; `None` for a file or a pipe.
static SCREEN: OnceLock<Option<usize>> = OnceLock::new();

/// Sets the width of the screen from `COLUMNS`, or else from the terminal. The program calls it
/// once at its start.
pub(crate) fn measure_screen(columns: Option<&str>) {
    let configured = columns.and_then(|text| text.trim().parse().ok()).filter(|&columns: &usize| columns > 0);
    let measured = || {
        let size = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
        size.map(|(terminal_size::Width(columns), _)| usize::from(columns))
    };
    let _ = SCREEN.set(configured.or_else(measured).map(|columns| columns.max(NARROWEST)));
}

fn screen() -> Option<usize> {
    SCREEN.get().copied().flatten()
}

/// The width of prose: that of the screen, at most [`WIDTH`].
pub(crate) fn prose_width() -> usize {
    screen().map_or(WIDTH, |columns| columns.min(WIDTH))
}

/// A table. Each column is as wide as its widest cell. On a narrower screen, the widest of the
/// columns in `cut` are cut. If that is not enough, each row becomes lines of a name and a value.
pub(crate) fn table<const N: usize>(headings: [&str; N], cut: &[usize], rows: &[[String; N]]) -> String {
    table_on(screen(), headings, cut, rows)
}

fn table_on<const N: usize>(
    screen: Option<usize>,
    headings: [&str; N],
    cut: &[usize],
    rows: &[[String; N]],
) -> String {
    let headings = headings.map(str::to_owned);
    let all = || std::iter::once(&headings).chain(rows);
    let mut widths: [usize; N] =
        std::array::from_fn(|column| all().map(|row| width(&row[column])).max().unwrap_or(0));
    if let Some(room) = screen
        && !squeeze(&mut widths, cut, room)
    {
        return records(&headings, rows, room);
    }
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (cell, wanted) in row.iter().zip(widths) {
            let cell = shorten(cell, wanted);
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', wanted.saturating_sub(width(&cell)) + GAP));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Narrows the widest of the columns in `cut` until all columns fit in `room`; `false` if they cannot.
fn squeeze(widths: &mut [usize], cut: &[usize], room: usize) -> bool {
    loop {
        // A column without heading and cells takes no room.
        let shown = widths.iter().filter(|&&width| width > 0).count();
        let total = widths.iter().sum::<usize>() + GAP * shown.saturating_sub(1);
        let Some(excess) = total.checked_sub(room).filter(|&excess| excess > 0) else { return true };
        let mut by_width: Vec<(usize, usize)> = cut.iter().map(|&column| (widths[column], column)).collect();
        by_width.sort_unstable();
        let Some((widest, column)) = by_width.pop().filter(|&(widest, _)| widest > LEAST) else {
            return false;
        };
        let next = by_width.last().map_or(LEAST, |&(next, _)| next.max(LEAST));
        // Down to the width of the next column, or by one if both are equal.
        widths[column] = widest - excess.min((widest - next).max(1));
    }
}

/// Rows as lines of a name and a value, for a screen that is too narrow for columns.
fn records<const N: usize>(headings: &[String; N], rows: &[[String; N]], room: usize) -> String {
    let names = headings.iter().map(|heading| width(heading)).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        if !text.is_empty() {
            text.push('\n');
        }
        let named: Vec<(&str, String)> = headings
            .iter()
            .zip(row)
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(heading, cell)| {
                let lines = wrap_all(cell, room.saturating_sub(names + GAP).max(1));
                (heading.as_str(), lines.join("\n"))
            })
            .collect();
        text.push_str(&fields(&named));
    }
    text
}

/// Names and values, one per line. Further lines of a value are aligned with its first.
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

/// The width in columns of text that [`plain`] returned.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Text padded on the right to `wanted` columns.
pub(crate) fn left(text: &str, wanted: usize) -> String {
    format!("{text}{:1$}", "", wanted.saturating_sub(width(text)))
}

/// Escapes untrusted text for a terminal. Everything from outside passes through here before it is
/// printed. Control characters, invisible ones and direction marks become codes such as `\u{200B}`,
/// so that different names look different. Joined emoji stay whole.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let joins = match char {
            '\u{200d}' => is_emoji_part(before) && chars.peek().is_some_and(|&next| is_emoji(next)),
            '\u{fe0f}' => before.is_some_and(is_emoji),
            _ => false,
        };
        if is_hidden(char) && !joins {
            // Writing to a string does not fail.
            let _ = write!(plain, "\\u{{{:04X}}}", u32::from(char));
        } else {
            plain.push(char);
        }
        before = Some(char);
    }
    plain
}

/// [`plain`] for each line. Borrowed if nothing is escaped, so that secrets are not copied.
pub(crate) fn plain_lines(text: &str) -> Cow<'_, str> {
    if text.chars().any(|char| is_hidden(char) && char != '\n') {
        Cow::Owned(text.split('\n').map(plain).collect::<Vec<_>>().join("\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// JSON with the same meaning, in which the characters that [`plain`] escapes are `\u` escapes.
pub(crate) fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for char in json.chars() {
        // Raw white space is between values; inside a string it is already escaped.
        if matches!(char, '\r' | '\t') {
            plain.push(' ');
        } else if is_hidden(char) && char != '\n' {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(plain, "\\u{unit:04x}");
            }
        } else {
            plain.push(char);
        }
    }
    plain
}

/// Whether a character is escaped: control and format characters, unusual spaces, direction marks,
/// line separators, fillers, tags and variation selectors. The dashboard has the same list.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_emoji(char: char) -> bool {
    matches!(char,
        '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{2600}'..='\u{27bf}' | '\u{2934}'..='\u{2935}'
        | '\u{2b05}'..='\u{2b55}' | '\u{1f000}'..='\u{1faff}')
}

/// Whether another emoji may be joined to this character: an emoji or an emoji variation selector.
fn is_emoji_part(char: Option<char>) -> bool {
    char.is_some_and(|char| is_emoji(char) || char == '\u{fe0f}')
}

/// Cuts text to at most `most` columns, with an ellipsis.
fn shorten(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut short = String::new();
    // Combining marks have no width, so their number is bounded separately.
    for char in text.chars().take(4 * most) {
        short.push(char);
        if width(&short) >= most {
            short.pop();
            break;
        }
    }
    let end = short.trim_end_matches('\u{200d}').len();
    short.truncate(end);
    short.push('…');
    short
}

/// Wraps text between words into lines of at most `width` columns. A longer word has its own line.
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

/// [`wrap`] that also breaks long words.
fn wrap_all(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for mut line in wrap(text, width) {
        while self::width(&line) > width {
            let mut head = String::new();
            for char in line.chars() {
                head.push(char);
                if self::width(&head) > width && head.chars().count() > 1 {
                    head.pop();
                    break;
                }
            }
            line.drain(..head.len());
            lines.push(head);
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines
}

/// Escaped text in lines that fit beside field names of this width.
pub(crate) fn prose(text: &str, names: usize) -> String {
    wrap(text, prose_width().saturating_sub(names + GAP).max(LEAST)).join("\n")
}

/// Writes text after a label, wrapped and indented by the label's width. Its line breaks stay.
pub(crate) fn labelled(out: &mut impl Write, label: &str, text: &str) -> fmt::Result {
    let indent = width(label);
    let room = prose_width().saturating_sub(indent).max(LEAST);
    let mut label = label;
    for line in text.lines().flat_map(|line| wrap(line, room)) {
        writeln!(out, "{label:indent$}{line}")?;
        label = "";
    }
    Ok(())
}

/// A number and a noun, in the plural unless the number is 1.
pub(crate) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A number of occurrences: `once` or `3 times`.
pub(crate) fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

/// A timestamp of the API to the minute.
pub(crate) fn time(text: &str) -> String {
    match (text.get(..10), text.get(10..11), text.get(11..16)) {
        (Some(day), Some("T"), Some(minute)) if text.ends_with('Z') => format!("{day} {minute}"),
        _ => plain(text),
    }
}

/// A timestamp to the minute, with its time zone.
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
    fn control_characters_are_escaped() {
        assert_eq!(plain(HOSTILE), r"\u{001B}[2J\u{202E}x\u{000A}y");
        assert_eq!(wrap(HOSTILE, 60), [r"\u{001B}[2J\u{202E}x y"]);
        let mut text = String::new();
        labelled(&mut text, "says  ", HOSTILE).unwrap();
        assert_eq!(text, "says  \\u{001B}[2J\\u{202E}x\n      y\n");
        assert_eq!(time(HOSTILE), plain(HOSTILE));
    }

    #[test]
    fn invisible_characters_are_escaped() {
        for char in [
            '\u{0}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{a0}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            let code = format!("a\\u{{{:04X}}}b", u32::from(char));
            assert_eq!(plain(&format!("a{char}b")), code);
        }
        for text in ["plain", "Ä é 日本語 עברית ไทย", "e\u{301}", "\u{1f600}"] {
            assert_eq!(plain(text), text);
        }
    }

    #[test]
    fn joined_emoji_stay_whole() {
        for emoji in ["👩\u{200d}💻", "❤\u{fe0f}", "👨\u{200d}👩\u{200d}👧", "❤\u{fe0f}\u{200d}🔥", "👍🏽"]
        {
            assert_eq!(plain(emoji), emoji);
            assert_eq!(width(emoji), 2, "{emoji}");
        }
        assert_eq!(plain("👩\u{200d}"), "👩\\u{200D}");
        assert_eq!(plain("👩\u{200d}\u{200d}💻"), "👩\\u{200D}\\u{200D}💻");
    }

    #[test]
    fn escaped_json_keeps_its_meaning() {
        let value = serde_json::json!({ "name": "a\u{9b}2J\u{202e}\u{200b}\u{e0041}\u{7f}ä\n👩\u{200d}💻" });
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let plain = plain_json(&json);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap(), value);
            assert!(plain.chars().all(|char| char == '\n' || !is_hidden(char)), "{plain}");
            assert!(plain.contains(r"a\u009b2J\u202e\u200b\udb40\udc41\u007fä\n👩\u200d💻"), "{plain}");
        }
    }

    #[test]
    fn columns_are_aligned_with_wide_characters() {
        let rows = ["日本語", "ab", "👩\u{200d}💻", "e\u{301}"].map(|name| [name.to_owned(), "x".to_owned()]);
        let table = table_on(None, ["NAME", "END"], &[0], &rows);
        for line in table.lines() {
            let (before, _) = line.rsplit_once("  ").unwrap();
            assert_eq!(width(before), width(before.trim_end()).max(6), "{table}");
            assert_eq!(width(&line[..line.rfind(['x', 'E']).unwrap()]), 8, "{table}");
        }
    }

    fn sample() -> [[String; 3]; 2] {
        [["AAECAwQFBgcI", "a name that is rather long", "active"], ["BB", "日本語日本語日本語", "ok"]]
            .map(|row| row.map(str::to_owned))
    }

    #[test]
    fn table_fits_the_screen() {
        let headings = ["ID", "NAME", "STATUS"];
        for columns in 20..80 {
            let table = table_on(Some(columns), headings, &[1], &sample());
            assert!(table.lines().all(|line| width(line) <= columns), "{columns}:\n{table}");
        }
        insta::assert_snapshot!(table_on(Some(36), headings, &[1], &sample()), @r"
        ID            NAME            STATUS
        AAECAwQFBgcI  a name that i…  active
        BB            日本語日本語…   ok
        ");
    }

    #[test]
    fn table_becomes_fields_on_a_narrow_screen() {
        insta::assert_snapshot!(table_on(Some(24), ["ID", "NAME", "STATUS"], &[1], &sample()), @r"
        ID      AAECAwQFBgcI
        NAME    a name that is
                rather long
        STATUS  active

        ID      BB
        NAME    日本語日本語日本
                語
        STATUS  ok
        ");
    }

    #[test]
    fn combining_marks_are_bounded() {
        let stacked = format!("a{}", "\u{301}".repeat(10_000));
        assert!(shorten(&format!("{stacked}bcdefghij"), 8).len() < 100);
    }

    #[test]
    fn counts_have_singular_and_plural() {
        assert_eq!([0, 1, 2].map(times), ["0 times", "once", "2 times"]);
        assert_eq!([0, 1, 2].map(|n| count(n, "message")), ["0 messages", "1 message", "2 messages"]);
    }
}
