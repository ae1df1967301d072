//! Who tokens speak for, remembered: a signature is checked once for each token, and a user is
//! looked up once a second.
//!
//! What is remembered lets a request in, and decides nothing about money: a unit of work reads for
//! itself who may act. A user who was changed by this process is forgotten at once; a change that
//! another process made is seen within [`USERS_KEPT`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bellwether_domain::ids::UserId;
use bellwether_domain::ports::AccessClaims;
use bellwether_usecases::{Caller, Error, users};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::faults::Fault;

/// The most tokens and the most users that are remembered; the least used are forgotten first.
const MOST: u64 = 50_000;
/// How long a token is remembered that nobody uses.
const TOKENS_KEPT: Duration = Duration::from_secs(15 * 60);
/// How long a user is remembered.
const USERS_KEPT: Duration = Duration::from_secs(1);

/// The memory.
pub(crate) struct Callers {
    /// By the SHA-256 of the token: the tokens themselves are not kept.
    tokens: Cache<[u8; 32], AccessClaims>,
    users: Cache<UserId, Caller>,
    /// How often users were forgotten.
    changes: AtomicU64,
}

impl Default for Callers {
    fn default() -> Self {
        Self {
            tokens: Cache::builder().max_capacity(MOST).time_to_idle(TOKENS_KEPT).build(),
            users: Cache::builder().max_capacity(MOST).time_to_live(USERS_KEPT).build(),
            changes: AtomicU64::new(0),
        }
    }
}

impl Callers {
    /// Whom a token speaks for: nobody where it is invalid or the user may no longer act.
    pub(crate) async fn of(&self, app: &App, token: &str) -> Result<Option<Caller>, Fault> {
        let Some(claims) = self.claims(app, token) else { return Ok(None) };
        if let Some(caller) = self.users.get(&claims.user) {
            return Ok(Some(caller));
        }
        let (ctx, before) = (app.ctx().clone(), self.changes.load(Ordering::SeqCst));
        let load = async move { users::caller_of(&ctx, claims.user).await };
        let caller = app.run::<_, Error, _>(load).await?;
        if let Some(caller) = caller {
            self.users.insert(claims.user, caller);
            // Whoever was changed between the look and now may have been forgotten before this.
            if self.changes.load(Ordering::SeqCst) != before {
                self.users.invalidate(&claims.user);
            }
        }
        Ok(caller)
    }

    /// Looks a user up anew at the next request. To be called after a change, whatever came of it.
    pub(crate) fn forget(&self, user: UserId) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.users.invalidate(&user);
    }

    /// What a token says, from memory for as long as it is valid.
    fn claims(&self, app: &App, token: &str) -> Option<AccessClaims> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let known = self.tokens.get(&hash).filter(|claims| claims.expires_at > app.ctx().clock.now());
        known.or_else(|| {
            let claims = users::claims_of(app.ctx(), token)?;
            self.tokens.insert(hash, claims);
            Some(claims)
        })
    }
}
