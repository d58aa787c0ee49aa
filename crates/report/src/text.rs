//! Words for numbers, and bounded texts.

/// The text, cut after `limit` characters.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A number with its noun.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A percentage with at most one decimal. Only an exact 0 or 1 gives 0% or 100%.
pub(crate) fn percent(rate: f64) -> String {
    let rounded = (rate * 1_000.0).round();
    let fair = if rate > 0.0 && rate < 1.0 { rounded.clamp(1.0, 999.0) } else { rounded };
    format!("{}%", fair / 10.0)
}

/// A p-value with four decimals.
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.000_1 { "< 0.0001".to_owned() } else { format!("{}", (p * 10_000.0).round() / 10_000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentage_never_rounds_to_none_or_all() {
        assert_eq!(
            [0.0, 0.000_1, 0.5, 0.333, 0.999_9, 1.0].map(percent),
            ["0%", "0.1%", "50%", "33.3%", "99.9%", "100%"]
        );
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöü", 2), "äö…");
    }
}
