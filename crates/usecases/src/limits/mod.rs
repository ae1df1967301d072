//! Limits on how often something may be done: the rules, who is counted together, and what comes of
//! attempts that count only where they fail, or only where they succeed.

mod attempts;
mod guarded;
mod made;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bellwether_domain::ports::{LimitKey, Quota, Standing};
use jiff::SignedDuration;
use thiserror::Error;

pub use attempts::Limiter;
pub use guarded::*;
pub use made::{create_api_key, create_bot, create_webhook, open_market};

/// A quota and the name that clients know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The name.
    pub name: &'static str,
    /// How often.
    pub quota: Quota,
}

impl Rule {
    const fn new(name: &'static str, limit: u32, window: SignedDuration) -> Self {
        Self { name, quota: Quota::new(limit, window) }
    }

    /// The same rule with another quota.
    #[must_use]
    pub const fn with(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    /// What a subject is counted under.
    #[must_use]
    pub fn key(&self, subject: &[u8]) -> LimitKey {
        LimitKey::of(self.name, subject)
    }
}

/// Every rule.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests of nobody who is signed in, by address.
    pub public: Rule,
    /// Requests of a user.
    pub user: Rule,
    /// Failed sign-ins to one account from one address.
    pub login: Rule,
    /// Failed sign-ins from one address, to whichever account.
    pub login_address: Rule,
    /// Failed sign-ins to one account, from wherever.
    pub login_account: Rule,
    /// Right passwords of one account, and passwords that one user checks or sets to change itself: each costs a hash.
    pub password: Rule,
    /// Passwords of sign-ins from one address, right or wrong.
    pub password_address: Rule,
    /// Sign-ups that failed because the address is taken, by the client's address.
    pub sign_up: Rule,
    /// Users who signed up, by the client's address.
    pub new_users: Rule,
    /// Mails to somebody who forgot a password, or to verify an address, and tokens from mails that are not good.
    pub reset: Rule,
    /// Refreshes, by address.
    pub refresh: Rule,
    /// What stays for good and costs nothing, by the person who makes it: API keys, bots, markets and webhooks together.
    pub made: Rule,
    /// How many leading bits of an IPv6 address are one client's, up to 128.
    pub ipv6_prefix: u8,
}

impl Default for Limits {
    fn default() -> Self {
        const MINUTE: SignedDuration = SignedDuration::from_mins(1);
        const QUARTER: SignedDuration = SignedDuration::from_mins(15);
        Self {
            public: Rule::new("public", 1200, MINUTE),
            user: Rule::new("user", 6000, MINUTE),
            login: Rule::new("login", 5, QUARTER),
            login_address: Rule::new("login_address", 5, QUARTER),
            login_account: Rule::new("login_account", 100, QUARTER),
            password: Rule::new("password", 30, MINUTE),
            password_address: Rule::new("password_address", 120, MINUTE),
            sign_up: Rule::new("sign_up", 5, QUARTER),
            new_users: Rule::new("new_users", 30, SignedDuration::from_hours(1)),
            reset: Rule::new("reset", 5, QUARTER),
            refresh: Rule::new("refresh", 60, MINUTE),
            made: Rule::new("made", 500, SignedDuration::from_hours(24)),
            ipv6_prefix: 56,
        }
    }
}

impl Limits {
    /// API keys that had to be looked up and are none, by address: as many as there may be requests of nobody. They are
    /// counted apart from these, or who has a good key would be kept out by what others at the address ask.
    #[must_use]
    pub const fn unknown_keys(&self) -> Rule {
        Rule { name: "unknown_keys", quota: self.public.quota }
    }

    /// The block that an address is counted as.
    #[must_use]
    pub fn block(&self, address: IpAddr) -> AddressBlock {
        AddressBlock(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let rest = 128_u32.saturating_sub(self.ipv6_prefix.into());
                let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        })
    }
}

/// Addresses that one client has: an IPv4 address, or all of an IPv6 prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressBlock(IpAddr);

impl AddressBlock {
    /// Of clients whose address is not known: all are counted together.
    pub const UNKNOWN: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    /// As what is counted: as nothing that anybody could give for the text of an account, which is counted by some of
    /// the same rules.
    #[must_use]
    pub fn subject(self) -> Subject {
        match self.0 {
            IpAddr::V4(address) => Subject::of(&[b"address", &address.octets()]),
            IpAddr::V6(address) => Subject::of(&[b"address", &address.octets()]),
        }
    }
}

/// Who or what is counted, as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Subject(Vec<u8>);

impl Subject {
    /// Of parts. The first must be text where there are several.
    fn of(parts: &[&[u8]]) -> Self {
        // A byte that no text in UTF-8 has.
        Self(parts.join(&0xff))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// More than a rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many requests (limit {})", .rule.name)]
pub struct Exceeded {
    /// The rule.
    pub rule: Rule,
    /// How its subject stands.
    pub standing: Standing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(address: &str, ipv6_prefix: u8) -> AddressBlock {
        Limits { ipv6_prefix, ..Limits::default() }.block(address.parse().unwrap())
    }

    #[test]
    fn no_text_of_an_account_is_counted_as_an_address() {
        for (address, text) in [("24.30.50.60", "\u{18}\u{1e}2<"), ("2001::", "address")] {
            assert_ne!(block(address, 128).subject().as_bytes(), Subject::of(&[text.as_bytes()]).as_bytes());
        }
        assert!(block("24.30.50.60", 56).subject().as_bytes().contains(&0xff), "no text has that byte");
    }

    /// Threat 57.
    #[test]
    fn addresses_of_one_ipv6_prefix_are_one_client() {
        let one = block("2001:db8:0:ab00::1", 56);
        assert_eq!(one, block("2001:db8:0:abff:ffff:ffff:ffff:ffff", 56));
        assert_ne!(one, block("2001:db8:0:ac00::1", 56));
        assert_ne!(block("2001:db8:0:ab00::1", 64), block("2001:db8:0:ab01::1", 64));
        assert_ne!(block("2001:db8::1", 128), block("2001:db8::2", 128));
    }

    #[test]
    fn an_ipv4_address_is_one_client_however_it_is_written() {
        assert_eq!(block("192.0.2.1", 56), block("::ffff:192.0.2.1", 56));
        assert_ne!(block("192.0.2.1", 56), block("192.0.2.2", 56));
    }
}
