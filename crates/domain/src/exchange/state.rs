//! The loaded state that commands are executed on, and the draft of one command's changes.

use std::collections::BTreeMap;
use std::hash::Hash;

use foldhash::{HashMap, HashSet};

use crate::api_key::KeyUsage;
use crate::book::BookSide;
use crate::event::{BookData, Event, LevelData, OrderData, TradeData};
use crate::ids::{AccountId, ApiKeyId, MarketId, OrderGroupId, OrderId, UserId};
use crate::ledger::{Account, Transfer};
use crate::market::{Market, OutcomeId};
use crate::order::{BookPlace, Order, OrderStatus, Side};
use crate::order_group::OrderGroup;
use crate::ports::Changes;
use crate::position::Position;
use crate::trade::Trade;

use super::Stop;

/// A market and what is loaded of its books.
#[derive(Debug, Clone)]
pub struct MarketState {
    /// The market.
    pub market: Market,
    sides: BTreeMap<(OutcomeId, Side), BookSide>,
    unknown: [BookSide; 2],
}

impl MarketState {
    /// A market of whose books nothing is loaded.
    #[must_use]
    pub const fn new(market: Market) -> Self {
        let unknown = [BookSide::unknown(Side::Buy), BookSide::unknown(Side::Sell)];
        Self { market, sides: BTreeMap::new(), unknown }
    }

    /// One side of one book, as far as it is loaded.
    #[must_use]
    pub fn side(&self, book: OutcomeId, side: Side) -> &BookSide {
        let [bids, asks] = &self.unknown;
        self.sides.get(&(book, side)).unwrap_or(match side {
            Side::Buy => bids,
            Side::Sell => asks,
        })
    }

    pub(super) fn side_mut(&mut self, book: OutcomeId, side: Side) -> &mut BookSide {
        self.sides.entry((book, side)).or_insert_with(|| BookSide::unknown(side))
    }
}

/// Everything that a group of commands touches, as it was loaded under lock and changed since.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub(super) markets: BTreeMap<MarketId, MarketState>,
    pub(super) accounts: HashMap<AccountId, Account>,
    pub(super) orders: HashMap<OrderId, Order>,
    pub(super) positions: HashMap<(MarketId, UserId), Position>,
    pub(super) open_counts: HashMap<(MarketId, UserId), u64>,
    pub(super) client_ids: HashMap<(UserId, String), OrderId>,
    pub(super) keys: HashMap<ApiKeyId, KeyUsage>,
    pub(super) groups: HashMap<OrderGroupId, OrderGroup>,
    changed: Changed,
}

#[derive(Debug, Clone, Default)]
struct Changed {
    markets: HashSet<MarketId>,
    accounts: HashSet<AccountId>,
    new_orders: HashSet<OrderId>,
    orders: HashSet<OrderId>,
    positions: HashSet<(MarketId, UserId)>,
    spending: HashSet<ApiKeyId>,
    groups: HashSet<OrderGroupId>,
    trades: Vec<Trade>,
    transfers: Vec<Transfer>,
    /// What each command did, in their order.
    news: Vec<Event>,
    /// How many more shares and orders rest at a place.
    levels: BTreeMap<(MarketId, BookPlace), (i64, i64)>,
}

impl State {
    /// Adds a locked market.
    pub fn add_market(&mut self, market: Market) {
        self.markets.insert(market.id, MarketState::new(market));
    }

    /// Adds one side of a book, with its orders.
    pub fn add_side(&mut self, market: MarketId, book: OutcomeId, side: BookSide, which: Side, orders: Vec<Order>) {
        if let Some(state) = self.markets.get_mut(&market) {
            state.sides.insert((book, which), side);
            self.orders.extend(orders.into_iter().map(|o| (o.id, o)));
        }
    }

    /// Adds an order that a command names.
    pub fn add_order(&mut self, order: Order) {
        self.orders.insert(order.id, order);
    }

    /// Adds a locked account.
    pub fn add_account(&mut self, account: Account) {
        self.accounts.insert(account.id, account);
    }

    /// Adds a position; an empty one where the user has none yet.
    pub fn add_position(&mut self, position: Position) {
        self.positions.insert((position.market, position.user), position);
    }

    /// Says how many orders a user has open in a market.
    pub fn set_open_count(&mut self, user: UserId, market: MarketId, count: u64) {
        self.open_counts.insert((market, user), count);
    }

    /// Says that a user has used a client order id.
    pub fn add_client_id(&mut self, user: UserId, client_order_id: String, order: OrderId) {
        self.client_ids.insert((user, client_order_id), order);
    }

    /// Adds a limited API key: one that sends commands, or that an order that may be filled counts against.
    pub fn add_key(&mut self, usage: KeyUsage) {
        self.keys.insert(usage.key.id, usage);
    }

    /// Adds a group of orders: one that a command names, or that an order that may be filled is in. All of its open orders
    /// must be added too.
    pub fn add_group(&mut self, group: OrderGroup) {
        self.groups.insert(group.id, group);
    }

