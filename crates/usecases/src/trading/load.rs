//! Loading what a group of commands touches: everything under lock, each table with one statement,
//! in as few round trips as what depends on what allows.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_domain::book::BookSide;
use bellwether_domain::exchange::State;
use bellwether_domain::ids::{AccountId, ApiKeyId, MarketId, OrderGroupId, OrderId, UserId};
use bellwether_domain::market::{Market, OutcomeId};
use bellwether_domain::money::{FeeRate, Price, Shares};
use bellwether_domain::order::{
    AmendOrder, MarketBound, Order, OutcomeSpec, PlaceOrder, Side, Terms, book_price, book_side,
};
use bellwether_domain::order_group::OrderGroup;
use bellwether_domain::ports::{AnswerKey, BookRequest, KeptAnswer, StoreError, UnitOfWork, Wanted};
use bellwether_domain::position::Position;
use bellwether_domain::user::UserStatus;
use jiff::Timestamp;

use super::Command;
use crate::turns::Turn;

/// How many orders of a side are loaded at first.
const FIRST_DEPTH: u32 = 64;

/// One side of one book.
pub(super) type SideKey = (MarketId, OutcomeId, Side);

/// How deep sides are wanted: all as deep as the one of which the most was wanted, so that a batch that needs more of many
/// books need not find that out of one after the other.
#[derive(Debug)]
pub(crate) struct Depths {
    of_each: u32,
    /// Those that did not do.
    named: BTreeSet<SideKey>,
}

impl Default for Depths {
    fn default() -> Self {
        Self { of_each: FIRST_DEPTH, named: BTreeSet::new() }
    }
}

impl Depths {
    /// Asks for more, of this side above all: four times as much as the last time.
    pub(crate) fn deepen(&mut self, market: MarketId, book: OutcomeId, side: Side) {
        self.of_each = self.of_each.saturating_mul(4);
        self.named.insert((market, book, side));
    }
}

/// How much of a side the commands can take.
#[derive(Debug, Clone, Copy)]
struct Appetite {
    /// The worst price that any of them takes; none where there is no bound.
    limit: Option<Price>,
    /// The sum of their quantities.
    quantity: i64,
}

/// What is loaded first: under lock, but for the users and the answers.
pub(super) struct First {
    /// Answers that were kept for the keys.
    pub(super) answers: Vec<KeptAnswer>,
    /// Which of the users may act.
    pub(super) active: BTreeSet<UserId>,
    pub(super) markets: Vec<Market>,
    /// The orders that the commands name, in id order.
    pub(super) named: Vec<Order>,
}

/// Locks the markets that the commands touch, in id order, and finds out who may act and what was
/// answered before.
pub(super) async fn first(
    unit: &mut dyn UnitOfWork,
    commands: &[&Command],
    answers: Vec<AnswerKey>,
) -> Result<First, StoreError> {
    let users: BTreeSet<UserId> = commands.iter().map(|command| user_of(command)).collect();
    let named = orders_of(commands);
    let mut markets: BTreeSet<MarketId> = commands.iter().filter_map(|command| market_of(command)).collect();
    let mut wanted = Wanted { answers, users: users.into_iter().collect(), orders: named.clone(), ..Wanted::default() };
    if named.is_empty() {
        wanted.lock_markets = markets.iter().copied().collect();
    }
    let mut found = unit.load(wanted).await?;
    if !named.is_empty() {
        // All markets are locked at once, since locks are taken in id order. Orders may have changed until theirs was.
        markets.extend(found.orders.iter().map(|o| o.market));
        let lock_markets = markets.iter().copied().collect();
        let locked = unit.load(Wanted { lock_markets, orders: named, ..Wanted::default() }).await?;
        (found.markets, found.orders) = (locked.markets, locked.orders);
        // One that came just now is in a market that may not be locked: nobody can name it yet.
        found.orders.retain(|order| markets.contains(&order.market));
    }
    let active =
        found.statuses.into_iter().filter(|(_, status)| *status == UserStatus::Active).map(|(id, _)| id).collect();
    Ok(First { answers: found.answers, active, markets: found.markets, named: found.orders })
}

