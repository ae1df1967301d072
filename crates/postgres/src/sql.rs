//! Statements with their values, and rows read one column after the other.
//!
//! A statement is a text with question marks, and a list of values. Diesel keeps it prepared on
//! each connection by its text, so texts are made of constants alone: lists and batches are array
//! values, however long.

use std::borrow::Cow;

use bellwether_domain::ids::{
    AccountId, ApiKeyId, DeliveryId, EventId, JobId, MarketId, OrderGroupId, OrderId, SessionId, SwitchId, TradeId,
    TransferId, UserId, WebhookId,
};
use bellwether_domain::market::OutcomeId;
use bellwether_domain::money::{Credits, Price, Shares};
use bellwether_domain::ports::StoreError;
use diesel::QueryResult;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::pg::data_types::PgTimestamp;
use diesel::pg::{Pg, PgValue};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::row::{Field, NamedRow};
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Double, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use crate::rows::{RowType, Rows};

/// PostgreSQL counts time from 2000-01-01: so many microseconds after 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A value that goes into or comes out of PostgreSQL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// No value.
    Null,
    /// An integer.
    Int(i64),
    /// A float.
    Real(f64),
    /// A boolean.
    Flag(bool),
    /// An id.
    Id(Uuid),
    /// A hash.
    Hash([u8; 32]),
    /// A text.
    Text(String),
    /// A moment, as PostgreSQL counts it.
    Time(PgTimestamp),
    /// A column of a batch, or a list.
    Column(Column),
    /// A batch.
    Rows(Rows),
}

/// Values of one type, one for each row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Column {
    /// Ids.
    Ids(Vec<Option<Uuid>>),
    /// Integers.
    Ints(Vec<Option<i64>>),
    /// Texts.
    Texts(Vec<Option<String>>),
    /// Booleans.
    Flags(Vec<Option<bool>>),
    /// Moments, as PostgreSQL counts them.
    Times(Vec<Option<PgTimestamp>>),
    /// Hashes.
    Hashes(Vec<Option<Vec<u8>>>),
    /// Floats.
    Reals(Vec<Option<f64>>),
}

impl Column {
    /// An empty column of that type, by its letter in a [`Table`](crate::schema::Table).
    pub(crate) fn of(kind: char) -> Result<Self, StoreError> {
        Ok(match kind {
            'u' => Self::Ids(Vec::new()),
            'i' => Self::Ints(Vec::new()),
            't' => Self::Texts(Vec::new()),
            'b' => Self::Flags(Vec::new()),
            'z' => Self::Times(Vec::new()),
            'h' => Self::Hashes(Vec::new()),
            'f' => Self::Reals(Vec::new()),
            other => return Err(StoreError::Corrupt(format!("{other:?} is no type of a column"))),
        })
    }

    /// Adds a value of the column's type, or none.
    pub(crate) fn push(&mut self, value: Value) -> Result<(), StoreError> {
        match (self, value) {
            (Self::Ids(column), Value::Id(value)) => column.push(Some(value)),
            (Self::Ints(column), Value::Int(value)) => column.push(Some(value)),
            (Self::Texts(column), Value::Text(value)) => column.push(Some(value)),
            (Self::Flags(column), Value::Flag(value)) => column.push(Some(value)),
            (Self::Times(column), Value::Time(value)) => column.push(Some(value)),
            (Self::Hashes(column), Value::Hash(value)) => column.push(Some(value.to_vec())),
            (Self::Reals(column), Value::Real(value)) => column.push(Some(value)),
            (Self::Ids(column), Value::Null) => column.push(None),
            (Self::Ints(column), Value::Null) => column.push(None),
            (Self::Texts(column), Value::Null) => column.push(None),
            (Self::Flags(column), Value::Null) => column.push(None),
            (Self::Times(column), Value::Null) => column.push(None),
            (Self::Hashes(column), Value::Null) => column.push(None),
            (Self::Reals(column), Value::Null) => column.push(None),
            (column, value) => return Err(StoreError::Corrupt(format!("{value:?} does not belong into {column:?}"))),
        }
        Ok(())
    }

