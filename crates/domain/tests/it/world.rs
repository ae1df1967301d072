//! A little world in memory: whole rows, loaded into a `State` as a store would load them and
//! written back from its `Changes`.

use std::collections::BTreeMap;

use bellwether_domain::api_key::KeyUsage;
use bellwether_domain::book::BookSide;
use bellwether_domain::exchange::{ExchangeSets, Executed, Limits, Moment, SetsExchanged, State, Stop};
use bellwether_domain::ids::{AccountId, ApiKeyId, FreshIds, MarketId, OrderGroupId, OrderId, TransferId, UserId};
use bellwether_domain::ledger::{self, Account, Owner, Posting, Reference, Transfer, TransferKind};
use bellwether_domain::lmsr::Lmsr;
use bellwether_domain::market::{FeeRecipient, Maker, Market, MarketStatus, Outcome, OutcomeId, Resolution, Weights};
use bellwether_domain::money::{Credits, FeeRate, Price, Shares};
use bellwether_domain::order::{
    AmendOrder, Backing, EndReason, Life, Order, OrderStatus, OutcomeSpec, PlaceOrder, SelfTradePrevention, Side, Terms,
};
use bellwether_domain::order_group::OrderGroup;
use bellwether_domain::ports::Changes;
use bellwether_domain::position::Position;
use bellwether_domain::refusal::Refusal;
use bellwether_domain::settlement;
use bellwether_domain::text::Slug;
use bellwether_domain::trade::Trade;
use jiff::{SignedDuration, Timestamp};

use crate::remembered::{Remembered, Rows};
use crate::told::Told;

pub struct World {
    pub now: Timestamp,
    pub ids: FreshIds,
    pub limits: Limits,
    /// How many orders of a side are loaded at first.
    pub depth: u32,
    pub users: Vec<UserId>,
    pub accounts: BTreeMap<AccountId, Account>,
    pub markets: BTreeMap<MarketId, Market>,
    pub orders: BTreeMap<OrderId, Order>,
    pub positions: BTreeMap<(MarketId, UserId), Position>,
    pub trades: Vec<Trade>,
    pub transfers: Vec<Transfer>,
    /// API keys with limits, and what they have spent.
    pub keys: BTreeMap<ApiKeyId, KeyUsage>,
    /// Groups of orders, and how many trades there had been when each was last reset.
    pub groups: BTreeMap<OrderGroupId, (OrderGroup, usize)>,
    /// How often more of a book had to be loaded.
    pub deepened: u64,
    /// Somebody who knows it from its events.
    pub told: Told,
    /// What a store would remember of it.
    pub remembered: Remembered,
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub fn price(mills: i64) -> Price {
    Price::from_mills(mills).unwrap()
}

impl World {
    pub fn new(users: usize, grant: i64) -> Self {
        let now = at(0);
        let mut world = Self {
            now,
            ids: FreshIds::seeded(now, 7),
            limits: Limits { max_open_orders: 50, max_fills: 500, key: None },
            depth: 1,
            users: Vec::new(),
            accounts: BTreeMap::new(),
            markets: BTreeMap::new(),
            orders: BTreeMap::new(),
            positions: BTreeMap::new(),
            trades: Vec::new(),
            transfers: Vec::new(),
            keys: BTreeMap::new(),
            groups: BTreeMap::new(),
            deepened: 0,
            told: Told::default(),
            remembered: Remembered::default(),
        };
        world.open_account(AccountId::TREASURY, Owner::Treasury);
        world.open_account(AccountId::FEES, Owner::Fees);
        for _ in 0..users {
            let user = UserId(world.ids.next_uuid());
            world.open_account(AccountId::of_user(user), Owner::User(user));
            world.pay(AccountId::TREASURY, AccountId::of_user(user), grant, TransferKind::Grant, None);
            world.users.push(user);
        }
        world
    }

    fn open_account(&mut self, id: AccountId, owner: Owner) {
        self.accounts.insert(id, Account::open(id, owner, self.now));
    }

    pub fn pay(&mut self, from: AccountId, to: AccountId, mills: i64, kind: TransferKind, market: Option<MarketId>) {
        let reference = Reference { market, trade: None };
        let posting = Posting {
            id: TransferId(self.ids.next_uuid()),
            amount: Credits::from_mills(mills),
            kind,
            reference,
            memo: None,
        };
        let mut payer = self.accounts[&from].clone();
        let made = ledger::transfer(&mut payer, self.accounts.get_mut(&to).unwrap(), posting, self.now).unwrap();
        self.accounts.insert(from, payer);
        self.transfers.push(made);
    }

