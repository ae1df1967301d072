//! Leaves hosts alone that could not be reached several times in a row: a circuit breaker for each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often in a row a host may fail to be reached before it is left alone.
const MOST_FAILURES: u32 = 5;
/// For how long it is left alone the first time; each further time is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest time.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// How many hosts are known at a time. More are not kept account of.
const MOST_HOSTS: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Trouble {
    failures: u32,
    until: Instant,
}

/// What is known of hosts that could not be reached lately.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    hosts: Mutex<HashMap<String, Trouble>>,
}

impl Breaker {
    /// For how long a host is to be left alone yet. When that time is over one call may try, and others wait for
    /// what comes of it.
    pub(crate) fn left_alone(&self, host: &str, now: Instant) -> Option<Duration> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = hosts.get_mut(host).filter(|trouble| trouble.failures >= MOST_FAILURES)?;
        if now < trouble.until {
            return Some(trouble.until - now);
        }
        trouble.until = now + FIRST_PAUSE;
        None
    }

    /// How many hosts are left alone.
    pub(crate) fn count_left_alone(&self, now: Instant) -> usize {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.values().filter(|trouble| trouble.failures >= MOST_FAILURES && now < trouble.until).count()
    }

    /// A host was reached.
    pub(crate) fn reached(&self, host: &str) {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
    }

    /// A host was not reached.
    pub(crate) fn failed(&self, host: &str, now: Instant) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MOST_HOSTS && !hosts.contains_key(host) {
            hosts.retain(|_, trouble| now < trouble.until);
            if hosts.len() >= MOST_HOSTS {
                return;
            }
        }
        let trouble = hosts.entry(host.to_owned()).or_insert(Trouble { failures: 0, until: now });
        trouble.failures = trouble.failures.saturating_add(1);
        let doublings = trouble.failures.saturating_sub(MOST_FAILURES).min(8);
        trouble.until = now + (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_left_alone_after_failures_in_a_row_for_longer_each_time() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..MOST_FAILURES - 1 {
            breaker.failed("a", start);
            assert_eq!(breaker.left_alone("a", start), None);
        }
        breaker.failed("a", start);
        assert_eq!(breaker.left_alone("a", after(10)), Some(Duration::from_secs(20)));
        assert_eq!(breaker.left_alone("b", start), None);
        assert_eq!((breaker.count_left_alone(after(10)), breaker.count_left_alone(after(30))), (1, 0));
        assert_eq!(breaker.left_alone("a", after(30)), None);
        assert!(breaker.left_alone("a", after(31)).is_some(), "one tries");
        breaker.failed("a", after(32));
        assert_eq!(breaker.left_alone("a", after(32)), Some(Duration::from_secs(60)));
        breaker.reached("a");
        assert_eq!(breaker.left_alone("a", after(33)), None);
        for _ in 0..50 {
            breaker.failed("c", start);
        }
        assert_eq!(breaker.left_alone("c", start), Some(LONGEST_PAUSE));
    }

    #[test]
    fn a_bounded_number_of_hosts_is_known() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for host in 0..MOST_HOSTS + 10 {
            breaker.failed(&host.to_string(), now);
        }
        assert_eq!(breaker.hosts.lock().unwrap().len(), MOST_HOSTS);
        breaker.failed("later", now + LONGEST_PAUSE);
        assert_eq!(breaker.hosts.lock().unwrap().len(), 1);
    }
}
