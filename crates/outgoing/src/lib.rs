//! Calls to addresses that users chose: [`GuardedCaller`].
//!
//! Whoever chooses an address could choose one that is not for it: a database beside the server, the machine's
//! own services, a cloud's metadata. So an address is looked at where it is connected to: a host is resolved
//! here, what is resolved is what is connected to, and no redirect is followed to anywhere else.

mod breaker;
mod caller;
mod guard;

pub use caller::GuardedCaller;
pub use guard::Guard;