/// What is known when all but the accounts that the commands touch is locked.
pub(super) struct Begun<'a> {
    pub(super) markets: Vec<Market>,
    /// Orders, among them all that the commands name.
    pub(super) named: Vec<Order>,
    pub(super) depths: &'a Depths,
    /// Of the limited API keys that sent the commands.
    pub(super) keys: BTreeSet<ApiKeyId>,
    /// Taken before accounts are locked, where others that run at the same time take turns too.
    pub(super) turn: Option<&'a Turn>,
}

/// Loads everything else that the commands touch: orders and books, then accounts (locked, in id
/// order) and positions of everybody whose orders may be filled, and the limited API keys concerned: those that sent
/// commands, and those that the orders count against.
pub(super) async fn rest(
    unit: &mut dyn UnitOfWork,
    commands: &[&Command],
    begun: Begun<'_>,
    now: Timestamp,
) -> Result<State, StoreError> {
    let Begun { markets, mut named, depths, mut keys, turn } = begun;
    let mut state = State::with_room_for(commands.len());
    let of_commands: BTreeSet<OrderId> = orders_of(commands).into_iter().collect();
    named.retain(|order| of_commands.contains(&order.id));
    let (requests, appetites) = sides(commands, &markets, &named, depths);
    // By itself: a store that remembers the books is not asked at all.
    let found = unit.load(Wanted { books: requests.clone(), ..Wanted::default() }).await?;
    let sides = trimmed(requests, found.books, &appetites, depths);
    let (groups, grouped) = groups(unit, commands, &named, &sides).await?;

    let mut pairs: BTreeSet<(UserId, MarketId)> =
        commands.iter().filter_map(|c| Some((user_of(c), market_of(c)?))).collect();
    pairs.extend(named.iter().map(|o| (o.user, o.market)));
    pairs.extend(sides.iter().flat_map(|(_, _, orders)| orders.iter().map(|o| (o.user, o.market))));
    let lock_accounts = accounts(&pairs, &markets);
    let positions = pairs.iter().copied().collect();
    // Where an order is filled, its owner's account is locked, which guards what its key has spent.
    keys.extend(named.iter().filter_map(|o| o.counted_by));
    keys.extend(sides.iter().flat_map(|(_, _, orders)| orders.iter().filter_map(|o| o.counted_by)));
    keys.extend(grouped.iter().filter_map(|o| o.counted_by));
    let key_usages = keys.into_iter().collect();
    if let Some(turn) = turn {
        turn.take(&lock_accounts).await;
    }
    let (client_ids, open_counts) = (client_ids(commands), open_counts(commands, &named));
    let counted = open_counts.clone();
    let wanted = Wanted { client_ids, open_counts, lock_accounts, positions, key_usages, ..Wanted::default() };
    let held = unit.load(wanted).await?;

    for order in held.with_client_ids {
        if let Some(client_id) = order.client_order_id {
            state.add_client_id(order.user, client_id, order.id);
        }
    }
    for ((user, market), count) in counted.into_iter().zip(held.open_counts) {
        state.set_open_count(user, market, count);
    }
    for mut usage in held.key_usages {
        usage.turn_to(now);
        state.add_key(usage);
    }
    for account in held.accounts {
        state.add_account(account);
    }
    for (user, market) in &pairs {
        if let Some(market) = find(&markets, *market) {
            state.add_position(Position::empty(*user, market.id, market.outcomes.len()));
        }
    }
    for position in held.positions {
        state.add_position(position);
    }
    for market in markets {
        state.add_market(market);
    }
    for order in named.into_iter().chain(grouped) {
        state.add_order(order);
    }
    for group in groups {
        state.add_group(group);
    }
    for ((market, book, side), loaded, orders) in sides {
        state.add_side(market, book, loaded, side, orders);
    }
    Ok(state)
}

