//! One request on its way through a handler: who asks, for what, and with which body.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, USER_AGENT};
use actix_web::{HttpMessage as _, HttpRequest, web};
use bellwether_domain::audit_log::Origin;
use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{MarketKey, Queries, Sealer};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::Device;
use bellwether_domain::text::Slug;
use bellwether_usecases::limits::AddressBlock;
use bellwether_usecases::sessions::Identity;
use bellwether_usecases::{Caller, Context, Rendered};
use uuid::Uuid;

use crate::app::App;
use crate::auth::{self, Bearer, Known};
use crate::body::{self, Body};
use crate::envelope::Stamp;
use crate::etag::{optional_version, refuse_version, required_version};
use crate::faults::{Detail, Fault};
use crate::fields::{Fields, Place, parse_id, read};
use crate::idempotency::{self, Guarded, Need};
use crate::limits::Client;
use crate::query::read_query;
use crate::routes::{Access, IfMatch, Route};

/// A request to a route. All handlers take one and answer `Result<Reply, Fault>`.
pub(crate) struct Call {
    app: web::Data<App>,
    request: HttpRequest,
    payload: Payload,
    route: &'static Route,
}

/// Who asked, for the log; put into the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedBy(pub(crate) UserId);

impl Call {
    /// A request to this route.
    pub(crate) fn new(request: HttpRequest, payload: Payload, route: &'static Route) -> Result<Self, Fault> {
        let app = request.app_data::<web::Data<App>>().cloned();
        let app = app.ok_or_else(|| Fault::internal("the application is not set up"))?;
        Ok(Self { app, request, payload, route })
    }

    pub(crate) const fn request(&self) -> &HttpRequest {
        &self.request
    }

    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// The same, for what goes on when the request is answered.
    pub(crate) fn shared_app(&self) -> web::Data<App> {
        self.app.clone()
    }

    /// The ports, and from where the request comes, to be moved into work.
    pub(crate) fn ctx(&self) -> Context {
        let request_id = self.request.extensions().get::<Stamp>().map(|stamp| stamp.request_id.clone());
        Context { origin: Origin { device: self.device(), request_id }, ..self.app.ctx().clone() }
    }

    /// Reads for lists and sums, which may lag, but not behind what the caller wrote.
    pub(crate) fn lists(&self) -> Arc<dyn Queries> {
        self.app.ctx().lists_of(self.known_caller().map(|caller| caller.user))
    }

    pub(crate) fn sealer(&self) -> &dyn Sealer {
        self.app.sealer()
    }

    /// Who asks, by an access token or an API key: 401 where nobody is signed in, 403 where the permission
    /// that the route needs is not the caller's at all, whosever things it is about.
    pub(crate) async fn caller(&self) -> Result<Caller, Fault> {
        self.bearer().await.and_then(|who| self.admit(who.caller()))
    }

    /// [`caller`](Self::caller), and in which session. No API key is in one.
    pub(crate) async fn identity(&self) -> Result<Identity, Fault> {
        match self.bearer().await? {
            Bearer::Session(who) => {
                self.admit(who.caller)?;
                Ok(who)
            }
            Bearer::Key(_) => Err(Refusal::OutOfScope(None).into()),
        }
    }

    /// Who asks, where anybody may: nobody where the request bears no token that is good.
    pub(crate) fn known_caller(&self) -> Option<Caller> {
        self.request.extensions().get::<Known>()?.0.map(Bearer::caller)
    }

    /// Whose token the request bears; 401 where it bears none that is good.
    async fn bearer(&self) -> Result<Bearer, Fault> {
        let token = auth::bearer(self.request.headers())?;
        let known = self.request.extensions().get::<Known>().copied();
        let who = match known {
            Some(Known(who)) => who,
            None => auth::identify(&self.app, token).await?,
        };
        who.ok_or_else(|| auth::invalid(token))
    }

    /// Whose token the request bears, if it bears any; 401 where that is no good.
    pub(crate) async fn bearer_if_any(&self) -> Result<Option<Bearer>, Fault> {
        if self.request.headers().contains_key(AUTHORIZATION) { self.bearer().await.map(Some) } else { Ok(None) }
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether only the head of the answer is asked for.
    pub(crate) fn is_head(&self) -> bool {
        self.request.method() == Method::HEAD
    }

    /// What comes after the head, for a connection that becomes something other than HTTP.
    pub(crate) fn take_payload(&mut self) -> Payload {
        std::mem::replace(&mut self.payload, Payload::None)
    }

    /// Lets a caller in who has what the route needs.
    fn admit(&self, caller: Caller) -> Result<Caller, Fault> {
        self.request.extensions_mut().insert(AskedBy(caller.user));
        match self.route.access {
            Access::Public => {}
            Access::NeedsSession(_) if caller.key.is_some() => return Err(Refusal::OutOfScope(None).into()),
            Access::Needs(permission) | Access::NeedsSession(permission) | Access::NeedsOrToken(permission) => {
                caller.require(permission, true)?;
            }
        }
        Ok(caller)
    }

    /// From where the request comes, as a session remembers it.
    pub(crate) fn device(&self) -> Device {
        let agent = self.request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::trim);
        Device {
            address: self.client().0.map(|address| address.to_string()),
            agent: agent.filter(|a| !a.is_empty()).map(|a| a.chars().take(Device::LONGEST_AGENT).collect()),
        }
    }

    /// From where it comes, as it is counted.
    pub(crate) fn from(&self) -> AddressBlock {
        self.client().block(&self.app.ctx().policy.limits)
    }

