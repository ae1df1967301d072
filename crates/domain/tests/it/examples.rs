//! The rules by example.
