//! Pages of lists: `limit` with `page` or `offset`, counted, or with `cursor`, not counted; and
//! `sort` over an allow-list, the id always breaking ties.
//!
//! Without any of them the first page is answered, counted: as far as [`MOST_COUNTED`], and where there
//! may be more `totalIsLowerBound` says so. An empty `cursor` begins a walk that
//! never counts. By `page` or `offset` nobody gets further than [`DEEPEST_OFFSET`] rows in; by `cursor`, to the end.

use std::fmt::Debug;

use bellwether_domain::audit_log::Entry;
use bellwether_domain::job::Job;
use bellwether_domain::ledger::Transfer;
use bellwether_domain::market::Market;
use bellwether_domain::order::Order;
use bellwether_domain::ports::{
    AuditSort, DEEPEST_OFFSET, DeliverySort, Direction, JobSort, MOST_COUNTED, MarketSort, OrderSort, Page,
    PageRequest, PositionInMarket, PositionSort, Sealer, SortValue, StandingSort, Start, TradeSort, TransferSort,
    UserSort,
};
use bellwether_domain::score::Standing;
use bellwether_domain::trade::Trade;
use bellwether_domain::user::User;
use bellwether_domain::webhook::Delivery;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::faults::Fault;
use crate::fields::{Fields, Node};

const DEFAULT_LIMIT: i64 = 20;
const MOST: i64 = 100;
const DEEPEST: i64 = DEEPEST_OFFSET.cast_signed();
/// What lies behind that is for cursors.
const FURTHER: &str = "to go further, follow nextCursor";

/// What a list can be sorted by: the names in the API, and a row's value for a cursor.
pub(crate) trait Sorted: Copy + Debug + PartialEq + 'static {
    /// The rows of the list.
    type Row;
    /// The allow-list.
    const KEYS: &'static [(&'static str, Self)];
    /// The order where none is asked for.
    const DEFAULT: (Self, Direction);
    /// A row's value.
    fn value(self, row: &Self::Row) -> SortValue;
}

fn moment(time: Timestamp) -> SortValue {
    SortValue::Int(time.as_microsecond())
}

impl Sorted for UserSort {
    type Row = User;
    const KEYS: &'static [(&'static str, Self)] = &[("createdAt", Self::CreatedAt), ("displayName", Self::DisplayName)];
    const DEFAULT: (Self, Direction) = (Self::CreatedAt, Direction::Descending);
    fn value(self, row: &User) -> SortValue {
        match self {
            Self::CreatedAt => moment(row.created_at),
            Self::DisplayName => SortValue::Text(row.display_name.as_str().to_owned()),
        }
    }
}

impl Sorted for MarketSort {
    type Row = Market;
    const KEYS: &'static [(&'static str, Self)] =
        &[("createdAt", Self::CreatedAt), ("closesAt", Self::ClosesAt), ("volume", Self::Volume)];
    const DEFAULT: (Self, Direction) = (Self::CreatedAt, Direction::Descending);
    fn value(self, row: &Market) -> SortValue {
        match self {
            Self::CreatedAt => moment(row.created_at),
            Self::ClosesAt => moment(row.closes_at),
            Self::Volume => SortValue::Int(row.volume.mills()),
        }
    }
}

impl Sorted for OrderSort {
    type Row = Order;
    const KEYS: &'static [(&'static str, Self)] = &[("createdAt", Self::CreatedAt), ("updatedAt", Self::UpdatedAt)];
    const DEFAULT: (Self, Direction) = (Self::CreatedAt, Direction::Descending);
    fn value(self, row: &Order) -> SortValue {
        match self {
            Self::CreatedAt => moment(row.created_at),
            Self::UpdatedAt => moment(row.updated_at),
        }
    }
}

impl Sorted for TradeSort {
    type Row = Trade;
    const KEYS: &'static [(&'static str, Self)] = &[("createdAt", Self::CreatedAt)];
    const DEFAULT: (Self, Direction) = (Self::CreatedAt, Direction::Descending);
    fn value(self, row: &Trade) -> SortValue {
        moment(row.created_at)
    }
}

impl Sorted for TransferSort {
    type Row = Transfer;
    const KEYS: &'static [(&'static str, Self)] = &[("createdAt", Self::CreatedAt)];
    const DEFAULT: (Self, Direction) = (Self::CreatedAt, Direction::Descending);
    fn value(self, row: &Transfer) -> SortValue {
        moment(row.created_at)
    }
}

impl Sorted for PositionSort {
    type Row = PositionInMarket;
    const KEYS: &'static [(&'static str, Self)] = &[("spent", Self::Spent)];
    const DEFAULT: (Self, Direction) = (Self::Spent, Direction::Descending);
    fn value(self, row: &PositionInMarket) -> SortValue {
        SortValue::Int(row.position.spent.mills())
    }
}

