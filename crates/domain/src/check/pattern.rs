//! Regular expressions from callers, bounded before they are compiled.
//!
//! Patterns have no look-around and no back-references, so a search takes time linear in the text.
//! Three things remain to be bounded: the work for each byte ([`Pattern::width`]), the time to
//! compile, and the memory. All follow from the syntax tree: parsing is linear in the pattern,
//! while case folding of large classes and repetitions are expensive.

use regex_automata::{Input, meta, nfa::thompson::WhichCaptures};
use regex_syntax::{
    ast::{self, Ast, ClassSet, ClassSetItem, Flag, GroupKind},
    hir::{self, HirKind},
};
use unicode_normalization::UnicodeNormalization;

use super::{folding::fold, width::width};

/// The maximum length of a pattern, in bytes.
const MAX_BYTES: usize = 2_000;

/// The maximum nesting of groups and classes.
const MAX_NESTING: u32 = 50;

/// The maximum number of positions of a pattern that may be active for one byte. With the longest
/// message, 1 MiB, it bounds one search to a few seconds.
pub(super) const MAX_WIDTH: u64 = 256;

/// The maximum work to build the classes of one pattern, in units of about 50 µs.
const MAX_CLASS_WORK: u64 = 150;

/// The number of characters of a case-insensitive range that are folded per unit of work.
const FOLDED_A_UNIT: u64 = 8_192;

/// The longest range whose characters are folded one by one. Longer ranges already contain the
/// folded characters.
const MAX_FOLDED_RANGE: u32 = 1_024;

/// The maximum memory of one pattern's program, in bytes.
const MAX_PROGRAM: usize = 128 * 1024;

/// A compiled pattern. It is matched against folded texts, so its literal characters are folded
/// too.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: meta::Regex,
    width: u64,
    class_work: u64,
}

/// Why a pattern was refused. The message completes a sentence about the pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    #[error("is empty, so it would match anything")]
    Empty,
    #[error("has {0} bytes, and may have at most {MAX_BYTES}")]
    TooLong(usize),
    #[error("is not a regular expression: {0}")]
    Syntax(String),
    #[error(
        "would take too much work to match: up to {0} of its positions are active at once, and \
         {MAX_WIDTH} may be; use smaller repetition counts or fewer alternatives"
    )]
    TooWide(u64),
    #[error("has too many or too large character classes; use fewer, and no nested ones")]
    Classes,
    #[error("is too large once compiled; use smaller repetition counts or fewer classes such as `\\w`")]
    TooLarge,
}

/// The flags after a pattern.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) multi_line: bool,
    pub(super) dot_matches_new_line: bool,
}

impl Pattern {
    pub(super) fn parse(pattern: &str, flags: Flags) -> Result<Self, PatternError> {
        if pattern.len() > MAX_BYTES {
            return Err(PatternError::TooLong(pattern.len()));
        }
        // Composed before parsing, so that `?` after a letter and an accent applies to the letter
        // with its accent.
        let pattern = &pattern.nfc().collect::<String>();
        let parsed = ast::parse::ParserBuilder::new().nest_limit(MAX_NESTING).build().parse(pattern);
        let mut ast = parsed.map_err(|error| PatternError::Syntax(error.kind().to_string()))?;
        let mut folding = Folding { ignore_case: flags.ignore_case, work: 0 };
        folding.pattern(&mut ast);
        if folding.work > MAX_CLASS_WORK {
            return Err(PatternError::Classes);
        }
        let hir = hir::translate::TranslatorBuilder::new()
            .case_insensitive(flags.ignore_case)
            .multi_line(flags.multi_line)
            .dot_matches_new_line(flags.dot_matches_new_line)
            .build()
            .translate(pattern, &ast)
            .map_err(|error| PatternError::Syntax(error.kind().to_string()))?;
        if matches!(hir.kind(), HirKind::Empty) {
            return Err(PatternError::Empty);
        }
        let width = 1 + width(&hir);
        if width > MAX_WIDTH {
            return Err(PatternError::TooWide(width));
        }
        let config = meta::Config::new()
            .which_captures(WhichCaptures::Implicit)
            .nfa_size_limit(Some(MAX_PROGRAM))
            .hybrid_cache_capacity(MAX_PROGRAM);
        let regex = meta::Builder::new().configure(config).build_from_hir(&hir);
        let regex = regex.map_err(|_| PatternError::TooLarge)?;
        Ok(Self { regex, width, class_work: folding.work })
    }

