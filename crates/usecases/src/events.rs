//! What happened, for those who follow it.

use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::event::{EventBatch, Recorded};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Notice, Notices, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::forgetting::{self, Old};
use crate::{Caller, Context, Error};

/// How long whoever follows waits for a ring at most: so long may it take until it hears of what another server
/// did that could not say so.
const UNHEARD: Duration = Duration::from_millis(250);
/// Other servers are told that there are events after a commit, and then so often at most.
const TELLINGS_APART: Duration = Duration::from_millis(20);
/// How many batches are read at a time.
const READ_AT_ONCE: u32 = 100;

/// Wakes who follows what happens, after each commit of this process, and when it hears of commits of others. However
/// often it rings while one who follows is at work, that one looks once more. Clones are the same bell.
#[derive(Debug, Clone, Default)]
pub struct EventBell(Arc<Rings>);

#[derive(Debug, Default)]
struct Rings {
    anywhere: watch::Sender<()>,
    here: watch::Sender<()>,
}

impl EventBell {
    /// Says that this process has committed something.
    pub fn ring(&self) {
        self.0.anywhere.send_replace(());
        self.0.here.send_replace(());
    }

    /// Says that another one has.
    pub fn ring_for_others(&self) {
        self.0.anywhere.send_replace(());
    }

    /// An ear for it, for one who follows.
    #[must_use]
    pub fn listen(&self) -> EventEar {
        EventEar(self.0.anywhere.subscribe())
    }
}

/// One who waits for the [`EventBell`].
#[derive(Debug)]
pub struct EventEar(watch::Receiver<()>);

impl EventEar {
    /// Waits until it rings, or rang since this was last called; or until something may have happened on
    /// another server.
    pub async fn heard(&mut self) {
        // The bell is never dropped before who listens; if it were, the time would still pass.
        if let Ok(Err(_)) = tokio::time::timeout(UNHEARD, self.0.changed()).await {
            tokio::time::sleep(UNHEARD).await;
        }
    }
}

/// Hears of what other servers do in the same store, and tells them of what this one does. Does not end.
pub async fn exchange_notices(ctx: Context, mut notices: Box<dyn Notices>) {
    let mut commits = ctx.event_bell.0.here.subscribe();
    let mut may_tell_at = Instant::now();
    loop {
        let own = async {
            tokio::time::sleep_until(may_tell_at).await;
            // The bell lives as long as the context.
            drop(commits.changed().await);
        };
        tokio::select! {
            notice = notices.next() => match notice {
                Notice::Jobs(kind) => ctx.job_bell.ring(kind),
                Notice::Events => ctx.event_bell.ring_for_others(),
                Notice::Missed => {
                    ctx.job_bell.ring_all();
                    ctx.event_bell.ring_for_others();
                }
            },
            () = own => {
                notices.tell_of_events().await;
                may_tell_at = Instant::now() + TELLINGS_APART;
            }
        }
    }
}

/// What was found when it was looked what has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    Nothing,
    /// All there was.
    Some,
    /// As much as is taken at a time.
    More,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events, in their order.
    pub events: Vec<Recorded>,
    /// Whether there may be more after them.
    pub has_more: bool,
}

/// The events after that sequence, at most `limit`, of all users and markets: for administrators. Events that
/// are older than they are kept are not among them.
pub async fn list(ctx: &Context, caller: Caller, after: i64, limit: usize) -> Result<EventPage, Error> {
    caller.require(Permission::ReadEvents, false)?;
    let mut events = Vec::new();
    // The batch that the sequence is in may have more.
    let mut position = EventBatch::position_of(after).saturating_sub(1);
    loop {
        let batches = ctx.outbox.after(position, READ_AT_ONCE).await?;
        let Some(last) = batches.last() else { return Ok(EventPage { events, has_more: false }) };
        position = last.position;
        for batch in &batches {
            events.extend(read(batch)?.into_iter().filter(|recorded| recorded.sequence > after));
        }
        if events.len() > limit {
            events.truncate(limit);
            return Ok(EventPage { events, has_more: true });
        }
    }
}

/// A batch's events.
pub(crate) fn read(batch: &EventBatch) -> Result<Vec<Recorded>, StoreError> {
    batch.events().map_err(|error| StoreError::Corrupt(format!("the events at {}: {error}", batch.position)))
}

/// Forgets events that were kept for as long as they are to be. Returns how many batches.
pub async fn forget_old_events(ctx: &Context) -> Result<u64, Error> {
    let Ok(before) = ctx.clock.now().checked_sub(ctx.policy.events_kept) else { return Ok(0) };
    forgetting::forget(ctx, Old::Events(before)).await
}
