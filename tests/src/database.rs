//! Databases of one test's own on the PostgreSQL server that `DATABASE_URL` names.

use tokio_postgres::{Client, NoTls};

/// Creates an empty database; returns its URL and its name. None without `DATABASE_URL`.
///
/// # Panics
/// When the server cannot be reached or refuses.
pub async fn create() -> Option<(String, String)> {
    create_from("template1").await
}

/// Creates a copy of a database that nobody uses; returns its URL and its name.
///
/// # Panics
/// When the server cannot be reached or refuses.
pub async fn copy(name: &str) -> Option<(String, String)> {
    create_from(name).await
}

async fn create_from(template: &str) -> Option<(String, String)> {
    let url = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty())?;
    let name = format!("bellwether_test_{}", uuid_hex());
    let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
    connect(&url).await.batch_execute(&sql).await.expect("a database can be created");
    Some((with_database(&url, &name), name))
}

/// Drops a database, whoever is still connected.
///
/// # Panics
/// When the server cannot be reached or refuses.
pub async fn remove(name: &str) {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL was there when the database was created");
    connect(&url)
        .await
        .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
        .await
        .expect("the database can be dropped");
}

/// Executes statements in a database.
///
/// # Panics
/// When they cannot be.
pub(crate) async fn execute(url: &str, statements: &str) {
    connect(url).await.batch_execute(statements).await.expect("the statements can be executed");
}

/// A transaction that stays open, with what its statements have locked, until it is dropped.
#[derive(Debug)]
pub struct Held {
    _client: Client,
}

/// Executes statements in a transaction that stays open.
///
/// # Panics
/// When they cannot be.
pub async fn hold(url: &str, statements: &str) -> Held {
    let client = connect(url).await;
    client.batch_execute(&format!("BEGIN; {statements}")).await.expect("the statements can be executed");
    Held { _client: client }
}

async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.unwrap_or_else(|e| panic!("DATABASE_URL cannot be used: {e}"));
    // It ends when the client is dropped; what goes wrong on it, the client's calls say.
    tokio::spawn(connection);
    client
}

/// The URL with another database.
fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("DATABASE_URL is a URL");
    let (rest, query) = rest.split_once('?').map_or((rest, String::new()), |(rest, query)| (rest, format!("?{query}")));
    let authority = rest.split('/').next().unwrap_or(rest);
    format!("{scheme}://{authority}/{name}{query}")
}

#[expect(clippy::disallowed_methods, reason = "tests need names that nobody has had, and no repeatable ones")]
pub(crate) fn uuid_hex() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn keeps_everything_of_the_url_but_the_database() {
        assert_eq!(with_database("postgres://u:p@h:5/db?x=y", "t"), "postgres://u:p@h:5/t?x=y");
        assert_eq!(with_database("postgresql://h", "t"), "postgresql://h/t");
    }
}