    /// Finds the first match in a folded text.
    pub(super) fn find(&self, text: &str) -> Option<std::ops::Range<usize>> {
        self.regex.search(&Input::new(text)).map(|found| found.range())
    }

    /// Finds all matches in a folded text that are not empty.
    pub(super) fn find_all(&self, text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.regex.find_iter(text).map(|found| found.range()).filter(|range| !range.is_empty())
    }

    /// The number of positions of the pattern that may be active at once: the maximum work per
    /// byte.
    pub(super) fn width(&self) -> u64 {
        self.width
    }

    /// The work that building the classes took.
    pub(super) fn class_work(&self) -> u64 {
        self.class_work
    }

    /// The memory of the compiled pattern, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.regex.memory_usage()
    }
}

/// Folds the literal characters of a pattern and counts the cost of its classes.
///
/// Letters in classes are folded here because the translator takes milliseconds for a class such as
/// `[\S_]`.
struct Folding {
    ignore_case: bool,
    work: u64,
}

impl Folding {
    fn pattern(&mut self, ast: &mut Ast) {
        match ast {
            Ast::Flags(set) => self.set(&set.flags),
            Ast::Literal(_) => *ast = joined(fold_literals(vec![std::mem::replace(ast, empty())])),
            Ast::ClassBracketed(class) => {
                self.class(&mut class.kind, 0);
                if self.ignore_case {
                    let span = class.span;
                    let items =
                        [ast::FlagsItemKind::Negation, ast::FlagsItemKind::Flag(Flag::CaseInsensitive)];
                    let items = items.map(|kind| ast::FlagsItem { span, kind }).into();
                    let kind = GroupKind::NonCapturing(ast::Flags { span, items });
                    let class = Box::new(std::mem::replace(ast, empty()));
                    *ast = Ast::group(ast::Group { span, kind, ast: class });
                }
            }
            Ast::Repetition(repetition) => self.pattern(&mut repetition.ast),
            Ast::Group(group) => {
                let outside = self.ignore_case;
                if let Some(flags) = group.flags() {
                    self.set(flags);
                }
                self.pattern(&mut group.ast);
                self.ignore_case = outside;
            }
            Ast::Alternation(alternation) => {
                alternation.asts.iter_mut().for_each(|ast| self.pattern(ast));
            }
            Ast::Concat(concat) => {
                let mut literals = Vec::new();
                let mut folded = Vec::with_capacity(concat.asts.len());
                for mut ast in std::mem::take(&mut concat.asts) {
                    if matches!(ast, Ast::Literal(_)) {
                        literals.push(ast);
                        continue;
                    }
                    folded.append(&mut fold_literals(std::mem::take(&mut literals)));
                    self.pattern(&mut ast);
                    folded.push(ast);
                }
                folded.append(&mut fold_literals(literals));
                concat.asts = folded;
            }
            Ast::Empty(_) | Ast::Dot(_) | Ast::Assertion(_) | Ast::ClassUnicode(_) | Ast::ClassPerl(_) => {}
        }
    }

    fn set(&mut self, flags: &ast::Flags) {
        self.ignore_case = flags.flag_state(Flag::CaseInsensitive).unwrap_or(self.ignore_case);
    }

    fn class(&mut self, set: &mut ClassSet, depth: u64) {
        match set {
            ClassSet::Item(item) => self.item(item, depth),
            ClassSet::BinaryOp(operation) => {
                self.work = self.work.saturating_add(4);
                self.class(&mut operation.lhs, depth);
                self.class(&mut operation.rhs, depth);
            }
        }
    }

