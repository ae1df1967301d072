//! A server with nothing behind it: any request is answered with the same bytes. What reads are compared with by
//! `cargo xtask bench --reads`.
//!
//! Takes the address to listen on and the length of the body in bytes. That alone is the web server that Bellwether runs on.
//! With `enclosed` behind it there is around it what is around every request to Bellwether: its id, its line in the log, the
//! limit of requests, headers; and with the URL of a Redis behind that, requests are counted there.

use std::sync::Arc;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::ContentType;
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use bellwether_domain::audit_log::Origin;
use bellwether_domain::ports::{
    MockCache, MockCaller, MockCommonPasswords, MockJobs, MockOpaqueTokens, MockOutbox, MockPasswordHasher,
    MockQueries, MockSealer, MockStore, MockTokenSigner, MockWebhookLog, MockWebhookSigner, Quota, RateLimiter,
    Unmetered,
};
use bellwether_http::{HttpOptions, enclosed};
use bellwether_local::LocalLimiter;
use bellwether_redis::{LimiterClock, RedisLimiter, RedisLink, RedisOptions};
use bellwether_security::{SystemClock, UuidIds};
use bellwether_usecases::api_keys::KeyMemory;
use bellwether_usecases::candles::CandleMemory;
use bellwether_usecases::events::EventBell;
use bellwether_usecases::jobs::JobBell;
use bellwether_usecases::limits::{Limiter, Limits};
use bellwether_usecases::sessions::SessionMemory;
use bellwether_usecases::trading::Trading;
use bellwether_usecases::webhooks::WebhookPorts;
use bellwether_usecases::{Context, Policy};
use bytes::Bytes;
use jiff::SignedDuration;
use tokio::runtime::Handle;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, length, is_enclosed, redis) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [address, length] => (address, length, false, None),
        [address, length, "enclosed"] => (address, length, true, None),
        [address, length, "enclosed", redis] => (address, length, true, Some(redis)),
        _ => return Err(std::io::Error::other("say where to listen, how many bytes to answer with, and how")),
    };
    let length = length.parse().map_err(std::io::Error::other)?;
    let body = Bytes::from(vec![b' '; length]);
    if is_enclosed {
        tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false).with_writer(std::io::stderr).init();
        let app = app(limiter(redis)?);
        let service = move || {
            let body = body.clone();
            enclosed(&app, move |request: ServiceRequest| {
                std::future::ready(Ok::<_, Error>(request.into_response(answer(&body))))
            })
        };
        HttpServer::new(service).bind(address)?.run().await
    } else {
        let service = move || {
            let body = body.clone();
            App::new().default_service(web::to(move || std::future::ready(answer(&body))))
        };
        HttpServer::new(service).bind(address)?.run().await
    }
}

fn answer(body: &Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(body.clone())
}

/// As in the server: in this process, or in Redis.
fn limiter(redis: Option<&str>) -> std::io::Result<Arc<dyn RateLimiter>> {
    let local = Arc::new(LocalLimiter::new(100_000));
    let Some(url) = redis else { return Ok(local) };
    let options = RedisOptions::parse(url).map_err(std::io::Error::other)?;
    Ok(Arc::new(RedisLimiter::new(RedisLink::open(options), LimiterClock::Server, local)))
}

/// An application that has what is asked around a request, and else nothing.
fn app(limiter: Arc<dyn RateLimiter>) -> bellwether_http::App {
    let mut policy = Policy::default();
    policy.limits = Limits {
        public: policy.limits.public.with(Quota::new(1_000_000_000, SignedDuration::from_mins(1))),
        ..policy.limits
    };
    let ctx = Context {
        store: Arc::new(MockStore::new()),
        queries: Arc::new(MockQueries::new()),
        replicas: None,
        outbox: Arc::new(MockOutbox::new()),
        event_bell: EventBell::default(),
        cache: Arc::new(MockCache::new()),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UuidIds),
        hasher: Arc::new(MockPasswordHasher::new()),
        common_passwords: Arc::new(MockCommonPasswords::new()),
        signer: Arc::new(MockTokenSigner::new()),
        opaque_tokens: Arc::new(MockOpaqueTokens::new()),
        mail_tokens: Arc::new(MockOpaqueTokens::new()),
        api_key_tokens: Arc::new(MockOpaqueTokens::new()),
        webhooks: WebhookPorts {
            log: Arc::new(MockWebhookLog::new()),
            signer: Arc::new(MockWebhookSigner::new()),
            caller: Arc::new(MockCaller::new()),
        },
        jobs: Arc::new(MockJobs::new()),
        job_bell: JobBell::default(),
        limiter: Limiter::new(limiter),
        session_memory: SessionMemory::default(),
        key_memory: KeyMemory::default(),
        candle_memory: CandleMemory::default(),
        meter: Arc::new(Unmetered),
        policy,
        origin: Origin::default(),
    };
    let trading = Trading::new(ctx.clone());
    bellwether_http::App::new(ctx, trading, Arc::new(MockSealer::new()), Handle::current(), HttpOptions::default())
}
