//! The clock and the source of fresh ids.

use bellwether_domain::ids::FreshIds;
use bellwether_domain::ports::{Clock, IdSource};
use jiff::Timestamp;
use uuid::Uuid;

/// The machine's clock, in whole microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
        let now = Timestamp::now();
        // No store keeps more than microseconds; what is read back must equal what was decided on.
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// UUIDv7 of now. Within a process ids never go back, even where the clock does: the generator's
/// context counts on from the latest time that it has seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct UuidIds;

impl IdSource for UuidIds {
    fn fresh(&self) -> FreshIds {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that draws ids")]
        let first = Uuid::now_v7();
        FreshIds::starting_at(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threat 67: what `now_v7` rests on, since the clock itself cannot be set back here.
    #[test]
    fn the_context_of_ids_counts_on_where_the_clock_steps_back() {
        let context = uuid::ContextV7::new();
        let seconds = [1_800_000_000, 1_799_996_400, 0, 1_799_999_999, 1_800_000_000, 1_800_003_600];
        let at = |second| Uuid::new_v7(uuid::Timestamp::from_unix(&context, second, 0));
        let ids: Vec<Uuid> = seconds.into_iter().flat_map(|s| std::iter::repeat_n(s, 100)).map(at).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    /// Threat 67, as far as one process goes.
    #[test]
    fn ids_go_up_and_never_repeat() {
        let firsts: Vec<Uuid> = (0..10_000).map(|_| UuidIds.fresh().next_uuid()).collect();
        assert!(firsts.is_sorted_by(|a, b| a < b));
        assert!(firsts.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn the_clock_gives_whole_microseconds() {
        assert_eq!(SystemClock.now().subsec_nanosecond() % 1000, 0);
    }
}