    /// The type of the array in SQL.
    const fn cast(&self) -> &'static str {
        match self {
            Self::Ids(_) => "::uuid[]",
            Self::Ints(_) => "::bigint[]",
            Self::Texts(_) => "::text[]",
            Self::Flags(_) => "::boolean[]",
            Self::Times(_) => "::timestamptz[]",
            Self::Hashes(_) => "::bytea[]",
            Self::Reals(_) => "::double precision[]",
        }
    }
}

pub(crate) const fn pg_time(micros: i64) -> PgTimestamp {
    PgTimestamp(micros.saturating_sub(EPOCH_MICROS))
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! values {
    ($($type:ty => |$v:ident| $make:expr,)+) => {
        $(impl From<$type> for Value {
            fn from($v: $type) -> Self {
                $make
            }
        })+
    };
}

values! {
    i64 => |v| Self::Int(v),
    u32 => |v| Self::Int(i64::from(v)),
    u16 => |v| Self::Int(i64::from(v)),
    bool => |v| Self::Flag(v),
    f64 => |v| Self::Real(v),
    &str => |v| Self::Text(v.to_owned()),
    String => |v| Self::Text(v),
    &String => |v| Self::Text(v.clone()),
    Timestamp => |v| Self::Time(pg_time(v.as_microsecond())),
    Uuid => |v| Self::Id(v),
    UserId => |v| v.0.into(),
    AccountId => |v| v.0.into(),
    MarketId => |v| v.0.into(),
    OrderId => |v| v.0.into(),
    TradeId => |v| v.0.into(),
    TransferId => |v| v.0.into(),
    OrderGroupId => |v| v.0.into(),
    SessionId => |v| v.0.into(),
    SwitchId => |v| v.0.into(),
    JobId => |v| v.0.into(),
    WebhookId => |v| v.0.into(),
    DeliveryId => |v| v.0.into(),
    EventId => |v| v.0.into(),
    ApiKeyId => |v| v.0.into(),
    [u8; 32] => |v| Self::Hash(v),
    Credits => |v| Self::Int(v.mills()),
    Shares => |v| Self::Int(v.count()),
    Price => |v| Self::Int(v.mills()),
    OutcomeId => |v| Self::Int(i64::try_from(v.index()).unwrap_or(i64::MAX)),
}

/// A list of values in the making.
#[derive(Debug, Default)]
pub(crate) struct Values(pub(crate) Vec<Value>);

impl Values {
    /// Adds a value.
    pub(crate) fn add(&mut self, value: impl Into<Value>) -> &mut Self {
        self.0.push(value.into());
        self
    }
}

/// A statement and its values, one for each question mark.
#[derive(Debug)]
pub(crate) struct Sql {
    text: Cow<'static, str>,
    values: Values,
}

impl Sql {
    /// A statement of that text.
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), values: Values::default() }
    }

    /// Adds a value.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.add(value);
        self
    }

    /// Adds a list of ids, for `= ANY(?)`.
    pub(crate) fn ids(self, ids: impl IntoIterator<Item = Uuid>) -> Self {
        self.bind(Value::Column(Column::Ids(ids.into_iter().map(Some).collect())))
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The values that it has.
    pub(crate) fn values_of(&self) -> &[Value] {
        &self.values.0
    }

    /// Adds a list of texts, for `unnest(?)`.
    pub(crate) fn texts(self, texts: impl IntoIterator<Item = String>) -> Self {
        self.bind(Value::Column(Column::Texts(texts.into_iter().map(Some).collect())))
    }

    /// Adds text.
    pub(crate) fn push(&mut self, text: &str) {
        self.text.to_mut().push_str(text);
    }

    /// Adds text, chained.
    pub(crate) fn then(mut self, text: &str) -> Self {
        self.push(text);
        self
    }

    /// Adds another statement's text and its values.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.push(&other.text);
        self.values.0.extend(other.values.0);
        self
    }

    /// The values, to add to.
    pub(crate) const fn values(&mut self) -> &mut Values {
        &mut self.values
    }

    /// Adds `UNNEST(?, …)` with a column for each letter of `kinds` and a row for each thing.
    pub(crate) fn unnest<T>(
        mut self,
        kinds: &str,
        things: impl IntoIterator<Item = T>,
        bind: impl Fn(T, &mut Values),
    ) -> Result<Self, StoreError> {
        let mut columns = kinds.chars().map(Column::of).collect::<Result<Vec<_>, _>>()?;
        for thing in things {
            let mut row = Values::default();
            bind(thing, &mut row);
            if row.0.len() != columns.len() {
                return Err(StoreError::Corrupt(format!(
                    "a row has {} values for {} columns",
                    row.0.len(),
                    columns.len()
                )));
            }
            for (column, value) in columns.iter_mut().zip(row.0) {
                column.push(value)?;
            }
        }
        let marks = vec!["?"; columns.len()].join(", ");
        self.push(&format!("UNNEST({marks})"));
        self.values.0.extend(columns.into_iter().map(Value::Column));
        Ok(self)
    }

    /// Adds `UNNEST(?)` with a row for each thing.
    pub(crate) fn rows<T>(
        mut self,
        row_type: RowType,
        things: impl IntoIterator<Item = T>,
        bind: impl Fn(T, &mut Values),
    ) -> Result<Self, StoreError> {
        self.push("UNNEST(?)");
        self.values.0.push(Value::Rows(Rows::of(row_type, things, bind)?));
        Ok(self)
    }

    /// Adds `UNNEST(…)` with a row for each thing: of the type of that name, or of columns of their own.
    pub(crate) fn batch<T>(
        self,
        name: Option<&'static str>,
        kinds: &'static str,
        things: impl IntoIterator<Item = T>,
        bind: impl Fn(T, &mut Values),
    ) -> Result<Self, StoreError> {
        match name {
            Some(name) => self.rows(RowType { name, kinds }, things, bind),
            None => self.unnest(kinds, things, bind),
        }
    }

    /// Its batches of rows.
    pub(crate) fn batches(&mut self) -> impl Iterator<Item = &mut Rows> {
        self.values.0.iter_mut().filter_map(|value| match value {
            Value::Rows(rows) => Some(rows),
            _ => None,
        })
    }

    /// Whether PostgreSQL takes its texts.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for value in &self.values.0 {
            match value {
                Value::Text(text) => {
                    checked_text(text)?;
                }
                Value::Column(Column::Texts(texts)) => {
                    texts.iter().flatten().try_for_each(|text| checked_text(text).map(drop))?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// PostgreSQL refuses U+0000 in a text; it is told before it is sent, as by the other store.
pub(crate) fn checked_text(text: &str) -> Result<&str, StoreError> {
    if text.contains('\0') {
        return Err(StoreError::Corrupt("a text contains U+0000, which no store keeps".to_owned()));
    }
    Ok(text)
}

impl QueryFragment<Pg> for Sql {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut parts = self.text.split('?');
        out.push_sql(parts.next().unwrap_or_default());
        for (value, text) in self.values.0.iter().zip(parts) {
            bind(value, &mut out)?;
            out.push_sql(text);
        }
        Ok(())
    }
}

fn bind<'b>(value: &'b Value, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    match value {
        Value::Null => out.push_bind_param::<Nullable<BigInt>, Option<i64>>(&None),
        Value::Int(value) => out.push_bind_param::<BigInt, i64>(value),
        Value::Real(value) => out.push_bind_param::<Double, f64>(value),
        Value::Flag(value) => out.push_bind_param::<Bool, bool>(value),
        Value::Id(value) => out.push_bind_param::<SqlUuid, Uuid>(value),
        Value::Hash(value) => out.push_bind_param::<Bytea, [u8; 32]>(value),
        Value::Text(value) => out.push_bind_param::<Text, String>(value),
        Value::Time(value) => out.push_bind_param::<Timestamptz, PgTimestamp>(value),
        Value::Rows(rows) => rows.bind(out),
        Value::Column(column) => {
            match column {
                Column::Ids(values) => out.push_bind_param::<Array<Nullable<SqlUuid>>, _>(values)?,
                Column::Ints(values) => out.push_bind_param::<Array<Nullable<BigInt>>, _>(values)?,
                Column::Texts(values) => out.push_bind_param::<Array<Nullable<Text>>, _>(values)?,
                Column::Flags(values) => out.push_bind_param::<Array<Nullable<Bool>>, _>(values)?,
                Column::Times(values) => out.push_bind_param::<Array<Nullable<Timestamptz>>, _>(values)?,
                Column::Hashes(values) => out.push_bind_param::<Array<Nullable<Bytea>>, _>(values)?,
                Column::Reals(values) => out.push_bind_param::<Array<Nullable<Double>>, _>(values)?,
            }
            out.push_sql(column.cast());
            Ok(())
        }
    }
}

