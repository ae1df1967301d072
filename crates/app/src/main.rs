//! `bellwether`: a self-hosted prediction-market server in one binary.

mod replay;

fn main() {}
