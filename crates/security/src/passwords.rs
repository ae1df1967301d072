//! Passwords, hashed with bcrypt on threads of their own.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bellwether_domain::ports::{PasswordError, PasswordHasher};
use bellwether_domain::user::PasswordHash;

use crate::workers::{NotDone, Workers};

/// The salt and the hash of a password that nobody has. Only how long it takes to check matters.
const DUMMY: &str = "L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";
/// The costs that bcrypt knows.
const COSTS: RangeInclusive<u32> = 4..=31;
/// How many may wait for each thread that hashes.
const WAITING_PER_THREAD: usize = 32;

/// Hashes with bcrypt. Hashing keeps a core busy for a quarter of a second at cost 12, so it is done on
/// `threads` threads of its own that give way to others, and of those who wait there are only so many
/// that nobody waits for long.
#[derive(Debug)]
pub struct BcryptHasher {
    cost: u32,
    /// The highest cost that a hash has had so far, the configured one at least: to say no takes so long.
    highest: AtomicU32,
    workers: Workers,
}

impl BcryptHasher {
    /// A hasher of that cost (each step doubles the work) on so many threads, at least one.
    /// [`PasswordError::Failed`] where the cost is not within 4 to 31, or the system gives no threads.
    pub fn new(cost: u32, threads: usize) -> Result<Self, PasswordError> {
        if !COSTS.contains(&cost) {
            return Err(PasswordError::Failed);
        }
        let threads = threads.max(1);
        let workers = Workers::start(threads, threads.saturating_mul(WAITING_PER_THREAD));
        Ok(Self { cost, highest: AtomicU32::new(cost), workers: workers.map_err(|_| PasswordError::Failed)? })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        self.workers.run(work).await.map_err(|not_done| match not_done {
            NotDone::Busy => PasswordError::Busy,
            NotDone::Failed => PasswordError::Failed,
        })?
    }
}

/// bcrypt reads 72 bytes and stops at NUL: what it would not read whole is refused.
fn check(password: &str) -> Result<(), PasswordError> {
    if password.len() > 72 {
        return Err(PasswordError::TooLong);
    }
    if password.contains('\0') { Err(PasswordError::ContainsNul) } else { Ok(()) }
}

fn cost_of(hash: &PasswordHash) -> Result<u32, PasswordError> {
    let parts: bcrypt::HashParts = hash.expose().parse().map_err(|_| PasswordError::Failed)?;
    Ok(parts.get_cost())
}

/// A hash of that cost of a password that nobody has.
fn dummy(cost: u32) -> String {
    format!("$2b${cost:02}${DUMMY}")
}

/// Does the work of one verification at each of these costs, and says no.
fn try_dummies(password: &str, costs: RangeInclusive<u32>) -> Result<bool, PasswordError> {
    for cost in costs {
        bcrypt::verify(password, &dummy(cost)).map_err(|_| PasswordError::Failed)?;
    }
    Ok(false)
}

#[async_trait]
impl PasswordHasher for BcryptHasher {
    async fn hash(&self, password: &str) -> Result<PasswordHash, PasswordError> {
        check(password)?;
        let (password, cost) = (password.to_owned(), self.cost);
        // With at most 72 bytes and no NUL nothing is truncated; the library's non-truncating calls refuse 72 itself.
        self.run(move || bcrypt::hash(password, cost).map(PasswordHash::new).map_err(|_| PasswordError::Failed)).await
    }

