//! Time, fresh ids, passwords and tokens.

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;
use uuid::Uuid;

use crate::ids::{FreshIds, SessionId, UserId};
use crate::user::{PasswordHash, Role};

/// The time.
#[cfg_attr(feature = "test-support", mockall::automock)]
pub trait Clock: Send + Sync {
    /// Now, in whole microseconds, since no store keeps more. May step back.
    fn now(&self) -> Timestamp;
}

/// The source of fresh ids.
#[cfg_attr(feature = "test-support", mockall::automock)]
pub trait IdSource: Send + Sync {
    /// A run of ids that nobody has had: UUIDv7 of now, whose order never goes back even where the clock does.
    fn fresh(&self) -> FreshIds;
}

/// Why a password was not hashed or checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// Over 72 bytes, which is all that bcrypt reads.
    #[error("the password is longer than 72 bytes")]
    TooLong,
    /// Contains U+0000, where bcrypt stops reading.
    #[error("the password contains a NUL character")]
    ContainsNul,
    /// Too many are being hashed; try again later.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The hasher failed.
    #[error("the password could not be processed")]
    Failed,
}

/// Hashes passwords, slowly and on purpose, within a bounded number of threads.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// Hashes a password of up to 72 bytes without NUL, unaltered and never truncated.
    async fn hash(&self, password: &str) -> Result<PasswordHash, PasswordError>;
    /// Whether the password is the hash's. To say no takes as long as it does for the most costly hash
    /// that this process has seen or would make, whatever this one cost, and without a hash too.
    async fn verify<'a>(&self, password: &str, hash: Option<&'a PasswordHash>) -> Result<bool, PasswordError>;
    /// Whether the hash cost less than one that would be made now.
    fn is_outdated(&self, hash: &PasswordHash) -> bool;
}

/// Passwords that are tried first by whoever guesses.
#[cfg_attr(feature = "test-support", mockall::automock)]
pub trait CommonPasswords: Send + Sync {
    /// Whether it is one of them, given as [`fold`](crate::text::fold) folds it.
    fn contains(&self, folded: &str) -> bool;
}

/// Who an access token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessClaims {
    /// The token's own id.
    pub id: Uuid,
    /// The user.
    pub user: UserId,
    /// The role when it was signed.
    pub role: Role,
    /// The session that it belongs to.
    pub session: SessionId,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

/// A token is not valid: forged, expired, not for us, or no token at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the access token is not valid")]
pub struct InvalidToken;

/// A key by which anybody can check who signed an access token: Ed25519.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// What tokens call it.
    pub id: String,
    /// The key.
    pub bytes: [u8; 32],
}

/// Signs and verifies access tokens.
#[cfg_attr(feature = "test-support", mockall::automock)]
pub trait TokenSigner: Send + Sync {
    /// Signs a token that is valid from `now` until the claims expire.
    fn sign(&self, claims: &AccessClaims, now: Timestamp) -> Result<String, InvalidToken>;
    /// Verifies a token at `now`: algorithm, key, signature, issuer, audience, type, times. Whether
    /// its session lasts is another question.
    fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, InvalidToken>;
    /// The keys that tokens are verified by at `now`, the newest first: two at most.
    fn public_keys(&self, now: Timestamp) -> Vec<PublicKey>;
}

/// A token that says nothing: 256 random bits as text. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct OpaqueToken(String);

impl OpaqueToken {
    /// Takes a token as it was drawn, or as a client sent it.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The token, for the client that it is given to.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpaqueToken(..)")
    }
}

/// There are no random numbers to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// Draws opaque tokens of one sort: those of sessions, or those in mails. Only hashes of them are kept.
#[cfg_attr(feature = "test-support", mockall::automock)]
pub trait OpaqueTokens: Send + Sync {
    /// A token that nobody can guess.
    fn draw(&self) -> Result<OpaqueToken, NoRandomness>;
    /// The token that follows another: always the same, and only this server can tell.
    fn successor(&self, token: &OpaqueToken) -> OpaqueToken;
    /// SHA-256 of a token, under which it is kept.
    fn hash(&self, token: &OpaqueToken) -> [u8; 32];
}

/// Seals what is given to clients and comes back, such as cursors.
#[cfg_attr(feature = "test-support", mockall::automock)]
pub trait Sealer: Send + Sync {
    /// The message's authentication code under a key of the server's.
    fn seal(&self, message: &[u8]) -> [u8; 32];
    /// Whether the code is the message's; in constant time.
    fn is_sealed(&self, message: &[u8], code: &[u8]) -> bool;
}
