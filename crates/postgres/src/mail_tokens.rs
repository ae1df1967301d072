//! Tokens that were sent by mail.

use async_trait::async_trait;
use bellwether_domain::ids::UserId;
use bellwether_domain::mail::{MailToken, TokenPurpose};
use bellwether_domain::ports::{MailTokens, StoreError};
use bellwether_domain::session::Lifetime;
use jiff::Timestamp;

use crate::connection::Connection;
use crate::schema::MAIL_TOKENS;
use crate::sql::{Row, Sql, Values};
use crate::unit::PgUnitOfWork;

const FORGET: &str = "DELETE FROM mail_tokens WHERE hash IN \
                      (SELECT hash FROM mail_tokens WHERE expires_at < ? ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED)";

/// The columns of a new token.
pub(crate) fn bind(token: &MailToken, row: &mut Values) {
    row.add(token.hash)
        .add(token.user)
        .add(token.purpose.as_str())
        .add(&token.sent_to)
        .add(token.lifetime.from)
        .add(token.lifetime.until);
}

fn read(row: &mut Row) -> Result<MailToken, StoreError> {
    Ok(MailToken {
        hash: row.hash()?,
        user: UserId(row.id()?),
        purpose: row.text_as("a token's purpose", TokenPurpose::from_name)?,
        sent_to: row.text()?,
        lifetime: Lifetime { from: row.time()?, until: row.time()? },
    })
}

/// The token with that hash.
pub(crate) async fn by_hash(connection: &mut Connection, hash: [u8; 32]) -> Result<Option<MailToken>, StoreError> {
    let sql = Sql::new(MAIL_TOKENS.select()).then(" WHERE hash = ?").bind(hash);
    Ok(connection.read("a mail token", sql, read).await?.pop())
}

#[async_trait]
impl MailTokens for PgUnitOfWork {
    async fn find(&mut self, hash: [u8; 32]) -> Result<Option<MailToken>, StoreError> {
        by_hash(&mut self.connection, hash).await
    }

    async fn of_user(&mut self, user: UserId) -> Result<Vec<MailToken>, StoreError> {
        let sql = Sql::new(MAIL_TOKENS.select()).then(" WHERE user_id = ?").bind(user);
        self.connection.read("a mail token", sql, read).await
    }

    async fn forget_before(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let rows = self.connection.run(Sql::new(FORGET).bind(before).bind(limit)).await?;
        Ok(u64::try_from(rows).unwrap_or(u64::MAX))
    }
}
