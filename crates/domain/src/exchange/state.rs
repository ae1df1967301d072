//! The loaded state that commands are executed on.

use std::collections::BTreeMap;

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

use super::draft::Draft;
use super::rows::Rows;

/// A market and what is loaded of its books.
#[derive(Debug, Clone)]
pub struct MarketState {
    /// The market.
    pub market: Market,
    sides: BTreeMap<(OutcomeId, Side), BookSide>,
    unknown: [BookSide; 2],
    is_changed: bool,
    /// How many more shares and orders rest at a place.
    levels: HashMap<BookPlace, (i64, i64)>,
}

impl MarketState {
    /// A market of whose books nothing is loaded.
    #[must_use]
    pub fn new(market: Market) -> Self {
        let unknown = [BookSide::unknown(Side::Buy), BookSide::unknown(Side::Sell)];
        Self { market, sides: BTreeMap::new(), unknown, is_changed: false, levels: HashMap::default() }
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

    /// Counts for the levels of the book what now rests of an order, and what rested before.
    fn count_levels(&mut self, before: Option<&Order>, after: &Order) {
        let resting = |order: &Order| order.place().filter(|_| order.is_open()).map(|at| (at, order.remaining.count()));
        match (before.and_then(resting), resting(after)) {
            (Some((was_at, had)), Some((at, has))) if was_at == at => self.count_level(at, has.saturating_sub(had), 0),
            (was, is) => {
                was.into_iter().for_each(|(at, had)| self.count_level(at, had.saturating_neg(), -1));
                is.into_iter().for_each(|(at, has)| self.count_level(at, has, 1));
            }
        }
    }

    fn count_level(&mut self, at: BookPlace, more_shares: i64, more_orders: i64) {
        let (shares, orders) = self.levels.entry(at).or_default();
        *shares = shares.saturating_add(more_shares);
        *orders += more_orders;
    }

    /// What all commands together changed of the books.
    fn book_changes(&self) -> Option<Event> {
        let changed = self.levels.iter().filter(|(_, change)| **change != (0, 0));
        let mut levels: Vec<LevelData> = changed
            .map(|(place, (change, orders))| {
                let (book, side, price) = (place.book.number(), place.side, place.price);
                LevelData { book, side, price, change: *change, orders: *orders }
            })
            .collect();
        levels.sort_unstable_by_key(|level| (level.book, level.side, level.price));
        let (market_id, sequence) = (self.market.id, self.market.sequence);
        (!levels.is_empty()).then(|| Event::BookChanged(Box::new(BookData { market_id, sequence, levels })))
    }
}

/// Everything that a group of commands touches, as it was loaded under lock and changed since.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub(super) markets: BTreeMap<MarketId, MarketState>,
    pub(super) accounts: Rows<AccountId, Account>,
    pub(super) orders: Rows<OrderId, Order>,
    pub(super) positions: Rows<(MarketId, UserId), Position>,
    pub(super) open_counts: HashMap<(MarketId, UserId), u64>,
    pub(super) client_ids: HashMap<(UserId, String), OrderId>,
    pub(super) keys: HashMap<ApiKeyId, KeyUsage>,
    pub(super) groups: Rows<OrderGroupId, OrderGroup>,
    /// The keys whose spending is to be written.
    spending: HashSet<ApiKeyId>,
    pub(super) trades: Vec<Trade>,
    transfers: Vec<Transfer>,
    /// What each command did, in their order.
    news: Vec<Event>,
    /// The draft of the last command, emptied: so that the next one finds its memory.
    pub(super) spare: Option<Box<Draft>>,
}

impl State {
    /// An empty state with room for what so many commands usually make: of each an order, a trade with a transfer or
    /// two, and what there is to tell of it. More comes at the price of moving what there is.
    #[must_use]
    pub fn with_room_for(commands: usize) -> Self {
        let mut state = Self::default();
        state.orders.reserve_new(commands);
        state.trades.reserve(commands);
        state.transfers.reserve(commands.saturating_mul(2));
        state.news.reserve(commands.saturating_mul(3));
        state
    }

    /// Adds a locked market.
    pub fn add_market(&mut self, market: Market) {
        self.markets.insert(market.id, MarketState::new(market));
    }

    /// Adds one side of a book, with its orders.
    pub fn add_side(&mut self, market: MarketId, book: OutcomeId, side: BookSide, which: Side, orders: Vec<Order>) {
        if let Some(state) = self.markets.get_mut(&market) {
            state.sides.insert((book, which), side);
            orders.into_iter().for_each(|order| self.add_order(order));
        }
    }

