//! Passwords, access tokens and the keys that sign them, refresh tokens, seals, the server's secret,
//! the clock and fresh ids.
//!
//! The only crate that reads the wall clock and draws random numbers.

mod clock;
mod common_passwords;
mod keys;
mod opaque_tokens;
mod passwords;
mod private_files;
mod seals;
mod signing_keys;
mod tokens;
mod webhooks;
mod workers;

pub use clock::{SystemClock, UuidIds};
pub use common_passwords::CommonPasswordList;
pub use keys::{KeyError, MasterKey};
pub use opaque_tokens::RandomTokens;
pub use passwords::BcryptHasher;
pub use seals::HmacSealer;
pub use signing_keys::{KeyFile, KeyState, SigningKeys};
pub use tokens::Ed25519Signer;
pub use webhooks::DerivedSigner;
