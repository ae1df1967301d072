//! The audit log: who did what to what, when and from where. It is only ever added to, and each entry
//! is chained to the one before it, so that an edit, a deletion or another order shows.
//!
//! Nothing in it can be taken back, so it holds no names, no e-mail addresses and no secrets: people
//! are told by their ids.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ids::{ApiKeyId, EventId, JobId, MarketId, SessionId, TransferId, UserId};
use crate::money::Overflow;
use crate::session::Device;

/// What the hash of every entry begins with, so that it is the hash of nothing else.
const DOMAIN: &[u8] = b"bellwether audit log 1\0";

macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident = $name:literal,)+) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[$doc])* $action,)+
        }

        impl Action {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$action,)+];

            /// The action as it stands in the database and the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$action => $name,)+
                }
            }
        }
    };
}

actions! {
    /// Somebody signed up.
    SignedUp = "user.signed_up",
    /// A user made a bot.
    BotMade = "bot.made",
    /// Somebody signed in.
    SignedIn = "user.signed_in",
    /// Somebody did not know a password. One entry may stand for many tries.
    SignInFailed = "user.sign_in_failed",
    /// A user, or an administrator, ended all sessions of a user.
    SessionsEnded = "user.sessions_ended",
    /// A user set another password, or was given one.
    PasswordChanged = "user.password_changed",
    /// A user named another e-mail address, or was given one.
    EmailChanged = "user.email_changed",
    /// A user showed by a mail that its address is its own.
    EmailVerified = "user.email_verified",
    /// Somebody else changed what a user shows.
    Edited = "user.edited",
    /// A user may do more or less than before.
    RoleChanged = "user.role_changed",
    /// A user was kept from acting.
    Suspended = "user.suspended",
    /// A user may act again.
    Reactivated = "user.reactivated",
    /// A user was deleted.
    Deactivated = "user.deactivated",
    /// A user signed out of a session.
    SignedOut = "session.signed_out",
    /// A user, or an administrator, ended a session from elsewhere.
    SessionRevoked = "session.revoked",
    /// A spent refresh token came again, which ended its session.
    SessionReused = "session.reused",
    /// A user made an API key.
    KeyMade = "key.made",
    /// A user, or an administrator, revoked an API key.
    KeyRevoked = "key.revoked",
    /// The treasury gave a user credits.
    GrantMade = "grant.made",
    /// Who moderates changed a market's texts or times.
    MarketEdited = "market.edited",
    /// Who moderates stopped a market's trading.
    MarketHalted = "market.halted",
    /// Who moderates let a market trade again.
    MarketReopened = "market.reopened",
    /// Who moderates ended a market's trading.
    MarketClosed = "market.closed",
    /// Who moderates named a market's outcome.
    MarketProposed = "market.proposed",
    /// Who moderates decided a market.
    MarketResolved = "market.resolved",
    /// Who moderates called a market off.
    MarketVoided = "market.voided",
    /// Who moderates deleted a market.
    MarketDeleted = "market.deleted",
    /// An administrator had a job begun.
    JobStarted = "job.started",
    /// An administrator had a job done now that waited or was given up.
    JobRetried = "job.retried",
    /// An administrator had a job forgotten.
    JobCancelled = "job.cancelled",
    /// The keys that sign access tokens were rotated.
    KeysRotated = "keys.rotated",
    /// Every invariant was checked.
    Audited = "invariants.checked",
}

impl Action {
    /// The action of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == name)
    }
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A user.
    User(UserId),
    /// Somebody who did not sign in.
    Stranger,
    /// Who runs the server, by its command line, or the server by itself.
    System,
}

impl Actor {
    /// The actor's kind as text: `user`, `stranger` or `system`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Stranger => "stranger",
            Self::System => "system",
        }
    }

    /// The user, where it was one.
    #[must_use]
    pub const fn user(self) -> Option<UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Stranger | Self::System => None,
        }
    }

    /// The actor of that kind and user; none where the two do not fit.
    #[must_use]
    pub fn of(kind: &str, user: Option<UserId>) -> Option<Self> {
        match (kind, user) {
            ("user", Some(user)) => Some(Self::User(user)),
            ("stranger", None) => Some(Self::Stranger),
            ("system", None) => Some(Self::System),
            _ => None,
        }
    }
}

/// To what it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A user.
    User(UserId),
    /// A session.
    Session(SessionId),
    /// A market.
    Market(MarketId),
    /// A transfer.
    Transfer(TransferId),
    /// An API key.
    ApiKey(ApiKeyId),
    /// A job.
    Job(JobId),
}

