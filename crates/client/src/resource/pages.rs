//! Pages of lists.

use serde::Deserialize;

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Whether more rows follow.
    pub has_more: bool,
    /// Where the next page starts; `None` after the last page, and from servers without cursors.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The request for the next page, given the request for this one; `None` after the last page.
    pub fn following(&self, request: &PageRequest) -> Option<PageRequest> {
        following(request, self.has_more, self.next_cursor.as_deref(), self.data.len())
    }
}

/// A page of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportPage {
    /// JSON lines, each with a line break: an object with the member `conversation`, or with `item` for each message of
    /// the conversation before it. At most 4 MB, unless a single line is larger.
    pub lines: String,
    /// The cursor of the next page; `None` after the last one.
    pub next: Option<String>,
}

/// The request for the page after one with this many rows.
pub(super) fn following(
    request: &PageRequest,
    has_more: bool,
    cursor: Option<&str>,
    rows: usize,
) -> Option<PageRequest> {
    let start = match (&request.start, cursor) {
        _ if !has_more => return None,
        (_, Some(cursor)) => Start::Cursor(cursor.to_owned()),
        // A page may have fewer rows than requested. An empty one would repeat itself forever.
        (Start::Offset(offset), None) if rows > 0 => {
            Start::Offset(offset.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX)))
        }
        (Start::Offset(_) | Start::Cursor(_), None) => return None,
    };
    Some(PageRequest { limit: request.limit, start })
}

/// Which page of a list is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many rows at most, from 1 to 100.
    pub limit: u32,
    /// Where the page starts.
    pub start: Start,
}

/// Where a page of a list starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this many rows.
    Offset(u32),
    /// After an earlier page: its `next_cursor`.
    Cursor(String),
}

impl PageRequest {
    /// The first page, with a limit that is clamped to 1 to 100 rows.
    pub fn first(limit: usize) -> Self {
        Self { limit: u32::try_from(limit.clamp(1, 100)).unwrap_or(100), start: Start::Offset(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_requests_have_a_limit_and_follow_each_other() {
        assert_eq!(PageRequest::first(0).limit, 1);
        assert_eq!(PageRequest::first(1_000).limit, 100);
        let first = PageRequest::first(100);
        let page = |rows: usize, next_cursor: Option<&str>| Page {
            data: vec![(); rows],
            has_more: true,
            next_cursor: next_cursor.map(str::to_owned),
        };
        let second = page(7, Some("c")).following(&first);
        assert_eq!(second, Some(PageRequest { limit: 100, start: Start::Cursor("c".into()) }));
        // Without cursors, the offset grows by the rows received, not by the limit.
        let second = page(7, None).following(&first).unwrap();
        assert_eq!(page(2, None).following(&second).unwrap().start, Start::Offset(9));
        assert_eq!(page(0, None).following(&second), None);
        assert_eq!(Page { has_more: false, ..page(7, None) }.following(&first), None);
    }
}