    fn item(&mut self, item: &mut ClassSetItem, depth: u64) {
        match item {
            ClassSetItem::Literal(literal) => {
                // Most literals take this path and need no change.
                if self.ignore_case || !literal.c.is_ascii() || literal.c == '\r' {
                    *item = self.range(literal.clone(), literal.clone());
                }
            }
            ClassSetItem::Range(range) => *item = self.range(range.start.clone(), range.end.clone()),
            ClassSetItem::Ascii(class) => {
                let has_case = matches!(class.kind, ast::ClassAsciiKind::Lower | ast::ClassAsciiKind::Upper);
                if self.ignore_case && has_case && !class.negated {
                    class.kind = ast::ClassAsciiKind::Alpha;
                }
            }
            ClassSetItem::Bracketed(class) => {
                // Each level merges the classes below it again.
                self.work = self.work.saturating_add(8 * (depth + 1));
                self.class(&mut class.kind, depth + 1);
            }
            ClassSetItem::Union(union) => {
                let mut perl = Vec::new();
                union.items.retain(|item| {
                    let ClassSetItem::Perl(class) = item else { return true };
                    let seen = perl.contains(&(class.kind.clone(), class.negated));
                    perl.push((class.kind.clone(), class.negated));
                    !seen
                });
                union.items.iter_mut().for_each(|item| self.item(item, depth));
            }
            ClassSetItem::Perl(_) | ClassSetItem::Unicode(_) => {
                self.work = self.work.saturating_add(depth + 1);
            }
            ClassSetItem::Empty(_) => {}
        }
    }

    /// A range together with its folded characters and, if case is ignored, both cases.
    fn range(&mut self, start: ast::Literal, end: ast::Literal) -> ClassSetItem {
        let (first, last, span) = (start.c, end.c, start.span);
        let length = u32::from(last).saturating_sub(u32::from(first));
        let whole = ClassSetItem::Range(ast::ClassSetRange { span, start, end });
        if first > last {
            // The translator reports the error.
            return whole;
        }
        let mut class = hir::ClassUnicode::new([hir::ClassUnicodeRange::new(first, last)]);
        if length <= MAX_FOLDED_RANGE && !(last.is_ascii() && first > '\r') {
            let characters =
                (first..=last).flat_map(|character| fold(&character.to_string()).chars().collect::<Vec<_>>());
            class.union(&hir::ClassUnicode::new(
                characters.map(|character| hir::ClassUnicodeRange::new(character, character)),
            ));
        }
        if self.ignore_case {
            self.work = self.work.saturating_add(u64::from(length) / FOLDED_A_UNIT);
            if self.work > MAX_CLASS_WORK || class.try_case_fold_simple().is_err() {
                return whole;
            }
        }
        let literal = |c| ast::Literal { span, kind: ast::LiteralKind::Verbatim, c };
        // Two ASCII letters fold to non-ASCII characters. No folded text contains those, and
        // patterns without Unicode refuse them.
        let ranges = class.iter().filter(|range| !last.is_ascii() || range.end().is_ascii());
        let items = ranges.map(|range| {
            let (start, end) = (literal(range.start()), literal(range.end()));
            ClassSetItem::Range(ast::ClassSetRange { span, start, end })
        });
        ClassSetItem::Union(ast::ClassSetUnion { span, items: items.collect() })
    }
}

fn empty() -> Ast {
    Ast::empty(ast::Span::splat(ast::Position::new(0, 1, 1)))
}

/// Folds adjacent literals as one text.
fn fold_literals(literals: Vec<Ast>) -> Vec<Ast> {
    let text: String = literals
        .iter()
        .filter_map(|ast| if let Ast::Literal(literal) = ast { Some(literal.c) } else { None })
        .collect();
    let Some(Ast::Literal(first)) = literals.first() else { return literals };
    let folded = fold(&text);
    if folded == text {
        return literals;
    }
    let span = first.span;
    let literal = |c| Ast::literal(ast::Literal { span, kind: ast::LiteralKind::Verbatim, c });
    folded.chars().map(literal).collect()
}

