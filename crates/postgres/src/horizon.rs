//! How far the outbox can be read without missing anything.
//!
//! A position is drawn before its transaction commits, so a later one may be seen earlier. Whoever has read
//! that one and goes on from it never comes back for the earlier. So a batch is given only when everything
//! before it is *settled*: it is there, or never will be.
//!
//! Where positions follow each other without a gap there is nothing to wait for. At a gap, this waits for all
//! transactions that may have drawn a number in it. Each had its id before it drew (see `outbox::APPEND`), and
//! drew before what lies behind the gap was seen: so its id is below one that is drawn after that was seen.
//! Once no transaction below this *mark* is running, the gap stays as it is. (The `xmax` of the snapshot that
//! saw the gap would not do: it is one more than the newest id that has ended, and there may be older
//! transactions that run with newer ids.)

/// What is known of the order of positions, for all who read.
#[derive(Debug, Default)]
pub(crate) struct Horizon {
    /// Every position up to here is settled.
    settled: i64,
    /// A position behind a gap, and the mark that was set when it was seen.
    awaited: Option<(i64, i64)>,
}

impl Horizon {
    /// Up to where everything is settled. Only a statement that begins after this was asked may rely on
    /// it: one that began before may have missed what has ended since.
    pub(crate) const fn settled(&self) -> i64 {
        self.settled
    }

    /// How many of these positions may be given. A statement found them above `after`, in order and without
    /// omission; no transaction below `oldest_running` was running when it began, and `settled` was asked before.
    pub(crate) fn give(&mut self, settled: i64, after: i64, positions: &[i64], oldest_running: i64) -> usize {
        let mut known = settled;
        if let Some((position, _)) = self.awaited.take_if(|(_, mark)| *mark <= oldest_running) {
            known = known.max(position);
        }
        let mut safe = known.max(after);
        let follows = |position: &&i64| {
            let is_next = **position <= safe.saturating_add(1);
            safe = if is_next { safe.max(**position) } else { safe };
            is_next
        };
        let given = positions.iter().take_while(follows).count();
        // Who begins beyond what is known says nothing about what lies before.
        self.settle(if after <= known { safe } else { known });
        given
    }

    /// Everything up to there is settled.
    pub(crate) fn settle(&mut self, position: i64) {
        self.settled = self.settled.max(position);
    }

    /// Whether a mark is wanted, since somebody stands at a gap and nobody waits for one yet.
    pub(crate) const fn wants_mark(&self) -> bool {
        self.awaited.is_none()
    }

    /// A transaction id that was drawn after that position was seen.
    pub(crate) fn mark(&mut self, position: i64, mark: i64) {
        if self.wants_mark() {
            self.awaited = Some((position, mark));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_follows_without_a_gap_at_once() {
        let mut horizon = Horizon::default();
        assert_eq!(horizon.give(0, 0, &[1, 2, 3], 10), 3);
        assert_eq!(horizon.settled(), 3);
        assert_eq!(horizon.give(3, 1, &[2, 3, 4, 5], 10), 4);
        assert_eq!(horizon.settled(), 5);
    }

    #[test]
    fn gives_nothing_from_behind_a_gap_before_all_who_may_have_drawn_it_have_ended() {
        let mut horizon = Horizon::default();
        assert_eq!(horizon.give(0, 0, &[1, 3, 4], 10), 1);
        assert!(horizon.wants_mark());
        horizon.mark(4, 12);
        assert_eq!(horizon.give(1, 1, &[3, 4, 5], 11), 0);
        // What has come since is not covered by the mark, but follows what is.
        assert_eq!(horizon.give(1, 1, &[3, 4, 5], 12), 3);
        assert_eq!(horizon.settled(), 5);
    }

    #[test]
    fn gives_a_latecomer_in_its_place() {
        let mut horizon = Horizon::default();
        assert_eq!(horizon.give(0, 0, &[1, 3], 10), 1);
        horizon.mark(3, 12);
        assert_eq!(horizon.give(1, 1, &[2, 3], 11), 2);
        assert_eq!(horizon.settled(), 3);
    }

    #[test]
    fn a_statement_does_not_rely_on_what_was_settled_after_it_began() {
        let mut horizon = Horizon::default();
        let asked_before = horizon.settled();
        // Somebody else sees 2 arrive.
        assert_eq!(horizon.give(0, 0, &[1, 2, 3], 10), 3);
        // This one had begun before that, and found 1 and 3.
        assert_eq!(horizon.give(asked_before, 0, &[1, 3], 10), 1);
    }

    #[test]
    fn who_begins_behind_a_gap_does_not_settle_it_for_others() {
        let mut horizon = Horizon::default();
        assert_eq!(horizon.give(0, 7, &[8, 9], 10), 2);
        assert_eq!(horizon.settled(), 0);
    }
}
