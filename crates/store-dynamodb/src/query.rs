//! Queries: one partition, in the order of its keys or of an index.

use aws_sdk_dynamodb::{
    Client,
    operation::query::builders::QueryFluentBuilder,
    types::{AttributeValue, Select},
};
use onerun_domain::{Direction, Position};
use onerun_store::{StoreError, position, read_position};

use crate::{
    item::{self, Attributes, DUE, Item, PARTITION, SHARD, SORT},
    keys::Key,
};

/// The most items of one answer; DynamoDB's own bound is 1 MiB.
const MAX_ANSWER: usize = 5_000;

/// The most bytes of a sort key.
const MAX_SORT: usize = 1_024;

/// An index, which sorts a partition by another attribute than its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Index {
    /// By time of creation.
    Made,
    /// By name, regardless of case.
    Name,
    /// By status, then by time of creation.
    Status,
    /// Queued conversations in the order in which workers start them, jobs in the order of their
    /// claims, and managed keys by their end.
    Wait,
    /// By due time, over all projects. Holds only items with a due time. The only index that may
    /// lag.
    Due,
}

impl Index {
    pub(crate) const ALL: [Self; 5] = [Self::Made, Self::Name, Self::Status, Self::Wait, Self::Due];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Made => "by-made",
            Self::Name => "by-name",
            Self::Status => "by-status",
            Self::Wait => "by-wait",
            Self::Due => "by-due",
        }
    }

    /// The attribute that is its partition key.
    pub(crate) fn partition(self) -> &'static str {
        match self {
            Self::Due => SHARD,
            _ => PARTITION,
        }
    }

    /// The attribute that is its sort key.
    pub(crate) fn sort(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Name => "named",
            Self::Status => "stated",
            Self::Wait => "waits",
            Self::Due => DUE,
        }
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
    /// How many rows it returns at most.
    pub(crate) want: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key of the item.
    pub(crate) key: Key,
    /// The index's sort attribute.
    pub(crate) sort: String,
    /// Where a list continues after this entry.
    pub(crate) position: Position,
}

/// The rows or the number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The items of the table, or the entries of the index: keys and sort attribute.
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
            want: usize::MAX,
        }
    }

    /// In the order of an index.
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

    /// The index entry of a found item.
    pub(crate) fn entry(&self, item: &Item) -> Result<Entry, StoreError> {
        let key = Key { partition: item.text(PARTITION)?.into(), sort: item.text(SORT)?.into() };
        let (index, sort) = self.index.map_or(("", SORT), |index| (index.name(), index.sort()));
        let sort = item.text(sort)?.to_owned();
        let position = position(&(self.what, index, &sort, &key.sort));
        Ok(Entry { key, sort, position })
    }

    /// The sort attribute and the item's sort key at a position, checked, because positions come
    /// from callers.
    pub(crate) fn place(&self, position: &Position) -> Result<(String, String), StoreError> {
        let (what, index, sort, item): (String, String, String, String) = read_position(position)?;
        let is_key = |text: &str| (1..=MAX_SORT).contains(&text.len());
        let is_within = match &self.range {
            None => true,
            Some(Range::Prefix(prefix)) => sort.starts_with(prefix),
            Some(Range::Between(first, last)) => (first..=last).contains(&&sort),
        };
        let is_mine = what == self.what && self.index.is_some_and(|own| own.name() == index);
        if is_mine && is_within && is_key(&sort) && is_key(&item) {
            Ok((sort, item))
        } else {
            Err(StoreError::UnknownPosition)
        }
    }

    /// The key after which a query continues from a position. The partition is always the query's
    /// own.
    pub(crate) fn start_after(&self, position: &Position) -> Result<Attributes, StoreError> {
        let (sort, item) = self.place(position)?;
        let index = self.index.ok_or(StoreError::UnknownPosition)?;
        let attributes = [(PARTITION, self.partition.clone()), (SORT, item), (index.sort(), sort)];
        Ok(attributes.map(|(name, text)| (name.to_owned(), item::text(text))).into())
    }

    /// The next call. It reads at most `limit` rows if the query has no filters.
    pub(crate) fn request(
        &self,
        client: &Client,
        table: &str,
        asked: Asked,
        limit: usize,
    ) -> QueryFluentBuilder {
        let (partition, sort) =
            self.index.map_or((PARTITION, SORT), |index| (index.partition(), index.sort()));
        let mut condition = "#p = :p".to_owned();
        let mut request = client
            .query()
            .table_name(table)
            .set_index_name(self.index.map(|index| index.name().to_owned()))
            .expression_attribute_names("#p", partition)
            .expression_attribute_values(":p", AttributeValue::S(self.partition.clone()))
            .scan_index_forward(self.direction == Direction::Ascending)
            // A global index cannot be read consistently.
            .consistent_read(self.index != Some(Index::Due));
        if asked == Asked::Count {
            request = request.select(Select::Count);
        } else if self.index.is_some() {
            request = request
                .select(Select::SpecificAttributes)
                .projection_expression("#a, #b, #c")
                .expression_attribute_names("#a", PARTITION)
                .expression_attribute_names("#b", SORT)
                .expression_attribute_names("#c", sort);
        }
        match &self.range {
            None => {}
            Some(Range::Prefix(prefix)) => {
                condition.push_str(" AND begins_with(#s, :s)");
                request = request
                    .expression_attribute_names("#s", sort)
                    .expression_attribute_values(":s", AttributeValue::S(prefix.clone()));
            }
            Some(Range::Between(first, last)) => {
                condition.push_str(" AND #s BETWEEN :s AND :t");
                request = request
                    .expression_attribute_names("#s", sort)
                    .expression_attribute_values(":s", AttributeValue::S(first.clone()))
                    .expression_attribute_values(":t", AttributeValue::S(last.clone()));
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
        let made = position(&("agent", "by-made", "agent#7#a", "agent#a"));
        let start = agents().start_after(&made).unwrap();
        let expected = [("pk", "project00000"), ("sk", "agent#a"), ("made", "agent#7#a")];
        assert_eq!(start, expected.map(|(name, text)| (name.to_owned(), item::text(text))).into());
    }

    #[test]
    fn position_of_another_list_is_unknown() {
        let long = "agent#".to_owned() + &"a".repeat(MAX_SORT);
        let foreign = [
            position(&("agent", "by-name", "agent#7#a", "agent#a")),
            position(&("key", "by-made", "agent#7#a", "agent#a")),
            position(&("agent", "by-made", "objective#7#a", "objective#a")),
            position(&("agent", "by-made", "", "agent#a")),
            position(&("agent", "by-made", "agent#7#a", "")),
            position(&("agent", "by-made", &long, "agent#a")),
            position(&("agent", "by-made", "agent#7#a", &long)),
            position(&("by-made", "agent#7#a", "agent#a")),
            position(&("agent", "by-made", "agent#7#a", "agent#a", "project11111")),
            position(&7),
            Position::new(""),
        ];
        for position in foreign {
            let found = agents().start_after(&position);
            assert!(matches!(found, Err(StoreError::UnknownPosition)), "{position:?}");
        }
    }
}