impl QueryId for Sql {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Sql {
    type SqlType = Untyped;
}

/// A row, read from its first column to its last.
#[derive(Debug)]
pub(crate) struct Row {
    values: std::vec::IntoIter<Value>,
    width: usize,
}

impl QueryableByName<Pg> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let width = row.field_count();
        let mut values = Vec::with_capacity(width);
        for index in 0..width {
            let field = diesel::row::Row::get(row, index).ok_or("a column is missing")?;
            values.push(field.value().map_or(Ok(Value::Null), read)?);
        }
        Ok(Self { values: values.into_iter(), width })
    }
}

/// Reads a value by the number of its type.
fn read(value: PgValue<'_>) -> deserialize::Result<Value> {
    Ok(match value.get_oid().get() {
        16 => Value::Flag(<bool as FromSql<Bool, Pg>>::from_sql(value)?),
        17 => Value::Hash(value.as_bytes().try_into().map_err(|_| "bytes that are no hash")?),
        20 => Value::Int(<i64 as FromSql<BigInt, Pg>>::from_sql(value)?),
        23 => Value::Int(i64::from(i32::from_be_bytes(value.as_bytes().try_into()?))),
        25 | 1043 => Value::Text(<String as FromSql<Text, Pg>>::from_sql(value)?),
        701 => Value::Real(<f64 as FromSql<Double, Pg>>::from_sql(value)?),
        1184 => Value::Time(<PgTimestamp as FromSql<Timestamptz, Pg>>::from_sql(value)?),
        2950 => Value::Id(<Uuid as FromSql<SqlUuid, Pg>>::from_sql(value)?),
        other => return Err(format!("a value of the unknown type {other}").into()),
    })
}

