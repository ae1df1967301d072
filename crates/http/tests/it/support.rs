//! An application over mocked ports.

use std::sync::Arc;

use actix_web::dev::ServiceResponse;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use bellwether_domain::audit_log::Origin;
use bellwether_domain::ids::{FreshIds, MarketId, SessionId, UserId};
use bellwether_domain::market::{FeeRecipient, Market, MarketStatus, Outcome};
use bellwether_domain::money::{Credits, FeeRate};
use bellwether_domain::ports::{
    AccessClaims, InvalidToken, Lookup, MockCache, MockCaller, MockClock, MockCommonPasswords, MockIdSource, MockJobs,
    MockOpaqueTokens, MockOutbox, MockPasswordHasher, MockQueries, MockRateLimiter, MockSealer, MockStore,
    MockTokenSigner, MockWebhookLog, MockWebhookSigner, PublicKey, SessionOfUser, Standing,
};
use bellwether_domain::session::{Device, Lifetime, Session};
use bellwether_domain::text::{DisplayName, Email, Slug};
use bellwether_domain::user::{Role, User, UserStatus};
use bellwether_http::{App, HttpOptions, service};
use bellwether_usecases::api_keys::KeyMemory;
use bellwether_usecases::candles::CandleMemory;
use bellwether_usecases::events::EventBell;
use bellwether_usecases::jobs::JobBell;
use bellwether_usecases::limits::Limiter;
use bellwether_usecases::sessions::SessionMemory;
use bellwether_usecases::trading::Trading;
use bellwether_usecases::webhooks::WebhookPorts;
use bellwether_usecases::{Context, Policy};
use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::Runtime;
use uuid::Uuid;

pub(crate) const USER: UserId = UserId(Uuid::from_u128(0x0193_a5e0_0000_7000_8000_0000_0000_00aa));
pub(crate) const MARKET: MarketId = MarketId(Uuid::from_u128(0x0193_a5e0_0000_7000_8000_0000_0000_00bb));
pub(crate) const FRESH: Uuid = Uuid::from_u128(0x0193_a5e0_0000_7000_8000_0000_0000_00ff);
/// The token that the mocked signer accepts.
pub(crate) const TOKEN: &str = "Bearer good";

/// The mocked ports that a test gives expectations to.
pub(crate) struct Ports {
    pub(crate) store: MockStore,
    pub(crate) queries: MockQueries,
    pub(crate) jobs: MockJobs,
    pub(crate) cache: MockCache,
    pub(crate) options: HttpOptions,
    /// How many requests are allowed.
    pub(crate) limit: u32,
    runtime: Runtime,
}

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// The fields that the details name.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let details = self.body["error"]["details"].as_array().map(Vec::as_slice).unwrap_or_default();
        details.iter().filter_map(|detail| detail["field"].as_str()).collect()
    }
}

