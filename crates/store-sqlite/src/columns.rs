//! Reading the columns of a row, one after the other, as domain types.
//!
//! Columns are read by position, in the order of the `*_columns!` lists in [`rows`](crate::rows).
//! Finding them by name would cost more than the rest of a point read.

use std::{fmt::Display, str::FromStr};

use jiff::Timestamp;
use onerun_store::StoreError;
use rusqlite::{
    Row,
    types::{FromSql, ValueRef},
};

/// A row that is being read.
pub(crate) struct Columns<'a> {
    what: &'static str,
    row: &'a Row<'a>,
    next: usize,
}

impl<'a> Columns<'a> {
    /// Starts at the first column of a row; `what` names the kind of row in errors.
    pub(crate) fn new(what: &'static str, row: &'a Row<'a>) -> Self {
        Self { what, row, next: 0 }
    }

    /// The next column, unparsed.
    pub(crate) fn value<T: FromSql>(&mut self) -> Result<T, StoreError> {
        let index = self.advance();
        self.row.get(index).map_err(|error| self.corrupt(index, &error))
    }

    /// A number that is not negative.
    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        let index = self.advance();
        let number: i64 = self.row.get(index).map_err(|error| self.corrupt(index, &error))?;
        u64::try_from(number).map_err(|error| self.corrupt(index, &error))
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        let index = self.advance();
        let time: i64 = self.row.get(index).map_err(|error| self.corrupt(index, &error))?;
        Timestamp::from_microsecond(time).map_err(|error| self.corrupt(index, &error))
    }

    pub(crate) fn optional_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let index = self.advance();
        let time: Option<i64> = self.row.get(index).map_err(|error| self.corrupt(index, &error))?;
        time.map(|time| Timestamp::from_microsecond(time).map_err(|error| self.corrupt(index, &error)))
            .transpose()
    }

    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self) -> Result<T, StoreError> {
        self.checked(str::parse)
    }

    pub(crate) fn checked<T, E: Display>(
        &mut self,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let index = self.advance();
        let text = self.text(index)?;
        parse(text).map_err(|error| self.corrupt(index, &error))
    }

    pub(crate) fn optional<T, E: Display>(
        &mut self,
        parse: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Result<Option<T>, StoreError> {
        if self.is_null() {
            self.next += 1;
            return Ok(None);
        }
        self.checked(parse).map(Some)
    }

    pub(crate) fn bounded<T, E: Display>(
        &mut self,
        parse: impl FnOnce(u64) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let index = self.next;
        let number = self.number()?;
        parse(number).map_err(|error| self.corrupt(index, &error))
    }

    /// A word that `parse` knows.
    pub(crate) fn word<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        self.checked(|word| parse(word).ok_or("an unknown word"))
    }

    pub(crate) fn optional_word<T>(
        &mut self,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        self.optional(|word| parse(word).ok_or("an unknown word"))
    }

    /// Whether the next column is null. Does not advance.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.row.get_ref(self.next), Ok(ValueRef::Null))
    }

    fn advance(&mut self) -> usize {
        let index = self.next;
        self.next += 1;
        index
    }

    fn text(&self, index: usize) -> Result<&'a str, StoreError> {
        let value = self.row.get_ref(index).map_err(|error| self.corrupt(index, &error))?;
        value.as_str().map_err(|error| self.corrupt(index, &error))
    }

    /// Names the column but not its value: the error goes to the log, and the value may be
    /// someone's words.
    fn corrupt(&self, index: usize, reason: &dyn Display) -> StoreError {
        let column = self.row.as_ref().column_name(index).unwrap_or("?");
        StoreError::Corrupt { what: self.what, reason: format!("column `{column}`: {reason}") }
    }
}

/// Reads a row of one value.
pub(crate) fn only<T: FromSql>(columns: &mut Columns<'_>) -> Result<T, StoreError> {
    columns.value()
}

/// Reads a row of one text that is parsed by its type.
pub(crate) fn only_parsed<T: FromStr<Err: Display>>(columns: &mut Columns<'_>) -> Result<T, StoreError> {
    columns.parsed()
}

pub(crate) fn only_time(columns: &mut Columns<'_>) -> Result<Option<Timestamp>, StoreError> {
    columns.optional_time()
}
