//! Lists: entries in their order, and the rows that they name, until a page is full.

use std::collections::{HashSet, VecDeque};

use futures_util::future::try_join_all;
use onerun_domain::{Direction, Limit, Page, PageRequest, Position, Start};
use onerun_store::{PageBuilder, StoreError, WireSize};

use crate::{
    database::{Answers, Database},
    item::Item,
    keys::Key,
    query::{Entry, Query},
};

/// How many rows are read at a time, so that a page that is full after a few large rows does not
/// read all others. One more than half of the usual page of a hundred, which reads one further row
/// to learn whether more follow.
pub(crate) const GROUP: usize = 51;

/// A condition on entries that DynamoDB does not check.
type Filter = Box<dyn Fn(&Entry) -> bool + Send + Sync>;

/// The entries of a list, in groups. A list in several partitions is merged.
pub(crate) struct Entries<'a> {
    parts: Vec<Part<'a>>,
    /// How many entries each call asks for.
    wanted: usize,
    skip: usize,
    without: HashSet<String>,
    only: Option<Filter>,
}

/// The entries of one partition.
struct Part<'a> {
    answers: Answers<'a>,
    /// Entries that were read and are in no group yet.
    read: VecDeque<Entry>,
}

impl Part<'_> {
    /// Whether its next entry, if there is one, must be read.
    fn is_unknown(&self) -> bool {
        self.read.is_empty() && !self.answers.is_over()
    }

    /// Reads until there is an entry, or there are no more.
    async fn fill(&mut self, wanted: usize) -> Result<(), StoreError> {
        while self.is_unknown()
            && let Some(items) = self.answers.next(wanted).await?
        {
            for item in items {
                self.read.push_back(self.answers.query().entry(&item)?);
            }
        }
        Ok(())
    }
}

impl<'a> Entries<'a> {
    /// The entries of a list from the start of a page on.
    pub(crate) fn new(database: &'a Database, query: Query, page: &PageRequest) -> Result<Self, StoreError> {
        Self::merged(database, vec![query], page)
    }

    /// The entries of a list in several partitions. The queries differ in their partitions alone.
    pub(crate) fn merged(
        database: &'a Database,
        queries: Vec<Query>,
        page: &PageRequest,
    ) -> Result<Self, StoreError> {
        // Parts of a list are about equally long, and one that has more of a page is asked again.
        let wanted = match queries.len() {
            0 | 1 => overfull(page.limit),
            parts => overfull(page.limit) * 3 / (2 * parts) + 4,
        };
        let skip = match &page.start {
            Start::Offset(offset) => usize::try_from(*offset).unwrap_or(usize::MAX),
            Start::After(_) => 0,
        };
        let part = |query| {
            let answers = match &page.start {
                Start::Offset(_) => Answers::new(database, query),
                Start::After(position) => Answers::after(database, query, position)?,
            };
            Ok(Part { answers, read: VecDeque::new() })
        };
        let parts = queries.into_iter().map(part).collect::<Result<_, StoreError>>()?;
        Ok(Self { parts, wanted, skip, without: HashSet::new(), only: None })
    }

    /// Leaves out the items with these sort keys.
    pub(crate) fn without(mut self, items: HashSet<String>) -> Self {
        self.without = items;
        self
    }

    /// Leaves out entries that do not match.
    pub(crate) fn only(mut self, matches: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        self.only = Some(Box::new(matches));
        self
    }

    /// The next entries, at most `size`; empty if there are no more.
    pub(crate) async fn group(&mut self, size: usize) -> Result<Vec<Entry>, StoreError> {
        if let [part] = &mut self.parts[..]
            && self.skip > 0
            && self.without.is_empty()
            && self.only.is_none()
            && !part.answers.query().is_filtered()
        {
            part.answers.skip(std::mem::take(&mut self.skip)).await?;
        }
        let mut group = Vec::new();
        while group.len() < size {
            if self.parts.iter().any(Part::is_unknown) {
                if !group.is_empty() {
                    break;
                }
                try_join_all(self.parts.iter_mut().map(|part| part.fill(self.wanted))).await?;
            }
            let Some(entry) = self.pop() else { break };
            let matches = self.only.as_ref().is_none_or(|only| only(&entry));
            if !matches || self.without.contains(&entry.key.sort) {
                continue;
            }
            match self.skip.checked_sub(1) {
                Some(left) => self.skip = left,
                None => group.push(entry),
            }
        }
        Ok(group)
    }

    /// The first entry of those that were read. Each part has one, or is over.
    fn pop(&mut self) -> Option<Entry> {
        let heads = self.parts.iter().enumerate();
        let heads = heads.filter_map(|(place, part)| Some((&part.read.front()?.sort, place)));
        let direction = self.parts.first()?.answers.query().direction();
        let (_, place) = match direction {
            Direction::Ascending => heads.min()?,
            Direction::Descending => heads.max()?,
        };
        self.parts.get_mut(place)?.read.pop_front()
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

/// The page of a list whose rows are in the partition of their entries.
pub(crate) async fn page<T: WireSize>(
    database: &Database,
    query: Query,
    request: &PageRequest,
    read: impl Fn(&Item) -> Result<T, StoreError>,
) -> Result<Page<T>, StoreError> {
    merged_page(database, vec![query], request, |entry| entry.key.clone(), read).await
}

/// The page of a list in several partitions. `locate` says where the row of an entry is.
pub(crate) async fn merged_page<T: WireSize>(
    database: &Database,
    queries: Vec<Query>,
    request: &PageRequest,
    locate: impl Fn(&Entry) -> Key,
    read: impl Fn(&Item) -> Result<T, StoreError>,
) -> Result<Page<T>, StoreError> {
    let what = queries.first().map_or("list", |query| query.what);
    let mut entries = Entries::merged(database, queries, request)?;
    let mut page = PageBuilder::new(request.limit);
    loop {
        let mut group = entries.group(GROUP.min(overfull(request.limit))).await?;
        for entry in &mut group {
            entry.key = locate(entry);
        }
        let rows = rows(database, what, &group, &read).await?;
        if group.is_empty() || !push_all(&mut page, rows) {
            return Ok(page.finish());
        }
    }
}

/// The first entries of a list in several partitions, at most `limit`.
pub(crate) async fn first(
    database: &Database,
    queries: Vec<Query>,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let limited: Vec<Query> = queries.iter().map(|query| query.clone().limit(limit)).collect();
    let mut entries = Vec::new();
    for (query, items) in queries.iter().zip(database.query_all(limited).await?) {
        for item in items {
            entries.push(query.entry(&item)?);
        }
    }
    entries.sort_by(|one, other| one.sort.cmp(&other.sort));
    entries.truncate(limit);
    Ok(entries)
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
