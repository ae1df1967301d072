//! Dead-man switches: orders are cancelled when whoever sent them is not heard of in time.
//!
//! A *timer* is a deadline that a trader keeps pushing ahead. A *stream* is a live stream that stands for its trader
//! while it is open: the server that has it pushes its deadline ahead, so it passes soon after the stream has ended or
//! the server has died. A trader's streams fire together, when the last of them is over.

use jiff::{SignedDuration, Timestamp};

use crate::ids::{ApiKeyId, SwitchId, UserId};
use crate::order::Order;

/// The shortest and the longest time that a timer can be set to, in seconds.
pub const TIMEOUTS_S: std::ops::RangeInclusive<i64> = 5..=3600;
/// For how long a stream stands for its trader without a further word from its server.
pub const STREAM_LEASE: SignedDuration = SignedDuration::from_secs(15);

/// Who sends orders: a user who is signed in, in whatever session, or one of its API keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sender {
    /// Whose orders.
    pub user: UserId,
    /// The API key that sends them; none for signed-in sessions.
    pub key: Option<ApiKeyId>,
}

impl Sender {
    /// The id of its timer: that of the key or of the user, so that it needs no look-up.
    #[must_use]
    pub const fn timer(self) -> SwitchId {
        match self.key {
            Some(key) => SwitchId(key.0),
            None => SwitchId(self.user.0),
        }
    }

    /// Whether it placed the order.
    #[must_use]
    pub fn has_placed(self, order: &Order) -> bool {
        order.user == self.user && order.placed_by == self.key
    }
}

/// What pushes the deadline of a switch ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwitchKind {
    /// The trader.
    Timer,
    /// The server that has the trader's live stream.
    Stream,
}

impl SwitchKind {
    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timer => "timer",
            Self::Stream => "stream",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Timer, Self::Stream].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A dead-man switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelSwitch {
    /// Its id: for a timer [`Sender::timer`].
    pub id: SwitchId,
    /// Whose orders it cancels.
    pub sender: Sender,
    /// What pushes its deadline ahead.
    pub kind: SwitchKind,
    /// By how many seconds that does.
    pub timeout_s: i64,
    /// Its deadline; none for a timer that has fired and was not set again.
    pub due_at: Option<Timestamp>,
    /// When a timer fired last.
    pub fired_at: Option<Timestamp>,
}

impl CancelSwitch {
    /// A timer that is set now.
    #[must_use]
    pub fn timer(sender: Sender, timeout_s: i64, fired_at: Option<Timestamp>, now: Timestamp) -> Self {
        let due_at = now.checked_add(SignedDuration::from_secs(timeout_s)).unwrap_or(Timestamp::MAX);
        Self { id: sender.timer(), sender, kind: SwitchKind::Timer, timeout_s, due_at: Some(due_at), fired_at }
    }

    /// A stream that is open now.
    #[must_use]
    pub fn stream(id: SwitchId, sender: Sender, now: Timestamp) -> Self {
        let due_at = now.checked_add(STREAM_LEASE).unwrap_or(Timestamp::MAX);
        let timeout_s = STREAM_LEASE.as_secs();
        Self { id, sender, kind: SwitchKind::Stream, timeout_s, due_at: Some(due_at), fired_at: None }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.due_at.is_some_and(|due| due <= now)
    }
}

/// What comes of a trader's switches at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Whether the trader's orders are to be cancelled.
    pub fires: bool,
    /// Switches that changed.
    pub changed: Vec<CancelSwitch>,
    /// Switches that are over.
    pub gone: Vec<SwitchId>,
}

/// Looks at all switches of one trader, under their locks, for deadlines that have passed. What fires here does not fire
/// again: a timer loses its deadline, and streams that are over are forgotten.
#[must_use]
pub fn settle(switches: Vec<CancelSwitch>, now: Timestamp) -> Settled {
    let mut settled = Settled::default();
    let mut open_streams = 0_u32;
    for mut switch in switches {
        match switch.kind {
            SwitchKind::Timer if switch.is_due(now) => {
                settled.fires = true;
                (switch.due_at, switch.fired_at) = (None, Some(now));
                settled.changed.push(switch);
            }
            SwitchKind::Timer => {}
            SwitchKind::Stream if switch.is_due(now) => settled.gone.push(switch.id),
            SwitchKind::Stream => open_streams = open_streams.saturating_add(1),
        }
    }
    settled.fires |= !settled.gone.is_empty() && open_streams == 0;
    settled
}

