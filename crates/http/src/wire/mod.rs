//! What goes over the wire: answers as they are serialised, and bodies as they are read into commands.

pub(crate) mod account;
pub(crate) mod api_key;
pub(crate) mod audit_log;
pub(crate) mod book;
pub(crate) mod job;
pub(crate) mod market;
pub(crate) mod market_body;
pub(crate) mod order;
pub(crate) mod order_body;
pub(crate) mod position;
pub(crate) mod score;
pub(crate) mod trade;
pub(crate) mod user;
pub(crate) mod user_body;
pub(crate) mod view;
pub(crate) mod webhook;

use bellwether_usecases::Rendered;
use serde::Serialize;

/// An answer of 201 with the address of what was created.
pub(crate) fn created(thing: &impl Serialize, location: String) -> Rendered {
    // Serialising our own plain structs into memory cannot fail; `null` would show if it did.
    let body = serde_json::to_string(thing).unwrap_or_else(|_| "null".to_owned());
    Rendered { status: 201, location: Some(location), body }
}
