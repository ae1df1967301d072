//! Handing what happened on to a log beside the store.

use std::sync::Arc;

use bellwether_domain::event::{EventBatch, Recorded};
use bellwether_domain::ports::{EventLog, EventLogUnreachable, StoreError};
use thiserror::Error;

use crate::Context;

/// How many batches are read at a time.
const BATCHES: u32 = 100;
/// How many events the log is given at a time.
const EVENTS: usize = 500;

/// Why nothing was handed on.
#[derive(Debug, Error)]
pub enum RelayError {
    /// What happened cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log is away.
    #[error(transparent)]
    Log(#[from] EventLogUnreachable),
}

/// Copies the outbox into a log. It keeps no cursor of its own: how far the log has come, the log knows. So several
/// servers may be at it, and nothing is missing from a log after it failed, or the server.
#[derive(Clone)]
pub struct Relay {
    log: Arc<dyn EventLog>,
    /// The newest event that the log has, as far as is known.
    newest: Option<i64>,
}

impl Relay {
    /// To this log.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, newest: None }
    }

    /// Hands on some of what the log does not have yet; whether there may be more.
    pub async fn hand_on(&mut self, ctx: &Context) -> Result<bool, RelayError> {
        // Unless all goes well, the log is asked again how far it has come.
        let known = match self.newest.take() {
            Some(newest) => newest,
            None => self.log.append(0, &[]).await?,
        };
        // The batch that the newest is in may have more.
        let batches = ctx.outbox.after(EventBatch::position_of(known).saturating_sub(1), BATCHES).await?;
        let events: Vec<Recorded> =
            batches.iter().flat_map(readable).filter(|recorded| recorded.sequence > known).collect();
        let mut newest = known;
        for some in events.chunks(EVENTS) {
            let now_newest = self.log.append(newest, some).await?;
            if now_newest < newest {
                tracing::warn!(
                    had = newest,
                    has = now_newest,
                    "the log of events has lost entries; it is filled again"
                );
                self.newest = Some(now_newest);
                return Ok(true);
            }
            newest = now_newest;
        }
        self.newest = Some(newest);
        Ok(!events.is_empty())
    }
}

/// A batch's events.
fn readable(batch: &EventBatch) -> Vec<Recorded> {
    batch.events().unwrap_or_else(|error| {
        // What a later version wrote. Whoever reads the list of events sees it.
        tracing::error!(position = batch.position, %error, "events cannot be read, and are not in the log");
        Vec::new()
    })
}
