//! The table of routes: for each path its methods, and for each of these a handler and what it needs.
//! What is not in it is answered 404, or 405 with the methods that are.

use std::future::Future;
use std::sync::LazyLock;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::ALLOW;
use actix_web::http::{Method, StatusCode};
use actix_web::{Error, HttpMessage as _, HttpResponse, Responder};
use bellwether_domain::permissions::Permission;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use crate::call::Call;
use crate::faults::Fault;
use crate::{
    accounts, api_keys, audit_log, books, bots, events, health, jobs, keys, leaderboard, live, markets, openapi,
    order_groups, orders, positions, previews, recovery, sessions, sets, sockets, switches, trades, transfers, users,
    webhooks,
};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody; nobody need be signed in.
    Public,
    /// Whoever has the permission. Where it reaches no further than one's own, the handler or its use
    /// case knows what is whose.
    Needs(Permission),
    /// The same in a session, of which the answer is a part: no API key, whatever its scopes.
    NeedsSession(Permission),
    /// The same, and besides whoever sends a refresh token in the body, for its session: nobody need be signed in then.
    NeedsOrToken(Permission),
}

/// What a route that changes something makes of `If-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// Nothing: where it names a version the request is refused, since nobody would look whether that is the current one.
    Untaken,
    /// Where it is there, it must name the current version.
    Optional,
    /// It must be there, and name the current version.
    Required,
}

/// What answers, with its type erased.
type Handler = fn(Call) -> LocalBoxFuture<'static, HttpResponse>;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method. What takes `GET` takes `HEAD` too.
    pub method: &'static str,
    /// The path, with the names of its parameters in braces; a parameter is a whole segment.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// What it makes of `If-Match`.
    pub if_match: IfMatch,
    handler: Handler,
}

impl Route {
    /// What stands in a request's path where this one has a parameter of that name.
    pub(crate) fn parameter<'a>(&self, name: &str, path: &'a str) -> Option<&'a str> {
        let is_it = |segment: &str| segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) == Some(name);
        self.path.split('/').zip(path.split('/')).find_map(|(segment, given)| is_it(segment).then_some(given))
    }

    fn takes(&self, method: &Method) -> bool {
        self.method == method.as_str() || (self.method == "GET" && *method == Method::HEAD)
    }
}

/// The route of a request; in its extensions, where there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matched(pub(crate) &'static Route);

/// The rows by path.
static BY_PATH: LazyLock<matchit::Router<Vec<&'static Route>>> = LazyLock::new(by_path);

#[expect(clippy::expect_used, reason = "it is the same table each time, and every test of a route makes it")]
fn by_path() -> matchit::Router<Vec<&'static Route>> {
    let mut paths = matchit::Router::new();
    for rows in ROUTES.chunk_by(|row, next| row.path == next.path) {
        let path = rows.first().map_or("", |row| row.path);
        paths.insert(path, rows.iter().collect()).expect("no two rows are for the same path");
    }
    paths
}

/// Answers a request by the row that is for it.
pub(crate) async fn answer(request: ServiceRequest) -> Result<ServiceResponse, Error> {
    // Its text with what need not be escaped unescaped.
    match find(request.method(), request.match_info().as_str()) {
        Ok(route) => {
            request.extensions_mut().insert(Matched(route));
            let (request, payload) = request.into_parts();
            let response = (route.handler)(Call::new(request.clone(), payload, route)?).await;
            Ok(ServiceResponse::new(request, response))
        }
        Err(fault) => Ok(request.error_response(fault)),
    }
}

fn find(method: &Method, path: &str) -> Result<&'static Route, Fault> {
    let rows = BY_PATH.at(path).map_err(|_| Fault::of_status(StatusCode::NOT_FOUND))?.value;
    rows.iter().copied().find(|row| row.takes(method)).ok_or_else(|| {
        let methods = rows.iter().flat_map(|row| match row.method {
            "GET" => vec!["GET", "HEAD"],
            other => vec![other],
        });
        let allowed = methods.collect::<Vec<_>>().join(", ");
        Fault::of_status(StatusCode::METHOD_NOT_ALLOWED).with_header(ALLOW, allowed)
    })
}

