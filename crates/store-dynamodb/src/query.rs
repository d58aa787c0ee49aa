//! Queries: one partition, in the order of its keys, of the entries of a list, or of due times.

use aws_sdk_dynamodb::{
    Client,
    operation::query::builders::QueryFluentBuilder,
    types::{AttributeValue, Select},
};
use onerun_domain::{Direction, Position};
use onerun_store::{StoreError, position, read_position};

use crate::{
    item::{self, Attributes, DUE, Item, PARTITION, ROW, SHARD, SORT},
    keys::Key,
};

/// The most items of one answer; DynamoDB's own bound is 1 MiB.
const MAX_ANSWER: usize = 5_000;

/// The most bytes of a sort key.
const MAX_SORT: usize = 1_024;

/// The order of a list.
///
/// All but [`Due`](Self::Due) are kept in *entries*: items whose sort key is the order's name and the text that sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Index {
    /// By time of creation.
    Made,
    /// By name, regardless of case.
    Name,
    /// By status, then by time of creation.
    Status,
    /// Queued conversations in the order in which workers start them.
    Queued,
    /// By due time, over all projects. The global index, which may lag.
    Due,
}

impl Index {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Made => "by-made",
            Self::Name => "by-name",
            Self::Status => "by-status",
            Self::Queued => "queued",
            Self::Due => "by-due",
        }
    }

    /// The prefix of the sort keys of its entries.
    fn prefix(self) -> String {
        if self == Self::Due { String::new() } else { format!("{}#", self.name()) }
    }

    /// The sort key of an entry.
    pub(crate) fn sort_key(self, text: &str) -> String {
        self.prefix() + text
    }
}

/// A range of sort keys.
#[derive(Clone, Debug)]
enum Range {
    Prefix(String),
    Between(String, String),
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) what: &'static str,
    partition: String,
    index: Option<Index>,
    range: Option<Range>,
    direction: Direction,
    filters: Vec<(&'static str, &'static str, String)>,
    /// An attribute and its accepted values.
    one_of: Option<(&'static str, Vec<String>)>,
    /// An attribute of entries that is read beside their keys and rows.
    with: Option<&'static str>,
    /// How many rows it returns at most.
    pub(crate) want: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key of the row. A row in another partition than its entry is found by its sort key.
    pub(crate) key: Key,
    /// The text that sorts.
    pub(crate) sort: String,
    /// Where a list continues after this entry.
    pub(crate) position: Position,
}

/// The rows or the number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Items, or of entries their keys and rows, and the attribute that the query is [with](Query::with).
    Items,
    Count,
}

impl Query {
    /// All items of a partition, in ascending order; `what` names their kind in errors.
    pub(crate) fn new(what: &'static str, partition: impl Into<String>) -> Self {
        Self {
            what,
            partition: partition.into(),
            index: None,
            range: None,
            direction: Direction::Ascending,
            filters: Vec::new(),
            one_of: None,
            with: None,
            want: usize::MAX,
        }
    }

    /// The entries of a list in its order, or due times.
    pub(crate) fn by(mut self, index: Index, direction: Direction) -> Self {
        self.index = Some(index);
        self.direction = direction;
        self
    }

    /// Sort keys with this prefix.
    pub(crate) fn beginning(mut self, prefix: impl Into<String>) -> Self {
        self.range = Some(Range::Prefix(prefix.into()));
        self
    }

    /// Sort keys between these two, inclusive.
    pub(crate) fn between(mut self, first: impl Into<String>, last: impl Into<String>) -> Self {
        self.range = Some(Range::Between(first.into(), last.into()));
        self
    }

    /// Only items of which an attribute equals `value`.
    pub(crate) fn equal(mut self, attribute: &'static str, value: Option<String>) -> Self {
        self.filters.extend(value.map(|value| (attribute, "=", value)));
        self
    }

    /// Only items of which an attribute sorts after `value`.
    pub(crate) fn above(mut self, attribute: &'static str, value: String) -> Self {
        self.filters.push((attribute, ">", value));
        self
    }