impl Sorted for StandingSort {
    type Row = Standing;
    const KEYS: &'static [(&'static str, Self)] = &[("profit", Self::Profit), ("brier", Self::Brier)];
    const DEFAULT: (Self, Direction) = (Self::Profit, Direction::Descending);
    fn value(self, row: &Standing) -> SortValue {
        SortValue::Int(match self {
            Self::Profit => row.score.profit.mills(),
            Self::Brier => row.brier.unwrap_or_default(),
        })
    }
}

impl Sorted for AuditSort {
    type Row = Entry;
    const KEYS: &'static [(&'static str, Self)] = &[("createdAt", Self::CreatedAt)];
    const DEFAULT: (Self, Direction) = (Self::CreatedAt, Direction::Descending);
    fn value(self, row: &Entry) -> SortValue {
        moment(row.event.at)
    }
}

impl Sorted for JobSort {
    type Row = Job;
    const KEYS: &'static [(&'static str, Self)] = &[("createdAt", Self::CreatedAt)];
    const DEFAULT: (Self, Direction) = (Self::CreatedAt, Direction::Descending);
    fn value(self, row: &Job) -> SortValue {
        moment(row.created_at)
    }
}

impl Sorted for DeliverySort {
    type Row = Delivery;
    const KEYS: &'static [(&'static str, Self)] = &[("createdAt", Self::CreatedAt)];
    const DEFAULT: (Self, Direction) = (Self::CreatedAt, Direction::Descending);
    fn value(self, row: &Delivery) -> SortValue {
        moment(row.created_at)
    }
}

/// Which page is wanted; its cursor is not opened yet.
#[derive(Debug)]
pub(crate) struct Wanted<K> {
    limit: i64,
    offset: i64,
    cursor: Option<String>,
    sort: Vec<(K, Direction)>,
}

impl<K: Sorted> Wanted<K> {
    /// Reads `limit`, `page`, `offset`, `cursor` and `sort`.
    pub(crate) fn read(fields: &Fields<'_>) -> Option<Self> {
        let sort = fields.or("sort", vec![K::DEFAULT], read_sort);
        let wanted = Self::read_unsorted(fields);
        Some(wanted?.sorted_by(sort?))
    }

    /// Reads `limit`, `page`, `offset` and `cursor`, of a list whose order is said otherwise.
    pub(crate) fn read_unsorted(fields: &Fields<'_>) -> Option<Self> {
        let limit = fields.or("limit", DEFAULT_LIMIT, |n| n.whole(1, MOST));
        let page = fields.optional("page", |n| n.whole_or(1, DEEPEST.saturating_add(1), FURTHER));
        let offset = fields.optional("offset", |n| n.whole_or(0, DEEPEST, FURTHER));
        let cursor = fields.optional("cursor", |n| n.string().map(str::to_owned));
        let (limit, page, offset, cursor) = (limit?, page?, offset?, cursor?);
        let given = [page.is_some(), offset.is_some(), cursor.is_some()];
        if given.into_iter().filter(|is_given| *is_given).count() > 1 {
            return fields.reject(
                "page",
                "conflict",
                "cannot be combined with offset or cursor: give one of the three",
            );
        }
        let offset = page.map(|page| (page - 1).saturating_mul(limit)).or(offset).unwrap_or(0);
        if offset > DEEPEST {
            let last = DEEPEST / limit.max(1) + 1;
            return fields.fail("page", "range", format!("must be from 1 to {last} where limit is {limit}; {FURTHER}"));
        }
        Some(Self { limit, offset, cursor, sort: Vec::new() })
    }

    /// The same page of the list in this order.
    pub(crate) fn sorted_by(self, sort: Vec<(K, Direction)>) -> Self {
        Self { sort, ..self }
    }

    /// Whether it is the first page, as long as who says nothing gets it, and counted.
    pub(crate) fn is_front(&self) -> bool {
        (self.limit, self.offset, &self.cursor) == (DEFAULT_LIMIT, 0, &None)
    }

    /// In which order.
    pub(crate) fn sort(&self) -> &[(K, Direction)] {
        &self.sort
    }

    /// The page of the list `name` under `filter`, for the store. The filter's `Debug` names all of
    /// its fields, so a cursor is bound to every one of them.
    pub(crate) fn bind(self, name: &str, filter: &impl Debug, sealer: &dyn Sealer) -> Result<Paging<K>, Fault> {
        let binding = format!("{name} {:?} {filter:?}", self.sort);
        let start = match self.cursor.as_deref() {
            None => Start::Offset(u64::try_from(self.offset).unwrap_or(0)),
            Some("") => Start::First,
            Some(text) => {
                let cursor = Cursor::open(text, &binding, sealer)?;
                Start::After(cursor.values, cursor.id)
            }
        };
        let limit = u32::try_from(self.limit).unwrap_or(1);
        Ok(Paging { request: PageRequest { sort: self.sort, start, limit }, offset: self.offset, binding })
    }
}

