//! Black-box tests: each starts the real binary on a fresh store, speaks HTTP to it as anybody
//! would, and audits what is left behind. Every test runs on SQLite and, where `DATABASE_URL` is
//! set, on PostgreSQL.

#![expect(missing_docs, reason = "tests say what they show in their names")]

mod bad_input;
mod hostile_text;
mod idempotency;
mod life;
mod lists;
mod makers;
mod money;
mod operations;
mod orders;
mod people;
mod protocol;
mod replay;
mod tour;
