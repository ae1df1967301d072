//! What happened, by whom and where: one index for all lists of a user, of a market and of an account.
//!
//! An order, its trades and its transfers are beside each other in it for each user and market that they are of, and so mostly in
//! one page: an index for each list would have each order change a page of its own in each of them. Triggers write it.

use uuid::Uuid;

use crate::lists::List;
use crate::schema::{ORDERS, TRADES, TRANSFERS};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Of its user.
    Order,
    /// Of its market, of its taker, and of its maker where that is another user.
    Trade,
    /// Of its payer and of its payee.
    Transfer,
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

    /// The entries with their rows, what is read of these, and the condition that an entry is of this kind. `CROSS JOIN` has
    /// SQLite go by the timeline.
    const fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Order => ("timelines CROSS JOIN orders ON orders.id = entry", ORDERS.columns, "what = 0"),
            Self::Trade => ("timelines CROSS JOIN trades ON trades.id = entry", TRADES.columns, "what IN (1, 2)"),
            Self::Transfer => {
                ("timelines CROSS JOIN transfers ON transfers.id = entry", TRANSFERS.columns, "what IN (3, 4)")
            }
        }
    }
}