/// The groups that orders are in, or shall be, with all of their open orders: whose users and markets are those of orders
/// that are loaded anyway. Where no order is in one, nothing is asked.
async fn groups(
    unit: &mut dyn UnitOfWork,
    commands: &[&Command],
    named: &[Order],
    sides: &[(SideKey, BookSide, Vec<Order>)],
) -> Result<(Vec<OrderGroup>, Vec<Order>), StoreError> {
    let placed = commands.iter().filter_map(|command| match command {
        Command::Place(place) => place.group,
        _ => None,
    });
    let resting = sides.iter().flat_map(|(_, _, orders)| orders.iter().filter_map(|order| order.group));
    let ids: BTreeSet<OrderGroupId> = placed.chain(named.iter().filter_map(|o| o.group)).chain(resting).collect();
    if ids.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let found = unit.load(Wanted { order_groups: ids.into_iter().collect(), ..Wanted::default() }).await?;
    let is_locked = |group: &OrderGroup| {
        commands.iter().any(|c| market_of(c) == Some(group.market) && user_of(c) == group.user)
            || named.iter().any(|o| o.group == Some(group.id))
            || sides.iter().any(|(_, _, orders)| orders.iter().any(|o| o.group == Some(group.id)))
    };
    // A command may name any group; only one of the same user and market is guarded by what is locked.
    let groups: Vec<OrderGroup> = found.order_groups;
    let locked: BTreeSet<OrderGroupId> = groups.iter().filter(|group| is_locked(group)).map(|group| group.id).collect();
    let orders = found.grouped_orders.into_iter().filter(|o| o.group.is_some_and(|id| locked.contains(&id)));
    Ok((groups, orders.collect()))
}

/// The sides of books to load, and how much of each the commands can take.
fn sides(
    commands: &[&Command],
    markets: &[Market],
    named: &[Order],
    depths: &Depths,
) -> (Vec<BookRequest>, BTreeMap<SideKey, Appetite>) {
    let appetites = appetites(commands, markets, named);
    let keys: BTreeSet<SideKey> = appetites.keys().chain(&depths.named).copied().collect();
    let requests = keys.into_iter().map(|key| {
        let (market, book, side) = key;
        let limit = appetites.get(&key).and_then(|a| a.limit);
        BookRequest { market, book, side, limit, depth: depths.of_each }
    });
    (requests.collect(), appetites)
}

/// The sides as they were loaded, without what no command can come to.
fn trimmed(
    requests: Vec<BookRequest>,
    books: Vec<Vec<Order>>,
    appetites: &BTreeMap<SideKey, Appetite>,
    depths: &Depths,
) -> Vec<(SideKey, BookSide, Vec<Order>)> {
    let sides = requests.into_iter().zip(books).map(|(request, mut orders)| {
        let key = (request.market, request.book, request.side);
        // Where one did not do at first, all are taken as deep as they were asked for.
        let depth =
            if depths.named.is_empty() { trim(&mut orders, appetites.get(&key), request.depth) } else { request.depth };
        (key, BookSide::loaded(request.side, &orders, request.limit, depth), orders)
    });
    sides.collect()
}

/// Drops orders that no command can come to, so that their owners' accounts are not locked. Returns
/// how many the side counts as having been asked for.
fn trim(orders: &mut Vec<Order>, appetite: Option<&Appetite>, depth: u32) -> u32 {
    let Some(appetite) = appetite else { return depth };
    let mut sum = 0_i64;
    let needed = orders.iter().position(|order| {
        sum = sum.saturating_add(order.remaining.count());
        sum >= appetite.quantity
    });
    match needed.map(|index| index + 1) {
        Some(count) if count < orders.len() => {
            orders.truncate(count);
            u32::try_from(count).unwrap_or(depth)
        }
        _ => depth,
    }
}

/// Which sides the commands may take from, and how much.
fn appetites(commands: &[&Command], markets: &[Market], named: &[Order]) -> BTreeMap<SideKey, Appetite> {
    let mut appetites: BTreeMap<SideKey, Appetite> = BTreeMap::new();
    for command in commands {
        let wanted = match command {
            Command::Place(place) => find(markets, place.market).and_then(|m| appetite_of_place(place, m)),
            Command::Amend(amend) => named
                .iter()
                .find(|o| o.id == amend.order)
                .and_then(|order| appetite_of_amend(amend, order, find(markets, order.market)?)),
            Command::Cancel { .. } => None,
        };
        let Some((market, book, side, appetite)) = wanted else { continue };
        appetites
            .entry((market.id, book, side.opposite()))
            .and_modify(|known| *known = widest(*known, appetite, side))
            .or_insert(appetite);
        // Trading with the maker of a market with several books moves the prices of all of them.
        if market.maker.is_some() && !market.is_binary() {
            for index in 0..market.outcomes.len() {
                let Some(other) = OutcomeId::new(index) else { continue };
                let unbounded = Appetite { limit: None, quantity: i64::MAX };
                appetites.entry((market.id, other, side)).and_modify(|known| *known = unbounded).or_insert(unbounded);
            }
        }
    }
    appetites
}