    fn client(&self) -> Client {
        self.request.extensions().get::<Client>().copied().unwrap_or(Client(None))
    }

    /// The id in the path.
    pub(crate) fn id(&self) -> Result<Uuid, Fault> {
        self.id_at("id")
    }

    /// The id at that place of the path.
    pub(crate) fn id_at(&self, name: &'static str) -> Result<Uuid, Fault> {
        const FORM: &str = "must be an id of the form 0193a5e0-0000-7000-8000-000000000000";
        self.parameter(name).and_then(parse_id).ok_or_else(|| bad_id(name, FORM))
    }

    /// The user in the path; `me` is the caller.
    pub(crate) fn user_id(&self, caller: Caller) -> Result<UserId, Fault> {
        if self.segment() == "me" { Ok(caller.user) } else { self.id().map(UserId) }
    }

    /// The market in the path, by id or slug.
    pub(crate) fn market_key(&self) -> Result<MarketKey, Fault> {
        let text = self.segment();
        match parse_id(text) {
            Some(id) => Ok(MarketKey::Id(bellwether_domain::ids::MarketId(id))),
            None => Slug::parse(text).map(MarketKey::Slug).map_err(|_| bad_id("id", "must be a market's id or slug")),
        }
    }

    fn segment(&self) -> &str {
        self.parameter("id").unwrap_or_default()
    }

    /// What stands at that place of the path.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.route.parameter(name, self.request.match_info().as_str())
    }

    /// Reads the query string.
    pub(crate) fn query<T>(&self, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Fault> {
        read_query(self.request.query_string(), reader)
    }

    /// Refuses any query string.
    pub(crate) fn no_query(&self) -> Result<(), Fault> {
        self.query(|_| Some(()))
    }

    /// The version that the request wants to change, by `If-Match`; none for any.
    pub(crate) fn version(&self) -> Result<Option<i64>, Fault> {
        let headers = self.request.headers();
        match self.route.if_match {
            IfMatch::Required => required_version(headers),
            IfMatch::Optional => optional_version(headers),
            IfMatch::Untaken => refuse_version(headers).map(|()| None),
        }
    }

    /// Reads the body, which must be JSON.
    pub(crate) async fn body(&mut self) -> Result<Body, Fault> {
        self.read_body(false).await
    }

    /// Reads the body of a request that needs none.
    pub(crate) async fn no_body(&mut self) -> Result<(), Fault> {
        self.command_or_nothing(|_| Some(())).await
    }

    /// Reads the query string of a request that needs no body. What a body says all the same is not passed over.
    pub(crate) async fn query_alone<T>(&mut self, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Fault> {
        let asked = self.query(reader)?;
        let body = self.read_beside_query(true).await?;
        read(&body.json, Place::Body, |_| Some(()))?;
        Ok(asked)
    }

    /// Reads the body into a command, or all of its faults.
    pub(crate) async fn command<T>(&mut self, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Fault> {
        let body = self.body().await?;
        read(&body.json, Place::Body, reader)
    }

    /// The same where a body that says nothing may be left out.
    pub(crate) async fn command_or_nothing<T>(
        &mut self,
        reader: impl FnOnce(&Fields<'_>) -> Option<T>,
    ) -> Result<T, Fault> {
        let body = self.read_body(true).await?;
        read(&body.json, Place::Body, reader)
    }

    async fn read_body(&mut self, may_be_empty: bool) -> Result<Body, Fault> {
        self.no_query()?;
        self.read_beside_query(may_be_empty).await
    }

    async fn read_beside_query(&mut self, may_be_empty: bool) -> Result<Body, Fault> {
        // Here, where all come by that change something: who asks is known, and what is asked is not looked at yet.
        if self.route.if_match == IfMatch::Untaken {
            refuse_version(self.request.headers())?;
        }
        let (headers, options) = (self.request.headers(), self.app.options());
        let raw = body::read_all(self.payload.take(), headers, options.max_body, options.body_timeout).await?;
        Body::of(raw, headers, may_be_empty)
    }

    /// Takes the idempotency key of a request with this body.
    pub(crate) fn guard<T: ?Sized>(
        &self,
        need: Need,
        caller: Caller,
        body: &Body,
        render: fn(&T) -> Rendered,
    ) -> Result<Guarded<T>, Fault> {
        let key = idempotency::key_of(self.request.headers(), need)?;
        idempotency::guard(&self.app, key, Some(caller.user), self.route(), self.fingerprint(body), render)
    }

    /// The same for a request of nobody whose body has a password.
    pub(crate) fn guard_secret<T: ?Sized>(&self, body: &Body, render: fn(&T) -> Rendered) -> Result<Guarded<T>, Fault> {
        let key = idempotency::key_of(self.request.headers(), Need::Optional)?;
        let fingerprint = idempotency::sealed_fingerprint(self.fingerprint(body), self.sealer());
        idempotency::guard(&self.app, key, None, self.route(), fingerprint, render)
    }

    fn fingerprint(&self, body: &Body) -> [u8; 32] {
        idempotency::fingerprint(self.request.method().as_str(), self.request.path(), &body.raw)
    }

    fn route(&self) -> String {
        format!("{} {}", self.request.method(), self.route.path)
    }
}

/// 400: what stands in the path is no id.
fn bad_id(name: &'static str, message: &'static str) -> Fault {
    Fault::unknown("BAD_ID", vec![Detail::of(name, "malformed", message)])
}
