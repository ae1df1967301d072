//! Calling: within a bounded time, for a bounded answer.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bellwether_domain::ports::{CallAnswer, CallError, Caller, OutgoingCall};
use jiff::SignedDuration;
use jiff::fmt::rfc2822;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, redirect};
use tokio::time::{timeout, timeout_at};
use url::Url;

use crate::breaker::Breaker;
use crate::guard::{CALLED, Guard, GuardedResolver, NAMED, NotForEverybody, Turns};

/// How long a call may take, from the look-up of its host to the end of the answer.
const LIMIT: Duration = Duration::from_secs(15);
/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How much of an answer is read, in bytes.
const MOST_READ: usize = 64 * 1024;
/// The longest time that an answer may ask to be left alone.
const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Calls what its guard permits.
#[derive(Debug)]
pub struct GuardedCaller {
    client: Client,
    guard: Guard,
    breaker: Breaker,
    limit: Duration,
}

impl GuardedCaller {
    /// Calls what the guard permits.
    ///
    /// # Errors
    /// Where the machine has no certificates to trust.
    pub fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        Self::within(guard, LIMIT)
    }

    /// The same, with less patience.
    ///
    /// # Errors
    /// Where the machine has no certificates to trust.
    pub fn within(guard: Guard, limit: Duration) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .dns_resolver(Arc::new(GuardedResolver(guard.clone())))
            .redirect(redirect::Policy::none())
            // What the environment names as a proxy would connect in our stead, to anywhere.
            .no_proxy()
            .referer(false)
            .user_agent(concat!("bellwether/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_LIMIT)
            .pool_max_idle_per_host(4)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self { client, guard, breaker: Breaker::default(), limit })
    }

    /// Looks the host up, and whether all of its addresses may be called.
    async fn resolve(&self, url: &Url, turns: &'static Turns) -> Result<(), CallError> {
        let resolved = timeout(CONNECT_LIMIT.min(self.limit), self.guard.resolve(url, turns)).await;
        resolved.map_err(|_| CallError::Failed("the host could not be looked up in time".to_owned()))?.map(drop)
    }

    async fn send(&self, url: Url, call: &OutgoingCall) -> Result<CallAnswer, Unanswered> {
        let (started, deadline) = (Instant::now(), tokio::time::Instant::now() + self.limit);
        let too_late = || CallError::Failed(format!("there was no answer within {} s", self.limit.as_secs_f32()));
        self.resolve(&url, &CALLED).await.map_err(|error| Unanswered { error, is_reached: false })?;
        let mut request = self.client.post(url).header(CONTENT_TYPE, "application/json").body(call.body.clone());
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let response = match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Unanswered { error: failure(&error), is_reached: !error.is_connect() }),
            // To look the host up and to connect have less time: it is the answer that is late.
            Err(_) => return Err(Unanswered { error: too_late(), is_reached: true }),
        };
        let (status, retry_after) = (response.status().as_u16(), retry_after(response.headers()));
        let body = read(response, deadline).await;
        Ok(CallAnswer { status, retry_after, body, took: started.elapsed() })
    }
}

/// A call that was not answered.
struct Unanswered {
    error: CallError,
    /// Whether the host took the connection: then others may be answered there.
    is_reached: bool,
}

#[async_trait]
impl Caller for GuardedCaller {
    async fn check(&self, url: &str) -> Result<(), CallError> {
        let url = self.guard.parse(url)?;
        self.resolve(&url, &NAMED).await
    }

    fn hosts_left_alone(&self) -> usize {
        self.breaker.count_left_alone(Instant::now())
    }

    async fn post(&self, call: &OutgoingCall) -> Result<CallAnswer, CallError> {
        let url = self.guard.parse(&call.url)?;
        let host =
            format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        if let Some(pause) = self.breaker.left_alone(&host, Instant::now()) {
            return Err(CallError::LeftAlone(SignedDuration::try_from(pause).unwrap_or(LONGEST_RETRY_AFTER)));
        }
        match self.send(url, call).await {
            Ok(answer) => {
                self.breaker.reached(&host);
                tracing::debug!(%host, status = answer.status, took_ms = answer.took.as_millis(), "called");
                Ok(answer)
            }
            Err(Unanswered { error, is_reached }) => {
                match &error {
                    CallError::Failed(_) if is_reached => self.breaker.reached(&host),
                    CallError::Failed(_) => self.breaker.failed(&host, Instant::now()),
                    CallError::Forbidden(_) | CallError::LeftAlone(_) => {}
                }
                tracing::debug!(%host, %error, "could not be called");
                Err(error)
            }
        }
    }
}

/// What the body begins with. One that breaks off, or goes on for ever, is as long as what came of it in time:
/// the status has been said.
async fn read(mut response: Response, deadline: tokio::time::Instant) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MOST_READ {
        let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await else { break };
        bytes.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CallAnswer::MOST_KEPT).collect()
}

/// A number of seconds, or a date, which is held against that of the answer: so nobody's clock matters.
fn retry_after(headers: &HeaderMap) -> Option<SignedDuration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let pause = match asked.parse() {
        Ok(seconds) => SignedDuration::from_secs(seconds),
        Err(_) => {
            let date = |text: &str| rfc2822::parse(text).ok().map(|date| date.timestamp());
            date(asked)?.duration_since(date(text(DATE)?)?)
        }
    };
    pause.is_positive().then(|| pause.min(LONGEST_RETRY_AFTER))
}

/// In few words: what stands in reqwest's own errors is the URL.
fn failure(error: &reqwest::Error) -> CallError {
    let sources = || std::iter::successors(error.source(), |&error| error.source());
    if sources().any(|source| source.is::<NotForEverybody>()) {
        return CallError::Forbidden(NotForEverybody.to_string());
    }
    let last = sources().last().map(ToString::to_string).unwrap_or_default();
    CallError::Failed(match (error.is_timeout(), error.is_connect()) {
        (true, _) => "no connection was made in time".to_owned(),
        (_, true) => format!("no connection could be made: {last}"),
        _ => format!("the connection broke off: {last}"),
    })
}
