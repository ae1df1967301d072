//! How many requests a client may send. Each is counted once, before anything is done for it: for its user
//! or its API key where it has one that is good, else for its address.

use std::net::IpAddr;

use actix_web::HttpMessage as _;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderMap, HeaderName, RETRY_AFTER};
use bellwether_domain::ports::Standing;
use bellwether_usecases::Caller;
use bellwether_usecases::limits::{AddressBlock, Exceeded, Limits, Rule};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::auth::{self, Bearer, Known};
use crate::call::Call;
use crate::envelope::header_value;
use crate::faults::Fault;

/// The quotas that bear on the request, as `draft-ietf-httpapi-ratelimit-headers-11` has it.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of them, of the same draft.
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// The address that a request comes from; in its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) Option<IpAddr>);

impl Client {
    /// Finds out where a request comes from.
    pub(crate) fn of(request: &ServiceRequest, app: &App) -> Self {
        let peer = request.peer_addr().map(|peer| peer.ip());
        Self(peer.map(|peer| app.options().proxies.client(peer, request.headers())))
    }

    /// As what it is counted.
    pub(crate) fn block(self, limits: &Limits) -> AddressBlock {
        self.0.map_or(AddressBlock::UNKNOWN, |address| limits.block(address))
    }
}

/// A request that was counted, or refused.
pub(crate) struct Counted {
    rule: Rule,
    standing: Standing,
}

impl Counted {
    /// Counts a request.
    pub(crate) async fn of(request: &ServiceRequest, app: &App, client: Client, now: Timestamp) -> Self {
        let block = client.block(&app.ctx().policy.limits);
        let who = match auth::bearer_if_any(request.headers()) {
            Some(Ok(token)) => match identify(app, token, block, now).await {
                Ok(who) => who,
                Err(refused) => return refused,
            },
            Some(Err(_)) | None => None,
        };
        if let Some(known) = who {
            request.extensions_mut().insert(Known(known));
        }
        let who = who.flatten().map(|bearer| auth::counted_as(bearer.caller()));
        Self::count(app, who, block, now).await
    }

    /// Counts something for whoever asks for it.
    async fn count(app: &App, who: Option<Uuid>, block: AddressBlock, now: Timestamp) -> Self {
        let (ctx, limits) = (app.ctx(), &app.ctx().policy.limits);
        let (rule, standing) = match who {
            Some(who) => (limits.user, ctx.limiter.count(limits.user, who.as_bytes(), now).await),
            None => (limits.public, ctx.limiter.count(limits.public, block.subject().as_bytes(), now).await),
        };
        Self { rule, standing }
    }

    /// Why it is refused, if it is.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let exceeded = Exceeded { rule: self.rule, standing: self.standing };
        (!self.standing.is_allowed).then(|| exceeded.into())
    }

    /// Tells the client how it stands, unless a stricter limit has its say.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if headers.contains_key(LEFT) {
            return;
        }
        for (name, value) in fields(self.rule, self.standing) {
            if let Some(value) = header_value(&value) {
                headers.insert(name, value);
            }
        }
    }
}

/// For whom the subscriptions on a WebSocket are counted, by the rules of requests: for the one whose token, key or ticket it
/// was opened with, or else for its address.
pub(crate) struct Subscriptions {
    who: Option<Uuid>,
    block: AddressBlock,
}

impl Subscriptions {
    /// Of the WebSocket that a request asks for, opened by that caller.
    pub(crate) fn of(call: &Call, caller: Option<Caller>) -> Self {
        Self { who: caller.map(auth::counted_as), block: call.from() }
    }

    /// Counts one.
    pub(crate) async fn count(&self, app: &App) -> Result<(), Fault> {
        let counted = Counted::count(app, self.who, self.block, app.ctx().clock.now()).await;
        counted.fault().map_or(Ok(()), Err)
    }
}

/// Who a token speaks for, unless the store failed. Refused where the address has sent too many API keys that are none: each
/// that is not known from before is a question to the store, and anybody can make up another one. What was good lately is
/// asked for all the same, since others at its address may send what they like. (An access token that is not
/// known leads there only where its signature is good.)
async fn identify(
    app: &App,
    token: &str,
    block: AddressBlock,
    now: Timestamp,
) -> Result<Option<Option<Bearer>>, Counted> {
    if let Some(known) = auth::recall(app, token).await {
        return Ok(Some(known));
    }
    if !auth::may_be_made_up(app, token) {
        return Ok(auth::look_up(app, token).await.ok());
    }
    let (limiter, rule, subject) = (&app.ctx().limiter, app.ctx().policy.limits.unknown_keys(), block.subject());
    let standing = limiter.look(rule, subject.as_bytes(), now).await;
    if !standing.is_allowed {
        return Err(Counted { rule, standing });
    }
    let who = auth::look_up(app, token).await.ok();
    if matches!(who, Some(None)) {
        limiter.count(rule, subject.as_bytes(), now).await;
    }
    Ok(who)
}

/// Whole seconds, rounded up.
fn seconds(duration: SignedDuration) -> i64 {
    duration.as_secs() + i64::from(duration.subsec_nanos() > 0)
}

fn fields(rule: Rule, standing: Standing) -> [(HeaderName, String); 2] {
    let (Rule { name, quota }, left) = (rule, standing.remaining);
    let policy = format!("\"{name}\";q={};w={}", quota.limit, seconds(quota.window));
    [(POLICY, policy), (LEFT, format!("\"{name}\";r={left};t={}", seconds(standing.frees_in)))]
}

/// 429, saying when to come back.
impl From<Exceeded> for Fault {
    fn from(Exceeded { rule, standing }: Exceeded) -> Self {
        let wait = seconds(standing.frees_in).max(1);
        let (limit, window) = (rule.quota.limit, seconds(rule.quota.window));
        let message = format!("too many requests: the limit is {limit} in {window} s; try again in {wait} s");
        let facts = json!({ "limit": limit, "windowSeconds": window, "retryAfterSeconds": wait, "policy": rule.name });
        let fault = Self::limited(message).with_facts(facts).with_header(RETRY_AFTER, wait.to_string());
        fields(rule, standing).into_iter().fold(fault, |fault, (name, value)| fault.with_header(name, value))
    }
}

#[cfg(test)]
mod tests {
    use bellwether_domain::ports::Quota;

    use super::*;

    /// Threat 55.
    #[test]
    fn a_refusal_says_when_to_come_back_and_never_at_once() {
        let quota = Quota::new(5, SignedDuration::from_mins(15));
        let rule = Limits::default().login.with(quota);
        for (frees_in, wait) in [(SignedDuration::from_millis(1001), "2"), (SignedDuration::ZERO, "1")] {
            let fault =
                Fault::from(Exceeded { rule, standing: Standing { is_allowed: false, remaining: 0, frees_in } });
            let header = |name| fault.headers().iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_ref());
            assert_eq!((fault.status().as_u16(), fault.code()), (429, "RATE_LIMITED"));
            assert_eq!(header(RETRY_AFTER), Some(wait));
            assert_eq!(header(POLICY), Some("\"login\";q=5;w=900"));
            assert!(header(LEFT).is_some_and(|left| left.starts_with("\"login\";r=0;t=")));
        }
    }
}
