//! Lists: the entries of an index in its order, and the rows that they refer to, until a page is
//! full.

use std::collections::{HashSet, VecDeque};

use onerun_domain::{Limit, Page, PageRequest, Position, Start};
use onerun_store::{PageBuilder, StoreError, WireSize};

use crate::{
    database::{Answers, Database},
    item::Item,
    query::{Entry, Query},
};

/// How many rows are read at a time, so that a page that is full after a few large rows does not
/// read all others. One more than half of the usual page of a hundred, which reads one further row
/// to learn whether more follow.
pub(crate) const GROUP: usize = 51;

/// The entries of a list, in groups.
pub(crate) struct Entries<'a> {
    answers: Answers<'a>,
    /// How many entries the next call asks for.
    wanted: usize,
    skip: usize,
    without: HashSet<String>,
    /// Entries that were read and are in no group yet.
    read: VecDeque<Entry>,
}

impl<'a> Entries<'a> {
    /// The entries of an index query from the start of a page on.
    pub(crate) fn new(database: &'a Database, query: Query, page: &PageRequest) -> Result<Self, StoreError> {
        let (answers, skip) = match &page.start {
            Start::Offset(offset) => {
                (Answers::new(database, query), usize::try_from(*offset).unwrap_or(usize::MAX))
            }
            Start::After(position) => (Answers::after(database, query, position)?, 0),
        };
        let wanted = overfull(page.limit);
        Ok(Self { answers, wanted, skip, without: HashSet::new(), read: VecDeque::new() })
    }

    /// Leaves out the items with these sort keys.
    pub(crate) fn without(mut self, items: HashSet<String>) -> Self {
        self.without = items;
        self
    }

    /// The next entries, at most `size`; empty if there are no more.
    pub(crate) async fn group(&mut self, size: usize) -> Result<Vec<Entry>, StoreError> {
        if self.skip > 0 && self.without.is_empty() && !self.answers.query().is_filtered() {
            self.answers.skip(std::mem::take(&mut self.skip)).await?;
        }
        while self.read.is_empty() {
            let Some(items) = self.answers.next(self.wanted).await? else { return Ok(Vec::new()) };
            for item in items {
                let entry = self.answers.query().entry(&item)?;
                if self.without.contains(&entry.key.sort) {
                    continue;
                }
                match self.skip.checked_sub(1) {
                    Some(left) => self.skip = left,
                    None => self.read.push_back(entry),
                }
            }
        }
        let size = size.min(self.read.len());
        Ok(self.read.drain(..size).collect())
    }
}

/// One row more than a page has.
pub(crate) fn overfull(limit: Limit) -> usize {
    usize::try_from(limit.get()).unwrap_or(usize::MAX).saturating_add(1)
}

/// Adds rows to a page. Returns `false` if it is full.
pub(crate) fn push_all<T: WireSize>(page: &mut PageBuilder<T>, rows: Vec<(Position, T)>) -> bool {
    rows.into_iter().all(|(position, row)| page.push(row, position))
}

/// The page of a list whose rows are the items of index entries.
pub(crate) async fn page<T: WireSize>(
    database: &Database,
    query: Query,
    request: &PageRequest,
    read: impl Fn(&Item) -> Result<T, StoreError>,
) -> Result<Page<T>, StoreError> {
    let what = query.what;
    let mut entries = Entries::new(database, query, request)?;
    let mut page = PageBuilder::new(request.limit);
    loop {
        let group = entries.group(GROUP).await?;
        let rows = rows(database, what, &group, &read).await?;
        if group.is_empty() || !push_all(&mut page, rows) {
            return Ok(page.finish());
        }
    }
}

/// The items of entries. Deleted items are left out.
pub(crate) async fn rows<T>(
    database: &Database,
    what: &'static str,
    group: &[Entry],
    read: impl Fn(&Item) -> Result<T, StoreError>,
) -> Result<Vec<(Position, T)>, StoreError> {
    let mut found = database.get_all(what, group.iter().map(|entry| entry.key.clone()).collect()).await?;
    let row = |entry: &Entry| {
        let item = Item::new(what, found.remove(&entry.key)?);
        Some(read(&item).map(|row| (entry.position.clone(), row)))
    };
    group.iter().filter_map(row).collect()
}
