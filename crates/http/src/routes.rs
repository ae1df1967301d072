//! The table of routes. What is not in it is answered 404, or 405 with the methods that are.

use actix_web::web::{self, ServiceConfig};

use crate::faults::Fault;
use crate::{
    accounts, audit_log, books, health, keys, markets, orders, positions, recovery, sessions, trades, transfers, users,
};

/// Adds one row: a path, and a handler for each of its methods. `GET` answers `HEAD` too.
macro_rules! row {
    ($config:expr, $path:literal, $($method:ident => $handler:path),+) => {{
        let resource = web::resource($path);
        $(let resource = row!(@ resource, $method, $handler);)+
        $config.service(resource);
    }};
    (@ $resource:expr, get, $handler:path) => {
        $resource.route(web::get().to($handler)).route(web::head().to($handler))
    };
    (@ $resource:expr, $method:ident, $handler:path) => {
        $resource.route(web::$method().to($handler))
    };
}

/// Adds every route. The application must be given as `web::Data<App>`.
pub fn configure(config: &mut ServiceConfig) {
    row!(config, "/health", get => health::health);
    row!(config, "/livez", get => health::alive);
    row!(config, "/readyz", get => health::ready);
    row!(config, "/.well-known/jwks.json", get => keys::show);
    config.service(web::scope("/api/v1").configure(version_1));
    config.default_service(web::to(nothing_here));
}

fn version_1(config: &mut ServiceConfig) {
    row!(config, "/health", get => health::health);

    row!(config, "/auth/login", post => sessions::log_in);
    row!(config, "/auth/refresh", post => sessions::refresh);
    row!(config, "/auth/logout", post => sessions::log_out);
    row!(config, "/auth/logout-all", post => sessions::log_out_everywhere);
    row!(config, "/auth/password/forgot", post => recovery::forgot);
    row!(config, "/auth/password/reset", post => recovery::reset);
    row!(config, "/auth/email/verify", post => recovery::verify);

    row!(config, "/users", post => users::sign_up, get => users::list);
    row!(config, "/users/{id}", get => users::show, put => users::replace, patch => users::change, delete => users::deactivate);
    row!(config, "/users/{id}/orders", get => orders::list_of_user);
    row!(config, "/users/{id}/positions", get => positions::list_of_user);
    row!(config, "/users/{id}/transfers", get => transfers::list_of_user);
    row!(config, "/users/{id}/email/verification", post => recovery::send_verification);
    row!(config, "/users/{id}/sessions", get => sessions::list, delete => sessions::revoke_all);
    row!(config, "/users/{id}/role", put => users::set_role);
    row!(config, "/users/{id}/status", put => users::set_status);
    row!(config, "/users/{id}/sessions/{session}", delete => sessions::revoke);

    row!(config, "/accounts/{id}", get => accounts::show);
    row!(config, "/accounts/{id}/transfers", get => transfers::list_of_account);
    row!(config, "/transfers", post => transfers::pay);
    row!(config, "/transfers/{id}", get => transfers::show);
    row!(config, "/admin/grants", post => transfers::grant);
    row!(config, "/admin/audit-log", get => audit_log::list);

    row!(config, "/markets", post => markets::open, get => markets::list);
    row!(config, "/markets/{id}", get => markets::show, put => markets::replace, patch => markets::change, delete => markets::delete);
    row!(config, "/markets/{id}/halt", post => markets::halt);
    row!(config, "/markets/{id}/reopen", post => markets::reopen);
    row!(config, "/markets/{id}/close", post => markets::close);
    row!(config, "/markets/{id}/propose", post => markets::propose);
    row!(config, "/markets/{id}/dispute", post => markets::dispute);
    row!(config, "/markets/{id}/resolve", post => markets::resolve);
    row!(config, "/markets/{id}/void", post => markets::void);
    row!(config, "/markets/{id}/book", get => books::show);
    row!(config, "/markets/{id}/trades", get => trades::list_of_market);
    row!(config, "/markets/{id}/candles", get => trades::candles);
    row!(config, "/markets/{id}/positions", get => positions::list_of_market);

    row!(config, "/orders", post => orders::place, get => orders::list, delete => orders::cancel_all);
    row!(config, "/orders/quote", post => orders::quote);
    row!(config, "/orders/batch", post => orders::place_batch);
    row!(config, "/orders/{id}", get => orders::show, patch => orders::amend, delete => orders::cancel);

    row!(config, "/positions", get => positions::list);
    row!(config, "/trades", get => trades::list);
}

async fn nothing_here() -> Result<&'static str, Fault> {
    Err(Fault::of_status(actix_web::http::StatusCode::NOT_FOUND))
}