impl Target {
    /// The target's kind as text: `user`, `session`, `market`, `transfer`, `key` or `job`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Session(_) => "session",
            Self::Market(_) => "market",
            Self::Transfer(_) => "transfer",
            Self::ApiKey(_) => "key",
            Self::Job(_) => "job",
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(self) -> Uuid {
        match self {
            Self::User(UserId(id))
            | Self::Session(SessionId(id))
            | Self::Market(MarketId(id))
            | Self::Transfer(TransferId(id))
            | Self::ApiKey(ApiKeyId(id))
            | Self::Job(JobId(id)) => id,
        }
    }

    /// The target of that kind and id.
    #[must_use]
    pub fn of(kind: &str, id: Uuid) -> Option<Self> {
        match kind {
            "user" => Some(Self::User(UserId(id))),
            "session" => Some(Self::Session(SessionId(id))),
            "market" => Some(Self::Market(MarketId(id))),
            "transfer" => Some(Self::Transfer(TransferId(id))),
            "key" => Some(Self::ApiKey(ApiKeyId(id))),
            "job" => Some(Self::Job(JobId(id))),
            _ => None,
        }
    }
}

/// From where it was done, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client.
    pub device: Device,
    /// The id of the request, as the server's own log has it.
    pub request_id: Option<String>,
}

/// Something that happened. It becomes an [`Entry`] when it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// To what, if to anything that can be named.
    pub target: Option<Target>,
    /// From where.
    pub origin: Origin,
    /// What was before, as JSON text.
    pub before: Option<String>,
    /// What is now, or what else there is to know, as JSON text.
    pub after: Option<String>,
}

/// An event and its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place, from 1, without gaps.
    pub number: i64,
    /// What happened.
    pub event: Event,
    /// SHA-256 over the hash of the entry before it and everything above.
    pub hash: [u8; 32],
}

impl Entry {
    /// The hash that the entry must have after `previous`.
    #[must_use]
    pub fn expected_hash(&self, previous: &[u8; 32]) -> [u8; 32] {
        let Self { number, event, .. } = self;
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(previous);
        hash.update(number.to_be_bytes());
        hash.update(event.id.0.as_bytes());
        hash.update(event.at.as_microsecond().to_be_bytes());
        // Each text with its length before it, and a missing one told from an empty one: no two
        // different entries read alike.
        let mut add = |text: Option<&[u8]>| {
            hash.update([u8::from(text.is_some())]);
            let text = text.unwrap_or_default();
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        };
        add(Some(event.actor.kind().as_bytes()));
        add(event.actor.user().as_ref().map(|user| user.0.as_bytes().as_slice()));
        add(Some(event.action.as_str().as_bytes()));
        add(event.target.map(|target| target.kind().as_bytes()));
        add(event.target.map(Target::id).as_ref().map(|id| id.as_bytes().as_slice()));
        let Origin { device: Device { address, agent }, request_id } = &event.origin;
        for text in [address, agent, request_id, &event.before, &event.after] {
            add(text.as_ref().map(String::as_bytes));
        }
        hash.finalize().into()
    }
}

/// The end of the chain: how many entries there are, and the hash of the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// How many.
    pub entries: i64,
    /// The last one's hash; zeros before the first.
    pub hash: [u8; 32],
}

impl Head {
    /// The entry that an event becomes, which is the end of the chain from now on.
    pub fn append(&mut self, event: Event) -> Result<Entry, Overflow> {
        let number = self.entries.checked_add(1).ok_or(Overflow)?;
        let mut entry = Entry { number, event, hash: [0; 32] };
        entry.hash = entry.expected_hash(&self.hash);
        *self = Self { entries: number, hash: entry.hash };
        Ok(entry)
    }

    /// Goes on to an entry that was read, if it is the next one and whole.
    #[must_use]
    pub fn follow(&mut self, entry: &Entry) -> bool {
        let is_next = self.entries.checked_add(1) == Some(entry.number);
        let is_whole = entry.hash == entry.expected_hash(&self.hash);
        if is_next && is_whole {
            *self = Self { entries: entry.number, hash: entry.hash };
        }
        is_next && is_whole
    }
}

/// For how long failed sign-ins are counted together.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// Which failed sign-ins are counted together: those with one account from one place within one
/// [`WINDOW`]. Addresses that nobody has count as one account. So whoever guesses makes a few entries
/// of the log and not one with each guess.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FailureKey {
    /// The account that was tried, if there is one.
    pub user: Option<UserId>,
    /// From where: see [`place`]. Empty where that is not known.
    pub place: String,
    /// When the window began.
    pub since: Timestamp,
}

