//! The calls to the server's HTTP API that the kill test makes, and how their answers are judged.
//!
//! This is the one place of the kill test that knows paths, field names and status codes.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Longer than any answer takes; shorter than a test should wait for one that never comes.
const LIMIT: Duration = Duration::from_secs(20);
/// The password of everybody.
pub(crate) const PASSWORD: &str = "a passphrase for throw-away users";
/// Far enough for any run; a market must not close in the middle of one.
const CLOSES_AT: &str = "2099-12-31T00:00:00Z";
const PAGE_SIZE: u32 = 100;

/// What the server said to a command, as far as its sender can tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The server vouches for it: it must be there for ever.
    Acknowledged(Value),
    /// The server says that it had no effect, and would have none if it were sent again.
    Refused(String),
    /// No answer, or one that leaves open whether the command had an effect.
    Unknown(String),
}

/// The kinds of command that are logged and looked for afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Order,
    Transfer,
}

impl Kind {
    /// The resource's path, without the version.
    fn path(self) -> &'static str {
        match self {
            Self::Order => "/orders",
            Self::Transfer => "/transfers",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Transfer => "transfer",
        }
    }

    /// The field in which a command carries its idempotency key, so that its effects can be
    /// counted.
    fn marker_field(self) -> &'static str {
        match self {
            Self::Order => "clientOrderId",
            Self::Transfer => "memo",
        }
    }

    /// The id of what an acknowledged command made.
    pub(crate) fn id(self, data: &Value) -> Option<&str> {
        let made = match self {
            Self::Order => data.get("order")?,
            Self::Transfer => data,
        };
        made.get("id")?.as_str()
    }
}

/// A user of the server, with a token.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    email: String,
    token: String,
}

impl User {
    /// The access token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The body of a sign-in.
    pub(crate) fn credentials(&self) -> String {
        json!({ "email": self.email, "password": PASSWORD }).to_string()
    }
}

/// A server at one address.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    /// The server at `address`, such as `127.0.0.1:8080`.
    pub(crate) fn new(address: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(LIMIT)
            // The server is on this machine, whatever proxy the environment names.
            .no_proxy()
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self { http, base: format!("http://{address}") })
    }

    /// Whether the server says that it can serve.
    pub(crate) async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// Signs a user up and logs them in.
    pub(crate) async fn sign_up(&self, name: &str) -> anyhow::Result<User> {
        let email = format!("{name}@example.com");
        let body = json!({ "email": email, "displayName": name, "password": PASSWORD });
        let data = self.expect(self.post("/users", None, Some(name), &body).await, "sign a user up")?;
        let id = text(&data, "id").context("the answer to a sign-up has no `id`")?;
        let token = self.login(&email).await?;
        Ok(User { id, email, token })
    }

    /// Logs somebody in who has an account already.
    pub(crate) async fn sign_in(&self, email: &str) -> anyhow::Result<User> {
        let mut user = User { id: String::new(), email: email.to_owned(), token: self.login(email).await? };
        let answer = self.call(Method::GET, "/users/me", Some(&user), None, None).await;
        let data = self.expect(answer, "read one's own user")?;
        user.id = text(&data, "id").context("the answer about oneself has no `id`")?;
        Ok(user)
    }

    /// Logs `user` in again.
    pub(crate) async fn renew(&self, user: &mut User) -> anyhow::Result<()> {
        user.token = self.login(&user.email).await?;
        Ok(())
    }

    async fn login(&self, email: &str) -> anyhow::Result<String> {
        let body = json!({ "email": email, "password": PASSWORD });
        let data = self.expect(self.post("/auth/login", None, None, &body).await, "log in")?;
        text(&data, "accessToken").context("the answer to a login has no `accessToken`")
    }

    /// Opens a yes/no market and returns its id.
    pub(crate) async fn open_market(&self, creator: &User, key: &str) -> anyhow::Result<String> {
        let body = json!({ "question": format!("Does run {key} lose nothing?"), "closesAt": CLOSES_AT });
        let answer = self.post("/markets", Some(creator), Some(key), &body).await;
        let data = self.expect(answer, "open a market")?;
        text(&data, "id").context("the answer to a new market has no `id`")
    }

    /// Sends a command. It may be sent again with the same key and body.
    pub(crate) async fn send(&self, kind: Kind, user: &mut User, key: &str, body: &Value) -> Answer {
        let (status, answer) = match self.post(kind.path(), Some(user), Some(key), body).await {
            Ok(answer) => answer,
            Err(error) => return Answer::Unknown(format!("{error:#}")),
        };
        if status == StatusCode::UNAUTHORIZED {
            // The token's time is up. Under load the server may die during this login too.
            if let Err(error) = self.renew(user).await {
                return Answer::Unknown(format!("{error:#}"));
            }
            return Answer::Unknown("the access token had expired".to_owned());
        }
        judge(status, answer)
    }

    /// Cancels an order; true when the server vouches for it.
    pub(crate) async fn cancel(&self, user: &User, id: &str) -> bool {
        let path = format!("/orders/{id}");
        let answer = self.call(Method::DELETE, &path, Some(user), None, None).await;
        answer.is_ok_and(|(status, _)| status.is_success())
    }

    /// The order or transfer `id`, or `None` when the server does not know it.
    pub(crate) async fn find(&self, kind: Kind, user: &User, id: &str) -> anyhow::Result<Option<Value>> {
        let path = format!("{}/{id}", kind.path());
        let (status, answer) = self.call(Method::GET, &path, Some(user), None, None).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(self.expect(Ok((status, answer)), "read what was acknowledged")?))
    }

    /// The markers of everything of `kind` that `user` can see; one that is there twice was done
    /// twice.
    pub(crate) async fn markers(&self, kind: Kind, user: &User) -> anyhow::Result<Vec<String>> {
        let list = match kind {
            Kind::Order => "/orders".to_owned(),
            Kind::Transfer => format!("/users/{}/transfers", user.id),
        };
        let rows = self.all(&list, Some(user)).await?;
        Ok(rows.iter().filter_map(|row| marker(kind, row)).collect())
    }

    /// All rows of a list.
    pub(super) async fn all(&self, list: &str, user: Option<&User>) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), Some(String::new()));
        while let Some(from) = cursor {
            let path = format!("{list}?limit={PAGE_SIZE}&cursor={from}");
            let (status, answer) = self.call(Method::GET, &path, user, None, None).await?;
            cursor = answer.pointer("/meta/pagination/nextCursor").and_then(Value::as_str).map(str::to_owned);
            let data = self.expect(Ok((status, answer)), "list what was done")?;
            let rows = data.as_array().with_context(|| format!("GET {path}: `data` is no list"))?;
            all.extend(rows.iter().cloned());
        }
        Ok(all)
    }

    async fn post(
        &self,
        path: &str,
        user: Option<&User>,
        key: Option<&str>,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, Value)> {
        self.call(Method::POST, path, user, key, Some(body)).await
    }

    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        user: Option<&User>,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let name = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        if let Some(user) = user {
            request = request.bearer_auth(&user.token);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| name.clone())?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| name.clone())?;
        let value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).with_context(|| format!("{name}: the answer is not JSON"))?
        };
        Ok((status, value))
    }

    /// The data of an answer that must be a success.
    pub(super) fn expect(&self, answer: anyhow::Result<(StatusCode, Value)>, purpose: &str) -> anyhow::Result<Value> {
        let (status, mut answer) = answer.with_context(|| format!("cannot {purpose}"))?;
        anyhow::ensure!(status.is_success(), "cannot {purpose}: {status} {answer}");
        Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
    }
}

