//! Use cases against mocks of the ports: what they ask of the world, in which order, and what they
//! do when it fails.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    unreachable_pub,
    reason = "a test fails by panicking; the modules of a test binary share what is theirs"
)]

mod access;
mod api_keys;
mod audit_log;
mod bots;
mod cache_follower;
mod caching;
mod candles;
mod jobs;
mod limits;
mod live;
mod mail;
mod markets;
mod mocks;
mod money;
mod news;
mod notices;
mod order_groups;
mod orders;
mod recovery;
mod relay;
mod scoring;
mod sessions;
mod sets;
mod settling;
mod sign_in;
mod switches;
mod units;
mod webhooks;
