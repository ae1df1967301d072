//! Webhooks: endpoints of users that are told what happens, and what each was sent.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::ids::{DeliveryId, MarketId, UserId, WebhookId};
use crate::job::jittered_pause;
use crate::ports::{CallAnswer, CallError};

/// Where the webhooks of users are who were deleted: a name that is never anybody's (RFC 6761).
const OF_NOBODY: &str = "https://deleted.invalid/";

/// The most webhooks of a user.
pub const MOST_WEBHOOKS: usize = 10;
/// The most markets that one is kept to.
pub const MOST_MARKETS: usize = 50;
/// The most characters of a URL.
pub const LONGEST_URL: usize = 2048;
/// The most characters of a description.
pub const LONGEST_DESCRIPTION: usize = 200;
/// How long the secret before the present one is used besides it.
pub const OVERLAP: SignedDuration = SignedDuration::from_hours(24);
/// How long a delivery is tried, and how long a webhook may fail before it is disabled.
pub const PATIENCE: SignedDuration = SignedDuration::from_hours(5 * 24);
/// How long what was sent is kept for its owner to see.
pub const DELIVERIES_KEPT: SignedDuration = SignedDuration::from_hours(14 * 24);
/// The longest pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// The longest pause of all.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(8);
/// What comes so often that it is sent to those alone who name it.
const ONLY_BY_NAME: &str = "book.changed";

/// Whether a webhook is told anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WebhookState {
    /// It is told.
    Enabled,
    /// Its owner wants it so.
    Disabled,
    /// It answered that it is gone for good (410).
    Gone,
    /// It failed for too long.
    Failing,
}

impl WebhookState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Enabled, Self::Disabled, Self::Gone, Self::Failing];

    /// The state as it stands in the database, and as people see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// An endpoint, and what it wants to be told. Its secrets follow from its id and their numbers by a key of the server's,
/// and are kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub owner: UserId,
    /// Where it is.
    pub url: String,
    /// What its owner says of it.
    pub description: Option<String>,
    /// The kinds of events that it wants; empty for all but those that come with every order.
    pub events: Vec<String>,
    /// The markets of which it wants them; empty for all, and for what happens in none.
    pub markets: Vec<MarketId>,
    /// Whether it is told anything.
    pub state: WebhookState,
    /// The number of the secret that signs.
    pub secret_number: u32,
    /// Until when the secret before it signs too.
    pub overlap_until: Option<Timestamp>,
    /// Since when nothing has been taken.
    pub failing_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its owner last changed it.
    pub updated_at: Timestamp,
    /// Grows with each of these changes.
    pub version: i64,
}

impl Webhook {
    /// Whether it is told of an event of that kind in that market, which its owner may know of.
    #[must_use]
    pub fn wants(&self, kind: &str, market: Option<MarketId>) -> bool {
        let is_wanted_kind =
            if self.events.is_empty() { kind != ONLY_BY_NAME } else { self.events.iter().any(|k| k == kind) };
        let is_wanted_market = self.markets.is_empty() || market.is_some_and(|market| self.markets.contains(&market));
        self.state == WebhookState::Enabled && is_wanted_kind && is_wanted_market
    }

    /// The same without what is its owner's, who is gone.
    #[must_use]
    pub fn of_nobody(self, now: Timestamp) -> Self {
        let (url, version) = (OF_NOBODY.to_owned(), self.version.saturating_add(1));
        Self { url, description: None, state: WebhookState::Disabled, updated_at: now, version, ..self }
    }

    /// Until when the secret before the present one signs too, if it does at that moment.
    #[must_use]
    pub fn overlaps_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.overlap_until.filter(|until| now < *until)
    }

    /// The numbers of the secrets that sign at that moment, the newest first.
    #[must_use]
    pub fn signing_numbers(&self, now: Timestamp) -> Vec<u32> {
        let overlapping = self.overlaps_until(now).and(self.secret_number.checked_sub(1));
        std::iter::once(self.secret_number).chain(overlapping).collect()
    }

    /// Has a new secret sign, and the one before it too for a while.
    pub fn rotate(&mut self, now: Timestamp) {
        self.secret_number = self.secret_number.saturating_add(1);
        self.overlap_until = now.checked_add(OVERLAP).ok();
        self.change(now);
    }

    /// Notes that its owner has changed it.
    pub fn change(&mut self, now: Timestamp) {
        self.updated_at = now;
        self.version = self.version.saturating_add(1);
    }

    /// Notes what came of an attempt. Whether it is disabled by that.
    pub fn note(&mut self, outcome: DeliveryState, status: Option<u16>, now: Timestamp) -> bool {
        if outcome == DeliveryState::Delivered {
            self.failing_since = None;
            return false;
        }
        let since = *self.failing_since.get_or_insert(now);
        let state = match status {
            Some(410) => WebhookState::Gone,
            _ if now.duration_since(since) >= PATIENCE => WebhookState::Failing,
            _ => return false,
        };
        let is_new = self.state == WebhookState::Enabled;
        if is_new {
            self.state = state;
        }
        is_new
    }
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// To be sent, or sent again.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The state as it stands in the database, and as people see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// An attempt to send something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it was made.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u32,
    /// The status of the answer; none where there was none.
    pub status: Option<u16>,
    /// What the answer's body begins with, or why there was none.
    pub said: String,
}

