//! One payer's chain of transfers, each of which holds the hash of the one before.

use std::collections::BTreeMap;

use bellwether_domain::ids::AccountId;
use bellwether_domain::ledger::{Account, Transfer};
use bellwether_domain::ports::Violation;

/// So many transfers of a payer may come before one that has a lower number: some 250 MB of them.
const MOST_EARLY: usize = 1_000_000;

/// The end of a chain as its account knows it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    count: i64,
    hash: [u8; 32],
}

impl End {
    pub(super) const fn of(account: &Account) -> Self {
        Self { count: account.paid_count, hash: account.chain }
    }
}

/// How far a payer's chain was followed.
///
/// Transfers come in the order of time, which is that of their numbers but where several were made at one moment, or by
/// clocks that differ: whichever comes early is kept until its turn.
pub(super) struct Chain {
    pub(super) payer: AccountId,
    end: End,
    number: i64,
    hash: [u8; 32],
    early: BTreeMap<i64, Transfer>,
}

impl Chain {
    pub(super) const fn of(payer: AccountId, end: End) -> Self {
        Self { payer, end, number: 0, hash: [0; 32], early: BTreeMap::new() }
    }

    /// The next transfer of the payer. What its account does not count was made after the account was read, and one that
    /// was made before it may not have been seen: it is left out.
    pub(super) fn take(&mut self, transfer: Transfer) -> Vec<Violation> {
        if transfer.paid_number > self.end.count {
            return Vec::new();
        }
        let mut found = Vec::new();
        let is_past = transfer.paid_number <= self.number;
        let twice = if is_past { Some(transfer) } else { self.early.insert(transfer.paid_number, transfer) };
        found.extend(twice.map(|transfer| self.misfit(&transfer)));
        while let Some(next) = self.early.remove(&self.number.saturating_add(1)) {
            found.extend(self.follow(&next));
        }
        if self.early.len() > MOST_EARLY {
            found.extend(self.early.pop_first().and_then(|(_, next)| self.follow(&next)));
        }
        found
    }

    /// No transfer of the payer is left: gaps stay gaps, and the last must be where the account says.
    pub(super) fn finish(mut self) -> Vec<Violation> {
        let mut found = Vec::new();
        while let Some((_, next)) = self.early.pop_first() {
            found.extend(self.follow(&next));
        }
        if self.number < self.end.count {
            let message = format!("has paid {} transfers, and the last of them is missing", self.end.count);
            found.push(self.broken(&message));
        } else if self.end.count > 0 && self.hash != self.end.hash {
            found.push(self.broken(&format!("does not end in the hash of its transfer number {}", self.number)));
        }
        found
    }

    /// Goes on to a transfer of a higher number, as far as it fits.
    fn follow(&mut self, transfer: &Transfer) -> Option<Violation> {
        let is_next = transfer.paid_number == self.number.saturating_add(1);
        let is_whole = transfer.hash == transfer.expected_hash(&self.hash);
        self.number = transfer.paid_number;
        self.hash = transfer.hash;
        (!is_next || !is_whole).then(|| self.misfit(transfer))
    }

    fn misfit(&self, transfer: &Transfer) -> Violation {
        let (id, number) = (transfer.id, transfer.paid_number);
        self.broken(&format!("paid transfer {id} (number {number}) that does not fit its hash chain"))
    }

    fn broken(&self, message: &str) -> Violation {
        let payer = self.payer;
        Violation { invariant: 1, message: format!("account {payer} {message}"), subject: Some(payer.0) }
    }
}

#[cfg(test)]
mod tests {
    use bellwether_domain::ids::{TransferId, UserId};
    use bellwether_domain::ledger::{Owner, Posting, Reference, TransferKind, transfer};
    use bellwether_domain::money::Credits;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    /// A payer after so many transfers, and these.
    fn paid(count: u128) -> (Account, Vec<Transfer>) {
        let account = |number: u128| {
            let user = UserId(Uuid::from_u128(number));
            Account::open(AccountId::of_user(user), Owner::User(user), Timestamp::UNIX_EPOCH)
        };
        let (mut payer, mut payee) = (account(1), account(2));
        payer.balance = Credits::from_mills(1_000_000);
        let transfers = (1..=count).map(|number| {
            let posting = Posting {
                id: TransferId(Uuid::from_u128(number)),
                amount: Credits::from_mills(7),
                kind: TransferKind::Payment,
                reference: Reference::default(),
                memo: None,
            };
            transfer(&mut payer, &mut payee, posting, Timestamp::UNIX_EPOCH).unwrap()
        });
        let transfers = transfers.collect();
        (payer, transfers)
    }

    /// What is found where an account's transfers come in that order.
    fn found(account: &Account, transfers: impl IntoIterator<Item = Transfer>) -> Vec<String> {
        let mut chain = Chain::of(account.id, End::of(account));
        let mut found: Vec<Violation> = transfers.into_iter().flat_map(|transfer| chain.take(transfer)).collect();
        found.extend(chain.finish());
        let whose = format!("account {} ", account.id);
        found.into_iter().map(|violation| violation.message.replace(&whose, "")).collect()
    }

    #[test]
    fn a_chain_holds_in_whatever_order_its_transfers_come() {
        let (payer, transfers) = paid(5);
        assert_eq!(found(&payer, transfers.clone()), [""; 0]);
        assert_eq!(found(&payer, transfers.iter().rev().cloned()), [""; 0]);
        let mixed = [3, 1, 0, 4, 2].map(|number| transfers[number].clone());
        assert_eq!(found(&payer, mixed), [""; 0]);
    }

    #[test]
    fn what_an_account_did_not_count_yet_is_left_out_with_or_without_what_was_before_it() {
        let (payer, _) = paid(2);
        let (_, transfers) = paid(5);
        assert_eq!(found(&payer, transfers.clone()), [""; 0]);
        assert_eq!(found(&payer, [0, 1, 4].map(|number| transfers[number].clone())), [""; 0]);
    }

    #[test]
    fn a_transfer_that_is_missing_is_one_breach() {
        let (payer, transfers) = paid(5);
        let misfit = |number: u128| {
            let id = TransferId(Uuid::from_u128(number));
            format!("paid transfer {id} (number {number}) that does not fit its hash chain")
        };
        for (missing, breach) in [(0, misfit(2)), (2, misfit(4))] {
            let rest = transfers.iter().enumerate().filter(|(number, _)| *number != missing).map(|(_, t)| t.clone());
            assert_eq!(found(&payer, rest.clone()).join(", "), breach);
            assert_eq!(found(&payer, rest.rev()).join(", "), breach);
        }
        let ended = "has paid 5 transfers, and the last of them is missing";
        assert_eq!(found(&payer, transfers[..4].to_vec()), [ended]);
        assert_eq!(found(&payer, []), [ended]);
    }

    #[test]
    fn a_number_twice_a_changed_transfer_and_another_end_are_breaches() {
        let (payer, transfers) = paid(3);
        let again = [0, 1, 1, 2].map(|number| transfers[number].clone());
        assert_eq!(found(&payer, again).len(), 1);
        let early_again = [0, 2, 2, 1].map(|number| transfers[number].clone());
        assert_eq!(found(&payer, early_again).len(), 1);
        let mut changed = transfers.clone();
        changed[1].amount = Credits::from_mills(8);
        assert_eq!(found(&payer, changed).len(), 1);
        let other = Account { chain: [9; 32], ..payer };
        assert_eq!(found(&other, transfers), ["does not end in the hash of its transfer number 3"]);
    }
}
