//! Bounds the work of a search for each byte of a text.

use regex_syntax::hir::{self, Hir, HirKind};

/// An upper bound on the positions of an expression that may be active at once, if a search may
/// enter it at every byte.
pub(super) fn width(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty => 0,
        HirKind::Look(_) => 1,
        HirKind::Literal(_) | HirKind::Class(_) => run_width(std::slice::from_ref(hir)),
        HirKind::Capture(capture) => width(&capture.sub),
        HirKind::Repetition(repetition) => {
            let copies = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1);
            width(&repetition.sub).max(1).saturating_mul(copies.into())
        }
        HirKind::Concat(parts) => parts
            .chunk_by(|one, next| is_simple(one) && is_simple(next))
            .map(|run| {
                if is_simple(&run[0]) {
                    run_width(run)
                } else {
                    run.iter().map(width).fold(0, u64::saturating_add)
                }
            })
            .fold(0, u64::saturating_add),
        HirKind::Alternation(branches) => {
            branches.iter().map(|branch| width(branch).max(1)).fold(0, u64::saturating_add)
        }
    }
}

/// Whether the expression is only characters.
fn is_simple(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Literal(_) | HirKind::Class(_))
}

/// One character of a run.
enum Position<'a> {
    Character(char),
    Class(&'a hir::ClassUnicode),
    Any,
}

/// The number of positions of a run that may be active at once. More than one is possible only if
/// the run overlaps with itself, as `aaa` does and `refund` does not.
fn run_width(run: &[Hir]) -> u64 {
    let mut positions = Vec::new();
    for hir in run {
        match hir.kind() {
            HirKind::Literal(literal) => match str::from_utf8(&literal.0) {
                Ok(text) => positions.extend(text.chars().map(Position::Character)),
                Err(_) => positions.extend(literal.0.iter().map(|_| Position::Any)),
            },
            // Comparing large classes costs more than it saves.
            HirKind::Class(hir::Class::Unicode(class)) if class.ranges().len() <= 8 => {
                positions.push(Position::Class(class));
            }
            _ => positions.push(Position::Any),
        }
    }
    // For each distance at which the run overlaps with itself: the positions at which the overlap
    // begins and ends.
    let mut changes = vec![0_i64; positions.len() + 1];
    for distance in 1..positions.len() {
        let pairs = positions.iter().zip(&positions[distance..]);
        let length = pairs.take_while(|(one, other)| meet(one, other)).count();
        changes[distance] += 1;
        changes[distance + length] -= 1;
    }
    let mut here = 1;
    let mut most = 1;
    for change in changes {
        here += change;
        most = most.max(here);
    }
    most.unsigned_abs()
}

/// Whether both match some character.
fn meet(one: &Position<'_>, other: &Position<'_>) -> bool {
    let holds = |class: &hir::ClassUnicode, character| {
        class.iter().any(|range| (range.start()..=range.end()).contains(&character))
    };
    match (one, other) {
        (Position::Any, _) | (_, Position::Any) => true,
        (Position::Character(one), Position::Character(other)) => one == other,
        (Position::Character(character), Position::Class(class))
        | (Position::Class(class), Position::Character(character)) => holds(class, *character),
        (Position::Class(one), Position::Class(other)) => one
            .iter()
            .any(|one| other.iter().any(|other| one.start() <= other.end() && other.start() <= one.end())),
    }
}
