//! What handlers share: the use cases, the house's options, and the bounds on what runs at once.

use std::collections::HashSet;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellwether_domain::ports::{AnswerKey, Auxiliary, Sealer};
use bellwether_usecases::Context;
use bellwether_usecases::live::Live;
use bellwether_usecases::switches::Holds;
use bellwether_usecases::trading::Trading;
use bellwether_usecases::transfers::Payments;
use tokio::runtime::Handle;
use tracing::Instrument as _;

use crate::client::Proxies;
use crate::faults::Fault;
use crate::health::Findings;
use crate::metrics::RequestMeter;
use crate::remembered::Loads;

/// How the HTTP server behaves.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Threads that speak HTTP; none for one a core.
    pub workers: Option<NonZeroUsize>,
    /// The most connections of one worker.
    pub max_connections: usize,
    /// The most requests that are worked on at once, over all workers; more get 503.
    pub max_in_flight: usize,
    /// The most loads of answers that are to be remembered, and of others that read much, at once; more wait a moment
    /// and get 503 then. Beside them a quarter as many, one at least, of those that sum up whatever there is.
    pub max_loads: usize,
    /// Whether all requests but those of probes are refused, since the process has other work.
    pub answers_probes_alone: bool,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long a client may take nothing of what it is sent. Whoever makes the listener sees to it.
    pub stall_timeout: Duration,
    /// How long a request's head may take to arrive.
    pub head_timeout: Duration,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// The longest body in bytes.
    pub max_body: usize,
    /// How long requests that are being worked on may take to end when the server stops.
    pub shutdown_timeout: Duration,
    /// The origins whose pages may call; none by default.
    pub allowed_origins: Vec<String>,
    /// The proxies that say for whom they ask; none by default.
    pub proxies: Proxies,
    /// What the credit is called.
    pub currency: String,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            workers: None,
            max_connections: 10_000,
            max_in_flight: 1024,
            max_loads: 8,
            answers_probes_alone: false,
            keep_alive: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            max_body: 256 * 1024,
            shutdown_timeout: Duration::from_secs(30),
            allowed_origins: Vec::new(),
            proxies: Proxies::default(),
            currency: "credit".to_owned(),
        }
    }
}

/// What all handlers share. Clones are the same application.
#[derive(Clone)]
pub struct App {
    ctx: Context,
    trading: Trading,
    payments: Payments,
    live: Live,
    holds: Holds,
    sealer: Arc<dyn Sealer>,
    runtime: Handle,
    options: Arc<HttpOptions>,
    draining: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    running_keys: Arc<Mutex<HashSet<AnswerKey>>>,
    redis: Option<Arc<dyn Auxiliary>>,
    request_meter: Option<Arc<dyn RequestMeter>>,
    loads: Loads,
    sums: Loads,
    findings: Findings,
}

impl App {
    /// An application whose use cases and queries run on `runtime`, which must be multi-threaded.
    #[must_use]
    pub fn new(ctx: Context, trading: Trading, sealer: Arc<dyn Sealer>, runtime: Handle, options: HttpOptions) -> Self {
        Self {
            payments: Payments::new(ctx.clone()),
            live: Live::new(ctx.clone()),
            holds: Holds::new(ctx.clone()),
            ctx,
            trading,
            sealer,
            runtime,
            loads: Loads::new(options.max_loads),
            sums: Loads::new((options.max_loads / 4).max(1)),
            options: Arc::new(options),
            draining: Arc::default(),
            in_flight: Arc::default(),
            running_keys: Arc::default(),
            redis: None,
            request_meter: None,
            findings: Findings::default(),
        }
    }

    /// The same beside a Redis, whose state is told with the service's own.
    #[must_use]
    pub fn with_redis(self, redis: Arc<dyn Auxiliary>) -> Self {
        Self { redis: Some(redis), ..self }
    }

    /// The same, which tells how requests go.
    #[must_use]
    pub fn with_request_meter(self, meter: Arc<dyn RequestMeter>) -> Self {
        Self { request_meter: Some(meter), ..self }
    }

    /// Set it to make `/readyz` answer 503, before the server is stopped.
    #[must_use]
    pub fn draining(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.draining)
    }

    pub(crate) fn ctx(&self) -> &Context {
        &self.ctx
    }

    pub(crate) fn trading(&self) -> &Trading {
        &self.trading
    }

    pub(crate) fn payments(&self) -> &Payments {
        &self.payments
    }

    /// The live streams that stand for traders.
    pub(crate) fn holds(&self) -> Holds {
        self.holds.clone()
    }

    /// The live streams, to be ended before the server is stopped.
    #[must_use]
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// The seal of what is given out to come back.
    #[must_use]
    pub(crate) fn shared_sealer(&self) -> Arc<dyn Sealer> {
        Arc::clone(&self.sealer)
    }

    pub(crate) fn sealer(&self) -> &dyn Sealer {
        &*self.sealer
    }

    pub(crate) fn options(&self) -> &HttpOptions {
        &self.options
    }

    pub(crate) fn loads(&self) -> Loads {
        self.loads.clone()
    }

    /// The turns of reads that sum up as many rows as there are, which may take seconds: no other load waits for them.
    pub(crate) fn sums(&self) -> Loads {
        self.sums.clone()
    }

    /// What was last found out of the database, the queue and Redis.
    pub(crate) fn findings(&self) -> &Findings {
        &self.findings
    }

    pub(crate) fn request_meter(&self) -> Option<&dyn RequestMeter> {
        self.request_meter.as_deref()
    }

    pub(crate) fn redis(&self) -> Option<&Arc<dyn Auxiliary>> {
        self.redis.as_ref()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Runs a use case or query on the runtime of the stores, from now on. It runs to its end even where nobody
    /// waits for it any more, so a client that hangs up cancels nothing.
    ///
    /// Not an `async fn`: the work would be part of the future of each handler, and be copied with it by every
    /// request, also by one that has nothing to run.
    pub(crate) fn run<T, E, W>(&self, work: W) -> impl Future<Output = Result<T, Fault>> + use<T, E, W>
    where
        T: Send + 'static,
        E: Into<Fault> + Send + 'static,
        W: Future<Output = Result<T, E>> + Send + 'static,
    {
        let running = self.runtime.spawn(work.in_current_span());
        async move {
            match running.await {
                Ok(result) => result.map_err(Into::into),
                Err(error) => Err(Fault::internal(error)),
            }
        }
    }

    /// Takes one of the places of requests that are being worked on; none is free at the bound.
    pub(crate) fn admit(&self) -> Option<Admitted> {
        let admitted = Admitted(Arc::clone(&self.in_flight));
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        (before < self.options.max_in_flight).then_some(admitted)
    }

    /// Notes that a request with this key is running; none where one is already.
    pub(crate) fn begin_key(&self, key: &AnswerKey) -> Option<RunningKey> {
        let mut running = self.running_keys.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(key.clone()).then(|| RunningKey { running: Arc::clone(&self.running_keys), key: key.clone() })
    }
}

/// A place among the requests that are being worked on, free again when dropped.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<AtomicUsize>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A key that is being worked on, forgotten when dropped.
#[derive(Debug)]
pub(crate) struct RunningKey {
    running: Arc<Mutex<HashSet<AnswerKey>>>,
    key: AnswerKey,
}

impl Drop for RunningKey {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
