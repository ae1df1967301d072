//! What black-box tests need: the real binary on a fresh store, and a client that speaks its API.
//!
//! Nothing here or in the tests looks inside the server: it is started as anybody would start it,
//! spoken to over HTTP, and at the end of every test asked, by `bellwether audit`, whether all of
//! its invariants hold.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is all test support: what is not as expected must stop the test, loudly"
)]

pub mod client;
pub mod database;
pub mod disk;
pub mod mail;
pub mod proxy;
pub mod raw;
pub mod receiver;
pub mod redis;
pub mod schemas;
pub mod server;
pub mod strace;
pub mod stream;
pub mod tokens;

use std::future::Future;
use std::sync::Arc;

pub use client::{Answer, Api, Request, User};
pub use server::{Installation, Server, Store};

/// Runs a test on a fresh server of each store, SQLite first; stops the server, which must end
/// cleanly, and audits what it left behind. Without `DATABASE_URL` it says that PostgreSQL is
/// skipped.
///
/// # Panics
/// When the test does, when the server cannot be started or stopped, and when the audit finds something.
pub async fn on_each_store<T, F>(test: T)
where
    T: Fn(Arc<Server>) -> F,
    F: Future<Output = ()>,
{
    on_each_store_with(&[], test).await;
}

/// The same with settings of the server, such as `("CHALLENGE_WINDOW", "1h")`.
///
/// # Panics
/// As [`on_each_store`].
pub async fn on_each_store_with<T, F>(settings: &[(&str, &str)], test: T)
where
    T: Fn(Arc<Server>) -> F,
    F: Future<Output = ()>,
{
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, settings).await else { continue };
        eprintln!("--- on {store:?}");
        let server = Arc::new(Server::start(installation).await);
        test(Arc::clone(&server)).await;
        let server = Arc::into_inner(server).expect("the test keeps no handle of the server");
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}
