//! Builds pages, bounded in rows and in bytes, and defines the form of positions.

use onerun_domain::{Limit, Page, Position};
use serde::{Serialize, de::DeserializeOwned};

use crate::{StoreError, WireSize};

/// The most bytes of serialized rows in a page, unless its first row alone is larger. On AWS an
/// answer of more than 6 MB fails.
pub const MAX_PAGE_BYTES: usize = 4_000_000;

/// Collects the rows of a page until it is full.
pub struct PageBuilder<T> {
    limit: usize,
    bytes: usize,
    data: Vec<T>,
    last: Option<Position>,
    is_full: bool,
}

impl<T: WireSize> PageBuilder<T> {
    /// A page without rows yet.
    pub fn new(limit: Limit) -> Self {
        let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        Self { limit, bytes: 0, data: Vec::new(), last: None, is_full: false }
    }

    /// Adds the next row of the list and its position, if the page has room. Returns `false` if it
    /// was not added; then the page is full.
    pub fn push(&mut self, row: T, position: Position) -> bool {
        // One byte more for the comma between two rows.
        let bytes = self.bytes.saturating_add(row.wire_size()).saturating_add(1);
        self.is_full = self.is_full
            || self.data.len() >= self.limit
            || (bytes > MAX_PAGE_BYTES && !self.data.is_empty());
        if !self.is_full {
            self.bytes = bytes;
            self.data.push(row);
            self.last = Some(position);
        }
        !self.is_full
    }

    /// The page. More rows follow if one was not added.
    pub fn finish(self) -> Page<T> {
        Page { data: self.data, next: self.last.filter(|_| self.is_full) }
    }
}

/// Builds a position from sort values.
pub fn position(values: &impl Serialize) -> Position {
    // Numbers and texts always serialize, and an empty position is invalid in every list.
    Position::new(serde_json::to_string(values).unwrap_or_default())
}

/// Reads [`position`].
///
/// # Errors
///
/// [`StoreError::UnknownPosition`] if it holds other values.
pub fn read_position<T: DeserializeOwned>(position: &Position) -> Result<T, StoreError> {
    serde_json::from_str(position.as_str()).map_err(|_| StoreError::UnknownPosition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Row(usize);

    impl WireSize for Row {
        fn wire_size(&self) -> usize {
            self.0
        }
    }

    fn page(limit: u32, sizes: &[usize]) -> Page<Row> {
        let mut page = PageBuilder::new(Limit::clamped(limit));
        for (index, size) in sizes.iter().enumerate() {
            if !page.push(Row(*size), position(&index)) {
                break;
            }
        }
        page.finish()
    }

    #[test]
    fn page_ends_at_its_limit() {
        assert_eq!(page(2, &[1, 2]), Page { data: vec![Row(1), Row(2)], next: None });
        assert_eq!(page(2, &[1, 2, 3]), Page { data: vec![Row(1), Row(2)], next: Some(position(&1)) });
        assert_eq!(page(2, &[]), Page { data: vec![], next: None });
    }

    #[test]
    fn page_ends_before_the_row_that_would_exceed_its_bytes() {
        let half = MAX_PAGE_BYTES / 2 - 1;
        assert_eq!(page(9, &[half, half]).data.len(), 2);
        let cut = page(9, &[half, half + 1, 1]);
        assert_eq!((cut.data.len(), cut.next), (1, Some(position(&0))));
    }

    #[test]
    fn page_always_has_its_first_row() {
        let large = page(9, &[2 * MAX_PAGE_BYTES, 1]);
        assert_eq!((large.data.len(), large.next), (1, Some(position(&0))));
    }

    #[test]
    fn position_of_other_values_is_unknown() {
        let made = position(&("\u{1f600}\"", 7));
        assert_eq!(read_position::<(String, i64)>(&made).unwrap(), ("\u{1f600}\"".to_owned(), 7));
        for text in ["", "[]", "[7]", "[7,\"x\"]", "[\"x\",7,8]", "{", "[\"x\",99999999999999999999]"] {
            let read = read_position::<(String, i64)>(&Position::new(text));
            assert!(matches!(read, Err(StoreError::UnknownPosition)), "{text}");
        }
    }
}
