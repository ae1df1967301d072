//! Statements with their values, and rows read one column after the other.
//!
//! A statement is a text and a list of values. Diesel keeps it prepared on each connection by its
//! text, so texts are made of constants and question marks alone, and are few: a batch is one
//! statement that runs once for each of its rows, and a list has a length out of a few. Values are
//! bound, never written into the text or through JSON, so every 64-bit integer, float, blob and text
//! arrives as it was. A limit is written `LIMIT ? + 0`: a question mark alone would have SQLite
//! compile the statement anew whenever it is bound, in the hope of a better plan.

use std::borrow::Cow;

use bellwether_domain::ids::{
    AccountId, ApiKeyId, DeliveryId, EventId, JobId, MarketId, OrderGroupId, OrderId, SessionId, SwitchId, TradeId,
    TransferId, UserId, WebhookId,
};
use bellwether_domain::market::OutcomeId;
use bellwether_domain::money::{Credits, Price, Shares};
use bellwether_domain::ports::StoreError;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::row::{Field, NamedRow};
use diesel::sql_types::{BigInt, Binary, Double, Nullable, Text, Untyped};
use diesel::sqlite::{Sqlite, SqliteConnection, SqliteType};
use diesel::{QueryResult, RunQueryDsl};
use jiff::Timestamp;
use uuid::Uuid;

/// Statements with at most so many values stay prepared; and lists of at most so many are made as
/// long as the next power of two.
const MOST_CACHED_VALUES: usize = 256;

/// A value that goes into or comes out of SQLite.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// No value.
    Null,
    /// An integer, a boolean, or microseconds since 1970.
    Int(i64),
    /// A float.
    Real(f64),
    /// An id.
    Id([u8; 16]),
    /// A hash.
    Hash([u8; 32]),
    /// A text.
    Text(String),
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
    u8 => |v| Self::Int(i64::from(v)),
    bool => |v| Self::Int(i64::from(v)),
    f64 => |v| Self::Real(v),
    &str => |v| Self::Text(v.to_owned()),
    String => |v| Self::Text(v),
    &String => |v| Self::Text(v.clone()),
    Timestamp => |v| Self::Int(v.as_microsecond()),
    Uuid => |v| Self::Id(v.into_bytes()),
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
    OutcomeId => |v| Self::Int(i64::from(u8::try_from(v.index()).unwrap_or(u8::MAX))),
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

/// A statement and its values.
#[derive(Debug)]
pub(crate) struct Sql {
    text: Cow<'static, str>,
    pub(crate) values: Values,
}

impl Sql {
    /// A statement of that text.
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), values: Values::default() }
    }

    /// Adds a value, for a question mark that is in the text.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.add(value);
        self
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The values that it has.
    pub(crate) fn values_of(&self) -> &[Value] {
        &self.values.0
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

    /// The values, to add to.
    pub(crate) const fn values(&mut self) -> &mut Values {
        &mut self.values
    }

    /// Adds `(?, ?, …)`, for `IN`. A short list is filled up with its last value, which changes
    /// nothing about what is in it, so that lists of many lengths share one prepared statement.
    pub(crate) fn list<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        let mut values: Vec<Value> = values.into_iter().map(Into::into).collect();
        if let Some(last) = values.last().cloned().filter(|_| values.len() <= MOST_CACHED_VALUES) {
            values.resize(values.len().next_power_of_two(), last);
        }
        let text = self.text.to_mut();
        text.push('(');
        for index in 0..values.len() {
            text.push_str(if index == 0 { "?" } else { ",?" });
        }
        text.push(')');
        self.values.0.append(&mut values);
        self
    }

    /// As it goes to SQLite.
    pub(crate) fn bound(&self) -> Bound<'_> {
        Bound { text: &self.text, values: &self.values }
    }
}

impl Values {
    /// SQLite stores U+0000 but reads a text only up to it; PostgreSQL refuses it. So does this.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let cut = self.0.iter().any(|value| matches!(value, Value::Text(text) if text.contains('\0')));
        if cut { Err(StoreError::Corrupt("a text contains U+0000, which no store keeps".to_owned())) } else { Ok(()) }
    }
}

