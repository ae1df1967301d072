//! Ending what is cached of what was committed, as the outbox tells: also where whoever committed it did not live to
//! end it.

use std::collections::BTreeSet;

use bellwether_domain::event::EventBatch;
use bellwether_domain::ports::{CacheUnreachable, StoreError};
use thiserror::Error;

use crate::Context;
use crate::events::Progress;
use crate::stale::Stale;

/// How many batches are read at a time.
const AT_ONCE: u32 = 200;

/// Why nothing was ended.
#[derive(Debug, Error)]
pub enum FollowError {
    /// What happened cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cache is away.
    #[error(transparent)]
    Cache(#[from] CacheUnreachable),
}

/// Follows the outbox, and ends in the cache what its events make stale.
///
/// Whoever commits something ends it himself, and sooner. This is for what nobody ended: where a server died between the
/// two, or does not share the cache. It keeps no cursor, since no entry lives longer than a second where there
/// is more than one server: one that starts begins a little before the newest event.
#[derive(Debug, Clone, Default)]
pub struct CacheFollower {
    /// Up to there everything has been ended; none before the first look.
    position: Option<i64>,
}

impl CacheFollower {
    /// Ends what the next events make stale. After an error nothing was passed over: the same is tried again.
    ///
    /// # Errors
    /// Where the outbox cannot be read, or the cache not be reached.
    pub async fn follow(&mut self, ctx: &Context) -> Result<Progress, FollowError> {
        let position = match self.position {
            Some(position) => position,
            None => self.begin(ctx).await?,
        };
        let batches = ctx.outbox.after(position, AT_ONCE).await?;
        let Some(last) = batches.last() else { return Ok(Progress::Nothing) };
        let stale: BTreeSet<Stale> = batches.iter().flat_map(stale_by).collect();
        if !stale.is_empty() {
            ctx.cache.invalidate(&Stale::keys(&stale)).await?;
        }
        self.position = Some(last.position);
        let is_full = u32::try_from(batches.len()).is_ok_and(|count| count >= AT_ONCE);
        Ok(if is_full { Progress::More } else { Progress::Some })
    }

    async fn begin(&mut self, ctx: &Context) -> Result<i64, StoreError> {
        let newest = ctx.outbox.span().await?.map_or(0, |span| span.newest);
        let position = newest.saturating_sub(i64::from(AT_ONCE));
        self.position = Some(position);
        Ok(position)
    }
}

fn stale_by(batch: &EventBatch) -> BTreeSet<Stale> {
    match batch.events() {
        Ok(events) => events.iter().flat_map(|recorded| Stale::of_event(&recorded.event)).collect(),
        // What a later version wrote: its entries end with their time.
        Err(error) => {
            tracing::warn!(position = batch.position, %error, "events cannot be read; what is cached of them may be a second old");
            BTreeSet::new()
        }
    }
}
