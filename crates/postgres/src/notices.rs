//! Hearing of jobs that other processes put aside: `LISTEN` on a connection of its own.

use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::job::JobKind;
use bellwether_domain::ports::JobNotices;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use futures_util::StreamExt as _;

/// How long it is before another connection is tried.
const PAUSE: Duration = Duration::from_secs(5);

/// Listens to a database, connecting again whenever its connection is lost.
pub struct PgJobNotices {
    url: String,
    connection: Option<AsyncPgConnection>,
}

impl std::fmt::Debug for PgJobNotices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgJobNotices").field("is_connected", &self.connection.is_some()).finish_non_exhaustive()
    }
}

impl PgJobNotices {
    /// Of the database of that URL. Connects when it is first listened to.
    #[must_use]
    pub fn of(url: &str) -> Self {
        Self { url: url.to_owned(), connection: None }
    }
}

async fn connect(url: &str) -> Result<AsyncPgConnection, Box<dyn std::error::Error + Send + Sync>> {
    let mut connection = AsyncPgConnection::establish(url).await?;
    connection.batch_execute("LISTEN bellwether_jobs").await?;
    Ok(connection)
}

#[async_trait]
impl JobNotices for PgJobNotices {
    async fn next(&mut self) -> Option<JobKind> {
        loop {
            let Some(connection) = &mut self.connection else {
                match connect(&self.url).await {
                    // Something may have been put aside before anybody listened.
                    Ok(connection) => {
                        self.connection = Some(connection);
                        return None;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "nobody listens for jobs of other servers; it is tried again");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            };
            let heard = std::pin::pin!(connection.notifications_stream()).next().await;
            match heard {
                Some(Ok(notification)) => return JobKind::from_name(&notification.payload),
                Some(Err(_)) | None => {
                    self.connection = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
