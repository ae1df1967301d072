//! Loading what a group of commands touches: everything under lock, each table with one statement.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_domain::book::BookSide;
use bellwether_domain::exchange::State;
use bellwether_domain::ids::{AccountId, MarketId, OrderId, UserId};
use bellwether_domain::market::{Market, OutcomeId};
use bellwether_domain::money::{FeeRate, Price, Shares};
use bellwether_domain::order::{
    AmendOrder, MarketBound, Order, OutcomeSpec, PlaceOrder, Side, Terms, book_price, book_side,
};
use bellwether_domain::ports::{BookRequest, StoreError, UnitOfWork};
use bellwether_domain::position::Position;
use bellwether_domain::user::UserStatus;

use super::Command;

/// How many orders of a side are loaded at first.
const FIRST_DEPTH: u32 = 64;

/// One side of one book.
pub(super) type SideKey = (MarketId, OutcomeId, Side);

/// How deep each side was wanted when the first depth did not do.
#[derive(Debug, Default)]
pub(crate) struct Depths(BTreeMap<SideKey, u32>);

impl Depths {
    /// Asks for more of a side: four times as much as the last time.
    pub(crate) fn deepen(&mut self, market: MarketId, book: OutcomeId, side: Side) {
        let depth = self.0.entry((market, book, side)).or_insert(FIRST_DEPTH);
        *depth = depth.saturating_mul(4);
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

/// What is loaded, and which of the users may act.
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) active: BTreeSet<UserId>,
}

/// Locks and loads everything that the commands touch: markets, then accounts, each in id order.
pub(crate) async fn load(
    unit: &mut dyn UnitOfWork,
    commands: &[Command],
    depths: &Depths,
) -> Result<Loaded, StoreError> {
    let users: BTreeSet<UserId> = commands.iter().map(user_of).collect();
    let user_ids: Vec<UserId> = users.iter().copied().collect();
    let active = unit
        .users()
        .load(&user_ids)
        .await?
        .into_iter()
        .filter(|u| u.status == UserStatus::Active)
        .map(|u| u.id)
        .collect();

    let named_ids: Vec<OrderId> = commands.iter().filter_map(order_of).collect::<BTreeSet<_>>().into_iter().collect();
    let mut market_ids: BTreeSet<MarketId> = commands.iter().filter_map(market_of).collect();
    if !named_ids.is_empty() {
        market_ids.extend(unit.orders().load(&named_ids).await?.iter().map(|o| o.market));
    }
    let markets = unit.markets().lock(&market_ids.into_iter().collect::<Vec<_>>()).await?;
    // Orders may have changed until their market was locked.
    let named = if named_ids.is_empty() { Vec::new() } else { unit.orders().load(&named_ids).await? };

    let mut state = State::default();
    let mut pairs: BTreeSet<(UserId, MarketId)> =
        commands.iter().filter_map(|c| Some((user_of(c), market_of(c)?))).collect();
    pairs.extend(named.iter().map(|o| (o.user, o.market)));
    let sides = load_sides(unit, commands, &markets, &named, depths).await?;
    pairs.extend(sides.iter().flat_map(|(_, _, orders)| orders.iter().map(|o| (o.user, o.market))));

    load_client_ids(unit, commands, &mut state).await?;
    load_open_counts(unit, commands, &named, &mut state).await?;
    load_accounts(unit, &pairs, &markets, &mut state).await?;
    load_positions(unit, &pairs, &markets, &mut state).await?;
    for market in markets {
        state.add_market(market);
    }
    for order in named {
        state.add_order(order);
    }
    for ((market, book, side), loaded, orders) in sides {
        state.add_side(market, book, loaded, side, orders);
    }
    Ok(Loaded { state, active })
}

