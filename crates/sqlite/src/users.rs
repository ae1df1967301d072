//! Users.

use async_trait::async_trait;
use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{Page, PageRequest, StoreError, UserFilter, UserSort, Users};
use bellwether_domain::text::{DisplayName, Email, fold};
use bellwether_domain::user::{PasswordHash, Role, User, UserStatus};

use crate::connection::Connection;
use crate::lists::{List, TEXT, TIME};
use crate::schema::USERS;
use crate::sql::{Row, Sql, Values};
use crate::unit::SqliteUnitOfWork;

/// The columns of a new user.
pub(crate) fn bind(user: &User, row: &mut Values) {
    row.add(user.id)
        .add(user.email.as_ref().map(Email::as_str))
        .add(user.email.as_ref().map(Email::key))
        .add(user.display_name.as_str())
        .add(user.password_hash.as_ref().map(PasswordHash::expose))
        .add(user.role.as_str())
        .add(user.status.as_str())
        .add(user.email_verified)
        .add(user.version)
        .add(user.created_at)
        .add(user.updated_at)
        .add(user.owner);
}

/// The columns of a user that change.
pub(crate) fn bind_change(user: &User, row: &mut Values) {
    row.add(user.id)
        .add(user.email.as_ref().map(Email::as_str))
        .add(user.email.as_ref().map(Email::key))
        .add(user.display_name.as_str())
        .add(user.password_hash.as_ref().map(PasswordHash::expose))
        .add(user.role.as_str())
        .add(user.status.as_str())
        .add(user.email_verified)
        .add(user.version)
        .add(user.updated_at);
}

fn read(row: &mut Row) -> Result<User, StoreError> {
    let id = UserId(row.id()?);
    let email = row.opt_text_as("an e-mail address", |text| Email::parse(text).ok())?;
    row.opt_text()?; // the key, which follows from the address
    let mut user = User {
        id,
        email,
        display_name: row.text_as("a display name", |text| DisplayName::parse(text).ok())?,
        password_hash: row.opt_text()?.map(PasswordHash::new),
        role: row.text_as("a role", Role::from_name)?,
        status: row.text_as("a user's status", UserStatus::from_name)?,
        email_verified: row.flag()?,
        version: row.int()?,
        created_at: row.time()?,
        updated_at: row.time()?,
        owner: None,
    };
    user.owner = row.opt_id()?.map(UserId);
    Ok(user)
}

/// Users by ids, in id order.
pub(crate) fn by_ids(connection: &mut Connection, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new(USERS.select()).then(" WHERE id IN ").list(ids.iter().copied()).then(" ORDER BY id");
    connection.read("a user", sql, read)
}

/// The status of users by ids, in id order.
pub(crate) fn statuses(connection: &mut Connection, ids: &[UserId]) -> Result<Vec<(UserId, UserStatus)>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new("SELECT id, status FROM users WHERE id IN ").list(ids.iter().copied()).then(" ORDER BY id");
    let read = |row: &mut Row| Ok((UserId(row.id()?), row.text_as("a user's status", UserStatus::from_name)?));
    connection.read("a user", sql, read)
}

/// The user of an e-mail key.
pub(crate) fn by_email(connection: &mut Connection, key: &str) -> Result<Option<User>, StoreError> {
    let sql = Sql::new(USERS.select()).then(" WHERE email_key = ?").bind(key);
    Ok(connection.read("a user", sql, read)?.pop())
}

/// The query for the bots of a user that were not deactivated, in id order.
fn wanted_bots(owner: UserId) -> Sql {
    Sql::new(USERS.select()).then(" WHERE owner_id = ? AND status <> 'deactivated' ORDER BY id").bind(owner)
}

/// The bots of a user that were not deactivated, in id order.
pub(crate) fn bots_of(connection: &mut Connection, owner: UserId) -> Result<Vec<User>, StoreError> {
    connection.read("a user", wanted_bots(owner), read)
}

/// A page of users.
pub(crate) fn list(
    connection: &mut Connection,
    filter: &UserFilter,
    page: &PageRequest<UserSort>,
) -> Result<Page<User>, StoreError> {
    let mut list = List::of(USERS.name, USERS.columns, "id");
    list.filter("role = ?", filter.role.map(Role::as_str));
    list.filter("status = ?", filter.status.map(UserStatus::as_str));
    list.filter("created_at >= ?", filter.created_after);
    list.filter("created_at < ?", filter.created_before);
    list.out_of_order(filter.search.is_some());
    if let Some(text) = &filter.search {
        let [name, address] = [text.to_ascii_lowercase(), fold(text)].map(|prefix| {
            // No character sorts behind it, and no name or address has it.
            let end = format!("{prefix}\u{10ffff}");
            [prefix, end]
        });
        list.filter_by_all(
            "(lower(display_name) >= ? AND lower(display_name) < ? OR email_key >= ? AND email_key < ?)",
            name.into_iter().chain(address),
        );
    }
    // Said in so many words, so that SQLite sees that the indexes of the few fit.
    if filter.role.is_some_and(|role| role != Role::User) {
        list.always("role <> 'user'");
    }
    if filter.status.is_some_and(|status| status != UserStatus::Active) {
        list.always("status <> 'active'");
    }
    let keys = |sort: &UserSort| match sort {
        UserSort::CreatedAt => ("created_at", TIME),
        UserSort::DisplayName => ("display_name", TEXT),
    };
    list.page(connection, page, keys, |connection, sql| connection.read("a user", sql, read))
}

#[async_trait]
impl Users for SqliteUnitOfWork {
    async fn lock(&mut self, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        Users::load(self, ids).await
    }

    async fn load(&mut self, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        let ids = ids.to_vec();
        self.call(move |connection| by_ids(connection, &ids)).await
    }

    async fn statuses(&mut self, ids: &[UserId]) -> Result<Vec<(UserId, UserStatus)>, StoreError> {
        let ids = ids.to_vec();
        self.call(move |connection| statuses(connection, &ids)).await
    }

    async fn lock_bots_of(&mut self, owner: UserId) -> Result<Vec<User>, StoreError> {
        self.call(move |connection| bots_of(connection, owner)).await
    }

    async fn lock_admins(&mut self) -> Result<Vec<User>, StoreError> {
        self.call(|connection| {
            let sql = Sql::new(USERS.select())
                .then(" WHERE role = 'admin' AND role <> 'user' AND status = 'active' ORDER BY id");
            connection.read("a user", sql, read)
        })
        .await
    }
}