    /// Adds an order that a command names.
    pub fn add_order(&mut self, order: Order) {
        self.orders.add(order.id, order);
    }

    /// Adds a locked account.
    pub fn add_account(&mut self, account: Account) {
        self.accounts.add(account.id, account);
    }

    /// Adds a position; an empty one where the user has none yet.
    pub fn add_position(&mut self, position: Position) {
        self.positions.add((position.market, position.user), position);
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
        self.groups.add(group.id, group);
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
        self.accounts.get(id)
    }

    /// An order, as it now stands.
    #[must_use]
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(id)
    }

    /// A position, as it now stands.
    #[must_use]
    pub fn position(&self, user: UserId, market: MarketId) -> Option<&Position> {
        self.positions.get((market, user))
    }

    /// Everything that was changed since it was loaded, each kind of row in id order.
    #[must_use]
    pub fn into_changes(mut self) -> Changes {
        let changed = self.markets.values().filter(|state| state.is_changed);
        self.news.extend(changed.filter_map(MarketState::book_changes));
        let mut spending: Vec<ApiKeyId> = self.spending.into_iter().collect();
        spending.sort_unstable();
        let (new_orders, orders) = self.orders.into_new_and_changed(|order| order.id);
        Changes {
            new_orders,
            orders,
            accounts: self.accounts.into_written(|account| account.id),
            markets: self.markets.into_values().filter(|state| state.is_changed).map(|state| state.market).collect(),
            positions: self.positions.into_written(|position| (position.market, position.user)),
            key_spending: spending.into_iter().filter_map(|id| self.keys.remove(&id)).map(|u| u.spending).collect(),
            order_groups: self.groups.into_written(|group| group.id),
            trades: self.trades,
            transfers: self.transfers,
            news: self.news,
            ..Changes::default()
        }
    }

    /// Makes a draft's changes part of the state, with what they come to for API keys, and notes what it did.
    pub(super) fn adopt(&mut self, mut draft: Box<Draft>, usages: Vec<KeyUsage>) {
        let Some(state) = self.markets.get_mut(&draft.market) else { return };
        draft.apply_to(&mut state.market);
        state.is_changed = true;
        if let Some((id, place)) = draft.requeued.take().and_then(|order| Some((order.sequence, order.place()?))) {
            state.side_mut(place.book, place.side).remove(place.price, id);
        }
        let arrived = draft.new_order.filter(|id| self.orders.get(*id).is_none()).and_then(|id| draft.orders.get(id));
        if let Some(order) = arrived {
            self.news.push(Event::OrderAccepted(OrderData::of(order, &state.market)));
            if let Some(client_id) = order.client_order_id.clone() {
                self.client_ids.insert((order.user, client_id), order.id);
            }
        }
        let trades = draft.trades.iter().map(|trade| Event::TradeExecuted(TradeData::of(trade, &state.market)));
        self.news.extend(trades);
        for (id, order) in draft.orders.iter() {
            let side = state.side_mut(order.book, order.book_side);
            if draft.new_order == Some(*id) && order.is_open() {
                side.insert(order);
            } else {
                side.update(order);
            }
            let before = self.orders.get(*id);
            state.count_levels(before, order);
            let was_open = before.is_some_and(Order::is_open);
            if was_open != order.is_open()
                && let Some(count) = self.open_counts.get_mut(&(order.market, order.user))
            {
                *count = if was_open { count.saturating_sub(1) } else { *count + 1 };
            }
            self.news.extend(before.and_then(|before| change_of(before, order, &state.market)));
        }
        for (id, order) in draft.orders.drain() {
            self.orders.put(id, order);
        }
        for (id, account) in draft.accounts.drain() {
            self.accounts.put(id, account);
        }
        for (user, position) in draft.positions.drain() {
            self.positions.put((draft.market, user), position);
        }
        for (id, group) in draft.groups.drain() {
            self.groups.put(id, group);
        }
        for usage in usages {
            if self.keys.get(&usage.key.id).is_some_and(|before| before.spending != usage.spending) {
                self.spending.insert(usage.key.id);
            }
            self.keys.insert(usage.key.id, usage);
        }
        self.trades.append(&mut draft.trades);
        self.transfers.append(&mut draft.transfers);
        (draft.new_order, draft.lmsr) = (None, None);
        self.spare = Some(draft);
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
