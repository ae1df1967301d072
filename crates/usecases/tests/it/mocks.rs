//! A context of mocks, and rows to put into them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bellwether_domain::audit_log::Origin;
use bellwether_domain::ids::{AccountId, FreshIds, MarketId, SessionId, UserId};
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::market::{FeeRecipient, Market, MarketStatus, Outcome};
use bellwether_domain::money::{Credits, FeeRate};
use bellwether_domain::ports::*;
use bellwether_domain::session::{Device, Lifetime, Session};
use bellwether_domain::text::{DisplayName, Email, Slug};
use bellwether_domain::user::{PasswordHash, Role, User, UserStatus};
use bellwether_usecases::api_keys::KeyMemory;
use bellwether_usecases::candles::CandleMemory;
use bellwether_usecases::events::EventBell;
use bellwether_usecases::jobs::JobBell;
use bellwether_usecases::limits::Limiter;
use bellwether_usecases::sessions::SessionMemory;
use bellwether_usecases::webhooks::WebhookPorts;
use bellwether_usecases::{Context, Policy};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use uuid::Uuid;

pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A user id that is easy to tell apart.
pub fn user_id(n: u128) -> UserId {
    UserId(Uuid::from_u128(0x7000_8000_0000_0000_0100 + n))
}

pub fn market_id(n: u128) -> MarketId {
    MarketId(Uuid::from_u128(0x7000_8000_0000_0000_0200 + n))
}

/// How these users stand.
pub fn statuses(of: impl IntoIterator<Item = User>) -> Vec<(UserId, UserStatus)> {
    of.into_iter().map(|user| (user.id, user.status)).collect()
}

pub fn user(n: u128) -> User {
    User {
        id: user_id(n),
        email: Some(Email::parse(&format!("user{n}@example.org")).unwrap()),
        display_name: DisplayName::parse(&format!("User {n}")).unwrap(),
        password_hash: Some(PasswordHash::new(format!("hash of user {n}"))),
        role: Role::User,
        status: UserStatus::Active,
        email_verified: false,
        owner: None,
        version: 1,
        created_at: now(),
        updated_at: now(),
    }
}

pub fn account(n: u128, mills: i64) -> Account {
    let id = user_id(n);
    let mut account = Account::open(AccountId::of_user(id), Owner::User(id), now());
    account.balance = Credits::from_mills(mills);
    account
}

pub fn market(n: u128, status: MarketStatus) -> Market {
    let id = market_id(n);
    Market {
        id,
        slug: Slug::from_question("a market", &n.to_string()),
        question: "A market?".to_owned(),
        description: String::new(),
        category: None,
        tags: Vec::new(),
        creator: user_id(9),
        outcomes: ["YES", "NO"].map(|name| Outcome { name: name.to_owned(), last_price: None }).to_vec(),
        status,
        closes_at: now() + SignedDuration::from_hours(1),
        fee_rate: FeeRate::ZERO,
        fee_recipient: FeeRecipient::House,
        maker: None,
        volume: Credits::ZERO,
        trade_count: 0,
        sequence: 0,
        proposal: None,
        resolution: None,
        settled_at: None,
        version: 1,
        created_at: now(),
        updated_at: now(),
    }
}

/// A unit of work made of the mocks that a test sets up; those that are not set up may not be called.
#[derive(Default)]
pub struct Unit {
    pub users: MockUsers,
    pub accounts: MockAccounts,
    pub markets: MockMarkets,
    pub orders: MockOrders,
    pub positions: MockPositions,
    pub answers: MockAnswers,
    pub sessions: MockSessions,
    pub mail_tokens: MockMailTokens,
    pub failures: MockFailures,
    pub api_keys: MockApiKeys,
    pub webhooks: MockWebhooks,
    pub event_cursors: MockEventCursors,
    pub cancel_switches: MockCancelSwitches,
    pub jobs: MockJobControl,
    pub scores: MockScores,
    pub order_groups: MockOrderGroups,
    pub unit: MockUnitOfWork,
    /// Told when a commit that was decided is durable; none for both at once.
    pub durable: Option<Arc<Notify>>,
}