fn appetite_of_place<'m>(place: &PlaceOrder, market: &'m Market) -> Option<(&'m Market, OutcomeId, Side, Appetite)> {
    let outcome = match &place.outcome {
        OutcomeSpec::Name(name) => market.outcome_named(name)?,
        OutcomeSpec::Id(id) => *id,
    };
    let (book, side) = book_side(outcome, place.side, market.is_binary());
    let (price, quantity) = match place.terms {
        Terms::Limit { price, quantity, .. } => (Some(price), Some(quantity)),
        Terms::Market { bound: MarketBound::Worst { quantity, price }, .. } => (Some(price), Some(quantity)),
        Terms::Market { bound: MarketBound::Spend { quantity, price, .. }, .. } => (price, quantity),
    };
    let limit = price.map(|p| book_price(outcome, p, market.is_binary()));
    let quantity = quantity.map_or(i64::MAX, Shares::count);
    Some((market, book, side, Appetite { limit, quantity }))
}

fn appetite_of_amend<'m>(
    amend: &AmendOrder,
    order: &Order,
    market: &'m Market,
) -> Option<(&'m Market, OutcomeId, Side, Appetite)> {
    let price = amend.price.or(order.price)?;
    let limit = Some(book_price(order.outcome, price, market.is_binary()));
    let quantity = amend.quantity.unwrap_or(order.quantity).count();
    Some((market, order.book, order.book_side, Appetite { limit, quantity }))
}

/// What two commands on the same side of the market can take together.
fn widest(one: Appetite, other: Appetite, taker: Side) -> Appetite {
    let limit = match (one.limit, other.limit) {
        (Some(a), Some(b)) if taker == Side::Buy => Some(a.max(b)),
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => None,
    };
    Appetite { limit, quantity: one.quantity.saturating_add(other.quantity) }
}

fn client_ids(commands: &[&Command]) -> Vec<(UserId, String)> {
    let given = commands.iter().filter_map(|command| match command {
        Command::Place(place) => place.client_order_id.clone().map(|id| (place.user, id)),
        _ => None,
    });
    given.collect()
}

fn open_counts(commands: &[&Command], named: &[Order]) -> Vec<(UserId, MarketId)> {
    let placed = commands.iter().filter_map(|c| Some((user_of(c), market_of(c)?)));
    placed.chain(named.iter().map(|o| (o.user, o.market))).collect::<BTreeSet<_>>().into_iter().collect()
}

fn accounts(pairs: &BTreeSet<(UserId, MarketId)>, markets: &[Market]) -> Vec<AccountId> {
    let mut ids: BTreeSet<AccountId> = pairs.iter().map(|(user, _)| AccountId::of_user(*user)).collect();
    for market in markets {
        ids.insert(market.collateral());
        ids.extend(market.maker.as_ref().map(|m| m.account));
        if market.fee_rate != FeeRate::ZERO {
            ids.insert(market.fee_account());
        }
    }
    ids.into_iter().collect()
}

fn find(markets: &[Market], id: MarketId) -> Option<&Market> {
    markets.iter().find(|m| m.id == id)
}

pub(super) fn user_of(command: &Command) -> UserId {
    match command {
        Command::Place(place) => place.user,
        Command::Amend(amend) => amend.user,
        Command::Cancel { user, .. } => *user,
    }
}

pub(super) fn market_of(command: &Command) -> Option<MarketId> {
    match command {
        Command::Place(place) => Some(place.market),
        _ => None,
    }
}

/// The orders that the commands name, in id order.
fn orders_of(commands: &[&Command]) -> Vec<OrderId> {
    let named = commands.iter().filter_map(|command| match command {
        Command::Place(_) => None,
        Command::Amend(amend) => Some(amend.order),
        Command::Cancel { order, .. } => Some(*order),
    });
    named.collect::<BTreeSet<_>>().into_iter().collect()
}
