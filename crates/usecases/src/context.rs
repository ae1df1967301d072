//! What every use case works with: the ports, the house's rules, and who is asking.

use std::sync::Arc;

use bellwether_domain::api_key::Scopes;
use bellwether_domain::audit_log::Origin;
use bellwether_domain::ids::{ApiKeyId, UserId};
use bellwether_domain::money::Credits;
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{
    Cache, Clock, CommonPasswords, IdSource, Jobs, Meter, OpaqueTokens, Outbox, PasswordHasher, Queries, Replicas,
    Store, TokenSigner,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::Role;
use jiff::SignedDuration;

use crate::api_keys::KeyMemory;
use crate::candles::CandleMemory;
use crate::events::EventBell;
use crate::jobs::JobBell;
use crate::limits::{Limiter, Limits};
use crate::live::StreamLimits;
use crate::markets::Independence;
use crate::sessions::SessionMemory;
use crate::webhooks::WebhookPorts;

/// The ports and the house's rules.
#[derive(Clone)]
pub struct Context {
    /// Units of work.
    pub store: Arc<dyn Store>,
    /// Reads.
    pub queries: Arc<dyn Queries>,
    /// Copies of the store for reads that may lag, if there are some.
    pub replicas: Option<Arc<dyn Replicas>>,
    /// What happened.
    pub outbox: Arc<dyn Outbox>,
    /// Wakes who follows what happens.
    pub event_bell: EventBell,
    /// Answers that are the same for everybody. The store must be one whose commits end what they make stale:
    /// [`InvalidatingStore`](crate::caching::InvalidatingStore).
    pub cache: Arc<dyn Cache>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
    /// Passwords.
    pub hasher: Arc<dyn PasswordHasher>,
    /// Passwords that nobody may set.
    pub common_passwords: Arc<dyn CommonPasswords>,
    /// Access tokens.
    pub signer: Arc<dyn TokenSigner>,
    /// Refresh tokens.
    pub opaque_tokens: Arc<dyn OpaqueTokens>,
    /// Tokens in mails.
    pub mail_tokens: Arc<dyn OpaqueTokens>,
    /// API keys.
    pub api_key_tokens: Arc<dyn OpaqueTokens>,
    /// Webhooks.
    pub webhooks: WebhookPorts,
    /// The queue of jobs.
    pub jobs: Arc<dyn Jobs>,
    /// Wakes who does jobs.
    pub job_bell: JobBell,
    /// Is told what goes on.
    pub meter: Arc<dyn Meter>,
    /// How often what was done.
    pub limiter: Limiter,
    /// What this process remembers of sessions.
    pub session_memory: SessionMemory,
    /// What this process remembers of API keys.
    pub key_memory: KeyMemory,
    /// What this process remembers of candles.
    pub candle_memory: CandleMemory,
    /// The house's rules.
    pub policy: Policy,
    /// From where the request at hand comes, for the audit log; nothing where nobody asked.
    pub origin: Origin,
}

impl Context {
    /// Reads for lists and sums that decide nothing and are not put into a cache: see [`Replicas`].
    #[must_use]
    pub fn lists_of(&self, reader: Option<UserId>) -> Arc<dyn Queries> {
        self.replicas.as_ref().map_or_else(|| Arc::clone(&self.queries), |replicas| replicas.queries_of(reader))
    }
}

/// The house's rules: configuration that decisions depend on.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What a new user gets from the treasury, in mills; zero for nothing.
    pub signup_grant: Credits,
    /// How long a unit of work may take at most, until what it wrote can be seen.
    pub longest_unit: SignedDuration,
    /// How long a proposed outcome may be challenged; zero decides at once.
    pub challenge_window: SignedDuration,
    /// Who may not decide markets.
    pub independence: Independence,
    /// The most open orders that a user may have in one market.
    pub max_open_orders: u32,
    /// The most fills that one command may make.
    pub max_fills: u32,
    /// The most commands that share one unit of work, unless one request alone has more.
    pub group_limit: usize,
    /// How many groups of commands may run at a time, each in a unit of work of its own: more than one
    /// only on a store that can have several.
    pub groups_at_once: usize,
    /// How long an access token is valid.
    pub access_token_ttl: SignedDuration,
    /// How long a refresh token is good, and a session that is not refreshed with it.
    pub refresh_token_ttl: SignedDuration,
    /// The most sessions of a user, 1 to 100; the one not seen for longest ends when there is one more.
    pub max_sessions: usize,
    /// Whether nobody is told that an address has an account: a sign-up with one is answered as any
    /// other, and an account cannot be signed in to before its address was verified.
    pub conceal_existing_accounts: bool,
    /// How often what may be done.
    pub limits: Limits,
    /// How long answers are kept for idempotency keys.
    pub answers_kept: SignedDuration,
    /// How long events are kept.
    pub events_kept: SignedDuration,
    /// How many live streams there may be.
    pub streams: StreamLimits,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            signup_grant: Credits::from_mills(1_000_000),
            longest_unit: SignedDuration::from_secs(30),
            challenge_window: SignedDuration::ZERO,
            independence: Independence::default(),
            max_open_orders: 200,
            max_fills: 5_000,
            group_limit: 64,
            groups_at_once: 1,
            access_token_ttl: SignedDuration::from_mins(15),
            refresh_token_ttl: SignedDuration::from_hours(7 * 24),
            max_sessions: 50,
            conceal_existing_accounts: false,
            limits: Limits::default(),
            answers_kept: SignedDuration::from_hours(24),
            events_kept: SignedDuration::from_hours(7 * 24),
            streams: StreamLimits::default(),
        }
    }
}

/// Who is asking: an active user, with the role that it has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// What it may do.
    pub role: Role,
    /// The API key that speaks for it; none for a signed-in session.
    pub key: Option<CallerKey>,
}

/// An API key that speaks for its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerKey {
    /// The key.
    pub id: ApiKeyId,
    /// Whose the user is, where that is a bot.
    pub owner: Option<UserId>,
    /// For what it is good.
    pub scopes: Scopes,
    /// Whether it has limits, which are then looked at where it trades or pays.
    pub is_limited: bool,
}

impl Caller {
    /// A user who is signed in.
    #[must_use]
    pub const fn signed_in(user: UserId, role: Role) -> Self {
        Self { user, role, key: None }
    }

    /// The person for whom it acts: a bot's owner, else the user itself.
    #[must_use]
    pub fn person(self) -> UserId {
        self.key.and_then(|key| key.owner).unwrap_or(self.user)
    }

    /// Whether it has the permission, given whether the thing is its own.
    #[must_use]
    pub fn may(self, permission: Permission, is_own: bool) -> bool {
        self.require(permission, is_own).is_ok()
    }

    /// Refuses where [`may`](Self::may) says no: for want of the scope, or of the permission.
    pub fn require(self, permission: Permission, is_own: bool) -> Result<(), Refusal> {
        let scope = permission.row().scope;
        match self.key {
            Some(key) if !scope.is_some_and(|scope| key.scopes.contains(scope)) => Err(Refusal::OutOfScope(scope)),
            _ => permission.require(self.role, is_own),
        }
    }

    /// The API key whose limits count, if it has any.
    #[must_use]
    pub fn limited_key(self) -> Option<ApiKeyId> {
        self.key.filter(|key| key.is_limited).map(|key| key.id)
    }
}
