//! Whose turn it is to touch accounts, among the groups that this process runs at a time.
//!
//! Groups that run at a time have markets of their own, but most have some account in common. Without turns the later one
//! would find that out in the store, where it waits for a lock and then looks at each row again that the earlier one has
//! changed. With them it waits here, when it has done all that needs no account, and asks for rows that are as it
//! will find them.
//!
//! Turns decide about nothing but speed: what is right is decided by the store's locks, which other processes take too. So a
//! group that has waited too long goes on without its turn, and the store says how long it may wait for a lock.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bellwether_domain::ids::AccountId;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a group waits for its turn: many times as long as one takes. It has locked its markets by then.
const PATIENCE: Duration = Duration::from_secs(1);

/// The accounts that groups are at, and the groups that wait. No more wait than groups run at a time.
#[derive(Debug)]
pub(crate) struct Turns {
    queue: Mutex<Queue>,
    patience: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self { queue: Mutex::default(), patience: PATIENCE }
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// The accounts of the groups whose turn it is.
    taken: HashSet<AccountId>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    turn: Weak<Held>,
    accounts: Vec<AccountId>,
}

/// One group's turn. Clones are the same turn, which is given up with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Turn(Arc<Held>);

#[derive(Debug)]
struct Held {
    turns: Arc<Turns>,
    /// The accounts that it is for; none before it has come. Locked by who has locked the queue.
    accounts: Mutex<Vec<AccountId>>,
    has_come: Notify,
}

impl Turns {
    /// A turn that has not come yet.
    pub(crate) fn turn(self: &Arc<Self>) -> Turn {
        Turn(Arc::new(Held { turns: Arc::clone(self), accounts: Mutex::default(), has_come: Notify::new() }))
    }

    /// Changes the queue, and calls those who can go on then.
    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut queue);
        let called = queue.call();
        // A turn that has come for nobody is given up as it is dropped, which locks the queue again.
        drop(queue);
        drop(called);
    }
}

impl Turn {
    /// Waits until no other group is at any of these accounts, or for too long. What the turn was for before is given up
    /// first.
    pub(crate) async fn take(&self, accounts: &[AccountId]) {
        let waiting = Waiting { turn: Arc::downgrade(&self.0), accounts: accounts.to_vec() };
        self.0.turns.change(|queue| {
            queue.forget(&self.0);
            queue.waiting.push_back(waiting);
        });
        if timeout(self.0.turns.patience, self.0.has_come.notified()).await.is_err() {
            self.give_up();
        }
    }

    /// Lets those go on who wait for its accounts.
    pub(crate) fn give_up(&self) {
        self.0.give_up();
    }
}

impl Held {
    fn give_up(&self) {
        self.turns.change(|queue| queue.forget(self));
    }

    fn accounts(&self) -> MutexGuard<'_, Vec<AccountId>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Queue {
    /// A turn is for nothing any more, and waits for nothing.
    fn forget(&mut self, turn: &Held) {
        for account in std::mem::take(&mut *turn.accounts()) {
            self.taken.remove(&account);
        }
        self.waiting.retain(|waiting| !std::ptr::eq(waiting.turn.as_ptr(), turn));
    }

    /// Calls those who can go on, in the order in which they came: nobody overtakes one who waits for the same account.
    /// They are returned so that none is dropped here: a turn that is locks the queue.
    fn call(&mut self) -> Vec<Arc<Held>> {
        let mut called = Vec::new();
        let mut blocked = self.taken.clone();
        for waiting in std::mem::take(&mut self.waiting) {
            let is_free = waiting.accounts.iter().all(|account| !blocked.contains(account));
            blocked.extend(waiting.accounts.iter().copied());
            if !is_free {
                self.waiting.push_back(waiting);
            } else if let Some(turn) = waiting.turn.upgrade() {
                self.taken.extend(waiting.accounts.iter().copied());
                *turn.accounts() = waiting.accounts;
                turn.has_come.notify_one();
                called.push(turn);
            }
        }
        called
    }
}

#[cfg(test)]
mod tests {
    use bellwether_domain::ids::UserId;
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    fn account(number: u128) -> AccountId {
        AccountId::of_user(UserId(Uuid::from_u128(number)))
    }

    fn has_come(turn: &Turn, accounts: &[AccountId]) -> bool {
        turn.take(accounts).now_or_never().is_some()
    }

    #[tokio::test]
    async fn groups_with_accounts_of_their_own_go_on_side_by_side() {
        let turns = Arc::new(Turns::default());
        let (one, other) = (turns.turn(), turns.turn());
        assert!(has_come(&one, &[account(1), account(2)]));
        assert!(has_come(&other, &[account(3)]));
        assert!(has_come(&one, &[account(2), account(4)]), "its own accounts are in nobody's way");
        assert!(has_come(&other, &[account(1)]), "what it took before is free");
    }

    #[tokio::test]
    async fn who_has_an_account_in_common_waits_and_nobody_overtakes() {
        let turns = Arc::new(Turns::default());
        let (first, second, third) = (turns.turn(), turns.turn(), turns.turn());
        first.take(&[account(1)]).await;
        let (for_second, for_third) = ([account(1), account(2)], [account(2)]);
        let mut second_comes = Box::pin(second.take(&for_second));
        assert!((&mut second_comes).now_or_never().is_none());
        let mut third_comes = Box::pin(third.take(&for_third));
        assert!((&mut third_comes).now_or_never().is_none(), "account 2 is free, and the second waits for it");
        first.give_up();
        second_comes.await;
        assert!((&mut third_comes).now_or_never().is_none());
        drop(second);
        third_comes.await;
    }

    #[tokio::test]
    async fn who_has_waited_too_long_goes_on_without_a_turn() {
        let turns = Arc::new(Turns { patience: Duration::from_millis(1), ..Turns::default() });
        let (first, second) = (turns.turn(), turns.turn());
        first.take(&[account(1)]).await;
        second.take(&[account(1)]).await;
        drop(second);
        assert!(!has_come(&turns.turn(), &[account(1)]), "it is still the first's");
    }

    #[tokio::test]
    async fn who_goes_away_leaves_nothing_taken() {
        let turns = Arc::new(Turns::default());
        let (first, second) = (turns.turn(), turns.turn());
        first.take(&[account(1)]).await;
        assert!(!has_come(&second, &[account(1)]), "it waits, and is dropped while it does");
        drop(second);
        first.give_up();
        assert!(has_come(&turns.turn(), &[account(1)]));

        let (third, fourth) = (turns.turn(), turns.turn());
        first.take(&[account(1)]).await;
        assert!(!has_come(&third, &[account(1)]));
        first.give_up();
        let mut fourth_comes = Box::pin(fourth.take(&[]));
        fourth_comes.as_mut().await;
        assert!(!has_come(&fourth, &[account(1)]), "it is the third's, which does not look");
        drop(third);
        assert!(has_come(&fourth, &[account(1)]));
    }
}