impl Unit {
    pub fn boxed(mut self) -> Box<dyn UnitOfWork> {
        let mut unit = self.unit;
        // Nobody has bots, unless a test says so.
        self.users.expect_lock_bots_of().returning(|_| Ok(Vec::new()));
        // Nor webhooks, nor API keys.
        self.webhooks.expect_of_user().returning(|_| Ok(Vec::new()));
        self.api_keys.expect_of_user().returning(|_| Ok(Vec::new()));
        unit.expect_users().return_var(Box::new(self.users) as Box<dyn Users>);
        unit.expect_accounts().return_var(Box::new(self.accounts) as Box<dyn Accounts>);
        unit.expect_markets().return_var(Box::new(self.markets) as Box<dyn Markets>);
        unit.expect_orders().return_var(Box::new(self.orders) as Box<dyn Orders>);
        unit.expect_positions().return_var(Box::new(self.positions) as Box<dyn Positions>);
        unit.expect_answers().return_var(Box::new(self.answers) as Box<dyn Answers>);
        unit.expect_sessions().return_var(Box::new(self.sessions) as Box<dyn Sessions>);
        unit.expect_api_keys().return_var(Box::new(self.api_keys) as Box<dyn ApiKeys>);
        unit.expect_webhooks().return_var(Box::new(self.webhooks) as Box<dyn Webhooks>);
        unit.expect_event_cursors().return_var(Box::new(self.event_cursors) as Box<dyn EventCursors>);
        unit.expect_jobs().return_var(Box::new(self.jobs) as Box<dyn JobControl>);
        unit.expect_cancel_switches().return_var(Box::new(self.cancel_switches) as Box<dyn CancelSwitches>);
        unit.expect_scores().return_var(Box::new(self.scores) as Box<dyn Scores>);
        unit.expect_order_groups().return_var(Box::new(self.order_groups) as Box<dyn OrderGroups>);
        unit.expect_mail_tokens().return_var(Box::new(self.mail_tokens) as Box<dyn MailTokens>);
        unit.expect_failures().return_var(Box::new(self.failures) as Box<dyn Failures>);
        Box::new(OneByOne(unit, self.durable))
    }

    /// Commits once.
    pub fn commits(mut self) -> Self {
        self.unit.expect_commit().times(1).returning(|| Ok(()));
        self
    }

    /// Is rolled back once, and never written.
    pub fn rolls_back(mut self) -> Self {
        self.unit.expect_rollback().times(1).returning(|| Ok(()));
        self
    }
}

/// A mock whose `load` asks its other mocks, as the trait itself does.
struct OneByOne(MockUnitOfWork, Option<Arc<Notify>>);

#[async_trait]
impl UnitOfWork for OneByOne {
    fn users(&mut self) -> &mut dyn Users {
        self.0.users()
    }
    fn accounts(&mut self) -> &mut dyn Accounts {
        self.0.accounts()
    }
    fn markets(&mut self) -> &mut dyn Markets {
        self.0.markets()
    }
    fn orders(&mut self) -> &mut dyn Orders {
        self.0.orders()
    }
    fn positions(&mut self) -> &mut dyn Positions {
        self.0.positions()
    }
    fn answers(&mut self) -> &mut dyn Answers {
        self.0.answers()
    }
    fn sessions(&mut self) -> &mut dyn Sessions {
        self.0.sessions()
    }
    fn mail_tokens(&mut self) -> &mut dyn MailTokens {
        self.0.mail_tokens()
    }
    fn failures(&mut self) -> &mut dyn Failures {
        self.0.failures()
    }
    fn api_keys(&mut self) -> &mut dyn ApiKeys {
        self.0.api_keys()
    }
    fn webhooks(&mut self) -> &mut dyn Webhooks {
        self.0.webhooks()
    }
    fn event_cursors(&mut self) -> &mut dyn EventCursors {
        self.0.event_cursors()
    }
    fn order_groups(&mut self) -> &mut dyn OrderGroups {
        self.0.order_groups()
    }
    fn jobs(&mut self) -> &mut dyn JobControl {
        self.0.jobs()
    }

