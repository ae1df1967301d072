//! Users, their roles and their status.

use jiff::Timestamp;

use crate::ids::UserId;
use crate::text::{DisplayName, Email};

/// What a user may do: see [`crate::permissions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads and writes its own.
    User,
    /// May also halt, close and resolve markets, and delete others' markets.
    Moderator,
    /// Everything.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::User, Self::Moderator, Self::Admin];

    /// The role as it stands in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Moderator => "moderator",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == name)
    }
}

/// Whether a user may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserStatus {
    /// May act.
    Active,
    /// Kept from acting by an administrator.
    Suspended,
    /// Deleted: anonymised, kept only for the ledger's sake. Final.
    Deactivated,
}

impl UserStatus {
    /// All statuses.
    pub const ALL: [Self; 3] = [Self::Active, Self::Suspended, Self::Deactivated];

    /// The status as it stands in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// A person or a bot that trades.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id; its cash account has the same.
    pub id: UserId,
    /// The address to sign in with; none once deactivated.
    pub email: Option<Email>,
    /// The name that others see.
    pub display_name: DisplayName,
    /// The password's bcrypt hash; none once deactivated.
    pub password_hash: Option<PasswordHash>,
    /// What it may do.
    pub role: Role,
    /// Whether it may act.
    pub status: UserStatus,
    /// Whether the address was shown to be its own.
    pub email_verified: bool,
    /// Whose bot it is. A bot has neither address nor password, so it cannot sign in: it acts by API keys
    /// alone, which its owner makes.
    pub owner: Option<UserId>,
    /// Goes up by one with each change.
    pub version: i64,
    /// When it signed up.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The most bots of a user that were not deleted.
pub const MOST_BOTS: usize = 10;

impl User {
    /// A new bot.
    #[must_use]
    pub const fn bot(id: UserId, owner: UserId, display_name: DisplayName, now: Timestamp) -> Self {
        Self {
            id,
            email: None,
            display_name,
            password_hash: None,
            role: Role::User,
            status: UserStatus::Active,
            email_verified: false,
            owner: Some(owner),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether it is `user`, or a bot of that user.
    #[must_use]
    pub fn belongs_to(&self, user: UserId) -> bool {
        self.id == user || self.owner == Some(user)
    }

    /// Deletes the user in place: nothing of the person stays, the ledger's rows do.
    pub fn deactivate(&mut self, now: Timestamp) {
        self.email = None;
        self.display_name = DisplayName::deleted();
        self.password_hash = None;
        self.role = Role::User;
        self.status = UserStatus::Deactivated;
        self.email_verified = false;
        self.touch(now);
    }

    /// Counts a change.
    pub fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.updated_at = now;
    }
}

/// A password's hash in its algorithm's own format. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a hash as the hasher or the store gave it.
    #[must_use]
    pub const fn new(hash: String) -> Self {
        Self(hash)
    }

    /// The hash, for the verifier and the store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}
