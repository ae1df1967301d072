//! Pages of lists: filters, orders, and beginnings by offset or after a row.

use std::borrow::Cow;

use bellwether_domain::ports::{Direction, MOST_COUNTED, Page, PageRequest, SortValue, Start, StoreError};
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

/// What the planner is told of how few rows a page has, and one more: the limit itself is a value, and of a
/// limit that it does not know it expects a tenth of the table, for which it would gather and sort.
const PAGE: &str = "101";

/// A list in the making: a table, its columns, and what must hold of a row.
pub(crate) struct List {
    table: &'static str,
    /// The table alone, where rows are only counted.
    counted: &'static str,
    /// Its id.
    counted_id: &'static str,
    columns: Cow<'static, str>,
    id: &'static str,
    filters: Vec<Filter>,
    /// Two conditions of which a row fulfils at most one, each with an index of its own: the list
    /// is merged from two.
    either: Option<([&'static str; 2], Value)>,
    /// No index has what is filtered by beside what is sorted by.
    is_out_of_order: bool,
    /// Rows are counted in the order of the page.
    is_counted_in_order: bool,
}

/// What must hold of a row.
struct Filter {
    condition: &'static str,
    /// What says the same of one row that is looked at, and a query for as many rows as match by themselves, where
    /// the condition names all that match.
    by_row: Option<(&'static str, &'static str)>,
    values: Vec<Value>,
}

/// How the rows of a page are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By an index that has them in their order.
    Index,
    /// Few match, so these are gathered by an index of what is filtered by, and sorted.
    Gather,
    /// Few match, but many would be named by a condition, which is asked of each row instead.
    GatherByRow,
    /// The same, where rows are only counted.
    CountByRow,
    /// Many match, so an index of what is sorted by is walked until a page of them was met.
    Walk,
}

/// Fewer than this are gathered and sorted for one page. Of a million rows, so many are met on as long a walk.
const FEW: usize = 5000;

impl List {
    /// Every row of a table; the id breaks ties.
    pub(crate) fn of(table: &'static str, columns: impl Into<Cow<'static, str>>, id: &'static str) -> Self {
        Self {
            table,
            counted: table,
            counted_id: id,
            columns: columns.into(),
            id,
            filters: Vec::new(),
            either: None,
            is_out_of_order: false,
            is_counted_in_order: false,
        }
    }

    /// Rows are counted in this table alone: those that are joined to it are one for each.
    pub(crate) const fn counted_in(mut self, table: &'static str, id: &'static str) -> Self {
        self.counted = table;
        self.counted_id = id;
        self
    }

    /// Only rows of which this holds, if there is a value.
    pub(crate) fn filter(&mut self, condition: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.add(condition, vec![value.into()]);
        }
    }

    /// The same for a condition that names all rows that match: `of_one_row` says the same of a row that is looked
    /// at, and `named` is a query for those that are named, without its limit.
    pub(crate) fn filter_by_names(
        &mut self,
        condition: &'static str,
        of_one_row: &'static str,
        named: &'static str,
        value: Option<impl Into<Value>>,
    ) {
        if let Some(value) = value {
            self.filters.push(Filter { condition, by_row: Some((of_one_row, named)), values: vec![value.into()] });
        }
    }

    fn add(&mut self, condition: &'static str, values: Vec<Value>) {
        self.filters.push(Filter { condition, by_row: None, values });
    }

    /// Only rows of which this holds.
    pub(crate) fn always(&mut self, condition: &'static str) {
        self.add(condition, Vec::new());
    }

    /// Only rows of which this holds, with all of these values.
    pub(crate) fn filter_by_all(
        &mut self,
        condition: &'static str,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) {
        self.add(condition, values.into_iter().map(Into::into).collect());
    }

