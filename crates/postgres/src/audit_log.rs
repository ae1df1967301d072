//! The audit log, the end of its chain, and failed sign-ins that it tells of in sums.

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Actor, Entry, Event, FailedSignIns, FailureKey, Head, Origin, Target};
use bellwether_domain::ids::{EventId, UserId};
use bellwether_domain::ports::{AuditFilter, AuditSort, Failures, Link, Page, PageRequest, StoreError};
use bellwether_domain::session::Device;
use jiff::Timestamp;
use uuid::Uuid;

use crate::connection::Connection;
use crate::lists::{Kind, List, TIME};
use crate::schema::AUDIT_LOG;
use crate::sql::{Row, Sql, Values};
use crate::steps::{self, Step};
use crate::unit::PgUnitOfWork;
use crate::write;

const HEAD: &str = "SELECT entries, hash FROM audit_head WHERE id = 1";
const MOVE_HEAD: &str = "UPDATE audit_head SET entries = ?, hash = ? WHERE id = 1";
/// Whether failures can be told apart: there are few, or some of these were counted.
const HAS_ROOM: &str = "SELECT (SELECT count(*) FROM (SELECT 1 FROM failed_sign_ins WHERE since = ? LIMIT ?) AS few) < ? \
                        OR EXISTS (SELECT 1 FROM failed_sign_ins WHERE since = ? AND user_id = ? AND place = ?)";
const COUNT: &str = "INSERT INTO failed_sign_ins (user_id, place, since, count, last_at) VALUES (?, ?, ?, 1, ?) \
                     ON CONFLICT (since, user_id, place) DO UPDATE SET count = failed_sign_ins.count + 1, \
                     last_at = greatest(failed_sign_ins.last_at, excluded.last_at) \
                     RETURNING user_id, place, since, count, last_at";
const TAKE: &str = "DELETE FROM failed_sign_ins WHERE (since, user_id, place) IN \
                    (SELECT since, user_id, place FROM failed_sign_ins WHERE since < ? ORDER BY since LIMIT ? FOR UPDATE SKIP LOCKED) \
                    RETURNING user_id, place, since, count, last_at";

/// The columns of a new entry.
pub(crate) fn bind(entry: &Entry, row: &mut Values) {
    let Event { id, at, actor, action, target, origin, before, after } = &entry.event;
    row.add(entry.number)
        .add(*id)
        .add(*at)
        .add(actor.kind())
        .add(actor.user())
        .add(action.as_str())
        .add(target.map(|target| target.kind()))
        .add(target.map(|target| target.id()))
        .add(origin.device.address.as_ref())
        .add(origin.device.agent.as_ref())
        .add(origin.request_id.as_ref())
        .add(before.as_ref())
        .add(after.as_ref())
        .add(entry.hash);
}

fn read(row: &mut Row) -> Result<Entry, StoreError> {
    let (number, id, at) = (row.int()?, EventId(row.id()?), row.time()?);
    let (kind, user) = (row.text()?, row.opt_id()?.map(UserId));
    let actor = Actor::of(&kind, user).ok_or_else(|| row.unreadable("who did something"))?;
    let action = row.text_as("an action", Action::from_name)?;
    let (kind, target) = (row.opt_text()?, row.opt_id()?);
    let target = match kind.zip(target) {
        None => None,
        Some((kind, id)) => Some(Target::of(&kind, id).ok_or_else(|| row.unreadable("to what something was done"))?),
    };
    let device = Device { address: row.opt_text()?, agent: row.opt_text()? };
    let origin = Origin { device, request_id: row.opt_text()? };
    let event = Event { id, at, actor, action, target, origin, before: row.opt_text()?, after: row.opt_text()? };
    Ok(Entry { number, event, hash: row.hash()? })
}

/// An entry for the check of the chain, which goes on where one says what none can say.
fn read_link(row: &mut Row) -> Result<Link, StoreError> {
    let number = row.int()?;
    match read(row) {
        Err(StoreError::Corrupt(_)) => Ok(Link { number, entry: None }),
        entry => Ok(Link { number, entry: Some(entry?) }),
    }
}

fn read_head(row: &mut Row) -> Result<Head, StoreError> {
    Ok(Head { entries: row.int()?, hash: row.hash()? })
}

