//! Pages of lists: every list is bounded, because a request must cost the same however much there is.

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many at the most.
    pub limit: Limit,
    /// How many to pass over.
    pub offset: u32,
}

/// How many of a list at the most. The route says what the bound is; this only holds that there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u32);

impl Limit {
    /// The most any list gives at once.
    pub const MAX: u32 = 1_000;

    /// A limit from 1 to [`Limit::MAX`]; others are brought within.
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
    /// The part.
    pub data: Vec<T>,
    /// Whether more follows.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// A page from one row more than was asked for: the extra row only tells that more follows.
    pub fn from_overfull(mut data: Vec<T>, limit: Limit) -> Self {
        let wanted = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        let has_more = data.len() > wanted;
        data.truncate(wanted);
        Self { data, has_more }
    }

    /// The same page of other things.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(change).collect(), has_more: self.has_more }
    }
}

/// Which end of a sorted list comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The smallest or oldest first.
    Ascending,
    /// The largest or newest first.
    Descending,
}
