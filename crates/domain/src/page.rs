//! Pages of lists. Every list is bounded, so that a request's cost does not grow with the data.

/// The requested part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The maximum number of rows.
    pub limit: Limit,
    /// Where the part begins.
    pub start: Start,
}

impl PageRequest {
    /// The first `limit` rows.
    pub fn first(limit: Limit) -> Self {
        Self { limit, start: Start::Offset(0) }
    }

    /// The first `limit` rows after `position`, which is the `next` of the previous page.
    pub fn after(limit: Limit, position: Position) -> Self {
        Self { limit, start: Start::After(position) }
    }
}

/// Where a part of a list begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this many rows.
    Offset(u32),
    /// After the row at this position.
    After(Position),
}

/// The position of a row in a list: its sort values and a unique tie-breaker, in a form that only
/// its store reads.
///
/// A list that continues from a position repeats and skips no row, even if rows are inserted. A row
/// whose sort values change in the meantime moves within the list, so it may be repeated or
/// skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(Box<str>);

impl Position {
    /// A position from a store or from a caller.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text as the store wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The maximum number of rows in a page. Each route sets its own bound; this type ensures that
/// there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u32);

impl Limit {
    /// The maximum of any page.
    pub const MAX: u32 = 1_000;

    /// A limit, clamped to 1 through [`Limit::MAX`].
    pub fn clamped(number: u32) -> Self {
        Self(number.clamp(1, Self::MAX))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// The position of the last row, if more rows follow.
    pub next: Option<Position>,
}

impl<T> Page<T> {
    /// Whether more rows follow.
    pub fn has_more(&self) -> bool {
        self.next.is_some()
    }

    /// Converts the rows.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(change).collect(), next: self.next }
    }
}

/// The direction of a sorted list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest or oldest first.
    Ascending,
    /// Largest or newest first.
    Descending,
}
