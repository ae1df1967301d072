//! A client of the API that says what it expected when it is disappointed.

use std::time::{Duration, Instant};

use bellwether_domain::money::parse_decimal;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::database::uuid_hex;

/// Far ahead: for markets that must not close by themselves.
pub const FAR: &str = "2199-12-31T00:00:00Z";
/// A password that is accepted.
pub const PASSWORD: &str = "correct horse battery";

/// A server's API.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    root: String,
}

/// Somebody who signed in.
#[derive(Debug, Clone)]
pub struct User {
    /// The id, of the account too.
    pub id: String,
    /// The address.
    pub email: String,
    /// The access token.
    pub token: String,
}

impl Api {
    /// The API at an address such as `127.0.0.1:4711`.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn new(address: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build();
        Self { http: http.expect("an HTTP client"), root: format!("http://{address}") }
    }

    /// Whether the server says that it can serve.
    pub async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.root)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// A request under `/api/v1`; a path that begins with `//` is taken from the root.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> Request {
        let url = match path.strip_prefix("//") {
            Some(path) => format!("{}/{path}", self.root),
            None => format!("{}/api/v1{path}", self.root),
        };
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let shown = format!("{method} {path}");
        Request { builder: self.http.request(method, url), shown }
    }

    /// Reads as somebody.
    pub async fn get(&self, path: &str, user: &User) -> Answer {
        self.request("GET", path).by(user).send().await
    }

    /// Writes as somebody, with a fresh idempotency key.
    pub async fn post(&self, path: &str, user: &User, body: Value) -> Answer {
        self.request("POST", path).by(user).fresh_key().json(&body).send().await
    }

    /// Writes as somebody, and again with the same key where the server is too busy (503), as any
    /// client should: for tests that send more at once than a small machine can do in time.
    ///
    /// # Panics
    /// When it stays too busy, or cannot be reached.
    pub async fn post_patiently(&self, path: &str, user: &User, body: Value) -> Answer {
        let request = self.request("POST", path).by(user).fresh_key().json(&body);
        request.try_send_patiently().await.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Signs somebody up and in; the address begins with the name.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn sign_up(&self, name: &str) -> User {
        let email = format!("{}-{}@example.org", name.to_lowercase(), uuid_hex());
        let body = json!({ "email": email, "displayName": name, "password": PASSWORD });
        self.request("POST", "/users").json(&body).send().await.expect(201);
        self.log_in(&email, PASSWORD).await
    }

    /// Signs somebody in.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn log_in(&self, email: &str, password: &str) -> User {
        let body = json!({ "email": email, "password": password });
        let answer = self.request("POST", "/auth/login").json(&body).send().await.expect(200);
        User { id: answer.text("/user/id"), email: email.to_owned(), token: answer.text("/accessToken") }
    }

    /// Opens a market that closes far ahead, with these fields besides; returns its id.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn open_market(&self, user: &User, fields: Value) -> String {
        let mut body = json!({ "question": "Will it rain?", "closesAt": FAR });
        let (Some(body_fields), Value::Object(more)) = (body.as_object_mut(), fields) else {
            panic!("fields are an object");
        };
        body_fields.extend(more);
        self.post("/markets", user, body).await.expect(201).text("/id")
    }

    /// Closes and resolves a market, and waits until everybody is paid.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn resolve(&self, market: &str, user: &User, outcome: &str) {
        self.post(&format!("/markets/{market}/close"), user, json!({})).await.expect(200);
        self.post(&format!("/markets/{market}/resolve"), user, json!({ "outcome": outcome })).await.expect(200);
        self.settled(market).await;
    }

    /// Waits until everybody is paid; returns the market.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn settled(&self, market: &str) -> Value {
        let path = format!("/markets/{market}");
        self.wait_for(&path, None, |market| !market["settledAt"].is_null()).await
    }

    /// Reads until the data are as wanted.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn wait_for(&self, path: &str, user: Option<&User>, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let mut request = self.request("GET", path);
            if let Some(user) = user {
                request = request.by(user);
            }
            let data = request.send().await.expect(200).data().clone();
            if wanted(&data) {
                return data;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "GET {path} stays {data}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A user's balance and what is held of it, in mills.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn balance(&self, user: &User) -> (i64, i64) {
        let account = self.get("/accounts/me", user).await.expect(200);
        (account.mills("/balance"), account.mills("/held"))
    }

    /// A user's shares of each outcome of a market.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn shares(&self, user: &User, market: &str) -> Vec<i64> {
        let answer = self.get(&format!("/positions?marketId={market}"), user).await.expect(200);
        let holdings = answer.data()[0]["holdings"].as_array().cloned().unwrap_or_default();
        holdings.iter().map(|holding| holding["quantity"].as_i64().expect("a quantity")).collect()
    }
}