    fn cancel_switches(&mut self) -> &mut dyn CancelSwitches {
        self.0.cancel_switches()
    }
    fn scores(&mut self) -> &mut dyn Scores {
        self.0.scores()
    }
    async fn write(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.0.write(changes).await
    }
    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        Box::new(self.0).commit().await
    }
    async fn commit_telling(self: Box<Self>, decided: Decided) -> Result<(), StoreError> {
        let committed = Box::new(self.0).commit().await;
        if committed.is_ok() {
            decided();
        }
        if let Some(durable) = self.1 {
            durable.notified().await;
        }
        committed
    }
    async fn rollback(self: Box<Self>) -> Result<(), StoreError> {
        Box::new(self.0).rollback().await
    }
}

/// A store that hands out what `make` makes, `times` times.
pub fn store(times: usize, make: impl Fn(u32) -> Unit + Send + Sync + 'static) -> MockStore {
    let mut store = MockStore::new();
    let count = AtomicU32::new(0);
    store.expect_begin().times(times).returning(move || Ok(make(count.fetch_add(1, Ordering::SeqCst)).boxed()));
    store
}

pub fn conflict() -> StoreError {
    StoreError::Conflict("deadlock".into())
}

/// Tokens that can be told apart: `token`, `token+`, `token++` and so on follow each other.
pub fn opaque_tokens() -> MockOpaqueTokens {
    let mut tokens = MockOpaqueTokens::new();
    tokens.expect_draw().returning(|| Ok(OpaqueToken::new("token".to_owned())));
    tokens.expect_successor().returning(|token| OpaqueToken::new(format!("{}+", token.expose())));
    tokens.expect_hash().returning(|token| hash_of(token.expose()));
    tokens
}

/// What stands for the hash of a token.
pub fn hash_of(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(token.bytes()).for_each(|(byte, letter)| *byte = letter);
    hash
}

/// A list without passwords.
pub fn nothing_is_common() -> MockCommonPasswords {
    let mut list = MockCommonPasswords::new();
    list.expect_contains().return_const(false);
    list
}

/// A session of a user, seen last at `now` less some seconds.
pub fn session(n: u128, of: u128, seconds_ago: i64) -> Session {
    let seen = now() - SignedDuration::from_secs(seconds_ago);
    let lifetime = Lifetime { from: seen, until: seen + SignedDuration::from_hours(168) };
    let id = SessionId(Uuid::from_u128(0x7000_8000_0000_0000_0300 + n));
    Session::begin(id, user_id(of), Device::default(), lifetime)
}

/// A limiter that counts, at a time that stands still.
#[derive(Default)]
pub struct Counting(Mutex<HashMap<LimitKey, u32>>);

fn standing(used: u32, quota: Quota) -> Standing {
    let frees_in = if used > 0 { quota.window } else { SignedDuration::ZERO };
    Standing { is_allowed: used < quota.limit, remaining: quota.limit.saturating_sub(used), frees_in }
}

#[async_trait]
impl RateLimiter for Counting {
    async fn take(&self, key: LimitKey, quota: Quota, _: Timestamp) -> Standing {
        tokio::task::yield_now().await;
        let mut counts = self.0.lock().unwrap();
        let used = counts.entry(key).or_default();
        let before = standing(*used, quota);
        *used += u32::from(before.is_allowed);
        Standing { is_allowed: before.is_allowed, ..standing(*used, quota) }
    }
    async fn look(&self, key: LimitKey, quota: Quota, _: Timestamp) -> Standing {
        standing(self.0.lock().unwrap().get(&key).copied().unwrap_or_default(), quota)
    }
    async fn give_back(&self, key: LimitKey, _: Quota, _: Timestamp) {
        *self.0.lock().unwrap().get_mut(&key).unwrap() -= 1;
    }
    async fn forget(&self, key: LimitKey) {
        self.0.lock().unwrap().remove(&key);
    }
}