/// Runs a handler to its answer.
fn answered<F, R>(call: Call, handler: fn(Call) -> F) -> LocalBoxFuture<'static, HttpResponse>
where
    F: Future<Output = Result<R, Fault>> + 'static,
    R: Responder<Body = BoxBody>,
{
    let request = call.request().clone();
    let answer = move |result: F::Output| match result {
        Ok(reply) => reply.respond_to(&request),
        Err(fault) => HttpResponse::from_error(fault),
    };
    // Boxed as it is made: a future around it would be as large again, and copied.
    Box::pin(handler(call).map(answer))
}

macro_rules! routes {
    ($($path:literal { $($method:ident $handler:path: $access:expr $(, if_match $if_match:ident)?;)+ })+) => {
        /// Every route that there is, those of a path beside each other.
        pub const ROUTES: &[Route] = &[
            $($(Route {
                method: routes!(@ name $method),
                path: $path,
                access: $access,
                if_match: routes!(@ if_match $($if_match)?),
                handler: |call| answered(call, $handler),
            },)+)+
        ];
    };
    (@ name get) => { "GET" };
    (@ name post) => { "POST" };
    (@ name put) => { "PUT" };
    (@ name patch) => { "PATCH" };
    (@ name delete) => { "DELETE" };
    (@ if_match) => { IfMatch::Untaken };
    (@ if_match optional) => { IfMatch::Optional };
    (@ if_match required) => { IfMatch::Required };
}

use Access::{Needs, NeedsOrToken, NeedsSession, Public};
use Permission as P;

