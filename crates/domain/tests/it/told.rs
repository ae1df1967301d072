//! Somebody who knows the world from its events alone, and so must know it as it is.

use std::collections::BTreeMap;

use bellwether_domain::event::{self, Event, EventBatch, OrderData, PositionData, TradeData};
use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::ledger::{Owner, TransferKind};
use bellwether_domain::money::Price;
use bellwether_domain::order::Side;
use bellwether_domain::ports::Changes;

use crate::world::World;

type Place = (MarketId, u8, Side, Price);

#[derive(Default)]
pub struct Told {
    sequences: BTreeMap<MarketId, i64>,
    /// How many shares and orders rest at each place.
    levels: BTreeMap<Place, (i64, i64)>,
    orders: BTreeMap<OrderId, OrderData>,
    trades: Vec<TradeData>,
    available: BTreeMap<UserId, i64>,
    positions: BTreeMap<(MarketId, UserId), PositionData>,
}

impl Told {
    /// Hears of changes, by way of the text that is kept of them.
    pub fn hear(&mut self, changes: &Changes) {
        let Some(batch) = event::batch(changes).unwrap() else { return };
        for payload in batch.payloads {
            let batch = EventBatch { position: 1, at: batch.at, payload };
            batch.events().unwrap().into_iter().for_each(|recorded| self.learn(recorded.event));
        }
    }

    fn learn(&mut self, event: Event) {
        match event {
            Event::OrderAccepted(data) => {
                assert!(self.orders.insert(data.order_id, *data).is_none(), "an order is accepted once");
            }
            Event::OrderAmended(data)
            | Event::OrderFilled(data)
            | Event::OrderCancelled(data)
            | Event::OrderExpired(data) => {
                assert!(self.orders.insert(data.order_id, *data).is_some(), "an order is accepted before it changes");
            }
            Event::TradeExecuted(data) => self.trades.push(*data),
            Event::BookChanged(data) => {
                let last = self.sequences.insert(data.market_id, data.sequence);
                assert!(last.is_none_or(|last| last < data.sequence), "sequences grow");
                for level in data.levels {
                    let place = (data.market_id, level.book, level.side, level.price);
                    let (shares, orders) = self.levels.entry(place).or_default();
                    *shares += level.change;
                    *orders += level.orders;
                }
            }
            Event::BalanceChanged(data) => drop(self.available.insert(data.user_id, data.available.mills())),
            Event::PositionChanged(data) => drop(self.positions.insert((data.market_id, data.user_id), *data)),
            Event::TransferExecuted(data) => {
                let is_of_sets = matches!(data.kind, TransferKind::Mint | TransferKind::Redeem);
                assert!(is_of_sets, "of trades' own transfers nobody is told again: {data:?}");
            }
            other => panic!("commands do not tell of {other:?}"),
        }
    }
}

/// What was told is what is. Balances and positions are looked at where events told of any.
pub fn check(world: &World) {
    let told = &world.told;
    let mut levels: BTreeMap<Place, (i64, i64)> = BTreeMap::new();
    for order in world.orders.values().filter(|order| order.is_open()) {
        let place = (order.market, order.book.number(), order.book_side, order.book_price.unwrap());
        let (shares, orders) = levels.entry(place).or_default();
        *shares += order.remaining.count();
        *orders += 1;
    }
    let known: BTreeMap<_, _> =
        told.levels.iter().filter(|(_, level)| **level != (0, 0)).map(|(place, level)| (*place, *level)).collect();
    assert_eq!(known, levels, "the books are what was told of them");
    assert_eq!(told.orders.len(), world.orders.len(), "every order is told of");
    for order in world.orders.values() {
        assert_eq!(
            told.orders[&order.id],
            *OrderData::of(order, &world.markets[&order.market]),
            "orders stand as told"
        );
    }
    let trades: Vec<_> = told.trades.iter().map(|trade| (trade.trade_id, trade.cost, trade.fee)).collect();
    assert_eq!(trades, world.trades.iter().map(|trade| (trade.id, trade.cost, trade.fee)).collect::<Vec<_>>());
}

/// What was told last of balances and positions. (Not after settlements, which the world writes by itself.)
pub fn check_holdings(world: &World) {
    for account in world.accounts.values() {
        if let Owner::User(user) = account.owner
            && let Some(available) = world.told.available.get(&user)
        {
            assert_eq!(account.available().mills(), *available, "balances are as told");
        }
    }
    for (key, position) in &world.positions {
        assert_eq!(world.told.positions[key], *PositionData::of(position), "positions are as told");
    }
}
