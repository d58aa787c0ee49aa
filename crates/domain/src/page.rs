//! Pages of lists. Every list is bounded, so that a request's cost does not grow with the data.

/// The requested part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The maximum number of entries.
    pub limit: Limit,
    /// The number of entries to skip.
    pub offset: u32,
}

/// The maximum number of entries in a page. Each route sets its own bound; this type ensures that
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
    /// The entries.
    pub data: Vec<T>,
    /// Whether more entries follow.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// Builds a page from up to one row more than the limit. The extra row only shows that more
    /// follow.
    pub fn from_overfull(mut data: Vec<T>, limit: Limit) -> Self {
        let wanted = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        let has_more = data.len() > wanted;
        data.truncate(wanted);
        Self { data, has_more }
    }

    /// Converts the entries.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(change).collect(), has_more: self.has_more }
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
