//! Passwords, access tokens, seals, the server's secret, the clock and fresh ids.
//!
//! The only crate that reads the wall clock and draws random numbers.

mod clock;
mod keys;
mod passwords;
mod seals;
mod tokens;

pub use clock::{SystemClock, UuidIds};
pub use keys::{KeyError, MasterKey};
pub use passwords::BcryptHasher;
pub use seals::HmacSealer;
pub use tokens::Ed25519Signer;