/// A text and the values for its question marks.
pub(crate) struct Bound<'s> {
    pub(crate) text: &'s str,
    pub(crate) values: &'s Values,
}

impl QueryFragment<Sqlite> for Bound<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        if self.values.0.len() > MOST_CACHED_VALUES {
            out.unsafe_to_cache_prepared();
        }
        out.push_sql(self.text);
        for value in &self.values.0 {
            match value {
                Value::Null => out.push_bind_param_value_only::<Nullable<BigInt>, Option<i64>>(&None)?,
                Value::Int(value) => out.push_bind_param_value_only::<BigInt, i64>(value)?,
                Value::Real(value) => out.push_bind_param_value_only::<Double, f64>(value)?,
                Value::Id(value) => out.push_bind_param_value_only::<Binary, [u8]>(value.as_slice())?,
                Value::Hash(value) => out.push_bind_param_value_only::<Binary, [u8]>(value.as_slice())?,
                Value::Text(value) => out.push_bind_param_value_only::<Text, str>(value.as_str())?,
            }
        }
        Ok(())
    }
}

impl QueryId for Bound<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Bound<'_> {
    type SqlType = Untyped;
}

impl RunQueryDsl<SqliteConnection> for Bound<'_> {}

/// A row, read from its first column to its last.
#[derive(Debug)]
pub(crate) struct Row {
    values: std::vec::IntoIter<Value>,
    width: usize,
}

impl QueryableByName<Sqlite> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        let width = row.field_count();
        let mut values = Vec::with_capacity(width);
        for index in 0..width {
            let field = diesel::row::Row::get(row, index).ok_or("a column is missing")?;
            values.push(read(&field)?);
        }
        Ok(Self { values: values.into_iter(), width })
    }
}

fn read<'a>(field: &impl Field<'a, Sqlite>) -> deserialize::Result<Value> {
    let Some(value) = field.value() else { return Ok(Value::Null) };
    Ok(match value.value_type() {
        None => Value::Null,
        Some(SqliteType::Text) => Value::Text(<String as FromSql<Text, Sqlite>>::from_sql(value)?),
        Some(SqliteType::Double | SqliteType::Float) => Value::Real(<f64 as FromSql<Double, Sqlite>>::from_sql(value)?),
        Some(SqliteType::Binary) => {
            let bytes = <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?;
            match bytes.len() {
                16 => Value::Id(bytes.as_slice().try_into()?),
                _ => Value::Hash(bytes.as_slice().try_into().map_err(|_| "neither an id nor a hash")?),
            }
        }
        Some(_) => Value::Int(<i64 as FromSql<BigInt, Sqlite>>::from_sql(value)?),
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
            Value::Id(value) => Ok(Some(Uuid::from_bytes(value))),
            _ => Err(self.unreadable("an id")),
        }
    }

    /// A hash.
    pub(crate) fn hash(&mut self) -> Result<[u8; 32], StoreError> {
        match self.take()? {
            Value::Hash(value) => Ok(value),
            _ => Err(self.unreadable("a hash")),
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

    /// A text.
    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.opt_text()?.ok_or_else(|| self.unreadable("a text"))
    }

    /// An id.
    pub(crate) fn id(&mut self) -> Result<Uuid, StoreError> {
        self.opt_id()?.ok_or_else(|| self.unreadable("an id"))
    }

    /// A boolean.
    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        self.int_as("0 or 1", |value| (value == 0 || value == 1).then_some(value == 1))
    }

    /// A moment, where there is one.
    pub(crate) fn opt_time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.opt_int_as("a time", time_of)
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

    /// A number of mills that fits 16 bits, where there is one.
    pub(crate) fn opt_mills(&mut self) -> Result<Option<u16>, StoreError> {
        self.opt_int_as("a weight", |value| u16::try_from(value).ok())
    }

    /// An outcome.
    pub(crate) fn outcome(&mut self) -> Result<OutcomeId, StoreError> {
        self.int_as("an outcome", |value| usize::try_from(value).ok().and_then(OutcomeId::new))
    }
}