fn read_sort<K: Sorted>(node: &Node<'_>) -> Option<Vec<(K, Direction)>> {
    let mut sort: Vec<(K, Direction)> = Vec::new();
    for part in node.string()?.split(',') {
        let (name, direction) = match part.strip_prefix('-') {
            Some(name) => (name, Direction::Descending),
            None => (part, Direction::Ascending),
        };
        let Some((_, key)) = K::KEYS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = K::KEYS.iter().map(|(known, _)| *known).collect();
            return node.reject(
                "unknown",
                format!("cannot be {name:?}: it takes {}, each with or without a minus", known.join(", ")),
            );
        };
        if sort.iter().any(|(k, _)| k == key) {
            return node.reject("duplicate", format!("names {name:?} twice"));
        }
        sort.push((*key, direction));
    }
    Some(sort)
}

/// A page that was asked for.
#[derive(Debug)]
pub(crate) struct Paging<K> {
    /// What the store is asked.
    pub(crate) request: PageRequest<K>,
    offset: i64,
    binding: String,
}

impl<K: Sorted> Paging<K> {
    /// What the answer says about the page that the store gave.
    pub(crate) fn describe(
        &self,
        page: &Page<K::Row>,
        id_of: impl Fn(&K::Row) -> Uuid,
        sealer: &dyn Sealer,
    ) -> Pagination {
        let next_cursor = page.items.last().filter(|_| page.has_more).map(|row| {
            let values = self.request.sort.iter().map(|(key, _)| key.value(row)).collect();
            Cursor { values, id: id_of(row) }.seal(&self.binding, sealer)
        });
        let Some(total) = page.total else {
            return Pagination::Walk { limit: self.request.limit, has_more: page.has_more, next_cursor };
        };
        self.counted(page, total, next_cursor)
    }

    /// What is said of a page whose rows were counted, as far as they are.
    fn counted<T>(&self, page: &Page<T>, total: u64, next_cursor: Option<String>) -> Pagination {
        let size = u64::from(self.request.limit.max(1));
        let offset = u64::try_from(self.offset).unwrap_or(0);
        let is_more_than_total = total >= MOST_COUNTED;
        // Whoever is further than rows are counted is shown that there are as many as that.
        let met = u64::try_from(page.items.len()).unwrap_or(0);
        let total = if is_more_than_total && met > 0 { total.max(offset.saturating_add(met)) } else { total };
        Pagination::Counted {
            page: offset / size + 1,
            page_size: self.request.limit,
            total,
            is_more_than_total,
            total_pages: total.div_ceil(size),
            has_next: page.has_more,
            has_prev: offset > 0,
            next_cursor,
        }
    }
}

