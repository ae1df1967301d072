//! Pages of lists: filters, orders, and beginnings by offset or after a row.

use std::borrow::Cow;

use bellwether_domain::ports::{Direction, Page, PageRequest, SortValue, Start, StoreError};
use uuid::Uuid;

use crate::connection::Connection;
use crate::sql::{Row, Sql, Value, pg_time};

/// Of which kind a sort key's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Numbers.
    Int,
    /// Texts.
    Text,
    /// Moments, in cursors as microseconds since 1970.
    Time,
}

/// A sort key that holds moments.
pub(crate) const TIME: Kind = Kind::Time;
/// A sort key that holds numbers.
pub(crate) const NUMBER: Kind = Kind::Int;
/// A sort key that holds texts.
pub(crate) const TEXT: Kind = Kind::Text;

/// A list in the making: a table, its columns, and what must hold of a row.
pub(crate) struct List {
    table: &'static str,
    columns: Cow<'static, str>,
    id: &'static str,
    filters: Vec<(&'static str, Vec<Value>)>,
    /// Two conditions of which a row fulfils at most one, each with an index of its own: the list
    /// is merged from two.
    either: Option<([&'static str; 2], Value)>,
}

impl List {
    /// Every row of a table; the id breaks ties.
    pub(crate) fn of(table: &'static str, columns: impl Into<Cow<'static, str>>, id: &'static str) -> Self {
        Self { table, columns: columns.into(), id, filters: Vec::new(), either: None }
    }

    /// Only rows of which this holds, if there is a value.
    pub(crate) fn filter(&mut self, condition: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.filters.push((condition, vec![value.into()]));
        }
    }

    /// Only rows of which this holds.
    pub(crate) fn always(&mut self, condition: &'static str) {
        self.filters.push((condition, Vec::new()));
    }

    /// Only rows of which this holds, with all of these values.
    pub(crate) fn filter_by_all(
        &mut self,
        condition: &'static str,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) {
        self.filters.push((condition, values.into_iter().map(Into::into).collect()));
    }

    /// The same for a condition that takes the value twice.
    pub(crate) fn filter_twice(&mut self, condition: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            let value = value.into();
            self.filters.push((condition, vec![value.clone(), value]));
        }
    }

    /// Only rows of which one of the two holds, never both, if there is a value.
    pub(crate) fn either(&mut self, conditions: [&'static str; 2], value: Option<impl Into<Value>>) {
        self.either = value.map(|value| (conditions, value.into()));
    }

    /// The page; `key` names a sort key's column, `read` reads a row. The total is counted by a
    /// statement of its own, and so as of a moment later.
    pub(crate) async fn page<K, T>(
        &self,
        connection: &mut Connection,
        page: &PageRequest<K>,
        key: impl Fn(&K) -> (&'static str, Kind),
        what: &str,
        read: impl Fn(&mut Row) -> Result<T, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let keys: Vec<Key> = page.sort.iter().map(|(k, direction)| Key::new(key(k), *direction)).collect();
        let after = match &page.start {
            Start::After(values, id) => Some(after(&keys, self.id, values, *id)?),
            Start::First | Start::Offset(_) => None,
        };
        let sql = self.query(&keys, after.as_ref(), page);
        let wanted = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let mut items = connection.read(what, sql, read).await?;
        let total = match page.start {
            Start::Offset(_) => Some(self.count(connection).await?),
            Start::First | Start::After(..) => None,
        };
        let has_more = items.len() > wanted;
        items.truncate(wanted);
        Ok(Page { items, total, has_more })
    }

    /// The rows of the page and one more, which tells whether there are more.
    fn query<K>(&self, keys: &[Key], after: Option<&(String, Vec<Value>)>, page: &PageRequest<K>) -> Sql {
        let mut sql = self.arms(&self.columns, after, " UNION ALL ");
        sql.push(" ORDER BY ");
        for key in keys {
            sql.push(&format!("{}{}, ", key.column, direction_sql(key.direction)));
        }
        sql.push(&format!("{}{} LIMIT ?", self.id, direction_sql(last_direction(keys))));
        let sql = sql.bind(i64::from(page.limit).saturating_add(1));
        match page.start {
            Start::Offset(rows) => sql.then(" OFFSET ?").bind(i64::try_from(rows).unwrap_or(i64::MAX)),
            Start::First | Start::After(..) => sql,
        }
    }

    async fn count(&self, connection: &mut Connection) -> Result<u64, StoreError> {
        let counts = connection.read("a count", self.arms("count(*)", None, " UNION ALL "), Row::count).await?;
        Ok(counts.into_iter().fold(0, u64::saturating_add))
    }

    /// One `SELECT`, or two that are merged.
    fn arms(&self, columns: &str, after: Option<&(String, Vec<Value>)>, between: &str) -> Sql {
        let Some((conditions, value)) = &self.either else { return self.arm(Sql::new(""), columns, None, after) };
        let [first, second] = conditions;
        let sql = self.arm(Sql::new(""), columns, Some((first, value)), after).then(between);
        self.arm(sql, columns, Some((second, value)), after)
    }

    fn arm(
        &self,
        mut sql: Sql,
        columns: &str,
        either: Option<(&str, &Value)>,
        after: Option<&(String, Vec<Value>)>,
    ) -> Sql {
        sql.push(&format!("SELECT {columns} FROM {}", self.table));
        let mut word = " WHERE ";
        let mut add = |condition: &str, values: &[Value]| {
            sql.push(word);
            sql.push(condition);
            word = " AND ";
            values.iter().for_each(|value| {
                sql.values().add(value.clone());
            });
        };
        if let Some((condition, value)) = either {
            add(condition, std::slice::from_ref(value));
        }
        for (condition, values) in &self.filters {
            add(condition, values);
        }
        if let Some((condition, values)) = after {
            add(condition, values);
        }
        sql
    }
}

#[derive(Debug, Clone, Copy)]
struct Key {
    column: &'static str,
    kind: Kind,
    direction: Direction,
}

impl Key {
    const fn new((column, kind): (&'static str, Kind), direction: Direction) -> Self {
        Self { column, kind, direction }
    }
}

const fn direction_sql(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "",
        Direction::Descending => " DESC",
    }
}

const fn beyond(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => ">",
        Direction::Descending => "<",
    }
}

/// The id goes in the direction of the last key.
fn last_direction(keys: &[Key]) -> Direction {
    keys.last().map_or(Direction::Ascending, |key| key.direction)
}

/// The condition that a row comes after the one with these values and this id.
fn after(keys: &[Key], id_column: &str, values: &[SortValue], id: Uuid) -> Result<(String, Vec<Value>), StoreError> {
    if keys.len() != values.len() {
        return Err(StoreError::Corrupt(format!(
            "a page begins after {} values where it is sorted by {}",
            values.len(),
            keys.len()
        )));
    }
    let mut columns = Vec::new();
    for (key, value) in keys.iter().zip(values) {
        let value = match (key.kind, value) {
            (Kind::Int, SortValue::Int(value)) => Value::Int(*value),
            (Kind::Time, SortValue::Int(micros)) => Value::Time(pg_time(*micros)),
            (Kind::Text, SortValue::Text(value)) => Value::Text(value.clone()),
            _ => {
                return Err(StoreError::Corrupt(format!(
                    "a page begins after {value:?}, which {} cannot be",
                    key.column
                )));
            }
        };
        columns.push((key.column, key.direction, value));
    }
    columns.push((id_column, last_direction(keys), Value::from(id)));
    let one_way = columns.iter().all(|(_, direction, _)| *direction == last_direction(keys));
    Ok(if one_way { after_row(&columns, last_direction(keys)) } else { after_mixed(&columns) })
}

/// All keys go one way: a comparison of rows, which an index answers.
fn after_row(columns: &[(&str, Direction, Value)], direction: Direction) -> (String, Vec<Value>) {
    let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
    let marks = vec!["?"; columns.len()];
    let condition = format!("({}) {} ({})", names.join(", "), beyond(direction), marks.join(", "));
    (condition, columns.iter().map(|(.., value)| value.clone()).collect())
}

/// Keys go both ways: `a >= ? AND (a > ? OR (b < ? OR …))`, whose first part an index answers.
fn after_mixed(columns: &[(&str, Direction, Value)]) -> (String, Vec<Value>) {
    let Some(((name, direction, value), rest)) = columns.split_first() else { return (String::new(), Vec::new()) };
    let beyond = beyond(*direction);
    if rest.is_empty() {
        return (format!("{name} {beyond} ?"), vec![value.clone()]);
    }
    let (condition, values) = after_mixed(rest);
    let mut all = vec![value.clone(), value.clone()];
    all.extend(values);
    (format!("({name} {beyond}= ? AND ({name} {beyond} ? OR {condition}))"), all)
}
