//! Lists: the rows of a page, in an order that inserts never change, read until the page is full.

use onerun_domain::{Direction, Page, PageRequest, Position, Start};
use onerun_store::{ExactFilter, PageBuilder, StoreError, WireSize, read_position};
use rusqlite::{Connection, params_from_iter, types::Value};

use crate::{columns::only, sql};

/// The sort columns of rows.
#[derive(Clone, Copy)]
pub(crate) enum SortKey {
    /// An expression whose value is a text.
    Text(&'static str),
    /// An expression whose value is an integer.
    Integer(&'static str),
}

impl SortKey {
    fn expression(self) -> &'static str {
        match self {
            Self::Text(expression) | Self::Integer(expression) => expression,
        }
    }

    /// A value of this key from a position.
    fn value(self, value: &serde_json::Value) -> Result<Value, StoreError> {
        let value = match self {
            Self::Text(_) => value.as_str().map(|text| Value::Text(text.to_owned())),
            Self::Integer(_) => value.as_i64().map(Value::Integer),
        };
        value.ok_or(StoreError::UnknownPosition)
    }
}

pub(crate) const CREATED_AT: SortKey = SortKey::Integer("created_at");

/// The order of a list: its keys and then `inserted`, which no two rows share, all in one direction.
pub(crate) struct Order {
    pub(crate) keys: &'static [SortKey],
    pub(crate) direction: Direction,
}

impl Order {
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.expression())
    }
}

/// A filtered table. The parts are constants of this program; every value from outside is a
/// parameter.
pub(crate) struct Query {
    table: &'static str,
    conditions: String,
    params: Vec<Value>,
}

/// A row for a page, unless the rows before it fill the page.
pub(crate) struct Candidate {
    pub(crate) inserted: i64,
    pub(crate) position: Position,
}

impl Query {
    /// A table with a first condition, whose parameters are `params`.
    pub(crate) fn new(table: &'static str, condition: &str, params: Vec<Value>) -> Self {
        Self { table, conditions: condition.to_owned(), params }
    }

    /// Adds a condition, in which `{}` stands for the value.
    pub(crate) fn and(mut self, condition: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            let parameter = self.parameter(value.into());
            self.conditions.push_str(" AND ");
            self.conditions.push_str(&condition.replace("{}", &parameter));
        }
        self
    }

    /// Adds the conditions of an exact filter.
    pub(crate) fn exactly(self, filter: &ExactFilter) -> Self {
        let named = self.and("name = {}", filter.name.clone());
        filter.metadata.iter().fold(named, |query, (key, text)| {
            query.and("metadata_has(metadata, {})", Some(serde_json::json!([key, text]).to_string()))
        })
    }

    /// The rows of one page in an order, and one more. Each is small: a number and a position.
    pub(crate) fn candidates(
        mut self,
        connection: &Connection,
        what: &'static str,
        order: &Order,
        page: &PageRequest,
    ) -> Result<Vec<Candidate>, StoreError> {
        let offset = match &page.start {
            Start::Offset(offset) => *offset,
            Start::After(position) => {
                self.continue_after(connection, what, order, position)?;
                0
            }
        };
        let direction = match order.direction {
            Direction::Ascending => "ASC",
            Direction::Descending => "DESC",
        };
        let values: Vec<&str> = order.columns().chain(["id"]).collect();
        let sorted: Vec<String> =
            order.columns().chain(["inserted"]).map(|column| format!("{column} {direction}")).collect();
        let limit = self.parameter(Value::Integer(sql::overfull(page.limit)));
        let offset = self.parameter(Value::Integer(offset.into()));
        let sql = format!(
            "SELECT inserted, json_array({}) FROM {} WHERE {} ORDER BY {} LIMIT {limit} OFFSET {offset}",
            values.join(", "),
            self.table,
            self.conditions,
            sorted.join(", "),
        );
        sql::all(connection, what, &sql, params_from_iter(self.params), |columns| {
            Ok(Candidate { inserted: columns.value()?, position: Position::new(columns.value::<String>()?) })
        })
    }

    /// Excludes the rows up to and including a position.
    fn continue_after(
        &mut self,
        connection: &Connection,
        what: &'static str,
        order: &Order,
        position: &Position,
    ) -> Result<(), StoreError> {
        let values: Vec<serde_json::Value> = read_position(position)?;
        let Some((id, sorted)) = values.split_last() else { return Err(StoreError::UnknownPosition) };
        if sorted.len() != order.keys.len() {
            return Err(StoreError::UnknownPosition);
        }
        let mut parameters = Vec::new();
        for (key, value) in order.keys.iter().zip(sorted) {
            parameters.push(self.parameter(key.value(value)?));
        }
        let id = id.as_str().ok_or(StoreError::UnknownPosition)?;
        let inserted = format!("SELECT inserted FROM {} WHERE id = ?1", self.table);
        let inserted = sql::one(connection, what, &inserted, [id], only::<i64>)?;
        parameters.push(self.parameter(Value::Integer(inserted.ok_or(StoreError::UnknownPosition)?)));
        let columns: Vec<&str> = order.columns().chain(["inserted"]).collect();
        let operator = match order.direction {
            Direction::Ascending => ">",
            Direction::Descending => "<",
        };
        let (columns, parameters) = (columns.join(", "), parameters.join(", "));
        self.conditions.extend([" AND (", &columns, ") ", operator, " (", &parameters, ")"]);
        Ok(())
    }

    fn parameter(&mut self, value: Value) -> String {
        self.params.push(value);
        format!("?{}", self.params.len())
    }
}

/// Reads candidates one by one until the page is full.
pub(crate) fn page<T: WireSize>(
    candidates: Vec<Candidate>,
    request: &PageRequest,
    mut read: impl FnMut(i64) -> Result<Option<T>, StoreError>,
) -> Result<Page<T>, StoreError> {
    let mut page = PageBuilder::new(request.limit);
    for Candidate { inserted, position } in candidates {
        if let Some(row) = read(inserted)?
            && !page.push(row, position)
        {
            break;
        }
    }
    Ok(page.finish())
}

/// The start of a page of numbered rows: the number that it starts after, if any, and how many rows
/// it skips.
pub(crate) fn numbered(start: &Start) -> Result<(Option<i64>, u32), StoreError> {
    match start {
        Start::Offset(offset) => Ok((None, *offset)),
        Start::After(position) => Ok((Some(read_position(position)?), 0)),
    }
}