/// The `pagination` of an answer's `meta`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(crate) enum Pagination {
    /// By page or offset.
    Counted {
        page: u64,
        page_size: u32,
        total: u64,
        /// Rows are counted up to a limit: there may be more than `total`.
        #[serde(rename = "totalIsLowerBound", skip_serializing_if = "std::ops::Not::not")]
        is_more_than_total: bool,
        total_pages: u64,
        has_next: bool,
        has_prev: bool,
        /// Goes on from here without counting.
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    },
    /// As it was written before.
    #[schemars(skip)]
    Known(Box<RawValue>),
    /// By cursor.
    Walk { limit: u32, has_more: bool, next_cursor: Option<String> },
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;

    use super::*;
    use crate::cursor::tests::TestSealer;
    use crate::query::read_query;

    fn wanted(query: &str) -> Result<Wanted<TradeSort>, Fault> {
        read_query(query, Wanted::read)
    }

    fn markets(query: &str) -> Result<Wanted<MarketSort>, Fault> {
        read_query(query, Wanted::read)
    }

    fn start(query: &str) -> Start {
        wanted(query).unwrap().bind("trades", &(), &TestSealer).unwrap().request.start
    }

    #[test]
    fn begins_where_it_is_asked_to() {
        assert_eq!(start(""), Start::Offset(0));
        assert_eq!(start("page=3&limit=10"), Start::Offset(20));
        assert_eq!(start("offset=7"), Start::Offset(7));
        assert_eq!(start("cursor="), Start::First);
    }

    #[test]
    fn a_page_that_begins_too_far_in_is_for_a_cursor() {
        for deepest in ["offset=10000&limit=7", "page=101&limit=100", "page=10001&limit=1"] {
            assert_eq!(start(deepest), Start::Offset(DEEPEST_OFFSET), "{deepest}");
        }
        for (query, field, range) in [
            ("offset=10001", "offset", "from 0 to 10000"),
            ("page=102&limit=100", "page", "from 1 to 101"),
            ("page=9999999", "page", "from 1 to 10001"),
        ] {
            let fault = wanted(query).unwrap_err();
            let detail = &fault.details()[0];
            assert_eq!((fault.status().as_u16(), detail.field.as_deref()), (422, Some(field)), "{query}");
            assert!(detail.message.contains(range) && detail.message.contains("nextCursor"), "{}", detail.message);
        }
    }

    #[test]
    fn reads_several_sort_keys() {
        let sort = markets("sort=-volume,createdAt").unwrap().sort;
        assert_eq!(sort, [(MarketSort::Volume, Direction::Descending), (MarketSort::CreatedAt, Direction::Ascending)]);
    }

    #[test]
    fn refuses_what_is_not_on_the_lists() {
        for (query, status) in [
            ("sort=passwordHash", 400),
            ("sort=", 400),
            ("sort=volume,volume", 400),
            ("sort=createdAt;drop", 400),
            ("page=1&offset=1", 400),
            ("page=1&cursor=", 400),
            ("limit=0", 422),
            ("limit=101", 422),
            ("limit=x", 422),
            ("limit=1.5", 422),
            ("page=0", 422),
            ("offset=-1", 422),
            ("offset=10001", 422),
            ("page=10002&limit=1", 422),
            ("page=102&limit=100", 422),
            ("offset=18446744073709551616", 422),
        ] {
            assert_eq!(markets(query).unwrap_err().status(), StatusCode::from_u16(status).unwrap(), "{query}");
        }
    }

    /// Threat 22.
    #[test]
    fn binds_a_cursor_to_the_list_its_order_and_its_filters() {
        let cursor = Cursor { values: vec![SortValue::Int(1)], id: Uuid::from_u128(1) };
        let binding = format!("markets {:?} {:?}", vec![MarketSort::DEFAULT], "open");
        let query = format!("cursor={}", cursor.seal(&binding, &TestSealer));
        let paging = markets(&query).unwrap().bind("markets", &"open", &TestSealer).unwrap();
        assert_eq!(paging.request.start, Start::After(cursor.values, cursor.id));
        assert!(markets(&query).unwrap().bind("markets", &"closed", &TestSealer).is_err());
        assert!(markets(&query).unwrap().bind("trades", &"open", &TestSealer).is_err());
        let resorted = format!("{query}&sort=volume");
        assert!(markets(&resorted).unwrap().bind("markets", &"open", &TestSealer).is_err());
    }

    #[test]
    fn counts_pages_only_where_rows_were_counted() {
        let paging = wanted("page=2&limit=10").unwrap().bind("trades", &(), &TestSealer).unwrap();
        let page = Page { items: vec![], total: Some(21), has_more: true };
        let shown = serde_json::to_value(paging.describe(&page, |t| t.id.0, &TestSealer)).unwrap();
        let expected = serde_json::json!({
            "page": 2, "pageSize": 10, "total": 21, "totalPages": 3, "hasNext": true, "hasPrev": true
        });
        assert_eq!(shown, expected);
        let page = Page { items: vec![], total: Some(MOST_COUNTED), has_more: true };
        let shown = serde_json::to_value(paging.describe(&page, |t| t.id.0, &TestSealer)).unwrap();
        assert_eq!(shown["totalIsLowerBound"], serde_json::json!(true));
    }

    #[test]
    fn shows_no_fewer_than_come_before_a_page_and_on_it() {
        let shown = |total| {
            let paging = wanted("offset=5000&limit=10").unwrap().bind("users", &(), &TestSealer).unwrap();
            let page = Page { items: vec![(), ()], total: Some(total), has_more: true };
            serde_json::to_value(paging.counted(&page, total, None)).unwrap()
        };
        let pagination = shown(MOST_COUNTED);
        assert_eq!((&pagination["total"], &pagination["totalPages"]), (&5002.into(), &501.into()));
        assert_eq!(pagination["totalIsLowerBound"], true);
    }

    #[test]
    fn a_walk_by_cursor_shows_no_count() {
        let paging = wanted("page=2&limit=10").unwrap().bind("trades", &(), &TestSealer).unwrap();
        let page = Page { items: vec![], total: None, has_more: false };
        let shown = serde_json::to_value(paging.describe(&page, |t| t.id.0, &TestSealer)).unwrap();
        assert_eq!(shown, serde_json::json!({ "limit": 10, "hasMore": false, "nextCursor": null }));
    }
}
