//! Hearing of what other processes do, and telling them: `LISTEN` and `NOTIFY` on a connection of its own.
//!
//! Transactions that notify commit one after the other. So those that trade do not: what they wrote is told here
//! after they have committed, some of them at a time, in a transaction that has nothing to bring to the disk.

use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::job::JobKind;
use bellwether_domain::ports::{Notice, Notices};
use diesel::pg::PgNotification;
use diesel::sql_types::Integer;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long it is before another connection is tried.
const PAUSE: Duration = Duration::from_secs(5);
/// How long telling may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// The channels that jobs and events are told in.
const JOBS: &str = "bellwether_jobs";
const EVENTS: &str = "bellwether_events";

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Listens to a database, connecting again whenever its connection is lost.
pub struct PgNotices {
    url: String,
    line: Line,
}

/// How it listens.
enum Line {
    /// Not yet, or not any more.
    Down,
    /// Somebody connects.
    Connecting(JoinHandle<Connected>),
    Up(Box<Connected>),
}

struct Connected {
    connection: AsyncPgConnection,
    /// The process of the database that serves it, by which its own notifications are known.
    process: i32,
}

impl std::fmt::Debug for PgNotices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_connected = matches!(self.line, Line::Up(_));
        f.debug_struct("PgNotices").field("is_connected", &is_connected).finish_non_exhaustive()
    }
}

impl PgNotices {
    /// Of the database of that URL. Connects when it is first listened to.
    #[must_use]
    pub fn of(url: &str) -> Self {
        Self { url: url.to_owned(), line: Line::Down }
    }
}

impl Drop for PgNotices {
    fn drop(&mut self) {
        if let Line::Connecting(connecting) = &self.line {
            connecting.abort();
        }
    }
}

/// Connects, however often it takes.
async fn connect(url: String, pause: Duration) -> Connected {
    tokio::time::sleep(pause).await;
    loop {
        match try_connect(&url).await {
            Ok(connected) => return connected,
            Err(error) => {
                tracing::debug!(%error, "nobody listens to other servers; it is tried again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn try_connect(url: &str) -> Result<Connected, Failed> {
    let mut connection = AsyncPgConnection::establish(url).await?;
    connection.batch_execute(&format!("LISTEN {JOBS}; LISTEN {EVENTS}")).await?;
    let process = diesel::select(diesel::dsl::sql::<Integer>("pg_backend_pid()")).get_result(&mut connection).await?;
    Ok(Connected { connection, process })
}

impl Connected {
    /// The next that another one has sent; none when the connection is lost.
    async fn next(&mut self) -> Option<Notice> {
        loop {
            let heard = std::pin::pin!(self.connection.notifications_stream()).next().await?.ok()?;
            if heard.process_id != self.process {
                return Some(notice(&heard));
            }
        }
    }
}

fn notice(heard: &PgNotification) -> Notice {
    match heard.channel.as_str() {
        EVENTS => Notice::Events,
        // A kind that is not known is one of a later version's.
        _ => JobKind::from_name(&heard.payload).map_or(Notice::Missed, Notice::Jobs),
    }
}

#[async_trait]
impl Notices for PgNotices {
    async fn next(&mut self) -> Notice {
        loop {
            match &mut self.line {
                Line::Down => self.line = Line::Connecting(tokio::spawn(connect(self.url.clone(), Duration::ZERO))),
                Line::Connecting(connecting) => match connecting.await {
                    // Something may have happened before anybody listened.
                    Ok(connected) => {
                        self.line = Line::Up(Box::new(connected));
                        return Notice::Missed;
                    }
                    Err(_) => self.line = Line::Connecting(tokio::spawn(connect(self.url.clone(), PAUSE))),
                },
                Line::Up(connected) => match connected.next().await {
                    Some(notice) => return notice,
                    None => self.line = Line::Connecting(tokio::spawn(connect(self.url.clone(), PAUSE))),
                },
            }
        }
    }

    async fn tell_of_events(&mut self) {
        let Line::Up(connected) = &mut self.line else { return };
        let telling = format!("NOTIFY {EVENTS}");
        let told = timeout(PATIENCE, connected.connection.batch_execute(&telling)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!("other servers could not be told of events: they find them within moments");
            self.line = Line::Connecting(tokio::spawn(connect(self.url.clone(), PAUSE)));
        }
    }
}
