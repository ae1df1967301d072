//! Batches that are sent as one array of rows.
//!
//! `UNNEST` of an array for each column is the plain way, but the server runs a function with a store of
//! its own for each of them: one order, in 29 columns, took 250 µs so, and 85 as a row of one array. What
//! an order reads and writes therefore has a type of row in the database (a composite type, made by the
//! migrations); what is written seldom does without.
//!
//! The bytes are those of PostgreSQL's `array_recv` and `record_recv`.

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bellwether_domain::ports::StoreError;
use diesel::QueryResult;
use diesel::pg::{Pg, PgTypeMetadata};
use diesel::query_builder::{AstPass, QueryId};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{HasSqlType, SqlType};

use crate::sql::{Column, Value, Values, checked_text};

/// The number of the type `bigint`.
const INTEGER: u32 = 20;

/// A composite type of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowType {
    /// Its name.
    pub(crate) name: &'static str,
    /// The types of its columns, by their letters in a [`Table`](crate::schema::Table).
    pub(crate) kinds: &'static str,
}

/// An array of rows, as it is sent but for the number of their type, which differs between databases.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    pub(crate) row_type: RowType,
    bytes: Vec<u8>,
}

/// Where the number of the type is in the bytes.
const TYPE_AT: Range<usize> = 8..12;
/// Where the number of rows is.
const LENGTH_AT: Range<usize> = 12..16;

impl Rows {
    /// A row for each thing.
    ///
    /// # Errors
    ///
    /// Where a row has not the columns of the type, or a text that no store keeps.
    pub(crate) fn of<T>(
        row_type: RowType,
        things: impl IntoIterator<Item = T>,
        bind: impl Fn(T, &mut Values),
    ) -> Result<Self, StoreError> {
        // One dimension, nothing missing, a type that is filled in later, a length too, counted from 1.
        let mut bytes: Vec<u8> = [1_i32, 0, 0, 0, 1].into_iter().flat_map(i32::to_be_bytes).collect();
        let mut length = 0_usize;
        for thing in things {
            let mut row = Values::default();
            bind(thing, &mut row);
            put_row(&mut bytes, row_type, &row.0)?;
            length = length.saturating_add(1);
        }
        set(&mut bytes, LENGTH_AT, as_number(length)?);
        Ok(Self { row_type, bytes })
    }

    /// Fills in the number of the type.
    pub(crate) fn resolve(&mut self, number: u32) {
        set(&mut self.bytes, TYPE_AT, number.to_be_bytes());
    }

    pub(crate) fn bind<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<RowArray, Self>(self)?;
        out.push_sql("::");
        out.push_sql(self.row_type.name);
        out.push_sql("[]");
        Ok(())
    }
}

fn put_row(bytes: &mut Vec<u8>, row_type: RowType, row: &[Value]) -> Result<(), StoreError> {
    let RowType { name, kinds } = row_type;
    if row.len() != kinds.len() {
        return Err(StoreError::Corrupt(format!("a row has {} values for the {} of {name}", row.len(), kinds.len())));
    }
    put_sized(bytes, |bytes| {
        put_number(bytes, row.len())?;
        kinds.chars().zip(row).try_for_each(|(kind, value)| put_value(bytes, kind, value))
    })
}

/// A value's type, length and bytes; its type and -1 where there is none.
fn put_value(bytes: &mut Vec<u8>, kind: char, value: &Value) -> Result<(), StoreError> {
    let type_number: u32 = match kind {
        'b' => 16,
        'h' => 17,
        'i' => INTEGER,
        'n' => 1016,
        't' => 25,
        'z' => 1184,
        'u' => 2950,
        other => return Err(StoreError::Corrupt(format!("{other:?} is no type of a column"))),
    };
    bytes.extend(type_number.to_be_bytes());
    match (kind, value) {
        (_, Value::Null) => bytes.extend((-1_i32).to_be_bytes()),
        ('b', Value::Flag(value)) => put_bytes(bytes, &[u8::from(*value)])?,
        ('h', Value::Hash(value)) => put_bytes(bytes, value)?,
        ('i', Value::Int(value)) => put_bytes(bytes, &value.to_be_bytes())?,
        ('t', Value::Text(value)) => put_bytes(bytes, checked_text(value)?.as_bytes())?,
        ('z', Value::Time(value)) => put_bytes(bytes, &value.0.to_be_bytes())?,
        ('u', Value::Id(value)) => put_bytes(bytes, value.as_bytes())?,
        ('n', Value::Column(Column::Ints(list))) => put_list(bytes, list)?,
        _ => return Err(StoreError::Corrupt(format!("{value:?} does not belong into a column of type {kind:?}"))),
    }
    Ok(())
}

/// An array of integers, as a value of a row.
fn put_list(bytes: &mut Vec<u8>, list: &[Option<i64>]) -> Result<(), StoreError> {
    put_sized(bytes, |bytes| {
        // One dimension or, for nothing, none; nothing missing; their type.
        bytes.extend(i32::from(!list.is_empty()).to_be_bytes());
        bytes.extend(0_i32.to_be_bytes());
        bytes.extend(INTEGER.to_be_bytes());
        if !list.is_empty() {
            put_number(bytes, list.len())?;
            put_number(bytes, 1)?;
        }
        for number in list {
            let number = number.ok_or_else(|| StoreError::Corrupt("a list in a row lacks a number".to_owned()))?;
            put_bytes(bytes, &number.to_be_bytes())?;
        }
        Ok(())
    })
}

/// What is put, behind its length.
fn put_sized(bytes: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let start = bytes.len();
    put_number(bytes, 0)?;
    put(bytes)?;
    let length = as_number(bytes.len().saturating_sub(start).saturating_sub(4))?;
    set(bytes, start..start.saturating_add(4), length);
    Ok(())
}

fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) -> Result<(), StoreError> {
    put_number(bytes, value.len())?;
    bytes.extend(value);
    Ok(())
}

fn put_number(bytes: &mut Vec<u8>, number: usize) -> Result<(), StoreError> {
    bytes.extend(as_number(number)?);
    Ok(())
}

fn as_number(number: usize) -> Result<[u8; 4], StoreError> {
    let number = i32::try_from(number).map_err(|_| StoreError::Corrupt("a batch is longer than 2 GiB".to_owned()))?;
    Ok(number.to_be_bytes())
}

fn set(bytes: &mut [u8], at: Range<usize>, value: [u8; 4]) {
    if let Some(place) = bytes.get_mut(at) {
        place.copy_from_slice(&value);
    }
}

/// The SQL type of the parameter: left for the server to tell from the cast behind it.
#[derive(Debug, Clone, Copy, QueryId, SqlType)]
pub(crate) struct RowArray;

impl HasSqlType<RowArray> for Pg {
    fn metadata(_: &mut Self::MetadataLookup) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0)
    }
}

impl ToSql<RowArray, Pg> for Rows {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&self.bytes)?;
        Ok(IsNull::No)
    }
}

/// The numbers of row types in a database, as far as they are known. A database that was restored has
/// others, so they are asked for anew where a connection is.
#[derive(Debug, Clone, Default)]
pub(crate) struct TypeNumbers(Arc<Mutex<HashMap<&'static str, u32>>>);

impl TypeNumbers {
    pub(crate) fn get(&self, name: &str) -> Option<u32> {
        self.lock().get(name).copied()
    }

    pub(crate) fn set(&self, name: &'static str, number: u32) {
        self.lock().insert(name, number);
    }

    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