    /// A limited API key, as it is used now.
    #[must_use]
    pub fn key(&self, id: ApiKeyId) -> Option<&KeyUsage> {
        self.keys.get(&id)
    }

    /// A market, as it now stands.
    #[must_use]
    pub fn market(&self, id: MarketId) -> Option<&Market> {
        self.markets.get(&id).map(|s| &s.market)
    }

    /// An account, as it now stands.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// An order, as it now stands.
    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// A position, as it now stands.
    #[must_use]
    pub fn position(&self, user: UserId, market: MarketId) -> Option<&Position> {
        self.positions.get(&(market, user))
    }

    /// Everything that was changed since it was loaded, each kind of row in id order.
    #[must_use]
    pub fn into_changes(mut self) -> Changes {
        let book_changes = self.book_changes();
        let changed = self.changed;
        let mut take_orders = |ids| -> Vec<Order> { sorted(ids).filter_map(|id| self.orders.remove(&id)).collect() };
        Changes {
            new_orders: take_orders(changed.new_orders),
            orders: take_orders(changed.orders),
            accounts: sorted(changed.accounts).filter_map(|id| self.accounts.remove(&id)).collect(),
            markets: sorted(changed.markets).filter_map(|id| self.markets.remove(&id)).map(|s| s.market).collect(),
            positions: sorted(changed.positions).filter_map(|id| self.positions.remove(&id)).collect(),
            key_spending: sorted(changed.spending).filter_map(|id| self.keys.remove(&id)).map(|u| u.spending).collect(),
            order_groups: sorted(changed.groups).filter_map(|id| self.groups.remove(&id)).collect(),
            trades: changed.trades,
            transfers: changed.transfers,
            news: changed.news.into_iter().chain(book_changes).collect(),
            ..Changes::default()
        }
    }

    /// What all commands together changed of the books.
    fn book_changes(&self) -> Vec<Event> {
        let mut books: BTreeMap<MarketId, Vec<LevelData>> = BTreeMap::new();
        for ((market, place), (change, orders)) in &self.changed.levels {
            if (*change, *orders) != (0, 0) {
                let (book, side, price) = (place.book.number(), place.side, place.price);
                let level = LevelData { book, side, price, change: *change, orders: *orders };
                books.entry(*market).or_default().push(level);
            }
        }
        let of_market = |(market_id, levels)| {
            let sequence = self.market(market_id)?.sequence;
            Some(Event::BookChanged(Box::new(BookData { market_id, sequence, levels })))
        };
        books.into_iter().filter_map(of_market).collect()
    }

    /// Notes what a draft does, before it is adopted.
    fn tell(&mut self, draft: &Draft) {
        let market = &draft.market;
        if let Some(order) =
            draft.new_order.filter(|id| !self.orders.contains_key(id)).and_then(|id| draft.orders.get(&id))
        {
            self.changed.news.push(Event::OrderAccepted(OrderData::of(order, market)));
        }
        let trades = draft.trades.iter().map(|trade| Event::TradeExecuted(TradeData::of(trade, market)));
        self.changed.news.extend(trades);
        for order in draft.orders.values() {
            let before = self.orders.get(&order.id);
            for (order, sign) in before.map(|order| (order, -1)).into_iter().chain([(order, 1)]) {
                if let Some(place) = order.place().filter(|_| order.is_open()) {
                    let (shares, orders) = self.changed.levels.entry((market.id, place)).or_default();
                    *shares = shares.saturating_add(sign * order.remaining.count());
                    *orders += sign;
                }
            }
            self.changed.news.extend(before.and_then(|before| change_of(before, order, market)));
        }
    }

    /// Makes a draft's changes part of the state, with what they come to for API keys.
    pub(super) fn adopt(&mut self, draft: Draft, usages: Vec<KeyUsage>) {
        self.tell(&draft);
        let Draft { market, accounts, orders, new_order, positions, trades, transfers, requeued, groups } = draft;
        let market_id = market.id;
        if let Some(state) = self.markets.get_mut(&market_id) {
            state.market = market;
            if let Some((id, place)) = requeued.and_then(|o: Order| Some((o.sequence, o.place()?))) {
                state.side_mut(place.book, place.side).remove(place.price, id);
            }
            for order in orders.values() {
                let side = state.side_mut(order.book, order.book_side);
                if new_order == Some(order.id) && order.is_open() {
                    side.insert(order);
                } else {
                    side.update(order);
                }
            }
        }
        self.changed.markets.insert(market_id);
        for (id, order) in orders {
            self.count_open(&order);
            if new_order == Some(id) && !self.orders.contains_key(&id) {
                if let Some(client_id) = order.client_order_id.clone() {
                    self.client_ids.insert((order.user, client_id), id);
                }
                self.changed.new_orders.insert(id);
            } else if !self.changed.new_orders.contains(&id) {
                self.changed.orders.insert(id);
            }
            self.orders.insert(id, order);
        }
        self.changed.accounts.extend(accounts.keys());
        self.accounts.extend(accounts);
        for (user, position) in positions {
            self.changed.positions.insert((market_id, user));
            self.positions.insert((market_id, user), position);
        }
        self.changed.groups.extend(groups.keys());
        self.groups.extend(groups);
        for usage in usages {
            if self.keys.get(&usage.key.id).is_some_and(|before| before.spending != usage.spending) {
                self.changed.spending.insert(usage.key.id);
            }
            self.keys.insert(usage.key.id, usage);
        }
        self.changed.trades.extend(trades);
        self.changed.transfers.extend(transfers);
    }

