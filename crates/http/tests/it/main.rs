//! The adapter over mocked ports: the envelope of every answer, and what faults become.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod answers;
mod framework;
mod limits;
mod sockets;
mod support;