    /// The same for a condition that takes the value twice.
    pub(crate) fn filter_twice(&mut self, condition: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            let value = value.into();
            self.add(condition, vec![value.clone(), value]);
        }
    }

    /// Only rows of which one of the two holds, never both, if there is a value.
    pub(crate) fn either(&mut self, conditions: [&'static str; 2], value: Option<impl Into<Value>>) {
        self.either = value.map(|value| (conditions, value.into()));
    }

    /// No index has what is filtered by beside what is sorted by, if that is so: how many rows match decides then
    /// how the page is found.
    pub(crate) const fn out_of_order(&mut self, is_so: bool) {
        self.is_out_of_order = is_so;
    }

    /// Rows are counted in the order of the page, which an index has beside what is filtered by. Else the planner, expecting
    /// an average of rows, gathers all that match in an index before it counts the first.
    pub(crate) const fn counted_in_order(&mut self, is_so: bool) {
        self.is_counted_in_order = is_so;
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
        let (way, words) = self.way(connection).await?;
        let sql = self.query(way, &keys, after.as_ref(), page);
        let wanted = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let mut items = connection.read(what, sql, read).await?;
        let total = match page.start {
            Start::Offset(_) => Some(self.count(words, &keys, connection).await?),
            Start::First | Start::After(..) => None,
        };
        let has_more = items.len() > wanted;
        items.truncate(wanted);
        Ok(Page { items, total, has_more })
    }

    /// The rows of the page and one more, which tells whether there are more.
    fn query<K>(&self, way: Way, keys: &[Key], after: Option<&(String, Vec<Value>)>, page: &PageRequest<K>) -> Sql {
        let order = self.order(keys);
        let wanted = i64::from(page.limit).saturating_add(1);
        let skipped = match page.start {
            Start::Offset(rows) => i64::try_from(rows).unwrap_or(i64::MAX),
            Start::First | Start::After(..) => 0,
        };
        let columns = &self.columns;
        if skipped > 0 {
            let sql = self.arms(way, &format!("SELECT {columns} FROM {}", self.table), after, "").then(&order);
            return sql.then(" LIMIT ? OFFSET ?").bind(wanted).bind(skipped);
        }
        // What a subquery has in order stays so.
        let page_of = format!("{order} LIMIT {PAGE}");
        let select = format!("SELECT {columns} FROM {}", self.table);
        let sql = Sql::new("SELECT * FROM (").and(self.arms(way, &select, after, &page_of));
        let sql = if self.either.is_some() { sql.then(&page_of) } else { sql };
        sql.then(") AS page LIMIT ?").bind(wanted)
    }

    fn order(&self, keys: &[Key]) -> String {
        let mut order = " ORDER BY ".to_owned();
        for key in keys {
            order.push_str(&format!("{}{}, ", key.column, direction_sql(key.direction)));
        }
        order + self.id + direction_sql(last_direction(keys))
    }

    /// How rows are found, and in which words they are counted.
    async fn way(&self, connection: &mut Connection) -> Result<(Way, Way), StoreError> {
        if !self.is_out_of_order {
            return Ok((Way::Index, Way::Index));
        }
        let mut gather = Way::Gather;
        for filter in &self.filters {
            let Some((_, named)) = filter.by_row else { continue };
            let mut sql = Sql::new(format!("{named} LIMIT {FEW}"));
            sql.values().0.extend(filter.values.iter().cloned());
            if connection.rows(sql).await?.len() == FEW {
                gather = Way::GatherByRow;
            }
        }
        let found = connection.rows(self.few(gather)).await?.len();
        Ok((if found < FEW { gather } else { Way::Walk }, gather))
    }

    /// The ids of rows that match, of no more than are few.
    fn few(&self, way: Way) -> Sql {
        let select = format!("SELECT {} FROM {}", self.counted_id, self.counted);
        let mut sql = self.conditions(Sql::new(select), way, None, None);
        sql.push(&format!(" LIMIT {FEW}"));
        sql
    }

    async fn count(&self, words: Way, keys: &[Key], connection: &mut Connection) -> Result<u64, StoreError> {
        let sql = Sql::new("SELECT count(*) FROM (");
        let limit = match self.is_counted_in_order {
            // Of a limit that it has yet to be told the planner expects a tenth of what matches, whatever it takes that
            // to be: so it is not worth its while to gather all and sort them.
            true => format!("{} LIMIT (SELECT {MOST_COUNTED})", self.order(keys)),
            false => format!(" LIMIT {MOST_COUNTED}"),
        };
        let way = if words == Way::GatherByRow { Way::CountByRow } else { Way::Index };
        let sql = sql.and(self.arms(way, &format!("SELECT 1 FROM {}", self.counted), None, &limit));
        let counts = connection.read("a count", sql.then(") AS counted"), Row::count).await?;
        Ok(counts.into_iter().fold(0, u64::saturating_add).min(MOST_COUNTED))
    }

    /// One `SELECT`, or two that are merged, each with these words at its end.
    fn arms(&self, way: Way, select: &str, after: Option<&(String, Vec<Value>)>, end: &str) -> Sql {
        let Some((conditions, value)) = &self.either else {
            return self.arm(way, Sql::new(""), select, None, after).then(end);
        };
        let [first, second] = conditions;
        let sql = self.arm(way, Sql::new("("), select, Some((first, value)), after).then(end).then(") UNION ALL (");
        self.arm(way, sql, select, Some((second, value)), after).then(end).then(")")
    }

    fn arm(
        &self,
        way: Way,
        mut sql: Sql,
        select: &str,
        either: Option<(&str, &Value)>,
        after: Option<&(String, Vec<Value>)>,
    ) -> Sql {
        sql.push(select);
        let has_conditions = either.is_some() || after.is_some() || !self.filters.is_empty();
        let mut sql = self.conditions(sql, way, either, after);
        if matches!(way, Way::Gather | Way::GatherByRow) {
            let few = self.few(way);
            let word = if has_conditions { "AND" } else { "WHERE" };
            sql.push(&format!(" {word} {} = ANY (ARRAY ({}))", self.id, few.text()));
            sql.values().0.extend(few.values_of().iter().cloned());
        }
        sql
    }

    /// What must hold of a row.
    fn conditions(
        &self,
        mut sql: Sql,
        way: Way,
        either: Option<(&str, &Value)>,
        after: Option<&(String, Vec<Value>)>,
    ) -> Sql {
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
        for filter in &self.filters {
            let of_one_row = filter.by_row.map_or(filter.condition, |(of_one_row, _)| of_one_row);
            match way {
                // So written, no index is looked for.
                Way::Walk => add(&format!("({of_one_row}) IS TRUE"), &filter.values),
                Way::GatherByRow | Way::CountByRow if filter.by_row.is_some() => {
                    add(&format!("({of_one_row}) IS TRUE"), &filter.values)
                }
                Way::Index | Way::Gather | Way::GatherByRow | Way::CountByRow => add(filter.condition, &filter.values),
            }
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