/// One message to one webhook. Its `Debug` does not show what is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id. The message's id follows from it, and stays the same however often it is sent.
    pub id: DeliveryId,
    /// To which webhook.
    pub webhook: WebhookId,
    /// The event's place among all events; 0 for a test.
    pub sequence: i64,
    /// The kind of the event.
    pub kind: String,
    /// The market that it happened in. What happened in one market, or in none, is sent in its order.
    pub market: Option<MarketId>,
    /// What is sent: JSON.
    pub body: String,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried since it was last to be sent.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Timestamp,
    /// The last attempt.
    pub last: Option<Attempt>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is to be sent: later than made where somebody asked for it again.
    pub pending_since: Timestamp,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("webhook", &self.webhook)
            .field("sequence", &self.sequence)
            .field("state", &self.state)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// What came of calling a receiver.
pub type Called = Result<CallAnswer, CallError>;

impl Delivery {
    /// A message that is to be sent at once.
    #[must_use]
    pub const fn new(id: DeliveryId, webhook: WebhookId, kind: String, body: String, now: Timestamp) -> Self {
        Self {
            id,
            webhook,
            sequence: 0,
            kind,
            market: None,
            body,
            state: DeliveryState::Pending,
            attempts: 0,
            next_at: now,
            last: None,
            created_at: now,
            pending_since: now,
        }
    }

    /// The id that its receiver tells messages apart by.
    #[must_use]
    pub fn message_id(&self) -> String {
        format!("msg_{}", self.id.0.simple())
    }

    /// Notes what came of an attempt: taken where it was answered with 2xx. Otherwise it is tried again after a pause of
    /// anything up to 5 s, 10 s, … 8 hours by a random byte, and not before the receiver wants it; or given up where that
    /// went on for too long, or the receiver is gone.
    pub fn note(&mut self, called: &Called, now: Timestamp, random: u8) {
        let (status, said, took) = match called {
            Ok(answer) => (Some(answer.status), answer.body.clone(), answer.took),
            Err(error) => (None, error.to_string(), std::time::Duration::ZERO),
        };
        let took_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        self.last = Some(Attempt { at: now, took_ms, status, said });
        let failures = self.attempts;
        self.attempts = self.attempts.saturating_add(1);
        if status.is_some_and(|status| (200..300).contains(&status)) {
            self.state = DeliveryState::Delivered;
            return;
        }
        let pause = match called {
            Err(CallError::LeftAlone(pause)) => *pause,
            Ok(CallAnswer { retry_after: Some(wanted), .. }) => jittered(failures, random).max(*wanted),
            _ => jittered(failures, random),
        };
        let again = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        if status == Some(410) || again.duration_since(self.pending_since) > PATIENCE {
            self.state = DeliveryState::Failed;
        } else {
            self.next_at = again;
        }
    }

    /// Has it sent once more.
    pub fn send_again(&mut self, now: Timestamp) {
        self.state = DeliveryState::Pending;
        self.attempts = 0;
        (self.next_at, self.pending_since) = (now, now);
    }
}

