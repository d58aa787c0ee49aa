//! Queries: one partition, in the order of its keys or of an index.

use aws_sdk_dynamodb::{
    Client,
    operation::query::builders::QueryFluentBuilder,
    types::{AttributeValue, Select},
};
use onerun_domain::{Direction, Page, PageRequest, Position, Start};
use onerun_store::StoreError;

use crate::item::{DUE, LANE, PARTITION, SORT};

/// The most items of one answer; DynamoDB's own bound is 1 MiB.
const MAX_ANSWER: usize = 5_000;

/// An index that sorts a partition by something else than its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Index {
    /// By when things were made.
    Made,
    /// By name, ignoring case.
    Name,
    /// By status, then by when they were made.
    Status,
    /// What waits, in the order it is to be taken. Holds only that.
    Wait,
    /// By when time overtakes things, over all projects. Holds only what has such a time. The one index that may be
    /// some moments behind.
    Due,
}

impl Index {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Made, Self::Name, Self::Status, Self::Wait, Self::Due];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Made => "by-made",
            Self::Name => "by-name",
            Self::Status => "by-status",
            Self::Wait => "by-wait",
            Self::Due => "by-due",
        }
    }

    /// The attribute that names its partition.
    pub(crate) fn partition(self) -> &'static str {
        match self {
            Self::Due => LANE,
            _ => PARTITION,
        }
    }

    /// The attribute that it sorts by.
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

/// Which keys.
#[derive(Clone, Debug)]
enum Range {
    Prefix(String),
    Between(String, String),
}

/// A query.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) what: &'static str,
    partition: String,
    index: Option<Index>,
    range: Option<Range>,
    direction: Direction,
    filters: Vec<(&'static str, &'static str, String)>,
    /// How many it passes over.
    pub(crate) skip: usize,
    /// How many it finds at most.
    pub(crate) want: usize,
}

impl Query {
    /// All of a partition that holds `what`, in ascending order.
    pub(crate) fn new(what: &'static str, partition: impl Into<String>) -> Self {
        Self {
            what,
            partition: partition.into(),
            index: None,
            range: None,
            direction: Direction::Ascending,
            filters: Vec::new(),
            skip: 0,
            want: usize::MAX,
        }
    }

    /// In the order of an index.
    pub(crate) fn by(mut self, index: Index, direction: Direction) -> Self {
        self.index = Some(index);
        self.direction = direction;
        self
    }

    /// What begins with that.
    pub(crate) fn beginning(mut self, prefix: impl Into<String>) -> Self {
        self.range = Some(Range::Prefix(prefix.into()));
        self
    }

    /// What lies between those, both included.
    pub(crate) fn between(mut self, first: impl Into<String>, last: impl Into<String>) -> Self {
        self.range = Some(Range::Between(first.into(), last.into()));
        self
    }

    /// Only that of which an attribute is `value`.
    pub(crate) fn equal(mut self, attribute: &'static str, value: Option<String>) -> Self {
        self.filters.extend(value.map(|value| (attribute, "=", value)));
        self
    }

    /// Only that of which an attribute contains `value`.
    pub(crate) fn containing(mut self, attribute: &'static str, value: Option<String>) -> Self {
        // Everything contains nothing, and DynamoDB takes no empty text for it.
        let value = value.filter(|value| !value.is_empty());
        self.filters.extend(value.map(|value| (attribute, "contains", value)));
        self
    }

    /// Only that of which an attribute has all of these values.
    pub(crate) fn having(self, attribute: &'static str, values: Vec<String>) -> Self {
        values.into_iter().fold(self, |query, value| query.containing(attribute, Some(value)))
    }

    /// Without the first so many.
    pub(crate) fn past(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// At most so many.
    pub(crate) fn limit(mut self, want: usize) -> Self {
        self.want = want;
        self
    }

    /// One page, and one more, which tells whether more follows.
    pub(crate) fn page(self, page: &PageRequest) -> Result<Self, StoreError> {
        Ok(Self { skip: offset(page)?, ..self }.limit(overfull(page)))
    }

    /// The next call, when so many are still to be passed over and so many found.
    pub(crate) fn request(
        &self,
        client: &Client,
        table: &str,
        skip: usize,
        found: usize,
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
            // An index over all partitions cannot be read consistently.
            .consistent_read(self.index != Some(Index::Due));
        if self.index.is_some() {
            request = request.select(Select::AllProjectedAttributes);
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
        if filters.is_empty() {
            // The bound counts what is read, not what a filter leaves of it.
            let wanted = skip.saturating_add(self.want - found).min(MAX_ANSWER);
            request = request.limit(i32::try_from(wanted).unwrap_or(i32::MAX));
        } else {
            request = request.filter_expression(filters.join(" AND "));
        }
        request.key_condition_expression(condition)
    }
}

/// One more than a page holds.
pub(crate) fn overfull(page: &PageRequest) -> usize {
    usize::try_from(page.limit.get()).unwrap_or(usize::MAX).saturating_add(1)
}

/// How many rows a page passes over.
pub(crate) fn offset(page: &PageRequest) -> Result<usize, StoreError> {
    match page.start {
        Start::Offset(offset) => Ok(usize::try_from(offset).unwrap_or(usize::MAX)),
        Start::After(_) => Err(StoreError::UnknownPosition),
    }
}

/// A page from one row more than was asked for.
pub(crate) fn cut<T>(mut data: Vec<T>, page: &PageRequest) -> Page<T> {
    let wanted = overfull(page) - 1;
    let next = (data.len() > wanted).then(|| Position::new(""));
    data.truncate(wanted);
    Page { data, next }
}
