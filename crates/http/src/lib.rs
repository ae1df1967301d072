//! The REST API over HTTP: an inbound adapter, from requests to use cases and back.
//!
//! A request passes `middleware` (its id, its log line, the envelope of errors) into a handler,
//! which authenticates (`auth`), reads (`query`, `body`, `fields`), runs a use case or a
//! query on the runtime of the stores ([`App`]), and answers (`envelope`). Reading gathers every
//! fault before it gives up; `faults` alone knows which status and code an error has.
//!
//! What is not here: rules and permissions (the domain's and the use cases'), and storage.

mod accounts;
mod api_keys;
mod app;
mod audit_log;
mod auth;
mod body;
mod books;
mod bots;
mod call;
mod client;
mod cors;
mod cursor;
mod decimal;
mod envelope;
mod etag;
mod events;
mod faults;
mod fields;
mod health;
mod idempotency;
mod jobs;
mod json;
mod keys;
mod leaderboard;
mod limits;
mod live;
mod markets;
mod metrics;
mod middleware;
mod openapi;
mod order_groups;
mod orders;
mod paging;
mod positions;
mod previews;
mod query;
mod recovery;
mod remembered;
mod routes;
mod server;
mod sessions;
mod sets;
mod sockets;
mod switches;
mod trace;
mod trades;
mod transfers;
mod users;
mod webhooks;
mod wire;

pub use actix_web::dev::ServerHandle;
pub use app::{App, HttpOptions};
pub use client::{ForwardedHeader, Proxies};
pub use metrics::{Exposition, RequestMeter, metrics_server};
pub use openapi::openapi;
pub use routes::{Access, IfMatch, ROUTES, Route};
pub use server::{enclosed, server, service};