async fn load_sides(
    unit: &mut dyn UnitOfWork,
    commands: &[Command],
    markets: &[Market],
    named: &[Order],
    depths: &Depths,
) -> Result<Vec<(SideKey, BookSide, Vec<Order>)>, StoreError> {
    let appetites = appetites(commands, markets, named);
    let keys: BTreeSet<SideKey> = appetites.keys().chain(depths.0.keys()).copied().collect();
    let requests: Vec<BookRequest> = keys
        .into_iter()
        .map(|key| {
            let (market, book, side) = key;
            let depth = depths.0.get(&key).copied().unwrap_or(FIRST_DEPTH);
            BookRequest { market, book, side, limit: appetites.get(&key).and_then(|a| a.limit), depth }
        })
        .collect();
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let loaded = unit.orders().book(&requests).await?;
    Ok(requests
        .into_iter()
        .zip(loaded)
        .map(|(request, mut orders)| {
            let key = (request.market, request.book, request.side);
            // A side that did not do at first is taken as deep as it was asked for.
            let depth = if depths.0.contains_key(&key) {
                request.depth
            } else {
                trim(&mut orders, appetites.get(&key), request.depth)
            };
            (key, BookSide::loaded(request.side, &orders, request.limit, depth), orders)
        })
        .collect())
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
fn appetites(commands: &[Command], markets: &[Market], named: &[Order]) -> BTreeMap<SideKey, Appetite> {
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

async fn load_client_ids(unit: &mut dyn UnitOfWork, commands: &[Command], state: &mut State) -> Result<(), StoreError> {
    let wanted: Vec<(UserId, String)> = commands
        .iter()
        .filter_map(|c| match c {
            Command::Place(place) => place.client_order_id.clone().map(|id| (place.user, id)),
            _ => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    for order in unit.orders().with_client_ids(&wanted).await? {
        if let Some(client_id) = order.client_order_id {
            state.add_client_id(order.user, client_id, order.id);
        }
    }
    Ok(())
}

async fn load_open_counts(
    unit: &mut dyn UnitOfWork,
    commands: &[Command],
    named: &[Order],
    state: &mut State,
) -> Result<(), StoreError> {
    let mut pairs: BTreeSet<(UserId, MarketId)> = commands
        .iter()
        .filter_map(|c| match c {
            Command::Place(place) => Some((place.user, place.market)),
            _ => None,
        })
        .collect();
    pairs.extend(named.iter().map(|o| (o.user, o.market)));
    let pairs: Vec<(UserId, MarketId)> = pairs.into_iter().collect();
    if pairs.is_empty() {
        return Ok(());
    }
    let counts = unit.orders().count_open(&pairs).await?;
    for ((user, market), count) in pairs.into_iter().zip(counts) {
        state.set_open_count(user, market, count);
    }
    Ok(())
}

async fn load_accounts(
    unit: &mut dyn UnitOfWork,
    pairs: &BTreeSet<(UserId, MarketId)>,
    markets: &[Market],
    state: &mut State,
) -> Result<(), StoreError> {
    let mut ids: BTreeSet<AccountId> = pairs.iter().map(|(user, _)| AccountId::of_user(*user)).collect();
    for market in markets {
        ids.insert(market.collateral());
        ids.extend(market.maker.as_ref().map(|m| m.account));
        if market.fee_rate != FeeRate::ZERO {
            ids.insert(market.fee_account());
        }
    }
    for account in unit.accounts().lock(&ids.into_iter().collect::<Vec<_>>()).await? {
        state.add_account(account);
    }
    Ok(())
}

async fn load_positions(
    unit: &mut dyn UnitOfWork,
    pairs: &BTreeSet<(UserId, MarketId)>,
    markets: &[Market],
    state: &mut State,
) -> Result<(), StoreError> {
    for (user, market) in pairs {
        if let Some(market) = find(markets, *market) {
            state.add_position(Position::empty(*user, market.id, market.outcomes.len()));
        }
    }
    for position in unit.positions().load(&pairs.iter().copied().collect::<Vec<_>>()).await? {
        state.add_position(position);
    }
    Ok(())
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

fn market_of(command: &Command) -> Option<MarketId> {
    match command {
        Command::Place(place) => Some(place.market),
        _ => None,
    }
}

fn order_of(command: &Command) -> Option<OrderId> {
    match command {
        Command::Place(_) => None,
        Command::Amend(amend) => Some(amend.order),
        Command::Cancel { order, .. } => Some(*order),
    }
}
