//! Black-box tests: each starts the real binary on a fresh store, speaks HTTP to it as anybody
//! would, and audits what is left behind. Every test runs on SQLite and, where `DATABASE_URL` is
//! set, on PostgreSQL.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in a test, what is not as expected must stop it, in its helpers too"
)]

mod admin;
mod api_keys;
mod auth_bodies;
mod bad_input;
mod bots;
mod caching;
mod disk;
mod enumeration;
mod event_schemas;
mod failpoints;
mod forged_tokens;
mod hostile_text;
mod idempotency;
mod independence;
mod instances;
mod jobs;
mod leaderboard;
mod life;
mod limits;
mod lists;
mod live;
mod mail;
mod makers;
mod metrics;
mod money;
mod openapi;
mod operations;
mod order_groups;
mod orders;
mod outages;
mod passwords;
mod people;
mod permissions;
mod protocol;
mod redis;
mod replay;
mod replicas;
mod sessions;
mod sets;
mod switches;
mod tour;
mod users;
mod webhooks;