impl FailureKey {
    /// The key of a failure now.
    #[must_use]
    pub fn new(user: Option<UserId>, address: Option<&str>, now: Timestamp) -> Self {
        Self { user, place: address.map(place).unwrap_or_default(), since: window(now) }
    }

    /// The key under which everything is counted that is too much to be told apart.
    #[must_use]
    pub const fn of_the_rest(&self) -> Self {
        Self { user: None, place: String::new(), since: self.since }
    }
}

/// Failed sign-ins that were counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSignIns {
    /// Which.
    pub key: FailureKey,
    /// How many.
    pub count: i64,
    /// The last of them.
    pub last_at: Timestamp,
}

/// The beginning of the window that a moment is in.
#[must_use]
pub fn window(now: Timestamp) -> Timestamp {
    let length = WINDOW.as_secs();
    Timestamp::from_second(now.as_second().div_euclid(length).saturating_mul(length)).unwrap_or(now)
}

/// What addresses are counted as: an IPv4 address by itself, of an IPv6 address its /64, since whoever
/// has one has all of those. What is no address is itself.
#[must_use]
pub fn place(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Ok(address @ IpAddr::V4(_)) => address.to_string(),
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u128) -> Event {
        Event {
            id: EventId(Uuid::from_u128(number)),
            at: Timestamp::from_second(1_800_000_000).unwrap(),
            actor: Actor::User(UserId(Uuid::from_u128(7))),
            action: Action::Suspended,
            target: Some(Target::User(UserId(Uuid::from_u128(8)))),
            origin: Origin {
                device: Device { address: Some("192.0.2.1".to_owned()), agent: Some("a".to_owned()) },
                request_id: Some("r".to_owned()),
            },
            before: Some("{}".to_owned()),
            after: None,
        }
    }

    #[test]
    fn every_name_is_its_action_and_no_other() {
        for action in Action::ALL {
            assert_eq!(Action::from_name(action.as_str()), Some(*action));
        }
        assert_eq!(Action::from_name("user.flew"), None);
    }

    /// Threat 7: what the log tells cannot be changed afterwards.
    #[test]
    fn a_chain_breaks_at_any_edit_deletion_or_other_order() {
        let mut head = Head::default();
        let entries: Vec<Entry> = (1..=4).map(|n| head.append(event(n)).unwrap()).collect();
        let is_whole = |entries: &[Entry]| {
            let mut walk = Head::default();
            entries.iter().all(|entry| walk.follow(entry))
        };
        assert!(is_whole(&entries) && head.entries == 4 && head.hash == entries[3].hash);

        let edits: [fn(&mut Entry); 12] = [
            |e| e.event.id = EventId(Uuid::from_u128(99)),
            |e| e.event.at = Timestamp::from_microsecond(e.event.at.as_microsecond() + 1).unwrap(),
            |e| e.event.actor = Actor::System,
            |e| e.event.actor = Actor::User(UserId(Uuid::from_u128(9))),
            |e| e.event.action = Action::Reactivated,
            |e| e.event.target = None,
            |e| e.event.target = Some(Target::Market(MarketId(Uuid::from_u128(8)))),
            |e| e.event.origin.device.address = None,
            // The same letters, distributed otherwise.
            |e| (e.event.origin.device.agent, e.event.origin.request_id) = (Some("ar".to_owned()), Some(String::new())),
            |e| e.event.after = Some(String::new()),
            |e| e.number += 1,
            |e| e.hash[0] ^= 1,
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            let mut edited = entries.clone();
            edit(&mut edited[1]);
            assert!(!is_whole(&edited), "edit {number} does not show");
        }
        let mut deleted = entries.clone();
        deleted.remove(1);
        assert!(!is_whole(&deleted));
        let mut swapped = entries;
        swapped.swap(1, 2);
        assert!(!is_whole(&swapped));
    }

    #[test]
    fn failures_are_counted_by_window_and_place() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(window(at(7_199)), at(3_600));
        assert_eq!(window(at(-1)), at(-3_600));
        for (address, counted_as) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("unix", "unix"),
        ] {
            assert_eq!(place(address), counted_as);
        }
        let key = FailureKey::new(None, None, at(3_601));
        assert_eq!(key, FailureKey { user: None, place: String::new(), since: at(3_600) });
        assert_eq!(FailureKey::new(Some(UserId(Uuid::nil())), Some("x"), at(3_601)).of_the_rest(), key);
    }
}
