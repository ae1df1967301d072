//! The suites of the three ports, on one server and on a cluster, and what is these adapters' own.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and so do those whom it asks to do something"
)]

mod conformance;
mod contents;
mod failures;
mod own_server;
mod stream;
mod support;