fn read_failures(row: &mut Row) -> Result<FailedSignIns, StoreError> {
    let (user, place, since) = (row.id()?, row.text()?, row.time()?);
    let key = FailureKey { user: Some(UserId(user)).filter(|user| !user.0.is_nil()), place, since };
    Ok(FailedSignIns { key, count: row.int()?, last_at: row.time()? })
}

/// The entries that events become at the end of the chain.
fn append_to(head: &mut Head, events: &[Event]) -> Result<Vec<Entry>, StoreError> {
    let full = |_| StoreError::Corrupt("the audit log has as many entries as can be counted".to_owned());
    events.iter().map(|event| head.append(event.clone()).map_err(full)).collect()
}

fn list_of(filter: &AuditFilter) -> List {
    let mut list = List::of(AUDIT_LOG.name, AUDIT_LOG.columns, "id");
    list.filter("actor_id = ?", filter.actor);
    list.filter("action = ?", filter.action.map(Action::as_str));
    list.filter("target_id = ?", filter.target);
    list.filter("created_at >= ?", filter.from);
    list.filter("created_at < ?", filter.until);
    list
}

const fn key(AuditSort::CreatedAt: &AuditSort) -> (&'static str, Kind) {
    ("created_at", TIME)
}

fn has_room(key: &FailureKey, most: u32) -> Sql {
    let sql = Sql::new(HAS_ROOM).bind(key.since).bind(most).bind(most);
    sql.bind(key.since).bind(user_of(key)).bind(key.place.as_str())
}

fn counted(key: &FailureKey, at: Timestamp) -> Sql {
    Sql::new(COUNT).bind(user_of(key)).bind(key.place.as_str()).bind(key.since).bind(at)
}

/// Addresses that nobody has are counted under a nil id.
fn user_of(key: &FailureKey) -> Uuid {
    key.user.map_or(Uuid::nil(), |user| user.0)
}

/// A page of entries.
pub(crate) async fn list(
    connection: &mut Connection,
    filter: &AuditFilter,
    page: &PageRequest<AuditSort>,
) -> Result<Page<Entry>, StoreError> {
    list_of(filter).page(connection, page, key, "an entry of the audit log", read).await
}

/// The end of the chain.
pub(crate) async fn head(connection: &mut Connection) -> Result<Head, StoreError> {
    read_one_head(connection, Sql::new(HEAD)).await
}

async fn read_one_head(connection: &mut Connection, sql: Sql) -> Result<Head, StoreError> {
    let found = connection.read("the end of the audit log", sql, read_head).await?.pop();
    found.ok_or_else(|| StoreError::Corrupt("the end of the audit log is gone".to_owned()))
}

/// Entries in order after that one.
pub(crate) async fn chain(connection: &mut Connection, after: i64, limit: u32) -> Result<Vec<Link>, StoreError> {
    let (columns, name) = (AUDIT_LOG.columns, AUDIT_LOG.name);
    let text = format!("SELECT number, {columns} FROM {name} WHERE number > ? ORDER BY number LIMIT ?");
    connection.read("an entry of the audit log", Sql::new(text).bind(after).bind(limit), read_link).await
}

/// Writes events to the end of the chain, which stays locked until the unit has ended.
pub(crate) async fn append(connection: &mut Connection, events: &[Event]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut head = read_one_head(connection, Sql::new(HEAD).then(" FOR NO KEY UPDATE")).await?;
    let entries = append_to(&mut head, events)?;
    let mut steps = Vec::new();
    write::insert(&mut steps, &AUDIT_LOG, "", &entries, bind)?;
    steps.push(Step::of_one_row(Sql::new(MOVE_HEAD).bind(head.entries).bind(head.hash), "audit_head"));
    steps::run(steps, connection).await
}

#[async_trait]
impl Failures for PgUnitOfWork {
    async fn count(&mut self, key: &FailureKey, at: Timestamp, most: u32) -> Result<FailedSignIns, StoreError> {
        let has_room = self.connection.read("a count", has_room(key, most), Row::flag).await?.pop() == Some(true);
        let sql = if has_room { counted(key, at) } else { counted(&key.of_the_rest(), at) };
        let sum = self.connection.read("failed sign-ins", sql, read_failures).await?.pop();
        sum.ok_or_else(|| StoreError::Corrupt("a failed sign-in was not counted".to_owned()))
    }

    async fn take_before(&mut self, before: Timestamp, limit: u32) -> Result<Vec<FailedSignIns>, StoreError> {
        self.connection.read("failed sign-ins", Sql::new(TAKE).bind(before).bind(limit), read_failures).await
    }
}
