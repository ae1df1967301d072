//! Whom and what a load needs to be there: traders with money, and open markets.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::Context as _;
use rand::Rng;

use crate::bench::zipf::Zipf;
use crate::kill::api::{Api, User};

/// How many makers there are, and as many takers. The number does not depend on the clients, so that
/// runs with different numbers of clients are of one kind.
pub(super) const SIDE: usize = 128;
/// The markets of the orders in pairs; pgbench's script has as many.
const PAIR_MARKETS: u32 = 100;
/// The markets of the mixed load, and how unevenly it spreads over them.
const MIXED_MARKETS: u32 = 50;
const ZIPF_EXPONENT: f64 = 1.0;

/// A server that is ready to be measured.
pub(super) struct World {
    /// Where the server listens.
    pub(super) address: String,
    /// Where others listen that are on the same data.
    others: Vec<String>,
    /// How many of the others are asked too.
    asked: AtomicUsize,
    /// Decides what the clients do.
    pub(super) seed: u64,
    /// Makers first, then takers.
    traders: Vec<User>,
    pair_markets: Vec<String>,
    mixed_markets: Vec<String>,
    zipf: Zipf,
    flows: AtomicU64,
}

impl World {
    /// Signs the traders up and opens the markets.
    pub(super) async fn prepare(address: &str, seed: u64) -> anyhow::Result<Self> {
        let api = Api::new(address)?;
        let mut traders = Vec::new();
        for number in 0..2 * SIDE {
            traders.push(api.sign_up(&format!("bench-{number}")).await?);
        }
        let creator = traders.first().context("there are no traders")?;
        let (mut pair_markets, mut mixed_markets) = (Vec::new(), Vec::new());
        for number in 0..PAIR_MARKETS {
            pair_markets.push(api.open_market(creator, &format!("bench-pairs-{number}")).await?);
        }
        for number in 0..MIXED_MARKETS {
            mixed_markets.push(api.open_market(creator, &format!("bench-mixed-{number}")).await?);
        }
        Self::of(address, seed, traders, pair_markets, mixed_markets)
    }

    /// A world of what is there already.
    pub(super) fn of(
        address: &str,
        seed: u64,
        traders: Vec<User>,
        pair_markets: Vec<String>,
        mixed_markets: Vec<String>,
    ) -> anyhow::Result<Self> {
        let zipf = Zipf::new(u32::try_from(mixed_markets.len())?, ZIPF_EXPONENT)?;
        let (address, others, asked) = (address.to_owned(), Vec::new(), AtomicUsize::new(0));
        let flows = AtomicU64::new(0);
        Ok(Self { address, others, asked, seed, traders, pair_markets, mixed_markets, zipf, flows })
    }

    /// Lets others be asked that are on the same data.
    pub(super) fn add_servers(&mut self, addresses: Vec<String>) {
        self.others.extend(addresses);
    }

    /// Has so many servers asked from now on, by connections that are opened then.
    pub(super) fn ask_servers(&self, count: usize) {
        self.asked.store(count.saturating_sub(1).min(self.others.len()), Ordering::Relaxed);
    }

    /// The next server's turn, for a stream of requests of that number.
    pub(super) fn address_of(&self, flow: u64) -> &str {
        let servers = 1 + self.asked.load(Ordering::Relaxed);
        let turn = usize::try_from(flow).unwrap_or_default() % servers;
        turn.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(&self.address)
    }

    /// Lets orders in pairs go to these markets too.
    pub(super) fn add_pair_markets(&mut self, markets: Vec<String>) {
        self.pair_markets.extend(markets);
    }

    /// A number for a stream of requests, so that its choices and keys are its own.
    pub(super) fn next_flow(&self) -> u64 {
        self.flows.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a random maker.
    pub(super) fn maker(random: &mut impl Rng) -> usize {
        random.random_range(0..SIDE)
    }

    /// The number of a random taker.
    pub(super) fn taker(random: &mut impl Rng) -> usize {
        random.random_range(SIDE..2 * SIDE)
    }

    /// The number of any trader.
    pub(super) fn anybody(&self, random: &mut impl Rng) -> usize {
        random.random_range(0..self.traders.len().max(1))
    }

    /// The trader of that number.
    pub(super) fn trader(&self, number: usize) -> Option<&User> {
        self.traders.get(number)
    }

    /// A market for a pair of orders.
    pub(super) fn pair_market(&self, random: &mut impl Rng) -> &str {
        let market = self.pair_markets.get(random.random_range(0..self.pair_markets.len().max(1)));
        market.map_or("", String::as_str)
    }

    /// A market of the mixed load, and its rank.
    pub(super) fn mixed_market(&self, random: &mut impl Rng) -> (usize, &str) {
        let rank = self.zipf.draw(random);
        (rank, self.mixed_markets.get(rank).map_or("", String::as_str))
    }

    /// The market that all reads are of.
    pub(super) fn read_market(&self) -> &str {
        self.pair_markets.first().map_or("", String::as_str)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::World;

    #[test]
    fn servers_that_are_asked_take_turns() {
        let mut world = world();
        world.add_servers(vec!["127.0.0.1:2".to_owned(), "127.0.0.1:3".to_owned()]);
        let ports =
            |world: &World| -> Vec<char> { (0..4).filter_map(|flow| world.address_of(flow).chars().last()).collect() };
        assert_eq!(ports(&world), ['1', '1', '1', '1']);
        world.ask_servers(3);
        assert_eq!(ports(&world), ['1', '2', '3', '1']);
        world.ask_servers(1);
        assert_eq!(ports(&world), ['1', '1', '1', '1']);
    }

    /// A world without a server and without traders.
    pub(in crate::bench) fn world() -> World {
        let markets = |name: &str| (0..50).map(|number| format!("{name}-{number}")).collect();
        World::of("127.0.0.1:1", 7, Vec::new(), markets("pairs"), markets("mixed")).unwrap()
    }
}