    async fn verify<'a>(&self, password: &str, hash: Option<&'a PasswordHash>) -> Result<bool, PasswordError> {
        check(password)?;
        let known = hash.map(|hash| Ok((hash.clone(), cost_of(hash)?))).transpose()?;
        let seen = known.as_ref().map_or(self.cost, |(_, cost)| *cost);
        let highest = self.highest.fetch_max(seen, Ordering::Relaxed).max(seen);
        let password = password.to_owned();
        self.run(move || {
            let Some((hash, cost)) = known else { return try_dummies(&password, highest..=highest) };
            let is_right = bcrypt::verify(&password, hash.expose()).map_err(|_| PasswordError::Failed)?;
            // Each step doubles the work, so all from here up to the highest add up to it.
            if is_right { Ok(true) } else { try_dummies(&password, cost..=highest.saturating_sub(1)) }
        })
        .await
    }

    fn is_outdated(&self, hash: &PasswordHash) -> bool {
        cost_of(hash).is_ok_and(|cost| cost < self.cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher() -> BcryptHasher {
        BcryptHasher::new(4, 2).unwrap()
    }

    /// Threat 3.
    #[tokio::test]
    async fn every_byte_of_a_password_counts_up_to_72() {
        let hasher = hasher();
        let long = "é".repeat(35) + "ab";
        assert_eq!(long.len(), 72);
        let hash = hasher.hash(&long).await.unwrap();
        assert_eq!(hasher.verify(&long, Some(&hash)).await, Ok(true));
        let other = "é".repeat(35) + "ac";
        assert_eq!(hasher.verify(&other, Some(&hash)).await, Ok(false));
        assert_eq!(hasher.verify(&long[..71], Some(&hash)).await, Ok(false));
        assert_eq!(hasher.hash(&"x".repeat(73)).await, Err(PasswordError::TooLong));
        assert_eq!(hasher.hash("a\0b").await, Err(PasswordError::ContainsNul));
    }

    /// Threat 3: bcrypt reads a password over and over until it has 72 bytes.
    #[tokio::test]
    async fn two_different_passwords_never_verify_against_one_hash() {
        let hasher = hasher();
        let mut passwords: Vec<String> =
            ["", "a", "A", "aa", "ab", "abab", "é", "e\u{301}", "\u{1F511}", "a ", " a"].map(str::to_owned).into();
        passwords.extend(["a", "ab"].iter().flat_map(|p| [70, 71, 72].map(|length| p.repeat(72)[..length].to_owned())));
        for password in &passwords {
            let hash = hasher.hash(password).await.unwrap();
            for other in &passwords {
                assert_eq!(hasher.verify(other, Some(&hash)).await, Ok(other == password), "{password:?}, {other:?}");
            }
        }
    }

    /// Threat 3.
    #[tokio::test]
    async fn what_cannot_be_read_whole_is_refused_on_the_way_out_too() {
        let hasher = hasher();
        let hash = hasher.hash(&"x".repeat(72)).await.unwrap();
        assert_eq!(hasher.verify(&"x".repeat(73), Some(&hash)).await, Err(PasswordError::TooLong));
        assert_eq!(hasher.verify("x\0", None).await, Err(PasswordError::ContainsNul));
    }

    /// Threat 1: a dummy is a hash of its cost, so checking it takes as long, and no password is right for it.
    #[tokio::test]
    async fn without_a_hash_the_same_work_is_done_and_the_answer_is_no() {
        for cost in [4, 12, 31] {
            assert_eq!(cost_of(&PasswordHash::new(dummy(cost))), Ok(cost));
        }
        assert_eq!(hasher().verify("whatever", None).await, Ok(false));
    }

    /// Threat 1: who has not signed in since the cost was raised, or since it was lowered, is not told
    /// apart from nobody.
    #[tokio::test]
    async fn to_say_no_costs_as_much_as_the_most_costly_hash_seen() {
        let (cheap, costly) = (hasher(), BcryptHasher::new(6, 2).unwrap());
        let (old, new) = (cheap.hash("pass phrase").await.unwrap(), costly.hash("pass phrase").await.unwrap());
        assert_eq!(costly.verify("another", Some(&old)).await, Ok(false));
        assert_eq!(costly.highest.load(Ordering::Relaxed), 6);
        assert_eq!(cheap.verify("pass phrase", Some(&new)).await, Ok(true));
        assert_eq!(cheap.highest.load(Ordering::Relaxed), 6, "a hash from when the cost was higher");
        // What is done after a hash of cost 4 was found wrong, where 10 is the highest.
        let work = |cost: u32| 1_u64 << cost;
        assert_eq!(work(4) + (4..=9).map(work).sum::<u64>(), work(10));
        assert_eq!(
            cheap.verify("x", Some(&PasswordHash::new("nonsense".to_owned()))).await,
            Err(PasswordError::Failed)
        );
    }

    #[tokio::test]
    async fn a_hash_is_outdated_when_the_cost_was_raised() {
        let (cheap, costly) = (hasher(), BcryptHasher::new(5, 1).unwrap());
        let (old, new) = (cheap.hash("pass phrase").await.unwrap(), costly.hash("pass phrase").await.unwrap());
        assert!(costly.is_outdated(&old) && !costly.is_outdated(&new));
        assert!(!cheap.is_outdated(&new), "a lower cost makes no hash worse");
        assert!(!cheap.is_outdated(&PasswordHash::new("nonsense".to_owned())));
    }

    #[test]
    fn a_cost_that_bcrypt_does_not_know_is_refused() {
        assert!(BcryptHasher::new(3, 1).is_err() && BcryptHasher::new(32, 1).is_err());
    }
}