/// A context on that store; every other port is a mock without expectations but the clock, the ids and the opaque tokens.
pub fn context(store: MockStore) -> Context {
    context_with(store, MockQueries::new(), MockPasswordHasher::new(), MockTokenSigner::new())
}

pub fn context_with(
    store: MockStore,
    queries: MockQueries,
    hasher: MockPasswordHasher,
    signer: MockTokenSigner,
) -> Context {
    let mut clock = MockClock::new();
    clock.expect_now().returning(now);
    let mut ids = MockIdSource::new();
    let seed = AtomicU64::new(1);
    ids.expect_fresh().returning(move || FreshIds::seeded(now(), seed.fetch_add(1, Ordering::SeqCst)));
    Context {
        store: Arc::new(store),
        queries: Arc::new(queries),
        replicas: None,
        outbox: Arc::new(MockOutbox::new()),
        event_bell: EventBell::default(),
        cache: Arc::new(forgetful()),
        clock: Arc::new(clock),
        ids: Arc::new(ids),
        hasher: Arc::new(hasher),
        common_passwords: Arc::new(nothing_is_common()),
        signer: Arc::new(signer),
        opaque_tokens: Arc::new(opaque_tokens()),
        mail_tokens: Arc::new(opaque_tokens()),
        api_key_tokens: Arc::new(opaque_tokens()),
        webhooks: no_webhooks(),
        jobs: Arc::new(MockJobs::new()),
        job_bell: JobBell::default(),
        meter: Arc::new(Unmetered),
        limiter: Limiter::new(Arc::new(Counting::default())),
        session_memory: SessionMemory::default(),
        key_memory: KeyMemory::default(),
        candle_memory: CandleMemory::default(),
        policy: Policy::default(),
        origin: Origin::default(),
    }
}

/// Ports of webhooks that nobody uses.
pub fn no_webhooks() -> WebhookPorts {
    WebhookPorts {
        log: Arc::new(MockWebhookLog::new()),
        signer: Arc::new(MockWebhookSigner::new()),
        caller: Arc::new(MockCaller::new()),
    }
}

/// A store that lets others go on before it begins, as every real one does.
struct Yielding(MockStore);

#[async_trait::async_trait]
impl Store for Yielding {
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        tokio::task::yield_now().await;
        self.0.begin().await
    }
}

pub fn yielding(store: MockStore) -> Context {
    let mut ctx = context(MockStore::new());
    ctx.store = Arc::new(Yielding(store));
    ctx
}

/// A cache that remembers nothing.
fn forgetful() -> MockCache {
    let mut cache = MockCache::new();
    cache.expect_get().returning(|_| Lookup::Miss(None));
    cache.expect_invalidate().returning(|_| Ok(()));
    cache
}

/// Nothing is due but what a test has said before.
pub fn nothing_else_due(queries: &mut MockQueries) {
    queries.expect_markets_to_close().returning(|_, _| Ok(Vec::new()));
    queries.expect_orders_to_expire().returning(|_, _| Ok(Vec::new()));
    queries.expect_proposals_to_decide().returning(|_, _| Ok(Vec::new()));
    queries.expect_markets_to_pay().returning(|_| Ok(Vec::new()));
    queries.expect_closed_with_orders().returning(|_, _| Ok(Look { found: Vec::new(), next: None }));
    queries.expect_deactivated_with_orders().returning(|_, _| Ok(Look { found: Vec::new(), next: None }));
}