    /// Opens a market with so many outcomes; a subsidy makes a market maker.
    pub fn open_market(
        &mut self,
        outcomes: usize,
        fee_bps: i64,
        subsidy: Option<i64>,
        probabilities: Option<Vec<u16>>,
    ) -> MarketId {
        let id = MarketId(self.ids.next_uuid());
        let creator = self.users[0];
        self.open_account(AccountId::of_market(id), Owner::Market(id));
        let maker = subsidy.map(|mills| {
            let account = AccountId(self.ids.next_uuid());
            self.open_account(account, Owner::Maker(id));
            self.pay(AccountId::of_user(creator), account, mills, TransferKind::Subsidy, Some(id));
            let even = Weights::proportional(&vec![1; outcomes]).as_slice().to_vec();
            let probabilities = probabilities.unwrap_or(even);
            let lmsr = Lmsr::from_subsidy(Credits::from_mills(mills), &probabilities).unwrap();
            Maker { account, funder: creator, subsidy: Credits::from_mills(mills), probabilities, lmsr }
        });
        let market = Market {
            id,
            slug: Slug::from_question("a market", &id.0.simple().to_string()),
            question: "A market?".to_owned(),
            description: String::new(),
            category: None,
            tags: Vec::new(),
            creator,
            outcomes: (0..outcomes).map(|i| Outcome { name: format!("O{i}"), last_price: None }).collect(),
            status: MarketStatus::Open,
            closes_at: self.now + SignedDuration::from_hours(1000),
            fee_rate: FeeRate::from_bps(fee_bps).unwrap(),
            fee_recipient: FeeRecipient::House,
            maker,
            volume: Credits::ZERO,
            trade_count: 0,
            sequence: 0,
            proposal: None,
            resolution: None,
            settled_at: None,
            version: 1,
            created_at: self.now,
            updated_at: self.now,
        };
        self.markets.insert(id, market);
        id
    }

    /// A limit order with the usual terms.
    pub fn limit(
        &self,
        market: MarketId,
        user: usize,
        outcome: usize,
        side: Side,
        mills: i64,
        quantity: i64,
    ) -> PlaceOrder {
        let terms = Terms::Limit {
            price: price(mills),
            quantity: Shares::new(quantity),
            life: Life::UntilCancelled,
            post_only: false,
        };
        self.order(market, user, outcome, side, terms)
    }

    pub fn order(&self, market: MarketId, user: usize, outcome: usize, side: Side, terms: Terms) -> PlaceOrder {
        PlaceOrder {
            market,
            user: self.users[user],
            outcome: OutcomeSpec::Id(OutcomeId::new(outcome).unwrap()),
            side,
            terms,
            backing: None,
            self_trade_prevention: SelfTradePrevention::CancelNewest,
            client_order_id: None,
            valid_until: None,
            reduce_only: false,
            placed_by: None,
            group: None,
        }
    }

    pub fn moment(&self) -> Moment {
        Moment { now: self.now, limits: self.limits }
    }

    pub fn place(&mut self, order: &PlaceOrder) -> Result<Executed, Refusal> {
        let (moment, before) = (self.moment(), self.ids.clone());
        let mut after = before.clone();
        let result = self.run(order.market, |state| {
            after = before.clone();
            state.place(order, &mut after, moment)
        });
        self.ids = after;
        result
    }

    /// Places orders in one market on one loaded state, as a group of requests is executed.
    pub fn place_group(&mut self, orders: &[PlaceOrder]) {
        let Some(market) = orders.first().map(|o| o.market) else { return };
        let moment = self.moment();
        let mut depths = BTreeMap::new();
        'load: loop {
            let (mut state, mut ids) = (self.load(market, &depths), self.ids.clone());
            for order in orders {
                match state.place(order, &mut ids, moment) {
                    Ok(_) | Err(Stop::Refused(_)) => {}
                    Err(Stop::NeedsDepth { book, side, .. }) => {
                        *depths.entry((book, side)).or_insert(self.depth) *= 4;
                        continue 'load;
                    }
                    Err(Stop::NotLoaded(what)) => panic!("not loaded: {what}"),
                }
            }
            self.write(state.into_changes());
            self.ids = ids;
            return;
        }
    }

    pub fn amend(&mut self, amend: &AmendOrder) -> Result<Executed, Refusal> {
        let (moment, before) = (self.moment(), self.ids.clone());
        let mut after = before.clone();
        let market = self.orders.get(&amend.order).ok_or(Refusal::OrderNotFound)?.market;
        let result = self.run(market, |state| {
            after = before.clone();
            state.amend(amend, &mut after, moment)
        });
        self.ids = after;
        result
    }

    pub fn exchange_sets(&mut self, command: &ExchangeSets) -> Result<SetsExchanged, Refusal> {
        let (moment, before) = (self.moment(), self.ids.clone());
        let mut after = before.clone();
        let result = self.run(command.market, |state| {
            after = before.clone();
            state.exchange_sets(command, &mut after, moment)
        });
        self.ids = after;
        result
    }

