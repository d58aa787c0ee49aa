//! Texts from outside, for error messages and logs.

/// The maximum length of an excerpt in bytes, before it is escaped.
const MAX: usize = 300;

/// The beginning of a text on one line, with control and invisible characters escaped.
pub(crate) fn excerpt(text: &str) -> String {
    excerpt_of(text, MAX)
}

/// [`excerpt`] with another maximum.
pub(crate) fn excerpt_of(text: &str, max: usize) -> String {
    let text = text.trim();
    let end = text.floor_char_boundary(max);
    let mut excerpt = String::with_capacity(end);
    for char in text[..end].chars() {
        if char == ' ' || char == '"' || char == '\'' || char == '\\' {
            excerpt.push(char);
        } else {
            // Escapes what `Debug` of a string escapes: controls, separators and unassigned characters.
            excerpt.extend(char.escape_debug());
        }
    }
    if end < text.len() {
        excerpt.push('…');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_escaped_and_cut_between_characters() {
        assert_eq!(
            excerpt(" say \"hi\" C:\\x\n\u{1b}[31m\u{202e} ü "),
            "say \"hi\" C:\\x\\n\\u{1b}[31m\\u{202e} ü"
        );
        assert_eq!(excerpt(&"ü".repeat(400)), format!("{}…", "ü".repeat(150)));
        assert_eq!(excerpt_of("aü", 2), "a…");
        assert_eq!(excerpt(""), "");
    }
}
