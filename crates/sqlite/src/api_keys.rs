//! API keys, and what is used of their limits.

use async_trait::async_trait;
use bellwether_domain::api_key::{ApiKey, Day, KeyLimits, KeyName, KeySpending, KeyUsage, Scopes};
use bellwether_domain::ids::{ApiKeyId, UserId};
use bellwether_domain::money::Credits;
use bellwether_domain::ports::{ApiKeys, KeyOfUser, StoreError};
use bellwether_domain::user::{Role, UserStatus};
use jiff::Timestamp;

use crate::connection::Connection;
use crate::schema::API_KEYS;
use crate::sql::{Row, Sql, Values};
use crate::unit::SqliteUnitOfWork;

/// The columns of a new key.
pub(crate) fn bind(key: &ApiKey, row: &mut Values) {
    row.add(key.id)
        .add(key.user)
        .add(key.name.as_str())
        .add(key.hash)
        .add(key.scopes.to_text())
        .add(key.limits.markets_to_text())
        .add(key.limits.spend_per_day)
        .add(key.limits.max_open_orders)
        .add(key.created_at)
        .add(key.expires_at)
        .add(key.revoked_at)
        .add(key.last_used_at);
}

/// The columns of a key that change when it is revoked.
pub(crate) fn bind_change(key: &ApiKey, row: &mut Values) {
    row.add(key.id).add(key.revoked_at);
}

/// The columns of a key that a use changes.
pub(crate) fn bind_use((key, at): &(ApiKeyId, Timestamp), row: &mut Values) {
    row.add(*key).add(*at);
}

/// The columns of what was spent by a key.
pub(crate) fn bind_spending(spending: &KeySpending, row: &mut Values) {
    row.add(spending.key).add(spending.day.0).add(spending.spent);
}

fn read(row: &mut Row) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: ApiKeyId(row.id()?),
        user: UserId(row.id()?),
        name: row.text_as("a key's name", |text| KeyName::parse(text).ok())?,
        hash: row.hash()?,
        scopes: row.text_as("a set of scopes", Scopes::from_text)?,
        limits: KeyLimits {
            markets: row.opt_text_as("a list of markets", KeyLimits::markets_from_text)?.unwrap_or_default(),
            spend_per_day: row.opt_int_as("money", |mills| Some(Credits::from_mills(mills)))?,
            max_open_orders: row.opt_int_as("a number of orders", |count| u32::try_from(count).ok())?,
        },
        created_at: row.time()?,
        expires_at: row.opt_time()?,
        revoked_at: row.opt_time()?,
        last_used_at: row.opt_time()?,
    })
}

fn read_of_user(row: &mut Row) -> Result<KeyOfUser, StoreError> {
    Ok(KeyOfUser {
        key: read(row)?,
        role: row.text_as("a role", Role::from_name)?,
        status: row.text_as("a user's status", UserStatus::from_name)?,
        owner: row.opt_id()?.map(UserId).zip(row.opt_text_as("a user's status", UserStatus::from_name)?),
    })
}

fn read_usage(row: &mut Row) -> Result<KeyUsage, StoreError> {
    let key = read(row)?;
    let spending = KeySpending { key: key.id, day: Day(row.int()?), spent: row.credits()? };
    Ok(KeyUsage { key, spending, reserved: row.credits()?, open_orders: row.count()? })
}

/// The columns of keys, with the table named.
fn columns() -> String {
    let columns: Vec<String> =
        API_KEYS.columns.split(", ").map(|column| format!("api_keys.{}", column.trim())).collect();
    columns.join(", ")
}

/// The query for a key, what its user may do now, and the user's owner with its status.
fn wanted_of_hash(hash: [u8; 32]) -> Sql {
    let text = format!(
        "SELECT {}, users.role, users.status, owners.id, owners.status FROM api_keys \
         JOIN users ON users.id = user_id LEFT JOIN users AS owners ON owners.id = users.owner_id WHERE hash = ?",
        columns()
    );
    Sql::new(text).bind(hash)
}

/// The query for the keys of a user that were not revoked.
fn wanted_of_user(user: UserId, then: &str) -> Sql {
    Sql::new(API_KEYS.select()).then(" WHERE user_id = ? AND revoked_at IS NULL").then(then).bind(user)
}

/// What a key has spent, and what its open orders come to: each a look into the index of its open orders.
fn select_usages() -> String {
    format!(
        "SELECT {}, coalesce(day, 0), coalesce(spent, 0), \
         (SELECT coalesce(sum(reserved), 0) FROM orders WHERE counted_by = api_keys.id AND status = 'open'), \
         (SELECT count(*) FROM orders WHERE counted_by = api_keys.id AND status = 'open') \
         FROM api_keys LEFT JOIN api_key_spending ON key_id = api_keys.id WHERE api_keys.id ",
        columns()
    )
}

/// A key by its hash, and what its user may do now.
pub(crate) fn of_hash(connection: &mut Connection, hash: [u8; 32]) -> Result<Option<KeyOfUser>, StoreError> {
    Ok(connection.read("an API key", wanted_of_hash(hash), read_of_user)?.pop())
}

/// The keys of a user that were not revoked, the newest first.
pub(crate) fn list(connection: &mut Connection, user: UserId) -> Result<Vec<ApiKey>, StoreError> {
    connection.read("an API key", wanted_of_user(user, " ORDER BY id DESC"), read)
}

/// Keys by ids, in id order, with what is used of them.
pub(crate) fn usages(connection: &mut Connection, ids: &[ApiKeyId]) -> Result<Vec<KeyUsage>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new(select_usages()).then("IN ").list(ids.iter().copied()).then(" ORDER BY api_keys.id");
    connection.read("an API key", sql, read_usage)
}

#[async_trait]
impl ApiKeys for SqliteUnitOfWork {
    async fn of_user(&mut self, user: UserId) -> Result<Vec<ApiKey>, StoreError> {
        self.call(move |connection| connection.read("an API key", wanted_of_user(user, " ORDER BY id"), read)).await
    }

    async fn lock(&mut self, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let sql = Sql::new(API_KEYS.select()).then(" WHERE id = ?").bind(id);
        self.call(move |connection| Ok(connection.read("an API key", sql, read)?.pop())).await
    }

    async fn usages(&mut self, ids: &[ApiKeyId]) -> Result<Vec<KeyUsage>, StoreError> {
        let ids = ids.to_vec();
        self.call(move |connection| usages(connection, &ids)).await
    }
}
