//! What Bellwether knows about prediction markets, as plain Rust without I/O.
//!
//! - Numbers and texts: [`money`], [`ids`], [`text`].
//! - Things: [`user`], [`session`], [`api_key`], [`mail`], [`job`], [`ledger`], [`market`], [`order`], [`order_group`], [`position`], [`trade`],
//!   [`cancel_switch`], [`score`], [`audit_log`], [`event`].
//! - Rules: [`lmsr`] (the market maker's prices), [`book`] and [`exchange`] (matching),
//!   [`settlement`] (payouts), [`permissions`], [`password`].
//! - [`market_memory`]: what adapters of storage remember of markets between units of work.
//! - [`ports`]: what the domain needs of the world, as traits.
//!
//! Everything that decides is a pure function of loaded state, a command, the time and fresh ids.

pub mod api_key;
pub mod audit_log;
pub mod book;
pub mod cancel_switch;
pub mod event;
pub mod exchange;
pub mod ids;
pub mod job;
pub mod ledger;
pub mod lmsr;
pub mod mail;
pub mod market;
pub mod market_memory;
pub mod money;
pub mod order;
pub mod order_group;
pub mod password;
pub mod permissions;
pub mod ports;
pub mod position;
pub mod refusal;
pub mod score;
pub mod session;
pub mod settlement;
pub mod text;
pub mod trade;
pub mod user;
pub mod webhook;
