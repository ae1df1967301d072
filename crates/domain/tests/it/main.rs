//! Tests of the rules, without any infrastructure.
#![expect(unreachable_pub, reason = "the modules of a test binary share what is theirs")]

mod examples;
mod invariants;
mod random;
mod text_and_numbers;
mod world;