/// A limit order, good till cancelled.
#[must_use]
pub fn limit(market: &str, outcome: &str, side: &str, price: &str, quantity: i64) -> Value {
    json!({
        "marketId": market, "outcome": outcome, "side": side, "type": "limit", "price": price, "quantity": quantity,
    })
}

/// A decimal text, in mills.
///
/// # Panics
/// When it is none.
#[must_use]
#[track_caller]
pub fn mills(decimal: &Value) -> i64 {
    let text = decimal.as_str().unwrap_or_else(|| panic!("{decimal} is no text"));
    parse_decimal(text, 3).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// A request that is being put together.
#[derive(Debug)]
pub struct Request {
    builder: RequestBuilder,
    shown: String,
}

impl Request {
    fn with(self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        Self { builder: change(self.builder), shown: self.shown }
    }

    /// As somebody.
    #[must_use]
    pub fn by(self, user: &User) -> Self {
        self.with(|b| b.bearer_auth(&user.token))
    }

    /// With an idempotency key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.with(|b| b.header("Idempotency-Key", key))
    }

    /// With an idempotency key that nobody has used.
    #[must_use]
    pub fn fresh_key(self) -> Self {
        self.key(&uuid_hex())
    }

    /// With a header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(|b| b.header(name, value))
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.with(|b| b.json(body))
    }

    /// With a body as it is, said to be JSON.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        self.with(|b| b.header("Content-Type", "application/json").body(body))
    }

    /// With a body as it is; its type is said by a header.
    #[must_use]
    pub fn bytes(self, body: Vec<u8>) -> Self {
        self.with(|b| b.body(body))
    }

    /// The same request, to be sent again.
    ///
    /// # Panics
    /// Never: no body here is read as it is sent.
    #[must_use]
    pub fn once_more(&self) -> Self {
        let builder = self.builder.try_clone().expect("a body that is whole");
        Self { builder, shown: self.shown.clone() }
    }

    /// Sends it, and leaves the body to be read as it comes.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub async fn open(self) -> reqwest::Response {
        let shown = self.shown;
        self.builder.send().await.unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    /// Sends it, if the server can be reached.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.builder.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body, text, shown: self.shown })
    }

    /// Sends it, if the server can be reached, and again where that is too busy (503).
    ///
    /// # Panics
    /// When it stays too busy.
    pub async fn try_send_patiently(self) -> Result<Answer, reqwest::Error> {
        let started = Instant::now();
        loop {
            let builder = self.builder.try_clone().expect("a body that is there as a whole");
            let answer = Self { builder, shown: self.shown.clone() }.try_send().await?;
            if answer.status != 503 {
                return Ok(answer);
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{} stays {}", answer.shown, answer.text);
            assert!(!answer.header("retry-after").is_empty(), "503 without Retry-After: {}", answer.text);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends it.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub async fn send(self) -> Answer {
        let shown = self.shown.clone();
        self.try_send().await.unwrap_or_else(|error| panic!("{shown}: {error}"))
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null where it is no JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
    shown: String,
}

impl Answer {
    /// Itself, if it has that status.
    ///
    /// # Panics
    /// When it has another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} was answered {}", self.shown, self.text);
        self
    }

    /// Checks that it is an error of that status and code.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{} was answered {}", self.shown, self.text);
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// The code of an error; empty otherwise.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default()
    }

    /// The fields that an error's details name.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        let details = self.body.pointer("/error/details").and_then(Value::as_array);
        details.into_iter().flatten().filter_map(|detail| detail["field"].as_str()).collect()
    }

    /// A text of the data.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn text(&self, pointer: &str) -> String {
        let found = self.data().pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("{}: no text {pointer} in {}", self.shown, self.text)).to_owned()
    }

    /// A decimal of the data, in mills.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn mills(&self, pointer: &str) -> i64 {
        mills(&Value::from(self.text(pointer)))
    }

    /// A header, empty where it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