/// The same for a stream that has just ended, and for nothing else: whether a deadline that has passed counts is not for
/// who ends a stream to say, since after an outage it may be the server's fault. A stream that is not among the switches
/// any more was taken for over before, and is no reason to fire once more.
#[must_use]
pub fn settle_ended(switches: &[CancelSwitch], ended: SwitchId) -> Settled {
    let mut streams = switches.iter().filter(|switch| switch.kind == SwitchKind::Stream);
    let is_there = streams.clone().any(|stream| stream.id == ended);
    let is_last = streams.all(|stream| stream.id == ended);
    let gone = is_there.then_some(ended).into_iter().collect();
    Settled { fires: is_there && is_last, changed: Vec::new(), gone }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    const SENDER: Sender = Sender { user: UserId(Uuid::from_u128(1)), key: None };

    fn stream(id: u128, opened: i64) -> CancelSwitch {
        CancelSwitch::stream(SwitchId(Uuid::from_u128(id)), SENDER, at(opened))
    }

    #[test]
    fn a_timer_fires_once_at_its_deadline_and_remembers_it() {
        let timer = CancelSwitch::timer(SENDER, 30, None, at(0));
        assert_eq!(settle(vec![timer.clone()], at(29)), Settled::default());
        let settled = settle(vec![timer.clone()], at(30));
        let fired = CancelSwitch { due_at: None, fired_at: Some(at(30)), ..timer };
        assert_eq!(settled, Settled { fires: true, changed: vec![fired.clone()], gone: Vec::new() });
        assert_eq!(settle(vec![fired], at(99)), Settled::default());
    }

    #[test]
    fn streams_fire_when_the_last_of_them_is_over_and_no_sooner() {
        let (one, two) = (stream(1, 0), stream(2, 4));
        let settled = settle_ended(&[one.clone(), two.clone()], one.id);
        assert_eq!((settled.fires, settled.gone), (false, vec![one.id]));
        let settled = settle_ended(std::slice::from_ref(&two), two.id);
        assert_eq!((settled.fires, settled.gone), (true, vec![two.id]));
        // A server has died: its stream is over when its deadline passes.
        let settled = settle(vec![one.clone(), two.clone()], at(16));
        assert_eq!((settled.fires, settled.gone), (false, vec![one.id]));
        let settled = settle(vec![one.clone(), two.clone()], at(19));
        assert_eq!((settled.fires, settled.gone), (true, vec![one.id, two.id]));
    }

    #[test]
    fn who_ends_a_stream_leaves_deadlines_that_have_passed_to_those_who_know_of_outages() {
        let timer = CancelSwitch::timer(SENDER, 5, None, at(0));
        let (overdue, ended) = (stream(1, 0), stream(2, 90));
        let settled = settle_ended(&[timer.clone(), overdue, ended.clone()], ended.id);
        assert_eq!(settled, Settled { fires: false, changed: Vec::new(), gone: vec![ended.id] });
        let settled = settle_ended(&[timer, ended.clone()], ended.id);
        assert_eq!(settled, Settled { fires: true, changed: Vec::new(), gone: vec![ended.id] });
    }

    #[test]
    fn a_stream_that_was_taken_for_over_does_not_fire_again_and_a_timer_is_apart() {
        assert_eq!(settle_ended(&[], stream(1, 0).id), Settled::default());
        let timer = CancelSwitch::timer(SENDER, 3600, Some(at(-9)), at(0));
        assert_eq!(settle_ended(&[timer.clone(), stream(2, 0)], stream(1, 0).id), Settled::default());
        let settled = settle(vec![timer.clone(), stream(1, 0)], at(20));
        assert_eq!((settled.fires, settled.changed.len(), settled.gone.len()), (true, 0, 1));
        let settled = settle(vec![CancelSwitch { due_at: Some(at(1)), ..timer }, stream(1, 0)], at(2));
        assert_eq!((settled.fires, settled.changed.len(), settled.gone.len()), (true, 1, 0));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in [SwitchKind::Timer, SwitchKind::Stream] {
            assert_eq!(SwitchKind::from_name(kind.as_str()), Some(kind));
        }
    }
}
