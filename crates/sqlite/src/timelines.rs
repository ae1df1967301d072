//! What happened, by whom and where: one index for all lists of a user, of a market and of an account.
//!
//! An order, its trades and its transfers are beside each other in it for each user and market that they are of, and so mostly in
//! one page: an index for each list would have each order change a page of its own in each of them. Triggers write it.

use uuid::Uuid;

use crate::lists::List;
use crate::schema::{ORDERS, TRADES, TRANSFERS};

/// Which entries of an owner are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A user's orders.
    Orders,
    /// The trades that a user took or made, each once.
    TradesOfUser,
    /// The trades in a market.
    TradesInMarket,
    /// The transfers of an account, those that it paid and those that it received.
    Transfers,
    /// Those that it paid.
    TransfersPaid,
}

/// The column that its entries are in the order of, beside [`ENTRY`].
pub(crate) const AT: &str = "at";
/// The column with their ids.
const ENTRY: &str = "entry";

impl What {
    /// A query for entries with their rows, to which more conditions can be added.
    pub(crate) fn select(self) -> String {
        let (rows, columns, kind) = self.parts();
        format!("SELECT {columns} FROM {rows} WHERE {kind}")
    }

    /// A list of those of one owner.
    pub(crate) fn list(self, owner: Uuid) -> List {
        let (rows, columns, kind) = self.parts();
        let mut list = List::of(rows, columns, ENTRY);
        list.filter("owner = ?", Some(owner));
        list.always(kind);
        list
    }

    /// The entries with their rows, what is read of these, and the condition that it is these entries. `CROSS JOIN` has SQLite
    /// go by the timeline.
    const fn parts(self) -> (&'static str, &'static str, &'static str) {
        const WITH_TRADES: &str = "timelines CROSS JOIN trades ON trades.id = entry";
        const WITH_TRANSFERS: &str = "timelines CROSS JOIN transfers ON transfers.id = entry";
        match self {
            Self::Orders => ("timelines CROSS JOIN orders ON orders.id = entry", ORDERS.columns, "what = 0"),
            Self::TradesOfUser => (WITH_TRADES, TRADES.columns, "what = 1"),
            Self::TradesInMarket => (WITH_TRADES, TRADES.columns, "what = 2"),
            Self::Transfers => (WITH_TRANSFERS, TRANSFERS.columns, "what IN (3, 4)"),
            Self::TransfersPaid => (WITH_TRANSFERS, TRANSFERS.columns, "what = 3"),
        }
    }
}
