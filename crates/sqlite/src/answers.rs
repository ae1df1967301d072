//! Answers kept for idempotency keys.

use std::collections::HashSet;

use async_trait::async_trait;
use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{AnswerKey, Answers, KeptAnswer, StoreError};
use jiff::Timestamp;

use crate::connection::Connection;
use crate::schema::ANSWERS;
use crate::sql::{Row, Sql, Values};
use crate::unit::SqliteUnitOfWork;

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

pub(crate) fn find(connection: &mut Connection, keys: &[AnswerKey]) -> Result<Vec<KeptAnswer>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let distinct: HashSet<&AnswerKey> = keys.iter().collect();
    let text = format!("SELECT {} FROM answers WHERE user_id = ? AND route = ? AND key = ?", ANSWERS.columns);
    let bind = |key: &AnswerKey, row: &mut Values| {
        row.add(key.user).add(&key.route).add(&key.key);
    };
    connection.read_each("an answer", &text, distinct, bind, read)
}

#[async_trait]
impl Answers for SqliteUnitOfWork {
    async fn find(&mut self, keys: &[AnswerKey]) -> Result<Vec<KeptAnswer>, StoreError> {
        let keys = keys.to_vec();
        self.call(move |connection| find(connection, &keys)).await
    }

    async fn forget_before(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.call(move |connection| {
            let sql = Sql::new(
                "DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers WHERE created_at < ? ORDER BY created_at LIMIT ? + 0)",
            );
            let forgotten = connection.run(sql.bind(before).bind(limit))?;
            Ok(u64::try_from(forgotten).unwrap_or(u64::MAX))
        })
        .await
    }
}