fn joined(mut asts: Vec<Ast>) -> Ast {
    match (asts.len(), asts.pop()) {
        (1, Some(only)) => only,
        (_, None) => empty(),
        (_, Some(last)) => {
            let span = *last.span();
            asts.push(last);
            Ast::concat(ast::Concat { span, asts })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pattern: &str, flags: &str) -> Result<Pattern, PatternError> {
        let flags = Flags {
            ignore_case: flags.contains('i'),
            multi_line: flags.contains('m'),
            dot_matches_new_line: flags.contains('s'),
        };
        Pattern::parse(pattern, flags)
    }

    fn finds(pattern: &str, flags: &str, text: &str) -> bool {
        parse(pattern, flags).unwrap().find(&fold(text)).is_some()
    }

    #[test]
    fn only_self_overlapping_patterns_are_wide() {
        for (pattern, width) in [
            ("guarantee", 2),
            ("aaaa", 5),
            ("abab", 3),
            ("guarantee|promise|certain", 4),
            ("[ab]{100}", 101),
            ("refund.{0,50}money", 53),
            ("(?:ab|cd){10}", 21),
            (r"\bno\b", 4),
        ] {
            assert_eq!(parse(pattern, "").unwrap().width(), width, "{pattern}");
            assert_eq!(parse(pattern, "i").unwrap().width(), width, "{pattern}");
        }
    }

    #[test]
    fn expensive_pattern_is_refused() {
        for pattern in [
            "a[ab]{1000}c",
            "((((a{99}){99}){99}){99})",
            "(?:a|b|c|dd|ee){200}",
            r"(\b\b\ba){100}",
            &"[ab]".repeat(300),
            &format!("({})", "a|b|".repeat(200) + "cc"),
            ".{257}",
        ] {
            let parsed = parse(pattern, "");
            assert!(
                matches!(parsed, Err(PatternError::TooWide(_) | PatternError::TooLarge)),
                "{pattern} {parsed:?}"
            );
        }
        assert!(matches!(parse(r"\w{200}", ""), Err(PatternError::TooLarge)));
        assert!(matches!(parse(&"ab".repeat(1_001), ""), Err(PatternError::TooLong(2_002))));
        assert!(matches!(parse(&"(".repeat(51), ""), Err(PatternError::Syntax(_))));
    }

    #[test]
    fn expensive_classes_are_refused() {
        for class in [
            format!("[{}]", r"[\W\w]".repeat(300)),
            r"[\x{0}-\x{10ffff}]".repeat(20),
            format!("{}a{}", "[".repeat(20), "]".repeat(20)),
            format!("[{}]", r"a&&".repeat(40) + "b"),
        ] {
            assert_eq!(parse(&class, "i").unwrap_err(), PatternError::Classes, "{class}");
        }
        for class in [r"[\s\S]{0,100}", r"[^\W_]", r"[a-z&&[^aeiou]]", r"[\x{80}-\x{10ffff}]"] {
            assert!(parse(class, "i").is_ok(), "{class}");
        }
    }

    #[test]
    fn patterns_are_folded_like_texts() {
        for (pattern, text) in [
            ("can\u{2019}t", "can't"),
            (r"can\u{2019}t", "can't"),
            ("can't", "can\u{2019}t"),
            ("cafe\u{301}?s", "caf\u{e9}s"),
            (r"e\u{301}", "\u{e9}"),
            ("[\u{2019}\"]x", "'x"),
            ("[^\u{2019}]x", "\"x"),
            ("\u{ff21}+", "AA"),
            ("[\u{ff21}-\u{ff3a}]", "Q"),
            ("wait\u{2026}+$", "wait\u{2026}\u{2026}"),
            ("one\\r\\ntwo", "one\r\ntwo"),
            ("by\u{a0}tomorrow", "by tomorrow"),
            ("guaran\u{200b}tee", "guarantee"),
            ("\u{ff08}x\u{ff09}", "(x)"),
        ] {
            assert!(finds(pattern, "", text), "{pattern:?} {text:?}");
        }
        assert!(!finds("[^\u{2019}]x", "", "'x"));
        assert_eq!(parse("\u{200b}", "").unwrap_err(), PatternError::Empty);
    }

    #[test]
    fn case_is_ignored_where_the_flag_is_set() {
        for (pattern, flags, text, expected) in [
            ("refund", "i", "REFUND", true),
            ("refund", "", "REFUND", false),
            ("[q-s]efund", "i", "REFUND", true),
            ("[r]efund", "", "Refund", false),
            ("[^R]efund", "i", "refund", false),
            ("[[:upper:]]x", "i", "ax", true),
            ("(?i)[r]E", "", "Re", true),
            ("(?-i:[r])e", "i", "Re", false),
            ("(?:(?i)a)[b]", "", "AB", false),
            (r"(?-u:[s])x", "i", "SX", true),
            ("[\u{e9}]", "i", "\u{c9}", true),
            (r"[\W_]x", "i", "_X", true),
        ] {
            assert_eq!(finds(pattern, flags, text), expected, "{pattern} {flags} {text}");
        }
    }
}
