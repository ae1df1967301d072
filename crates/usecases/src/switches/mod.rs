//! Dead-man switches: a trader's open orders are cancelled when it is not heard of in time.
//!
//! A trader sets a timer and keeps pushing its deadline ahead, or opens a live stream that stands for it
//! ([`Holds`]). Whether a deadline was pushed ahead in time is decided under the locks of the trader's switches; what
//! fires puts a job aside in the same unit of work, which cancels the orders that were placed until then
//! ([`Cancelling`]). So a switch fires once, whoever looks at it, and a server that dies loses none.

mod cancelling;
mod streams;

use async_trait::async_trait;
use bellwether_domain::cancel_switch::{CancelSwitch, Sender, Settled, SwitchKind, settle, settle_ended};
use bellwether_domain::ids::{JobId, SwitchId};
use bellwether_domain::job::{Job, JobKind, Priority};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, UnitOfWork};
use jiff::{SignedDuration, Timestamp};

use crate::atomically::{Script, Step, atomically};
use crate::{Caller, Context, Error};

pub use cancelling::Cancelling;
pub use streams::{Hold, Holds};

/// So long after an outage nothing fires that has passed its deadline: who could not be heard gets the time to speak.
pub const GRACE: SignedDuration = SignedDuration::from_secs(10);
/// A pause between two looks at the store that is longer than this is an outage.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// So many switches are looked at together.
const AT_ONCE: u32 = 100;

impl From<Caller> for Sender {
    fn from(caller: Caller) -> Self {
        Self { user: caller.user, key: caller.key.map(|key| key.id) }
    }
}

/// How a trader's switches stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// To how many seconds its timer is set, while it is.
    pub timeout_s: Option<i64>,
    /// When it fires unless it is pushed ahead.
    pub due_at: Option<Timestamp>,
    /// When it fired last, until it is switched off.
    pub fired_at: Option<Timestamp>,
    /// How many live streams stand for the trader.
    pub streams: usize,
    /// The server's time.
    pub now: Timestamp,
}

impl Standing {
    fn of(switches: &[CancelSwitch], now: Timestamp) -> Self {
        let timer = switches.iter().find(|switch| switch.kind == SwitchKind::Timer);
        let due_at = timer.and_then(|timer| timer.due_at);
        let streams = switches.iter().filter(|s| s.kind == SwitchKind::Stream && s.due_at.is_some_and(|due| due > now));
        Self {
            timeout_s: timer.filter(|_| due_at.is_some()).map(|timer| timer.timeout_s),
            due_at,
            fired_at: timer.and_then(|timer| timer.fired_at),
            streams: streams.count(),
            now,
        }
    }
}

/// How the caller's switches stand.
pub async fn show(ctx: &Context, caller: Caller) -> Result<Standing, Error> {
    caller.require(Permission::ReadOrders, true)?;
    let switches = ctx.queries.cancel_switches_of(caller.into()).await?;
    Ok(Standing::of(&switches, ctx.clock.now()))
}

/// Sets the caller's timer to so many seconds from now, or switches it off. Orders that its deadline was pushed ahead for in
/// time stay; whether it was in time is whether it has not fired yet.
pub async fn set_timer(ctx: &Context, caller: Caller, timeout_s: Option<i64>) -> Result<Standing, Error> {
    caller.require(Permission::ChangeOrder, true)?;
    atomically(ctx, SetTimer { sender: caller.into(), timeout_s }).await
}

struct SetTimer {
    sender: Sender,
    timeout_s: Option<i64>,
}

#[async_trait]
impl Script for SetTimer {
    type Output = Standing;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Standing>, Error> {
        let mut switches = unit.cancel_switches().lock_of(self.sender).await?;
        let now = ctx.clock.now();
        let timer = switches.iter().position(|switch| switch.kind == SwitchKind::Timer);
        let before = timer.map(|place| switches.swap_remove(place));
        let mut changes = Changes::default();
        match (self.timeout_s, before) {
            // That it is off may be what another call has just written.
            (None, None) => return Ok(Step::Commit(Standing::of(&switches, now))),
            (None, Some(before)) => changes.deleted_cancel_switches.push(before.id),
            (Some(timeout_s), before) => {
                let fired_at = before.and_then(|before| before.fired_at);
                let timer = CancelSwitch::timer(self.sender, timeout_s, fired_at, now);
                changes.cancel_switches.push(timer.clone());
                switches.push(timer);
            }
        }
        unit.write(&changes).await?;
        Ok(Step::Commit(Standing::of(&switches, now)))
    }
}

/// What came of looking at a trader's switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// There was nothing to be done.
    Nothing,
    /// Some have ended, and others stand for the trader.
    Ended,
    /// They fired.
    Fired,
}