    pub fn cancel(&mut self, order: OrderId, user: UserId) -> Result<Executed, Refusal> {
        let market = self.orders.get(&order).ok_or(Refusal::OrderNotFound)?.market;
        let now = self.now;
        self.run(market, |state| state.cancel(order, user, now))
    }

    /// Runs a command on loaded state; loads more of the books as long as it asks for more.
    fn run<T>(
        &mut self,
        market: MarketId,
        mut command: impl FnMut(&mut State) -> Result<T, Stop>,
    ) -> Result<T, Refusal> {
        let mut depths = BTreeMap::new();
        loop {
            let mut state = self.load(market, &depths);
            let result = command(&mut state);
            match result {
                Ok(executed) => {
                    self.write(state.into_changes());
                    return Ok(executed);
                }
                Err(Stop::Refused(refusal)) => {
                    assert_eq!(state.into_changes(), Changes::default(), "a refused command leaves no trace");
                    return Err(refusal);
                }
                Err(Stop::NeedsDepth { book, side, .. }) => {
                    self.deepened += 1;
                    *depths.entry((book, side)).or_insert(self.depth) *= 4;
                }
                Err(Stop::NotLoaded(what)) => panic!("not loaded: {what}"),
            }
        }
    }

    /// Loads a market past the memory, too, which must say the same.
    fn remember(&mut self, id: MarketId) {
        let market = &self.markets[&id];
        let books = (0..market.outcomes.len()).filter_map(OutcomeId::new);
        let keys = books.flat_map(|book| [(book, Side::Buy), (book, Side::Sell)]);
        let sides = keys.map(|(book, side)| ((book, side), self.side(id, book, side))).collect();
        let of_market = self.positions.iter().filter(|((market, _), _)| *market == id);
        let positions = of_market.map(|((_, user), position)| (*user, position.clone())).collect();
        let open_counts = self.users.iter().map(|user| (*user, self.open_orders_of(*user, id))).collect();
        self.remembered.load(&Rows { market, sides, positions, open_counts });
    }

    fn open_orders_of(&self, user: UserId, market: MarketId) -> u64 {
        self.orders.values().filter(|o| o.is_open() && o.user == user && o.market == market).count() as u64
    }

    fn load(&mut self, market: MarketId, depths: &BTreeMap<(OutcomeId, Side), u32>) -> State {
        self.remember(market);
        let mut state = State::default();
        state.add_market(self.markets[&market].clone());
        for outcome in 0..self.markets[&market].outcomes.len() {
            let book = OutcomeId::new(outcome).unwrap();
            for side in [Side::Buy, Side::Sell] {
                let depth = depths.get(&(book, side)).copied().unwrap_or(self.depth);
                let orders: Vec<Order> = self.side(market, book, side).into_iter().take(depth as usize).collect();
                state.add_side(market, book, BookSide::loaded(side, &orders, None, depth), side, orders);
            }
        }
        // Orders that a command names are loaded wherever they stand.
        self.orders.values().filter(|o| o.market == market).for_each(|o| state.add_order(o.clone()));
        self.accounts.values().for_each(|a| state.add_account(a.clone()));
        self.keys.keys().for_each(|key| state.add_key(self.usage(*key)));
        let groups = self.groups.values().filter(|(group, _)| group.market == market);
        groups.for_each(|(group, _)| state.add_group(group.clone()));
        for user in &self.users {
            let outcomes = self.markets[&market].outcomes.len();
            let position = self.positions.get(&(market, *user)).cloned();
            state.add_position(position.unwrap_or_else(|| Position::empty(*user, market, outcomes)));
            state.set_open_count(*user, market, self.open_orders_of(*user, market));
        }
        state
    }

    /// What is used of a key now, as a store finds it.
    pub fn usage(&self, key: ApiKeyId) -> KeyUsage {
        let mut usage = self.keys[&key].clone();
        let open: Vec<&Order> = self.orders.values().filter(|o| o.is_open() && o.counted_by == Some(key)).collect();
        usage.reserved = open.iter().fold(Credits::ZERO, |sum, order| sum.plus(order.reserved).unwrap());
        usage.open_orders = open.len() as u64;
        usage.turn_to(self.now);
        usage
    }

    /// Makes a group of a user in a market.
    pub fn open_group(&mut self, user: usize, market: MarketId, cap: i64, window_s: Option<i64>) -> OrderGroupId {
        let id = OrderGroupId(self.ids.next_uuid());
        let group = OrderGroup {
            id,
            user: self.users[user],
            market,
            fill_cap: Shares::new(cap),
            window_s,
            filled: Shares::ZERO,
            recent: Vec::new(),
            full_at: None,
            created_at: self.now,
            updated_at: self.now,
        };
        self.groups.insert(id, (group, self.trades.len()));
        id
    }