    fn count_open(&mut self, order: &Order) {
        let was_open = self.orders.get(&order.id).is_some_and(Order::is_open);
        if let Some(count) = self.open_counts.get_mut(&(order.market, order.user)) {
            match (was_open, order.is_open()) {
                (false, true) => *count += 1,
                (true, false) => *count = count.saturating_sub(1),
                _ => {}
            }
        }
    }
}

/// What became of an order that rested.
fn change_of(before: &Order, after: &Order, market: &Market) -> Option<Event> {
    if before == after {
        return None;
    }
    let data = OrderData::of(after, market);
    Some(match after.status {
        OrderStatus::Cancelled => Event::OrderCancelled(data),
        OrderStatus::Expired => Event::OrderExpired(data),
        OrderStatus::Open | OrderStatus::Filled => {
            let is_amended =
                (before.price, before.quantity, before.expires_at) != (after.price, after.quantity, after.expires_at);
            let is_filled = after.filled > before.filled;
            if is_filled && !is_amended { Event::OrderFilled(data) } else { Event::OrderAmended(data) }
        }
    })
}

/// The changes of one command, made on copies: adopted whole, or dropped without a trace.
pub(super) struct Draft {
    pub(super) market: Market,
    pub(super) accounts: BTreeMap<AccountId, Account>,
    pub(super) orders: BTreeMap<OrderId, Order>,
    /// The order that is new in its book: a new one, or one that lost its place by an amendment.
    pub(super) new_order: Option<OrderId>,
    /// The amended order as it stood before, to be taken out of its old place.
    pub(super) requeued: Option<Order>,
    pub(super) positions: BTreeMap<UserId, Position>,
    pub(super) groups: BTreeMap<OrderGroupId, OrderGroup>,
    pub(super) trades: Vec<Trade>,
    pub(super) transfers: Vec<Transfer>,
}

impl Draft {
    pub(super) fn new(market: Market) -> Self {
        Self {
            market,
            accounts: BTreeMap::new(),
            orders: BTreeMap::new(),
            new_order: None,
            requeued: None,
            positions: BTreeMap::new(),
            groups: BTreeMap::new(),
            trades: Vec::new(),
            transfers: Vec::new(),
        }
    }

    /// A copy of an account, to be changed.
    pub(super) fn account<'a>(&'a mut self, state: &State, id: AccountId) -> Result<&'a mut Account, Stop> {
        copy_of(&mut self.accounts, &state.accounts, id).ok_or(Stop::NotLoaded("account"))
    }

    /// A copy of a group, to be changed.
    pub(super) fn group<'a>(&'a mut self, state: &State, id: OrderGroupId) -> Result<&'a mut OrderGroup, Stop> {
        copy_of(&mut self.groups, &state.groups, id).ok_or(Stop::NotLoaded("order group"))
    }

    /// A copy of an order, to be changed.
    pub(super) fn order<'a>(&'a mut self, state: &State, id: OrderId) -> Result<&'a mut Order, Stop> {
        copy_of(&mut self.orders, &state.orders, id).ok_or(Stop::NotLoaded("order"))
    }

    /// A copy of a user's position in the market, to be changed.
    pub(super) fn position<'a>(&'a mut self, state: &State, user: UserId) -> Result<&'a mut Position, Stop> {
        match self.positions.entry(user) {
            std::collections::btree_map::Entry::Occupied(copy) => Ok(copy.into_mut()),
            std::collections::btree_map::Entry::Vacant(gap) => {
                let original = state.positions.get(&(self.market.id, user)).ok_or(Stop::NotLoaded("position"))?;
                Ok(gap.insert(original.clone()))
            }
        }
    }
}

fn sorted<K: Ord>(keys: HashSet<K>) -> impl Iterator<Item = K> {
    let mut keys: Vec<K> = keys.into_iter().collect();
    keys.sort_unstable();
    keys.into_iter()
}

fn copy_of<'a, K: Ord + Hash + Copy, V: Clone>(
    copies: &'a mut BTreeMap<K, V>,
    originals: &HashMap<K, V>,
    key: K,
) -> Option<&'a mut V> {
    use std::collections::btree_map::Entry;
    match copies.entry(key) {
        Entry::Occupied(copy) => Some(copy.into_mut()),
        Entry::Vacant(gap) => originals.get(&key).map(|original| gap.insert(original.clone())),
    }
}
