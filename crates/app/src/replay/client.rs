//! The client: requests to the server's public API, each repeated with the same idempotency key
//! until there is an answer, so that a server that is restarted in between does nothing twice.
//! Several servers get the attempts in turn, repeats included.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Longer than any answer takes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The first pause before a request is repeated; each next is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One server or several on the same data, and how patient we are with them.
#[derive(Debug)]
pub(super) struct Api {
    http: reqwest::Client,
    bases: Vec<String>,
    /// Counts attempts, each of which goes to the next server.
    turn: AtomicUsize,
    patience: Duration,
    repeats: AtomicU64,
}

/// Somebody who can sign in, with the token of the last time.
#[derive(Debug)]
pub(super) struct Session {
    credentials: Option<(String, String)>,
    token: Mutex<Option<String>>,
}

impl Session {
    /// Signs in when it is first needed, and again when the token has expired.
    pub(super) fn with_password(email: String, password: String) -> Self {
        Self { credentials: Some((email, password)), token: Mutex::new(None) }
    }

    /// Has that token and no way to get another.
    pub(super) fn with_token(token: String) -> Self {
        Self { credentials: None, token: Mutex::new(Some(token)) }
    }
}

/// What the server said no to.
#[derive(Debug)]
pub(super) struct Refused {
    method: Method,
    path: String,
    /// The status.
    pub(super) status: StatusCode,
    /// The code of the error.
    pub(super) code: String,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, status, code, message } = self;
        write!(f, "{method} {path} was answered {} {code}: {message}", status.as_u16())
    }
}

impl std::error::Error for Refused {}

/// One attempt's end, if it was no success.
enum Failure {
    /// The same request may succeed later, and must have its key.
    Later(anyhow::Error, Option<Duration>),
    /// The token is not accepted.
    SignIn(Refused),
    /// No.
    Final(anyhow::Error),
}

/// A request.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    method: Method,
    path: String,
    session: Option<&'a Session>,
    key: Option<String>,
    body: Option<Value>,
}