routes! {
    "/health" { get health::health: Public; }
    "/livez" { get health::alive: Public; }
    "/readyz" { get health::ready: Public; }
    "/.well-known/jwks.json" { get keys::show: Public; }
    "/api/openapi.json" { get openapi::show: Public; }
    "/api/v1/health" { get health::health: Public; }

    "/api/v1/auth/login" { post sessions::log_in: Public; }
    "/api/v1/auth/refresh" { post sessions::refresh: Public; }
    "/api/v1/auth/logout" { post sessions::log_out: NeedsOrToken(P::EndSessions); }
    "/api/v1/auth/logout-all" { post sessions::log_out_everywhere: Needs(P::EndSessions); }
    "/api/v1/auth/password/forgot" { post recovery::forgot: Public; }
    "/api/v1/auth/password/reset" { post recovery::reset: Public; }
    "/api/v1/auth/email/verify" { post recovery::verify: Public; }

    "/api/v1/users" {
        post users::sign_up: Public;
        get users::list: Needs(P::ListUsers);
    }
    "/api/v1/users/{id}" {
        get users::show: Needs(P::ReadProfile);
        put users::replace: Needs(P::WriteUser), if_match required;
        patch users::change: Needs(P::WriteUser), if_match required;
        delete users::deactivate: Needs(P::DeleteUser), if_match required;
    }
    "/api/v1/users/{id}/orders" { get orders::list_of_user: Needs(P::ReadOrders); }
    "/api/v1/users/{id}/positions" { get positions::list_of_user: Needs(P::ReadPositions); }
    "/api/v1/users/{id}/transfers" { get transfers::list_of_user: Needs(P::ReadTransfer); }
    "/api/v1/users/{id}/email/verification" { post recovery::send_verification: Needs(P::VerifyEmail); }
    "/api/v1/users/{id}/bots" {
        post bots::create: Needs(P::MakeBot);
        get bots::list: Needs(P::ReadBots);
    }
    "/api/v1/users/{id}/sessions" {
        get sessions::list: Needs(P::ReadSessions);
        delete sessions::revoke_all: Needs(P::EndSessions);
    }
    "/api/v1/users/{id}/role" { put users::set_role: Needs(P::ManageUsers), if_match required; }
    "/api/v1/users/{id}/status" { put users::set_status: Needs(P::ManageUsers), if_match required; }
    "/api/v1/users/{id}/sessions/{session}" { delete sessions::revoke: Needs(P::EndSessions); }

    "/api/v1/api-keys" {
        post api_keys::create: Needs(P::MakeKey);
        get api_keys::list: Needs(P::ReadKeys);
    }
    "/api/v1/api-keys/{id}" { delete api_keys::revoke: Needs(P::RevokeKey); }

    "/api/v1/accounts/{id}" { get accounts::show: Needs(P::ReadAccount); }
    "/api/v1/accounts/{id}/transfers" { get transfers::list_of_account: Needs(P::ReadTransfer); }
    "/api/v1/transfers" { post transfers::pay: Needs(P::Pay); }
    "/api/v1/transfers/{id}" { get transfers::show: Needs(P::ReadTransfer); }
    "/api/v1/admin/grants" { post transfers::grant: Needs(P::GrantCredits); }
    // Where the channel `me` is among what is followed, the handler asks for what it shows.
    "/api/v1/stream" { get live::events: Public; }
    "/api/v1/ws" { get sockets::socket: Public; }
    "/api/v1/stream/tickets" { post live::issue: NeedsSession(P::ReadAccount); }
    "/api/v1/events" { get events::list: Needs(P::ReadEvents); }
    "/api/v1/events/schemas" { get events::schemas: Public; }
    "/api/v1/events/schemas/{type}" { get events::schema: Public; }
    "/api/v1/admin/audit-log" { get audit_log::list: Needs(P::ReadAuditLog); }

    "/api/v1/webhooks" {
        post webhooks::create: Needs(P::ManageWebhooks);
        get webhooks::list: Needs(P::ReadWebhooks);
    }
    "/api/v1/webhooks/{id}" {
        get webhooks::show: Needs(P::ReadWebhooks);
        patch webhooks::change: Needs(P::ManageWebhooks), if_match required;
        delete webhooks::delete: Needs(P::ManageWebhooks), if_match required;
    }
    "/api/v1/webhooks/{id}/secret" { get webhooks::secret: Needs(P::ManageWebhooks); }
    "/api/v1/webhooks/{id}/secret/rotate" { post webhooks::rotate: Needs(P::ManageWebhooks), if_match optional; }
    "/api/v1/webhooks/{id}/test" { post webhooks::test: Needs(P::ManageWebhooks); }
    "/api/v1/webhooks/{id}/redeliver" { post webhooks::redeliver: Needs(P::ManageWebhooks); }
    "/api/v1/webhooks/{id}/deliveries" { get webhooks::deliveries: Needs(P::ReadWebhooks); }
    "/api/v1/webhooks/{id}/deliveries/{delivery}" { get webhooks::delivery: Needs(P::ReadWebhooks); }

    "/api/v1/jobs" {
        post jobs::start: Needs(P::ManageJobs);
        get jobs::list: Needs(P::ReadJobs);
    }
    "/api/v1/jobs/{id}" {
        get jobs::show: Needs(P::ReadJobs);
        delete jobs::cancel: Needs(P::ManageJobs);
    }
    "/api/v1/jobs/{id}/retry" { post jobs::retry: Needs(P::ManageJobs); }

    "/api/v1/markets" {
        post markets::open: Needs(P::OpenMarket);
        get markets::list: Public;
    }
    "/api/v1/markets/{id}" {
        get markets::show: Public;
        put markets::replace: Needs(P::WriteMarket), if_match required;
        patch markets::change: Needs(P::WriteMarket), if_match required;
        delete markets::delete: Needs(P::DeleteMarket), if_match required;
    }
    "/api/v1/markets/{id}/halt" { post markets::halt: Needs(P::HaltMarket), if_match optional; }
    "/api/v1/markets/{id}/reopen" { post markets::reopen: Needs(P::HaltMarket), if_match optional; }
    "/api/v1/markets/{id}/close" { post markets::close: Needs(P::CloseMarket), if_match optional; }
    "/api/v1/markets/{id}/propose" { post markets::propose: Needs(P::ProposeOutcome), if_match optional; }
    "/api/v1/markets/{id}/dispute" { post markets::dispute: Needs(P::DisputeOutcome), if_match optional; }
    "/api/v1/markets/{id}/resolve" { post markets::resolve: Needs(P::ResolveMarket), if_match optional; }
    "/api/v1/markets/{id}/void" { post markets::void: Needs(P::VoidMarket), if_match optional; }
    "/api/v1/markets/{id}/resolution-preview" { post previews::resolution: Needs(P::ResolveMarket); }
    "/api/v1/markets/{id}/split" { post sets::split: Needs(P::PlaceOrder); }
    "/api/v1/markets/{id}/merge" { post sets::merge: Needs(P::PlaceOrder); }
    "/api/v1/markets/{id}/book" { get books::show: Public; }
    "/api/v1/markets/{id}/trades" { get trades::list_of_market: Public; }
    "/api/v1/markets/{id}/candles" { get trades::candles: Public; }
    "/api/v1/markets/{id}/positions" { get positions::list_of_market: Needs(P::ReadPositions); }

    "/api/v1/orders" {
        post orders::place: Needs(P::PlaceOrder);
        get orders::list: Needs(P::ReadOrders);
        delete orders::cancel_all: Needs(P::ChangeOrder);
    }
    "/api/v1/orders/quote" { post orders::quote: Needs(P::QuoteOrder); }
    "/api/v1/orders/cancel-after" {
        get switches::show: Needs(P::ReadOrders);
        put switches::set: Needs(P::ChangeOrder);
        delete switches::switch_off: Needs(P::ChangeOrder);
    }
    "/api/v1/orders/batch" { post orders::place_batch: Needs(P::PlaceOrder); }
    "/api/v1/orders/{id}" {
        get orders::show: Needs(P::ReadOrders);
        patch orders::amend: Needs(P::ChangeOrder);
        delete orders::cancel: Needs(P::ChangeOrder);
    }

    "/api/v1/leaderboard" { get leaderboard::show: Needs(P::ReadProfile); }

    "/api/v1/order-groups" {
        post order_groups::create: Needs(P::ChangeOrder);
        get order_groups::list: Needs(P::ReadOrders);
    }
    "/api/v1/order-groups/{id}" {
        get order_groups::show: Needs(P::ReadOrders);
        delete order_groups::delete: Needs(P::ChangeOrder);
    }
    "/api/v1/order-groups/{id}/reset" { post order_groups::reset: Needs(P::ChangeOrder); }

    "/api/v1/positions" { get positions::list: Needs(P::ReadPositions); }
    "/api/v1/trades" { get trades::list: Needs(P::ReadTrades); }

    "/api/v2/users/{id}" { get users::show_2: Needs(P::ReadProfile); }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Result<&'static str, u16> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        find(&method, path).map(|route| route.path).map_err(|fault| fault.status().as_u16())
    }

    #[test]
    fn finds_each_row_by_its_path() {
        for route in ROUTES {
            assert_eq!(found(route.method, &route.path.replace("{id}", "7")), Ok(route.path));
        }
        assert_eq!(found("HEAD", "/api/v1/markets/7"), Ok("/api/v1/markets/{id}"));
        assert_eq!(found("POST", "/api/v1/orders/quote"), Ok("/api/v1/orders/quote"));
        assert_eq!(found("PATCH", "/api/v1/orders/quote"), Err(405));
        for nothing in ["", "/", "/api/v1/markets/", "/api/v1/markets//book", "/api/v1/markets/7/", "/livez/x"] {
            assert_eq!(found("GET", nothing), Err(404), "{nothing}");
        }
    }

    #[test]
    fn reads_parameters_by_their_place() {
        let route = find(&Method::DELETE, "/api/v1/users/u/sessions/s").unwrap();
        let read = |name| route.parameter(name, "/api/v1/users/u/sessions/s");
        assert_eq!((read("id"), read("session"), read("users")), (Some("u"), Some("s"), None));
    }
}
