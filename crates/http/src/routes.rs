//! The table of routes: for each path its methods, and for each of these a handler and what it needs.
//! What is not in it is answered 404, or 405 with the methods that are.

use actix_web::web::{self, ServiceConfig};
use bellwether_domain::permissions::Permission;

use crate::call::Arrived;
use crate::faults::Fault;
use crate::{
    accounts, api_keys, audit_log, books, bots, events, health, jobs, keys, live, markets, orders, positions, previews,
    recovery, sessions, sets, trades, transfers, users, webhooks,
};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody; nobody need be signed in.
    Public,
    /// Whoever has the permission. Where it reaches no further than one's own, the handler or its use
    /// case knows what is whose.
    Needs(Permission),
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The method. What takes `GET` takes `HEAD` too.
    pub method: &'static str,
    /// The path, with the names of its parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

macro_rules! routes {
    ($($path:literal { $($method:ident $handler:path: $access:expr;)+ })+) => {
        /// Every route that there is.
        pub const ROUTES: &[Route] = &[
            $($(Route { method: routes!(@ name $method), path: $path, access: $access },)+)+
        ];

        /// Adds every route. The application must be given as `web::Data<App>`.
        pub fn configure(config: &mut ServiceConfig) {
            $(
                let resource = web::resource($path);
                $(let resource = routes!(@ add $method, resource, |arrived: Arrived| $handler(arrived.to($access)));)+
                config.service(resource);
            )+
            config.default_service(web::to(nothing_here));
        }
    };
    (@ add get, $resource:expr, $handler:expr) => {
        $resource.route(web::get().to($handler)).route(web::head().to($handler))
    };
    (@ add $method:ident, $resource:expr, $handler:expr) => {
        $resource.route(web::$method().to($handler))
    };
    (@ name get) => { "GET" };
    (@ name post) => { "POST" };
    (@ name put) => { "PUT" };
    (@ name patch) => { "PATCH" };
    (@ name delete) => { "DELETE" };
}

use Access::{Needs, Public};
use Permission as P;

routes! {
    "/health" { get health::health: Public; }
    "/livez" { get health::alive: Public; }
    "/readyz" { get health::ready: Public; }
    "/.well-known/jwks.json" { get keys::show: Public; }
    "/api/v1/health" { get health::health: Public; }

    "/api/v1/auth/login" { post sessions::log_in: Public; }
    "/api/v1/auth/refresh" { post sessions::refresh: Public; }
    // Needs nobody who is signed in where the body has a refresh token.
    "/api/v1/auth/logout" { post sessions::log_out: Needs(P::EndSessions); }
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
        put users::replace: Needs(P::WriteUser);
        patch users::change: Needs(P::WriteUser);
        delete users::deactivate: Needs(P::DeleteUser);
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
    "/api/v1/users/{id}/role" { put users::set_role: Needs(P::ManageUsers); }
    "/api/v1/users/{id}/status" { put users::set_status: Needs(P::ManageUsers); }
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
    "/api/v1/ws" { get live::socket: Public; }
    "/api/v1/stream/tickets" { post live::issue: Needs(P::ReadAccount); }
    "/api/v1/events" { get events::list: Needs(P::ReadEvents); }
    "/api/v1/admin/audit-log" { get audit_log::list: Needs(P::ReadAuditLog); }

    "/api/v1/webhooks" {
        post webhooks::create: Needs(P::ManageWebhooks);
        get webhooks::list: Needs(P::ReadWebhooks);
    }
    "/api/v1/webhooks/{id}" {
        get webhooks::show: Needs(P::ReadWebhooks);
        patch webhooks::change: Needs(P::ManageWebhooks);
        delete webhooks::delete: Needs(P::ManageWebhooks);
    }
    "/api/v1/webhooks/{id}/secret" { get webhooks::secret: Needs(P::ManageWebhooks); }
    "/api/v1/webhooks/{id}/secret/rotate" { post webhooks::rotate: Needs(P::ManageWebhooks); }
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
        put markets::replace: Needs(P::WriteMarket);
        patch markets::change: Needs(P::WriteMarket);
        delete markets::delete: Needs(P::DeleteMarket);
    }
    "/api/v1/markets/{id}/halt" { post markets::halt: Needs(P::HaltMarket); }
    "/api/v1/markets/{id}/reopen" { post markets::reopen: Needs(P::HaltMarket); }
    "/api/v1/markets/{id}/close" { post markets::close: Needs(P::CloseMarket); }
    "/api/v1/markets/{id}/propose" { post markets::propose: Needs(P::ProposeOutcome); }
    "/api/v1/markets/{id}/dispute" { post markets::dispute: Needs(P::DisputeOutcome); }
    "/api/v1/markets/{id}/resolve" { post markets::resolve: Needs(P::ResolveMarket); }
    "/api/v1/markets/{id}/void" { post markets::void: Needs(P::VoidMarket); }
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
    "/api/v1/orders/batch" { post orders::place_batch: Needs(P::PlaceOrder); }
    "/api/v1/orders/{id}" {
        get orders::show: Needs(P::ReadOrders);
        patch orders::amend: Needs(P::ChangeOrder);
        delete orders::cancel: Needs(P::ChangeOrder);
    }

    "/api/v1/positions" { get positions::list: Needs(P::ReadPositions); }
    "/api/v1/trades" { get trades::list: Needs(P::ReadTrades); }

    "/api/v2/users/{id}" { get users::show_2: Needs(P::ReadProfile); }
}

async fn nothing_here() -> Result<&'static str, Fault> {
    Err(Fault::of_status(actix_web::http::StatusCode::NOT_FOUND))
}
