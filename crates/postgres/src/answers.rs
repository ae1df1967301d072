//! Answers kept for idempotency keys.

use std::collections::HashSet;

use async_trait::async_trait;
use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{AnswerKey, Answers, KeptAnswer, StoreError};
use jiff::Timestamp;

use crate::connection::read_rows;
use crate::schema::{ANSWER_KEY, ANSWERS};
use crate::sql::{Row, Sql, Values};
use crate::unit::PgUnitOfWork;

/// The columns of an answer.
pub(crate) fn bind(answer: &KeptAnswer, row: &mut Values) {
    row.add(answer.key.user)
        .add(&answer.key.route)
        .add(&answer.key.key)
        .add(answer.fingerprint)
        .add(answer.status)
        .add(answer.location.as_ref())
        .add(&answer.body)
        .add(answer.created_at);
}

fn read(row: &mut Row) -> Result<KeptAnswer, StoreError> {
    Ok(KeptAnswer {
        key: AnswerKey { user: UserId(row.id()?), route: row.text()?, key: row.text()? },
        fingerprint: row.hash()?,
        status: row.int_as("a status", |status| u16::try_from(status).ok())?,
        location: row.opt_text()?,
        body: row.text()?,
        created_at: row.time()?,
    })
}

/// The query for answers by their keys.
pub(crate) fn wanted(keys: &[AnswerKey]) -> Result<Sql, StoreError> {
    let distinct: HashSet<&AnswerKey> = keys.iter().collect();
    let sql = Sql::new(ANSWERS.select()).then(" WHERE (user_id, route, key) IN (SELECT * FROM ");
    let sql = sql.rows(ANSWER_KEY, distinct, |key, row| {
        row.add(key.user).add(&key.route).add(&key.key);
    })?;
    Ok(sql.then(")"))
}

/// What it found.
pub(crate) fn found(rows: Vec<Row>) -> Result<Vec<KeptAnswer>, StoreError> {
    read_rows("an answer", rows, read)
}

#[async_trait]
impl Answers for PgUnitOfWork {
    async fn find(&mut self, keys: &[AnswerKey]) -> Result<Vec<KeptAnswer>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        found(self.connection.rows(wanted(keys)?).await?)
    }

    async fn forget_before(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        const FORGET: &str = "DELETE FROM answers WHERE (user_id, route, key) IN \
                              (SELECT user_id, route, key FROM answers WHERE created_at < ? ORDER BY created_at LIMIT ?)";
        let forgotten = self.connection.run(Sql::new(FORGET).bind(before).bind(limit)).await?;
        Ok(u64::try_from(forgotten).unwrap_or(u64::MAX))
    }
}