/// The moment so many microseconds after 1970. In two parts, since `from_microsecond` does not take
/// the last second that `Timestamp` can hold.
pub(crate) fn time_of(microseconds: i64) -> Option<Timestamp> {
    let (seconds, rest) = (microseconds.div_euclid(1_000_000), microseconds.rem_euclid(1_000_000));
    Timestamp::new(seconds, i32::try_from(rest).ok()?.checked_mul(1_000)?).ok()
}

impl Row {
    fn take(&mut self) -> Result<Value, StoreError> {
        self.values.next().ok_or_else(|| StoreError::Corrupt("a row ends too early".to_owned()))
    }

    /// What was read last is not what it should be.
    pub(crate) fn unreadable(&self, wanted: &str) -> StoreError {
        let column = self.width.saturating_sub(self.values.len());
        StoreError::Corrupt(format!("column {column} of a row is not {wanted}"))
    }

    /// A hash.
    pub(crate) fn hash(&mut self) -> Result<[u8; 32], StoreError> {
        match self.take()? {
            Value::Hash(value) => Ok(value),
            _ => Err(self.unreadable("a hash")),
        }
    }

    /// A boolean.
    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        match self.take()? {
            Value::Flag(value) => Ok(value),
            _ => Err(self.unreadable("a boolean")),
        }
    }

    /// A moment, where there is one.
    pub(crate) fn opt_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        match self.take()? {
            Value::Null => Ok(None),
            Value::Time(PgTimestamp(micros)) => {
                let micros = micros.checked_add(EPOCH_MICROS).ok_or_else(|| self.unreadable("a time"))?;
                time_of(micros).map(Some).ok_or_else(|| self.unreadable("a time"))
            }
            _ => Err(self.unreadable("a time")),
        }
    }

    /// An integer, where there is one.
    pub(crate) fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.take()? {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(value)),
            _ => Err(self.unreadable("an integer")),
        }
    }

    /// A text, where there is one.
    pub(crate) fn opt_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.take()? {
            Value::Null => Ok(None),
            Value::Text(value) => Ok(Some(value)),
            _ => Err(self.unreadable("a text")),
        }
    }

    /// A float, where there is one.
    pub(crate) fn opt_real(&mut self) -> Result<Option<f64>, StoreError> {
        match self.take()? {
            Value::Null => Ok(None),
            Value::Real(value) => Ok(Some(value)),
            _ => Err(self.unreadable("a float")),
        }
    }

    /// An id, where there is one.
    pub(crate) fn opt_id(&mut self) -> Result<Option<Uuid>, StoreError> {
        match self.take()? {
            Value::Null => Ok(None),
            Value::Id(value) => Ok(Some(value)),
            _ => Err(self.unreadable("an id")),
        }
    }

    /// What the integer stands for, where there is one.
    pub(crate) fn opt_int_as<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(i64) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let Some(value) = self.opt_int()? else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.unreadable(what))
    }

    /// What the integer stands for.
    pub(crate) fn int_as<T>(&mut self, what: &str, read: impl FnOnce(i64) -> Option<T>) -> Result<T, StoreError> {
        self.opt_int_as(what, read)?.ok_or_else(|| self.unreadable(what))
    }

    /// What the text stands for, where there is one.
    pub(crate) fn opt_text_as<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let Some(value) = self.opt_text()? else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| self.unreadable(what))
    }

    /// What the text stands for.
    pub(crate) fn text_as<T>(&mut self, what: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        self.opt_text_as(what, read)?.ok_or_else(|| self.unreadable(what))
    }

    /// An integer.
    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.int_as("an integer", Some)
    }

    /// A count.
    pub(crate) fn count(&mut self) -> Result<u64, StoreError> {
        self.int_as("a count", |value| u64::try_from(value).ok())
    }

    /// The counts that a row is made of; it ends before what is none.
    pub(crate) fn counts(mut self) -> impl Iterator<Item = usize> {
        std::iter::from_fn(move || self.int_as("a count", |value| usize::try_from(value).ok()).ok())
    }

    /// A text.
    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.opt_text()?.ok_or_else(|| self.unreadable("a text"))
    }

    /// An id.
    pub(crate) fn id(&mut self) -> Result<Uuid, StoreError> {
        self.opt_id()?.ok_or_else(|| self.unreadable("an id"))
    }

    /// A moment.
    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.opt_time()?.ok_or_else(|| self.unreadable("a time"))
    }

    /// Money.
    pub(crate) fn credits(&mut self) -> Result<Credits, StoreError> {
        self.int().map(Credits::from_mills)
    }

    /// Shares.
    pub(crate) fn shares(&mut self) -> Result<Shares, StoreError> {
        self.int().map(Shares::new)
    }

    /// A price, where there is one.
    pub(crate) fn opt_price(&mut self) -> Result<Option<Price>, StoreError> {
        self.opt_int_as("a price", Price::from_mills)
    }

    /// A price.
    pub(crate) fn price(&mut self) -> Result<Price, StoreError> {
        self.opt_price()?.ok_or_else(|| self.unreadable("a price"))
    }

    /// An outcome.
    pub(crate) fn outcome(&mut self) -> Result<OutcomeId, StoreError> {
        self.int_as("an outcome", |value| usize::try_from(value).ok().and_then(OutcomeId::new))
    }
}
