//! Signed-in sessions. A session is a family of refresh tokens: each is used once and gives the next
//! (RFC 9700). One that is used again was stolen, or its owner was robbed: the whole family ends.
//!
//! Tokens in clear are not here: see [`OpaqueToken`](crate::ports::OpaqueToken).

use jiff::{SignedDuration, Timestamp};

use crate::ids::{SessionId, UserId};

/// For how long a client that lost the answer may use a spent token once more. It gets the same successor.
pub const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// From where a session was used, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// The client's IP address.
    pub address: Option<String>,
    /// What the client calls itself, at most [`Device::LONGEST_AGENT`] characters.
    pub agent: Option<String>,
}

impl Device {
    /// The most characters that are kept of a client's name.
    pub const LONGEST_AGENT: usize = 200;
}

/// Why a session ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its user signed out.
    LoggedOut,
    /// Its user, or an administrator, ended it from elsewhere.
    Revoked,
    /// A refresh token of it was used twice.
    Replayed,
    /// Its user's password, role or status changed.
    UserChanged,
    /// Its user signed in too often; it was the one not seen for longest.
    TooMany,
}

impl EndReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::LoggedOut, Self::Revoked, Self::Replayed, Self::UserChanged, Self::TooMany];

    /// The reason as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::Revoked => "revoked",
            Self::Replayed => "replayed",
            Self::UserChanged => "user_changed",
            Self::TooMany => "too_many",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == name)
    }
}

/// That and why a session ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionEnd {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: EndReason,
}

/// A signed-in session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id; access tokens carry it.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When its user signed in.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub last_seen_at: Timestamp,
    /// When its newest refresh token expires, and the session with it.
    pub expires_at: Timestamp,
    /// From where it was last refreshed.
    pub device: Device,
    /// Its end, if that came before its time. Final.
    pub end: Option<SessionEnd>,
}

impl Session {
    /// A session that begins now.
    #[must_use]
    pub const fn begin(id: SessionId, user: UserId, device: Device, ttl: Lifetime) -> Self {
        let Lifetime { from, until } = ttl;
        Self { id, user, created_at: from, last_seen_at: from, expires_at: until, device, end: None }
    }

    /// Whether its tokens are good.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.end.is_none() && now < self.expires_at
    }

    /// Ends it. One that has ended stays as it ended.
    pub fn end(&mut self, reason: EndReason, now: Timestamp) {
        self.end.get_or_insert(SessionEnd { at: now, reason });
    }

    /// Notes a refresh.
    pub fn renew(&mut self, device: Device, ttl: Lifetime) {
        self.last_seen_at = ttl.from;
        self.expires_at = ttl.until;
        self.device = device;
    }
}

/// From when until when a refresh token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// The moment of issue.
    pub from: Timestamp,
    /// The moment from which it is no longer good.
    pub until: Timestamp,
}

/// What is kept of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// SHA-256 of the token, by which it is known.
    pub hash: [u8; 32],
    /// The session that it belongs to.
    pub session: SessionId,
    /// From when until when it is good.
    pub lifetime: Lifetime,
    /// When it was used. Once only.
    pub spent_at: Option<Timestamp>,
}

/// What it means that a refresh token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// It is used for the first time: it is spent, and its successor issued.
    First,
    /// The answer to its use was lost: the same successor is given again.
    Again,
    /// It was spent before: somebody has a copy.
    Replay,
    /// It is too old to mean anything.
    Expired,
}

impl RefreshToken {
    /// A token that was not used.
    #[must_use]
    pub const fn fresh(hash: [u8; 32], session: SessionId, lifetime: Lifetime) -> Self {
        Self { hash, session, lifetime, spent_at: None }
    }

    /// What it means that this token is presented now, given its successor where there is one. A
    /// successor that was used had arrived, so nobody lost an answer: then there is no grace.
    #[must_use]
    pub fn presented(&self, successor: Option<&Self>, now: Timestamp) -> Presented {
        if now >= self.lifetime.until {
            return Presented::Expired;
        }
        let Some(spent_at) = self.spent_at else { return Presented::First };
        let is_within_grace = now.duration_since(spent_at) < GRACE;
        let is_unused = successor.is_some_and(|next| next.session == self.session && next.spent_at.is_none());
        if is_within_grace && is_unused { Presented::Again } else { Presented::Replay }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn token(hash: u8, spent_at: Option<i64>) -> RefreshToken {
        let lifetime = Lifetime { from: at(0), until: at(100) };
        let fresh = RefreshToken::fresh([hash; 32], SessionId(Uuid::from_u128(1)), lifetime);
        RefreshToken { spent_at: spent_at.map(at), ..fresh }
    }

    /// Threats 7 and 8.
    #[test]
    fn a_spent_token_has_ten_seconds_of_grace_while_its_successor_is_unused() {
        let (unused, used) = (token(2, None), token(2, Some(21)));
        let elsewhere = RefreshToken { session: SessionId(Uuid::from_u128(2)), ..unused.clone() };
        for (spent_at, successor, now, expected) in [
            (None, None, 20, Presented::First),
            (None, None, 100, Presented::Expired),
            (Some(20), Some(&unused), 20, Presented::Again),
            (Some(20), Some(&unused), 29, Presented::Again),
            (Some(20), Some(&unused), 30, Presented::Replay),
            (Some(20), Some(&unused), 15, Presented::Again),
            (Some(20), Some(&used), 22, Presented::Replay),
            (Some(20), Some(&elsewhere), 22, Presented::Replay),
            (Some(20), None, 22, Presented::Replay),
            (Some(20), Some(&unused), 100, Presented::Expired),
        ] {
            let said = token(1, spent_at).presented(successor, at(now));
            assert_eq!(said, expected, "spent at {spent_at:?}, {successor:?}, now {now}");
        }
    }

    #[test]
    fn a_session_ends_once_or_by_itself() {
        let lifetime = Lifetime { from: at(0), until: at(100) };
        let (id, user) = (SessionId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let mut session = Session::begin(id, user, Device::default(), lifetime);
        assert!(session.is_live(at(99)) && !session.is_live(at(100)));
        session.renew(Device::default(), Lifetime { from: at(50), until: at(150) });
        assert!(session.is_live(at(149)) && session.last_seen_at == at(50) && session.created_at == at(0));
        session.end(EndReason::LoggedOut, at(60));
        session.end(EndReason::Replayed, at(70));
        assert_eq!(session.end, Some(SessionEnd { at: at(60), reason: EndReason::LoggedOut }));
        assert!(!session.is_live(at(60)));
    }
}