impl<'a> Ask<'a> {
    /// Reads.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), session: None, key: None, body: None }
    }

    /// Writes.
    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), session: None, key: None, body: Some(body) }
    }

    /// As somebody.
    pub(super) const fn by(mut self, session: &'a Session) -> Self {
        self.session = Some(session);
        self
    }

    /// With an idempotency key.
    pub(super) fn once(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

impl Api {
    /// The servers at `urls`; requests without an answer are repeated for `patience`.
    pub(super) fn new(urls: &[String], patience: Duration) -> anyhow::Result<Self> {
        anyhow::ensure!(!urls.is_empty(), "there is no --url");
        let mut builder = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("bellwether-replay/", env!("CARGO_PKG_VERSION")));
        let mut are_here = true;
        for url in urls {
            let address: reqwest::Url = url.parse().with_context(|| format!("--url {url:?} is not an address"))?;
            are_here &= matches!(address.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        }
        if are_here {
            // Servers on this machine are reached directly, whatever proxy the environment names.
            builder = builder.no_proxy();
        }
        let http = builder.build().context("cannot set up the HTTP client")?;
        let bases = urls.iter().map(|url| format!("{}/api/v1", url.trim_end_matches('/'))).collect();
        Ok(Self { http, bases, turn: AtomicUsize::new(0), patience, repeats: AtomicU64::new(0) })
    }

    /// Whose turn it is.
    fn base(&self) -> &str {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.bases.len().max(1);
        self.bases.get(turn).map_or("", String::as_str)
    }

    /// How often a request was repeated because there was no answer.
    pub(super) fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// Sends a request until it is answered; returns the `data` of the answer. An answer that says
    /// no is a [`Refused`].
    pub(super) async fn send(&self, ask: &Ask<'_>) -> anyhow::Result<Value> {
        Ok(self.answer(ask).await?.get_mut("data").map(Value::take).unwrap_or_default())
    }

    /// All rows of a list.
    pub(super) async fn list(&self, path: &str, session: &Session) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = self.answer(&Ask::get(format!("{path}?limit=100&cursor={cursor}")).by(session)).await?;
            let page = answer.get("data").and_then(Value::as_array);
            rows.extend(page.with_context(|| format!("GET {path} was not answered with a list"))?.iter().cloned());
            match answer.pointer("/meta/pagination/nextCursor").and_then(Value::as_str) {
                Some(next) => cursor = next.to_owned(),
                None => return Ok(rows),
            }
        }
    }

    async fn answer(&self, ask: &Ask<'_>) -> anyhow::Result<Value> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut signed_in_again = false;
        loop {
            match self.attempt(ask).await {
                Ok(data) => return Ok(data),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::SignIn(refused)) => {
                    if signed_in_again || ask.session.is_none_or(|session| session.credentials.is_none()) {
                        return Err(refused.into());
                    }
                    signed_in_again = true;
                }
                Err(Failure::Later(error, wanted)) => {
                    if started.elapsed() >= self.patience {
                        return Err(error.context(format!("gave up after {} s", self.patience.as_secs())));
                    }
                    self.repeats.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(wanted.unwrap_or(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn attempt(&self, ask: &Ask<'_>) -> Result<Value, Failure> {
        let token = match ask.session {
            Some(session) => Some(self.token(session).await?),
            None => None,
        };
        let result = self.exchange(ask, token.as_deref()).await;
        if let (Err(Failure::SignIn(_)), Some(session)) = (&result, ask.session) {
            let mut kept = session.token.lock().await;
            // Somebody else may have signed in again in the meantime.
            if *kept == token && session.credentials.is_some() {
                *kept = None;
            }
        }
        result
    }

    async fn token(&self, session: &Session) -> Result<String, Failure> {
        let mut kept = session.token.lock().await;
        if let Some(token) = &*kept {
            return Ok(token.clone());
        }
        let Some((email, password)) = &session.credentials else {
            return Err(Failure::Final(anyhow::anyhow!("there is no token and no password")));
        };
        let ask = Ask::post("/auth/login", json!({ "email": email, "password": password }));
        let answer = match self.exchange(&ask, None).await {
            Err(Failure::SignIn(refused)) => return Err(Failure::Final(refused.into())),
            other => other?,
        };
        let token = text(&answer, "/data/accessToken").map_err(Failure::Final)?.to_owned();
        *kept = Some(token.clone());
        Ok(token)
    }

    async fn exchange(&self, ask: &Ask<'_>, token: Option<&str>) -> Result<Value, Failure> {
        let mut request = self.http.request(ask.method.clone(), format!("{}{}", self.base(), ask.path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(key) = &ask.key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let lost = |error: reqwest::Error| {
            Failure::Later(
                anyhow::Error::new(error).context(format!("{} {} got no answer", ask.method, ask.path)),
                None,
            )
        };
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let text = response.text().await.map_err(lost)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let word = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let refused = Refused {
            method: ask.method.clone(),
            path: ask.path.clone(),
            status,
            code: word("/error/code"),
            message: word("/error/message"),
        };
        Err(judge(refused, retry_after.map(Duration::from_secs)))
    }
}

/// What a refusal means for the request.
fn judge(refused: Refused, wanted: Option<Duration>) -> Failure {
    match refused.status {
        StatusCode::UNAUTHORIZED => Failure::SignIn(refused),
        StatusCode::CONFLICT if refused.code == "IDEMPOTENCY_IN_PROGRESS" => Failure::Later(refused.into(), None),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Failure::Later(refused.into(), wanted)
        }
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Failure::Later(refused.into(), None),
        _ => Failure::Final(refused.into()),
    }
}

/// A text of an answer.
pub(super) fn text<'a>(data: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    field(data, pointer)?.as_str().with_context(|| format!("`{pointer}` in the answer is no text: {data}"))
}

/// A whole number of an answer.
pub(super) fn whole(data: &Value, pointer: &str) -> anyhow::Result<i64> {
    field(data, pointer)?.as_i64().with_context(|| format!("`{pointer}` in the answer is no whole number: {data}"))
}

/// An amount or a price of an answer, in mills.
pub(super) fn mills(data: &Value, pointer: &str) -> anyhow::Result<i64> {
    parse_mills(text(data, pointer)?)
}

/// Mills of a decimal text with up to three decimals.
pub(super) fn parse_mills(text: &str) -> anyhow::Result<i64> {
    bellwether_domain::money::parse_decimal(text, 3).with_context(|| format!("{text:?} is no amount"))
}

/// Mills as the API writes amounts and prices.
pub(super) fn show_mills(mills: i64) -> String {
    bellwether_domain::money::Credits::from_mills(mills).to_string()
}

fn field<'a>(data: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let found = if name.starts_with('/') { data.pointer(name) } else { data.get(name) };
    found.with_context(|| format!("the answer has no `{name}`: {data}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: StatusCode, code: &str) -> Failure {
        let refused = Refused {
            method: Method::POST,
            path: "/orders".to_owned(),
            status,
            code: code.to_owned(),
            message: String::new(),
        };
        judge(refused, None)
    }

    #[test]
    fn repeats_only_what_may_succeed_later() {
        assert!(matches!(judged(StatusCode::SERVICE_UNAVAILABLE, "OUTCOME_UNKNOWN"), Failure::Later(..)));
        assert!(matches!(judged(StatusCode::CONFLICT, "IDEMPOTENCY_IN_PROGRESS"), Failure::Later(..)));
        assert!(matches!(judged(StatusCode::CONFLICT, "INSUFFICIENT_FUNDS"), Failure::Final(_)));
        assert!(matches!(judged(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"), Failure::Final(_)));
        assert!(matches!(judged(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), Failure::SignIn(_)));
    }

    #[test]
    fn servers_take_turns() {
        let urls = ["http://127.0.0.1:1/".to_owned(), "http://127.0.0.1:2".to_owned()];
        let api = Api::new(&urls, Duration::ZERO).unwrap();
        let asked: Vec<&str> = (0..3).map(|_| api.base()).collect();
        let [first, second] = ["http://127.0.0.1:1/api/v1", "http://127.0.0.1:2/api/v1"];
        assert_eq!(asked, [first, second, first]);
        assert!(Api::new(&["nowhere".to_owned()], Duration::ZERO).is_err());
        assert!(Api::new(&[], Duration::ZERO).is_err());
    }

    #[test]
    fn reads_amounts_by_their_exact_text() {
        let data = json!({ "balance": "12.345", "order": { "filled": 7 } });
        assert_eq!(mills(&data, "balance").unwrap(), 12_345);
        assert_eq!(whole(&data, "/order/filled").unwrap(), 7);
        assert!(text(&data, "missing").is_err());
        assert_eq!(show_mills(-5), "-0.005");
    }
}
