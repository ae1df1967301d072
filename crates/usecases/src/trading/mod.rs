//! Orders: placed, amended, cancelled, in batches, and tried out.
//!
//! [`Trading`] is built to run many requests in one unit of work: it locks and loads everything
//! that they touch with one statement a table, executes each command in the order of arrival on the
//! loaded state, and writes all changes at once. A refused command changes nothing and does not
//! disturb its neighbours.

mod group;
mod load;
mod quote;
mod sets;

use std::sync::Arc;

use bellwether_domain::exchange::Executed;
use bellwether_domain::ids::{ApiKeyId, MarketId, OrderId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::money::Credits;
use bellwether_domain::order::{AmendOrder, Order, OrderStatus, PlaceOrder};
use bellwether_domain::permissions::Permission;
#[cfg(doc)]
use bellwether_domain::ports::StoreError;
use bellwether_domain::ports::{Direction, OrderFilter, OrderSort, PageRequest, Start};
use bellwether_domain::position::Position;
use bellwether_domain::refusal::Refusal;
use bellwether_domain::trade::Trade;

use crate::atomically::atomically;
use crate::groups::Groups;
use crate::{Answered, Caller, Context, Error, Keyed, users};
pub(crate) use group::moment;
use quote::QuoteScript;
pub use sets::{SetsDone, exchange_sets};

/// A command of a trader.
#[derive(Debug, Clone)]
pub enum Command {
    /// A new order.
    Place(PlaceOrder),
    /// A change of an open one.
    Amend(AmendOrder),
    /// The end of an open one.
    Cancel {
        /// The order.
        order: OrderId,
        /// Whose it must be.
        user: UserId,
    },
}

/// An order that was accepted, changed or cancelled, and the fills that came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The order, as it stands after the command.
    pub order: Order,
    /// The name of its outcome.
    pub outcome: String,
    /// Whether prices of its trades are mirrored: an order for the second of two outcomes.
    pub mirrored: bool,
    /// What it filled on arrival, in order. Prices are those of the book's outcome.
    pub fills: Vec<Trade>,
}

impl From<Executed> for Placed {
    fn from(executed: Executed) -> Self {
        let Executed { order, outcome, fills } = executed;
        let mirrored = order.book != order.outcome;
        Self { order, outcome, mirrored, fills }
    }
}

/// What each command of a request came to.
pub type Outcome = Result<Placed, Refusal>;

/// One request: one command or a batch, answered and kept as one.
#[derive(Debug, Clone)]
pub struct Request {
    /// The commands, executed in order.
    pub commands: Vec<Command>,
    /// The key that came with it. The answer is kept if at least one command was carried out.
    pub keyed: Option<Keyed<[Outcome]>>,
    /// The API key that sent it, if that has limits.
    pub key: Option<ApiKeyId>,
    /// The person for whom it waits ([`Caller::person`]).
    pub person: UserId,
}

/// What an order would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// The order and its fills. Ids are made up.
    pub placed: Placed,
    /// What would be available on the trader's account, in mills.
    pub balance_after: Credits,
    /// The trader's position.
    pub position_after: Position,
    /// The outcome's price in mills, if it has one.
    pub price_after: Option<u16>,
    /// The market as it would be, whose prices the position is worth.
    pub market: Market,
}

/// Executes traders' commands. Clones share one queue, and so the groups.
#[derive(Clone)]
pub struct Trading {
    ctx: Context,
    groups: Arc<Groups<Request>>,
}

impl Trading {
    /// On these ports.
    #[must_use]
    pub fn new(ctx: Context) -> Self {
        Self { groups: Groups::new(ctx.clone()), ctx }
    }

    /// Executes one request, in one unit of work with those that wait at the same time. Commands
    /// that are refused say why, each for itself. [`StoreError::Unavailable`] where too many wait.
    pub async fn submit(&self, request: Request) -> Result<Answered<Vec<Outcome>>, Error> {
        self.groups.submit(request).await
    }

    /// Executes an order on a copy of the state and writes nothing.
    pub async fn quote(&self, order: PlaceOrder) -> Result<Quote, Error> {
        atomically(&self.ctx, QuoteScript::of(order)).await
    }

    /// Cancels all open orders of a caller, in one market or in all: in batches, each one unit of work.
    /// With an API key that is kept to some markets, those in them. Returns the orders that it cancelled.
    pub async fn cancel_all(&self, caller: Caller, market: Option<MarketId>) -> Result<Vec<Placed>, Error> {
        let mut cancelled = Vec::new();
        for market in self.allowed_markets(caller, market).await? {
            self.cancel_in(caller, market, &mut cancelled).await?;
        }
        Ok(cancelled)
    }

    /// The market, or else each that the caller's key is kept to; none stands for all.
    async fn allowed_markets(&self, caller: Caller, one: Option<MarketId>) -> Result<Vec<Option<MarketId>>, Error> {
        let Some(key) = caller.limited_key().filter(|_| one.is_none()) else { return Ok(vec![one]) };
        let keys = self.ctx.queries.api_keys_of(caller.user).await?;
        let allowed = keys.into_iter().find(|k| k.id == key).ok_or(Refusal::KeyInactive)?.limits.markets;
        Ok(if allowed.is_empty() { vec![None] } else { allowed.into_iter().map(Some).collect() })
    }

    async fn cancel_in(
        &self,
        caller: Caller,
        market: Option<MarketId>,
        cancelled: &mut Vec<Placed>,
    ) -> Result<(), Error> {
        let (user, key) = (caller.user, caller.limited_key());
        let filter = OrderFilter { user: Some(user), market, status: Some(OrderStatus::Open), client_order_id: None };
        let page =
            PageRequest { sort: vec![(OrderSort::CreatedAt, Direction::Ascending)], start: Start::First, limit: 100 };
        let mut tried = None;
        loop {
            let open = self.ctx.queries.orders(&filter, &page).await?;
            let first = open.items.first().map(|order| order.id);
            let commands: Vec<Command> = open.items.iter().map(|o| Command::Cancel { order: o.id, user }).collect();
            if commands.is_empty() {
                return Ok(());
            }
            let Answered::Fresh(outcomes) =
                self.submit(Request { commands, keyed: None, key, person: caller.person() }).await?
            else {
                return Ok(());
            };
            if let Some(Err(refusal)) = outcomes.first()
                && matches!(refusal, Refusal::UserInactive | Refusal::KeyNotForMarket | Refusal::KeyInactive)
            {
                return Err(refusal.clone().into());
            }
            let before = cancelled.len();
            cancelled.extend(outcomes.into_iter().flatten());
            // Orders that ended by themselves meanwhile are no longer listed; where they are listed again
            // and none can be cancelled, the list and the units of work disagree, and would for ever.
            if cancelled.len() == before && (!open.has_more || first == tried) {
                return Ok(());
            }
            tried = first;
        }
    }
}

/// An order: one's own, that of one's bot, or any for an administrator; else not found.
pub async fn get_order(ctx: &Context, caller: Caller, id: OrderId) -> Result<Order, Error> {
    let order = ctx.queries.order(id).await?.ok_or(Refusal::OrderNotFound)?;
    if !users::may_over(ctx, caller, Permission::ReadOrders, order.user).await? {
        return Err(Refusal::OrderNotFound.into());
    }
    Ok(order)
}