fn jittered(failures: u32, random: u8) -> SignedDuration {
    jittered_pause(FIRST_PAUSE, LONGEST_PAUSE, failures, random)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn webhook() -> Webhook {
        Webhook {
            id: WebhookId(Uuid::from_u128(1)),
            owner: UserId(Uuid::from_u128(2)),
            url: "https://example.org/hook".to_owned(),
            description: None,
            events: Vec::new(),
            markets: Vec::new(),
            state: WebhookState::Enabled,
            secret_number: 0,
            overlap_until: None,
            failing_since: None,
            created_at: now(),
            updated_at: now(),
            version: 1,
        }
    }

    fn delivery() -> Delivery {
        let id = DeliveryId(Uuid::from_u128(3));
        Delivery::new(id, WebhookId(Uuid::from_u128(1)), "trade.executed".to_owned(), "CANARY".to_owned(), now())
    }

    fn answered(status: u16, retry_after: Option<i64>) -> Called {
        let retry_after = retry_after.map(SignedDuration::from_secs);
        Ok(CallAnswer { status, retry_after, body: "so".to_owned(), took: Duration::from_millis(12) })
    }

    #[test]
    fn a_webhook_is_told_of_the_kinds_and_markets_that_it_names() {
        let market = MarketId(Uuid::from_u128(9));
        assert!(webhook().wants("trade.executed", Some(market)) && webhook().wants("transfer.executed", None));
        assert!(!webhook().wants("book.changed", Some(market)), "only by name");
        let named = Webhook { events: vec!["book.changed".to_owned()], markets: vec![market], ..webhook() };
        assert!(named.wants("book.changed", Some(market)) && !named.wants("trade.executed", Some(market)));
        assert!(!named.wants("book.changed", None) && !named.wants("book.changed", Some(MarketId(Uuid::nil()))));
        assert!(!Webhook { state: WebhookState::Gone, ..webhook() }.wants("trade.executed", None));
    }

    /// Threat 52.
    #[test]
    fn the_secret_before_signs_besides_the_new_one_for_a_day() {
        let mut rotated = webhook();
        assert_eq!(rotated.signing_numbers(now()), [0]);
        rotated.rotate(now());
        assert_eq!((rotated.signing_numbers(now()), rotated.version), (vec![1, 0], 2));
        assert_eq!(rotated.overlaps_until(now()), Some(now() + OVERLAP));
        assert_eq!(rotated.overlaps_until(now() + OVERLAP), None);
        assert_eq!(rotated.signing_numbers(now() + OVERLAP), [1]);
    }

    /// Threat 54.
    #[test]
    fn what_is_not_taken_is_tried_again_for_five_days_with_growing_pauses_and_one_id() {
        let mut message = delivery();
        let (id, mut at, mut longest) = (message.message_id(), now(), SignedDuration::ZERO);
        while message.state == DeliveryState::Pending {
            message.note(&answered(500, None), at, 255);
            longest = longest.max(message.next_at.duration_since(at));
            at = at.max(message.next_at);
            assert!(message.attempts < 100 && message.message_id() == id);
        }
        assert_eq!(message.state, DeliveryState::Failed);
        assert!(at.duration_since(now()) > PATIENCE - LONGEST_PAUSE && longest == LONGEST_PAUSE, "{at} {longest}");
        assert!(message.attempts > 20, "{}", message.attempts);
        message.send_again(at);
        assert_eq!((message.state, message.attempts, message.message_id()), (DeliveryState::Pending, 0, id));
        message.note(&answered(204, None), at, 0);
        let last = message.last.clone().unwrap();
        assert_eq!((message.state, last.status, last.took_ms), (DeliveryState::Delivered, Some(204), 12));
        assert!(!format!("{message:?}").contains("CANARY"));
    }

    #[test]
    fn a_receiver_says_when_it_wants_it_again() {
        let mut message = delivery();
        message.note(&answered(429, Some(3600)), now(), 0);
        assert_eq!(message.next_at, now() + SignedDuration::from_hours(1));
        message.note(&Err(CallError::LeftAlone(SignedDuration::from_secs(77))), now(), 0);
        assert_eq!(message.next_at, now() + SignedDuration::from_secs(77));
        message.note(&answered(302, None), now(), 0);
        assert_eq!(message.state, DeliveryState::Pending, "a redirect is a failure");
        message.note(&answered(410, None), now(), 0);
        assert_eq!(message.state, DeliveryState::Failed);
    }

    /// Threat 54.
    #[test]
    fn a_webhook_that_takes_nothing_for_five_days_or_is_gone_is_disabled_once() {
        let mut failing = webhook();
        assert!(!failing.note(DeliveryState::Pending, Some(500), now()));
        assert!(!failing.note(DeliveryState::Pending, None, now() + PATIENCE - SignedDuration::from_secs(1)));
        assert!(failing.note(DeliveryState::Pending, None, now() + PATIENCE));
        assert_eq!(failing.state, WebhookState::Failing);
        assert!(!failing.note(DeliveryState::Pending, None, now() + PATIENCE), "told once");
        let mut recovering = webhook();
        recovering.note(DeliveryState::Pending, None, now());
        recovering.note(DeliveryState::Delivered, Some(200), now());
        assert!(!recovering.note(DeliveryState::Pending, None, now() + PATIENCE));
        let mut gone = webhook();
        assert!(gone.note(DeliveryState::Failed, Some(410), now()) && gone.state == WebhookState::Gone);
    }
}