    /// Has a group count anew.
    pub fn reset_group(&mut self, id: OrderGroupId) {
        let (group, from) = self.groups.get_mut(&id).unwrap();
        group.reset(self.now);
        *from = self.trades.len();
    }

    /// The group of a user in a market, if there is one.
    pub fn group_of(&self, user: UserId, market: MarketId) -> Option<OrderGroupId> {
        let found = self.groups.values().find(|(group, _)| (group.user, group.market) == (user, market));
        found.map(|(group, _)| group.id)
    }

    /// The open orders of a side, best first.
    pub fn side(&self, market: MarketId, book: OutcomeId, side: Side) -> Vec<Order> {
        let mut orders: Vec<Order> = self
            .orders
            .values()
            .filter(|o| o.is_open() && o.market == market && o.book == book && o.book_side == side)
            .cloned()
            .collect();
        orders.sort_by_key(|o| {
            let price = o.book_price.unwrap().mills();
            (if side == Side::Buy { -price } else { price }, o.sequence)
        });
        orders
    }

    pub fn write(&mut self, changes: Changes) {
        self.told.hear(&changes);
        self.remembered.write(&changes);
        for group in &changes.order_groups {
            self.groups.get_mut(&group.id).unwrap().0 = group.clone();
        }
        let Changes { accounts, markets, new_orders, orders, positions, trades, transfers, key_spending, .. } = changes;
        for order in &new_orders {
            assert!(!self.orders.contains_key(&order.id), "a new order is new");
        }
        for order in &orders {
            assert!(self.orders.contains_key(&order.id), "a changed order is known");
        }
        self.accounts.extend(accounts.into_iter().map(|a| (a.id, a)));
        self.markets.extend(markets.into_iter().map(|m| (m.id, m)));
        self.orders.extend(new_orders.into_iter().chain(orders).map(|o| (o.id, o)));
        self.positions.extend(positions.into_iter().map(|p| ((p.market, p.user), p)));
        self.trades.extend(trades);
        self.transfers.extend(transfers);
        for spending in key_spending {
            self.keys.get_mut(&spending.key).unwrap().spending = spending;
        }
    }

    /// Ends every open order of a market, as its closing does.
    pub fn close(&mut self, market: MarketId) {
        let open: Vec<OrderId> =
            self.orders.values().filter(|o| o.market == market && o.is_open()).map(|o| o.id).collect();
        let now = self.now;
        for order in open {
            self.run(market, |state| {
                state.end_order(order, None, OrderStatus::Cancelled, EndReason::MarketClosed, now)
            })
            .unwrap();
        }
        self.markets.get_mut(&market).unwrap().become_status(MarketStatus::Closed, now).unwrap();
        self.remembered.written_by_others([market]);
    }

    /// Decides a closed market and pays in batches of `batch`.
    pub fn resolve(&mut self, market: MarketId, weights: Weights, batch: usize) {
        let now = self.now;
        let mut row = self.markets[&market].clone();
        row.become_status(MarketStatus::Resolved, now).unwrap();
        row.resolution = Some(Resolution { weights, decided_by: None, decided_at: now, reason: None });
        let keys: Vec<(MarketId, UserId)> = self.positions.keys().filter(|k| k.0 == market).copied().collect();
        for keys in keys.chunks(batch) {
            let mut positions: Vec<Position> = keys.iter().map(|k| self.positions[k].clone()).collect();
            let made = settlement::pay_batch(&row, &mut positions, &mut self.accounts, &mut self.ids, now).unwrap();
            self.transfers.extend(made);
            let again = settlement::pay_batch(&row, &mut positions, &mut self.accounts, &mut self.ids, now).unwrap();
            assert!(again.is_empty(), "nobody is paid twice");
            self.positions.extend(positions.into_iter().map(|p| ((p.market, p.user), p)));
        }
        let made = settlement::finish(&mut row, &mut self.accounts, &mut self.ids, now).unwrap();
        self.transfers.extend(made);
        self.markets.insert(market, row);
        self.remembered.written_by_others([market]);
    }

    pub fn available(&self, user: usize) -> i64 {
        self.accounts[&AccountId::of_user(self.users[user])].available().mills()
    }

    pub fn holding(&self, market: MarketId, user: usize, outcome: usize) -> i64 {
        let position = self.positions.get(&(market, self.users[user]));
        position.map_or(0, |p| p.holdings[outcome].quantity.count())
    }
}

pub fn with_backing(mut order: PlaceOrder, backing: Backing) -> PlaceOrder {
    order.backing = Some(backing);
    order
}