    /// Only items of which an attribute equals one of these values, at least one and at most 100.
    pub(crate) fn one_of(mut self, attribute: &'static str, values: Vec<String>) -> Self {
        self.one_of = Some((attribute, values));
        self
    }

    /// Only items of which an attribute contains `value`.
    pub(crate) fn containing(mut self, attribute: &'static str, value: Option<String>) -> Self {
        // Every text contains the empty one, which DynamoDB does not accept here.
        let value = value.filter(|value| !value.is_empty());
        self.filters.extend(value.map(|value| (attribute, "contains", value)));
        self
    }

    /// Only items of which an attribute has all these values.
    pub(crate) fn having(self, attribute: &'static str, values: Vec<String>) -> Self {
        values.into_iter().fold(self, |query, value| query.containing(attribute, Some(value)))
    }

    /// Entries with this attribute of theirs.
    pub(crate) fn with(mut self, attribute: &'static str) -> Self {
        self.with = Some(attribute);
        self
    }

    pub(crate) fn directed(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Returns at most `want` rows.
    pub(crate) fn limit(mut self, want: usize) -> Self {
        self.want = want;
        self
    }

    /// Whether a filter may drop rows that were read.
    pub(crate) fn is_filtered(&self) -> bool {
        !self.filters.is_empty() || self.one_of.is_some()
    }

    /// The order of the entries.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// An entry that was found.
    pub(crate) fn entry(&self, item: &Item) -> Result<Entry, StoreError> {
        let key = Key { partition: item.text(PARTITION)?.into(), sort: item.text(ROW)?.into() };
        let sort = item.text(SORT)?.strip_prefix(&self.prefix()).unwrap_or_default().to_owned();
        Ok(Entry { key, position: self.position(&sort), sort })
    }

    /// The position of the entry with this text.
    pub(crate) fn position(&self, sort: &str) -> Position {
        position(&(self.what, self.index.map(Index::name), sort))
    }

    /// The text of the entry at a position, checked, because positions come from callers.
    pub(crate) fn place(&self, position: &Position) -> Result<String, StoreError> {
        let (what, index, sort): (String, Option<String>, String) = read_position(position)?;
        let is_within = match &self.range {
            None => true,
            Some(Range::Prefix(prefix)) => sort.starts_with(prefix),
            Some(Range::Between(first, last)) => (first..=last).contains(&&sort),
        };
        let is_mine = what == self.what && index.as_deref() == self.index.map(Index::name);
        let is_key = !sort.is_empty() && self.prefix().len() + sort.len() <= MAX_SORT;
        if is_mine && is_within && is_key { Ok(sort) } else { Err(StoreError::UnknownPosition) }
    }

    /// The key after which a query continues from a position. The partition is always the query's
    /// own.
    pub(crate) fn start_after(&self, position: &Position) -> Result<Attributes, StoreError> {
        let sort = self.prefix() + &self.place(position)?;
        let attributes = [(PARTITION, self.partition.clone()), (SORT, sort)];
        Ok(attributes.map(|(name, text)| (name.to_owned(), item::text(text))).into())
    }

    fn prefix(&self) -> String {
        self.index.map(Index::prefix).unwrap_or_default()
    }

    /// The next call. It reads at most `limit` rows if the query has no filters.
    pub(crate) fn request(
        &self,
        client: &Client,
        table: &str,
        asked: Asked,
        limit: usize,
    ) -> QueryFluentBuilder {
        let is_due = self.index == Some(Index::Due);
        let (partition, sort) = if is_due { (SHARD, DUE) } else { (PARTITION, SORT) };
        let mut condition = "#p = :p".to_owned();
        let mut request = client
            .query()
            .table_name(table)
            .set_index_name(is_due.then(|| Index::Due.name().to_owned()))
            .expression_attribute_names("#p", partition)
            .expression_attribute_values(":p", AttributeValue::S(self.partition.clone()))
            .scan_index_forward(self.direction == Direction::Ascending)
            // A global index cannot be read consistently.
            .consistent_read(!is_due);
        if asked == Asked::Count {
            request = request.select(Select::Count);
        } else if self.index.is_some() {
            request = request
                .select(Select::SpecificAttributes)
                .projection_expression(if self.with.is_some() { "#a, #b, #c, #d" } else { "#a, #b, #c" })
                .expression_attribute_names("#a", PARTITION)
                .expression_attribute_names("#b", SORT)
                .expression_attribute_names("#c", if is_due { DUE } else { ROW });
            if let Some(attribute) = self.with {
                request = request.expression_attribute_names("#d", attribute);
            }
        }
        let prefix = self.prefix();
        match &self.range {
            None if prefix.is_empty() => {}
            Some(Range::Between(first, last)) => {
                condition.push_str(" AND #s BETWEEN :s AND :t");
                request = request
                    .expression_attribute_names("#s", sort)
                    .expression_attribute_values(":s", AttributeValue::S(format!("{prefix}{first}")))
                    .expression_attribute_values(":t", AttributeValue::S(format!("{prefix}{last}")));
            }
            range => {
                let rest = if let Some(Range::Prefix(rest)) = range { rest } else { "" };
                condition.push_str(" AND begins_with(#s, :s)");
                request = request
                    .expression_attribute_names("#s", sort)
                    .expression_attribute_values(":s", AttributeValue::S(format!("{prefix}{rest}")));
            }
        }
        let mut filters = Vec::new();
        for (number, (attribute, operator, value)) in self.filters.iter().enumerate() {
            let (name, placeholder) = (format!("#f{number}"), format!(":f{number}"));
            filters.push(match *operator {
                "contains" => format!("contains({name}, {placeholder})"),
                operator => format!("{name} {operator} {placeholder}"),
            });
            request = request
                .expression_attribute_names(name, *attribute)
                .expression_attribute_values(placeholder, AttributeValue::S(value.clone()));
        }
        if let Some((attribute, values)) = &self.one_of {
            let placeholders: Vec<_> = (0..values.len()).map(|number| format!(":o{number}")).collect();
            filters.push(format!("#o IN ({})", placeholders.join(", ")));
            request = request.expression_attribute_names("#o", *attribute);
            for (placeholder, value) in placeholders.into_iter().zip(values) {
                request = request.expression_attribute_values(placeholder, AttributeValue::S(value.clone()));
            }
        }
        if filters.is_empty() {
            // DynamoDB's limit counts the rows before filters.
            request = request.limit(i32::try_from(limit.min(MAX_ANSWER)).unwrap_or(i32::MAX));
        } else {
            request = request.filter_expression(filters.join(" AND "));
        }
        request.key_condition_expression(condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents() -> Query {
        Query::new("agent", "project00000").by(Index::Made, Direction::Ascending).beginning("agent#")
    }

    #[test]
    fn position_names_no_partition() {
        let made = position(&("agent", "by-made", "agent#7#a"));
        let start = agents().start_after(&made).unwrap();
        let expected = [("pk", "project00000"), ("sk", "by-made#agent#7#a")];
        assert_eq!(start, expected.map(|(name, text)| (name.to_owned(), item::text(text))).into());
        assert_eq!(agents().position("agent#7#a"), made);
    }

    #[test]
    fn position_of_another_list_is_unknown() {
        let long = "agent#".to_owned() + &"a".repeat(MAX_SORT);
        let foreign = [
            position(&("agent", "by-name", "agent#7#a")),
            position(&("agent", Option::<&str>::None, "agent#7#a")),
            position(&("key", "by-made", "agent#7#a")),
            position(&("agent", "by-made", "objective#7#a")),
            position(&("agent", "by-made", "")),
            position(&("agent", "by-made", &long)),
            position(&("by-made", "agent#7#a")),
            position(&("agent", "by-made", "agent#7#a", "project11111")),
            position(&7),
            Position::new(""),
        ];
        for position in foreign {
            let found = agents().start_after(&position);
            assert!(matches!(found, Err(StoreError::UnknownPosition)), "{position:?}");
        }
    }
}
