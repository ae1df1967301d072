//! Signed-in sessions and their refresh tokens.

use async_trait::async_trait;
use bellwether_domain::ids::{SessionId, UserId};
use bellwether_domain::ports::{SessionOfUser, Sessions, StoreError};
use bellwether_domain::session::{Device, EndReason, Lifetime, RefreshToken, Session, SessionEnd};
use bellwether_domain::user::{Role, UserStatus};
use jiff::Timestamp;

use crate::connection::Connection;
use crate::schema::{REFRESH_TOKENS, SESSIONS};
use crate::sql::{Row, Sql, Values};
use crate::unit::PgUnitOfWork;

/// A session, and what its user may do now.
const OF_USER: &str = "SELECT sessions.id, user_id, sessions.created_at, last_seen_at, expires_at, address, agent, ended_at, \
                       end_reason, role, status FROM sessions JOIN users ON users.id = user_id WHERE sessions.id = ?";
const LIVE: &str =
    " WHERE user_id = ? AND ended_at IS NULL AND expires_at > ? ORDER BY last_seen_at DESC, id DESC LIMIT ?";

/// The columns of a new session.
pub(crate) fn bind(session: &Session, row: &mut Values) {
    row.add(session.id)
        .add(session.user)
        .add(session.created_at)
        .add(session.last_seen_at)
        .add(session.expires_at)
        .add(session.device.address.as_ref())
        .add(session.device.agent.as_ref())
        .add(session.end.map(|end| end.at))
        .add(session.end.map(|end| end.reason.as_str()));
}

/// The columns of a session that change.
pub(crate) fn bind_change(session: &Session, row: &mut Values) {
    row.add(session.id)
        .add(session.last_seen_at)
        .add(session.expires_at)
        .add(session.device.address.as_ref())
        .add(session.device.agent.as_ref())
        .add(session.end.map(|end| end.at))
        .add(session.end.map(|end| end.reason.as_str()));
}

/// The columns of a new refresh token.
pub(crate) fn bind_token(token: &RefreshToken, row: &mut Values) {
    row.add(token.hash).add(token.session).add(token.lifetime.from).add(token.lifetime.until).add(token.spent_at);
}

/// The columns of a refresh token that change.
pub(crate) fn bind_token_change(token: &RefreshToken, row: &mut Values) {
    row.add(token.hash).add(token.spent_at);
}

fn read(row: &mut Row) -> Result<Session, StoreError> {
    Ok(Session {
        id: SessionId(row.id()?),
        user: UserId(row.id()?),
        created_at: row.time()?,
        last_seen_at: row.time()?,
        expires_at: row.time()?,
        device: Device { address: row.opt_text()?, agent: row.opt_text()? },
        end: {
            let (at, reason) = (row.opt_time()?, row.opt_text_as("the reason of an end", EndReason::from_name)?);
            at.zip(reason).map(|(at, reason)| SessionEnd { at, reason })
        },
    })
}

fn read_of_user(row: &mut Row) -> Result<SessionOfUser, StoreError> {
    Ok(SessionOfUser {
        session: read(row)?,
        role: row.text_as("a role", Role::from_name)?,
        status: row.text_as("a user's status", UserStatus::from_name)?,
    })
}

fn read_token(row: &mut Row) -> Result<RefreshToken, StoreError> {
    Ok(RefreshToken {
        hash: row.hash()?,
        session: SessionId(row.id()?),
        lifetime: Lifetime { from: row.time()?, until: row.time()? },
        spent_at: row.opt_time()?,
    })
}

/// A session, and what its user may do now.
pub(crate) async fn of_user(connection: &mut Connection, id: SessionId) -> Result<Option<SessionOfUser>, StoreError> {
    Ok(connection.read("a session", Sql::new(OF_USER).bind(id), read_of_user).await?.pop())
}

/// The live sessions of a user, the one seen last first.
pub(crate) async fn list(
    connection: &mut Connection,
    user: UserId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Session>, StoreError> {
    let sql = Sql::new(SESSIONS.select()).then(LIVE).bind(user).bind(now).bind(limit);
    connection.read("a session", sql, read).await
}

#[async_trait]
impl Sessions for PgUnitOfWork {
    async fn lock(&mut self, ids: &[SessionId]) -> Result<Vec<Session>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = Sql::new(SESSIONS.select()).then(" WHERE id = ANY(?) ORDER BY id FOR NO KEY UPDATE");
        self.connection.read("a session", sql.ids(ids.iter().map(|id| id.0)), read).await
    }

    async fn lock_by_token(&mut self, hash: [u8; 32]) -> Result<Option<Session>, StoreError> {
        // A token never moves to another session, so that reading it needs no lock.
        const OF_TOKEN: &str = " WHERE id = (SELECT session_id FROM refresh_tokens WHERE hash = ?) FOR NO KEY UPDATE";
        let sql = Sql::new(SESSIONS.select()).then(OF_TOKEN).bind(hash);
        Ok(self.connection.read("a session", sql, read).await?.pop())
    }

    async fn lock_of_user(&mut self, user: UserId) -> Result<Vec<Session>, StoreError> {
        const OF_USER: &str = " WHERE user_id = ? AND ended_at IS NULL ORDER BY id FOR NO KEY UPDATE";
        let sql = Sql::new(SESSIONS.select()).then(OF_USER).bind(user);
        self.connection.read("a session", sql, read).await
    }

    async fn refresh_tokens(&mut self, hashes: &[[u8; 32]]) -> Result<Vec<RefreshToken>, StoreError> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let sql = Sql::new(REFRESH_TOKENS.select()).then(" WHERE hash IN (SELECT * FROM ");
        let sql = sql.unnest("h", hashes, |hash, row| {
            row.add(*hash);
        })?;
        self.connection.read("a refresh token", sql.then(")"), read_token).await
    }

    async fn forget_before(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        const EXPIRED: &str = "DELETE FROM sessions WHERE id IN \
                               (SELECT id FROM sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED)";
        const ENDED: &str = "DELETE FROM sessions WHERE id IN \
                             (SELECT id FROM sessions WHERE ended_at < ? ORDER BY ended_at LIMIT ? FOR UPDATE SKIP LOCKED)";
        const TOKENS: &str = "DELETE FROM refresh_tokens WHERE hash IN \
                              (SELECT hash FROM refresh_tokens WHERE expires_at < ? ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED)";
        let mut forgotten = 0_u64;
        for text in [EXPIRED, ENDED, TOKENS] {
            let rows = self.connection.run(Sql::new(text).bind(before).bind(limit)).await?;
            forgotten = forgotten.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX));
        }
        Ok(forgotten)
    }
}