/// What an order looks like on the wire. `key` makes it countable.
pub(crate) struct Order<'a> {
    pub(crate) market: &'a str,
    pub(crate) outcome: &'a str,
    pub(crate) side: &'a str,
    pub(crate) price_mills: u16,
    pub(crate) quantity: u32,
    pub(crate) rests: bool,
    pub(crate) key: &'a str,
}

impl Order<'_> {
    pub(crate) fn body(&self) -> Value {
        json!({
            "marketId": self.market,
            "outcome": self.outcome,
            "side": self.side,
            "type": "limit",
            "price": format!("0.{:03}", self.price_mills),
            "quantity": self.quantity,
            "timeInForce": if self.rests { "gtc" } else { "ioc" },
            "clientOrderId": self.key,
        })
    }
}

/// What a transfer looks like on the wire. `key` makes it countable.
pub(crate) fn transfer_body(to: &str, mills: u16, key: &str) -> Value {
    json!({ "toUserId": to, "amount": format!("0.{mills:03}"), "memo": key })
}

/// Whether an order, as the API shows it, can still trade.
pub(crate) fn is_open(order: &Value) -> bool {
    order.get("status").and_then(Value::as_str) == Some("open")
}

/// The key that an order or a transfer carries.
pub(crate) fn marker(kind: Kind, row: &Value) -> Option<String> {
    text(row, kind.marker_field())
}

/// An answer's meaning by its status. Only what is certain counts as refused: a 5xx may hide a
/// commit, and a 409 about the key itself says that the first attempt is still running.
fn judge(status: StatusCode, answer: Value) -> Answer {
    let code = answer.pointer("/error/code").and_then(Value::as_str).unwrap_or("no code").to_owned();
    if status.is_success() {
        return Answer::Acknowledged(answer.get("data").cloned().unwrap_or_default());
    }
    let retry_later = status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS
        || (status == StatusCode::CONFLICT && code.contains("IDEMPOTENCY"));
    if status.is_client_error() && !retry_later {
        Answer::Refused(format!("{} {code}", status.as_u16()))
    } else {
        Answer::Unknown(format!("{} {code}", status.as_u16()))
    }
}

/// A text of an answer.
pub(super) fn text(data: &Value, field: &str) -> Option<String> {
    data.get(field).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use serde_json::{Value, json};

    use super::{Answer, Kind, judge};

    fn judged(status: StatusCode, code: &str) -> Answer {
        judge(status, json!({ "success": false, "error": { "code": code } }))
    }

    #[test]
    fn takes_every_success_for_an_acknowledgement() {
        let answer = judge(StatusCode::CREATED, json!({ "success": true, "data": { "id": "7" } }));
        assert_eq!(answer, Answer::Acknowledged(json!({ "id": "7" })));
    }

    #[test]
    fn takes_only_what_is_certain_for_a_refusal() {
        let refused = judged(StatusCode::CONFLICT, "INSUFFICIENT_FUNDS");
        assert_eq!(refused, Answer::Refused("409 INSUFFICIENT_FUNDS".to_owned()));
        for (status, code) in [
            (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"),
            (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"),
            (StatusCode::CONFLICT, "IDEMPOTENCY_IN_PROGRESS"),
        ] {
            assert!(matches!(judged(status, code), Answer::Unknown(_)), "{status} {code}");
        }
    }

    #[test]
    fn finds_the_id_inside_an_orders_answer() {
        let order = json!({ "order": { "id": "a" }, "fills": [] });
        assert_eq!(Kind::Order.id(&order), Some("a"));
        assert_eq!(Kind::Transfer.id(&json!({ "id": "b" })), Some("b"));
        assert_eq!(Kind::Order.id(&Value::Null), None);
    }
}
