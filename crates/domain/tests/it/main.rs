//! Tests of the rules, without any infrastructure.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    unreachable_pub,
    reason = "a test fails by panicking; the modules of a test binary share what is theirs"
)]

mod examples;
mod groups;
mod invariants;
mod keys;
mod lmsr;
mod naive;
mod random;
mod remembered;
mod sets;
mod text_and_numbers;
mod told;
mod world;