impl Ports {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (store, queries, options) = (MockStore::new(), MockQueries::new(), HttpOptions::default());
        Self { store, queries, jobs: MockJobs::new(), cache: forgetful(), options, limit: 1000, runtime }
    }

    /// Lets the user with that role be found, and its session.
    pub(crate) fn with_user(mut self, role: Role) -> Self {
        self.queries.expect_user().returning(move |id| Ok((id == USER).then(|| user(role))));
        self.with_session(role, UserStatus::Active)
    }

    /// Lets the session of the accepted token be found.
    pub(crate) fn with_session(mut self, role: Role, status: UserStatus) -> Self {
        self.queries.expect_session().returning(move |id| Ok(Some(session(id, role, status))));
        self
    }

    /// The application, and the runtime that must outlive it.
    pub(crate) fn into_app(self) -> (App, Runtime) {
        let mut clock = MockClock::new();
        clock.expect_now().return_const(Timestamp::UNIX_EPOCH);
        let mut ids = MockIdSource::new();
        ids.expect_fresh().returning(|| FreshIds::starting_at(FRESH));
        let mut signer = MockTokenSigner::new();
        signer.expect_verify().returning(|token, _| {
            let session = SessionId(FRESH);
            let claims = AccessClaims { id: FRESH, user: USER, role: Role::User, session, expires_at: Timestamp::MAX };
            if token == "good" { Ok(claims) } else { Err(InvalidToken) }
        });
        let key = PublicKey { id: "a-key".to_owned(), bytes: [1; 32] };
        signer.expect_public_keys().return_const(vec![key]);
        let mut sealer = MockSealer::new();
        sealer.expect_seal().return_const([7; 32]);
        sealer.expect_is_sealed().returning(|_, code| code == [7; 32]);
        let (mut limiter, limit) = (MockRateLimiter::new(), self.limit);
        limiter.expect_take().returning(move |_, quota, _| Standing {
            is_allowed: limit > 0,
            remaining: limit.saturating_sub(1),
            frees_in: quota.window,
        });
        let mut jobs = self.jobs;
        jobs.expect_depth().returning(|_| Ok(Vec::new()));
        let ctx = Context {
            store: Arc::new(self.store),
            queries: Arc::new(self.queries),
            replicas: None,
            outbox: Arc::new(MockOutbox::new()),
            event_bell: EventBell::default(),
            cache: Arc::new(self.cache),
            clock: Arc::new(clock),
            ids: Arc::new(ids),
            hasher: Arc::new(MockPasswordHasher::new()),
            common_passwords: Arc::new(nothing_is_common()),
            signer: Arc::new(signer),
            opaque_tokens: Arc::new(MockOpaqueTokens::new()),
            mail_tokens: Arc::new(MockOpaqueTokens::new()),
            api_key_tokens: Arc::new(MockOpaqueTokens::new()),
            webhooks: WebhookPorts {
                log: Arc::new(MockWebhookLog::new()),
                signer: Arc::new(MockWebhookSigner::new()),
                caller: Arc::new(MockCaller::new()),
            },
            jobs: Arc::new(jobs),
            job_bell: JobBell::default(),
            meter: Arc::new(bellwether_domain::ports::Unmetered),
            limiter: Limiter::new(Arc::new(limiter)),
            session_memory: SessionMemory::default(),
            key_memory: KeyMemory::default(),
            candle_memory: CandleMemory::default(),
            policy: Policy::default(),
            origin: Origin::default(),
        };
        let trading = Trading::new(ctx.clone());
        let app = App::new(ctx, trading, Arc::new(sealer), self.runtime.handle().clone(), self.options);
        (app, self.runtime)
    }

    /// Sends one request.
    pub(crate) async fn answer(self, request: TestRequest) -> Answer {
        let (app, runtime) = self.into_app();
        let answer = send(&app, request).await;
        runtime.shutdown_background();
        answer
    }
}

/// A list without passwords.
fn nothing_is_common() -> MockCommonPasswords {
    let mut list = MockCommonPasswords::new();
    list.expect_contains().return_const(false);
    list
}

/// Sends a request to an application.
pub(crate) async fn send(app: &App, request: TestRequest) -> Answer {
    let service = init_service(service(app)).await;
    let response: ServiceResponse<_> = call_service(&service, request.to_request()).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = read_body(response).await;
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
    Answer { status, headers, body }
}

pub(crate) fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

/// A JSON request of the signed-in user.
pub(crate) fn post(path: &str, body: &'static str) -> TestRequest {
    TestRequest::post()
        .uri(path)
        .insert_header(("authorization", TOKEN))
        .insert_header(("content-type", "application/json"))
        .set_payload(body)
}

/// A session of the user that lasts.
pub(crate) fn session(id: SessionId, role: Role, status: UserStatus) -> SessionOfUser {
    let lifetime = Lifetime { from: Timestamp::UNIX_EPOCH, until: Timestamp::MAX };
    SessionOfUser { session: Session::begin(id, USER, Device::default(), lifetime), role, status }
}

pub(crate) fn user(role: Role) -> User {
    User {
        id: USER,
        email: Some(Email::parse("ann@example.org").unwrap()),
        display_name: DisplayName::parse("Ann").unwrap(),
        password_hash: None,
        role,
        status: UserStatus::Active,
        email_verified: false,
        owner: None,
        version: 3,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn market() -> Market {
    Market {
        id: MARKET,
        slug: Slug::parse("rain-tomorrow").unwrap(),
        question: "Rain <script>alert(1)</script>?".to_owned(),
        description: String::new(),
        category: None,
        tags: vec![],
        creator: USER,
        outcomes: ["YES", "NO"].map(|name| Outcome { name: name.to_owned(), last_price: None }).to_vec(),
        status: MarketStatus::Open,
        closes_at: Timestamp::from_second(2_000_000_000).unwrap(),
        fee_rate: FeeRate::ZERO,
        fee_recipient: FeeRecipient::House,
        maker: None,
        volume: Credits::ZERO,
        trade_count: 0,
        sequence: 5,
        proposal: None,
        resolution: None,
        settled_at: None,
        version: 2,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

/// A cache that remembers nothing.
fn forgetful() -> MockCache {
    let mut cache = MockCache::new();
    cache.expect_get().returning(|_| Lookup::Miss(None));
    cache.expect_invalidate().returning(|_| Ok(()));
    cache
}