/// Looks at a trader's switches under their locks, and fires what is due, or what a stream that has just `ended` comes to.
async fn settle_now(ctx: &Context, sender: Sender, ended: Option<SwitchId>) -> Result<Found, Error> {
    let found = atomically(ctx, Settle { sender, ended }).await?;
    if found == Found::Fired {
        tracing::info!(user = %sender.user, "a dead-man switch fired: the orders are cancelled");
        ctx.job_bell.ring(JobKind::CancelOrders);
    }
    Ok(found)
}

struct Settle {
    sender: Sender,
    ended: Option<SwitchId>,
}

#[async_trait]
impl Script for Settle {
    type Output = Found;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Found>, Error> {
        let switches = unit.cancel_switches().lock_of(self.sender).await?;
        let now = ctx.clock.now();
        let Settled { fires, changed, gone } = match self.ended {
            Some(ended) => settle_ended(&switches, ended),
            None => settle(switches, now),
        };
        if changed.is_empty() && gone.is_empty() {
            return Ok(Step::Discard(Found::Nothing));
        }
        let mut changes = Changes { cancel_switches: changed, deleted_cancel_switches: gone, ..Changes::default() };
        if fires {
            let payload = cancelling::payload(self.sender, now)?;
            let job = Job::new(JobId(ctx.ids.fresh().next_uuid()), JobKind::CancelOrders, payload, now);
            changes.new_jobs.push(Job { priority: Priority::High, ..job });
        }
        unit.write(&changes).await?;
        Ok(Step::Commit(if fires { Found::Fired } else { Found::Ended }))
    }
}

/// Looks for switches that have passed their deadline, again and again. Nothing fires before the store was at hand for
/// [`GRACE`] without a longer pause: who could not be heard for want of a server or of its store gets the time to speak.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<Timestamp>,
    steady_since: Option<Timestamp>,
}

/// What came of looking for some switches.
#[derive(Debug, Default)]
struct Page {
    /// How many traders' switches fired.
    fired: usize,
    /// Whether more may be due. Where nothing was to be done with these, others are at it.
    goes_on: bool,
}

impl Watch {
    /// Fires what is due now, however much that is; returns how many traders' switches fired. One that fails does not keep
    /// those that were looked for with it: the first error is returned at the end.
    pub async fn look(&mut self, ctx: &Context) -> Result<usize, Error> {
        let mut fired = 0_usize;
        loop {
            let page = self.look_once(ctx).await?;
            fired = fired.saturating_add(page.fired);
            if !page.goes_on {
                return Ok(fired);
            }
        }
    }

    async fn look_once(&mut self, ctx: &Context) -> Result<Page, Error> {
        let now = ctx.clock.now();
        let due = ctx.queries.due_cancel_switches(now, AT_ONCE).await;
        if due.is_err() {
            *self = Self::default();
        }
        let mut due = due?;
        if !self.is_steady(now) {
            return Ok(Page::default());
        }
        // Each comes once for each of its switches.
        let is_full = u32::try_from(due.len()).is_ok_and(|count| count >= AT_ONCE);
        due.sort_unstable();
        due.dedup();
        let (mut page, mut failure) = (Page::default(), None);
        for sender in due {
            match settle_now(ctx, sender, None).await {
                Ok(found) => {
                    page.fired = page.fired.saturating_add(usize::from(found == Found::Fired));
                    page.goes_on |= is_full && found != Found::Nothing;
                }
                Err(error) => {
                    failure.get_or_insert(error);
                    continue;
                }
            }
            // However long all of them take: it is one that takes long which shows an outage.
            if !self.is_steady(ctx.clock.now()) {
                page.goes_on = false;
                break;
            }
        }
        failure.map_or(Ok(page), Err)
    }

    /// Whether the store has been at hand for long enough; it is at this moment.
    fn is_steady(&mut self, now: Timestamp) -> bool {
        let has_paused = self.last.is_none_or(|last| now.duration_since(last).abs() > LONGEST_PAUSE);
        let since = self.steady_since.filter(|_| !has_paused).unwrap_or(now);
        (self.last, self.steady_since) = (Some(now), Some(since));
        now.duration_since(since) >= GRACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn nothing_fires_until_the_store_was_at_hand_for_the_grace_without_a_longer_pause() {
        let mut watch = Watch::default();
        let steady: Vec<i64> = (0..20).step_by(2).filter(|second| watch.is_steady(at(*second))).collect();
        assert_eq!(steady, [10, 12, 14, 16, 18]);
        assert!(watch.is_steady(at(23)) && !watch.is_steady(at(29)), "a pause of six seconds is an outage");
        assert!(!watch.is_steady(at(34)) && watch.is_steady(at(39)));
        assert!(!watch.is_steady(at(0)), "a clock that was set back is one too");
    }
}
