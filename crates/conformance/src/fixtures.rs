//! Valid rows, made by hand: users with money, markets, orders, trades and positions that keep
//! every constraint, for cases that then change what they are about.

use std::collections::BTreeMap;

use anyhow::Context;
use bellwether_domain::ids::{AccountId, MarketId, OrderId, TradeId, TransferId, UserId};
use bellwether_domain::ledger::{self, Account, Owner, Posting, Reference, Transfer, TransferKind};
use bellwether_domain::lmsr::Lmsr;
use bellwether_domain::market::{FeeRecipient, Maker, Market, MarketStatus, Outcome, OutcomeId};
use bellwether_domain::money::{Credits, FeeRate, Price, Shares};
use bellwether_domain::order::{
    Backing, Order, OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce, book_price, book_side,
};
use bellwether_domain::ports::{Changes, MarketKey};
use bellwether_domain::position::{Holding, Position};
use bellwether_domain::text::{DisplayName, Email, Slug};
use bellwether_domain::trade::{Settlement, Trade};
use bellwether_domain::user::{PasswordHash, Role, User, UserStatus};
use jiff::{SignedDuration, Timestamp};

use crate::world::World;

/// The moment around which the cases play, with microseconds that must not be lost.
const NOW_US: i64 = 1_795_000_000_123_457;

/// So many mills.
pub(crate) const fn mills(mills: i64) -> Credits {
    Credits::from_mills(mills)
}

/// So many shares.
pub(crate) const fn shares(count: i64) -> Shares {
    Shares::new(count)
}

/// So many seconds after the moment around which the cases play.
pub(crate) fn at(seconds: i64) -> anyhow::Result<Timestamp> {
    Ok(Timestamp::from_microsecond(NOW_US)?.checked_add(SignedDuration::from_secs(seconds))?)
}

/// A price of so many mills.
pub(crate) fn price(mills: i64) -> anyhow::Result<Price> {
    Price::from_mills(mills).with_context(|| format!("{mills} mills are not a price"))
}

/// The outcome at that place.
pub(crate) fn outcome(index: usize) -> anyhow::Result<OutcomeId> {
    OutcomeId::new(index).with_context(|| format!("no market has an outcome {index}"))
}

/// The item at that place.
pub(crate) fn nth<T>(items: &[T], index: usize) -> anyhow::Result<&T> {
    items.get(index).with_context(|| format!("there are {} items, not one at {index}", items.len()))
}

/// A user that was not written yet, with an address of its own.
pub(crate) fn user(world: &World) -> anyhow::Result<User> {
    let number = world.number();
    Ok(User {
        id: UserId(world.id()),
        email: Some(Email::parse(&format!("trader-{number}@example.org"))?),
        display_name: DisplayName::parse(&format!("Trader {number}"))?,
        password_hash: Some(PasswordHash::new("$2b$04$notarealhash".to_owned())),
        role: Role::User,
        status: UserStatus::Active,
        email_verified: false,
        owner: None,
        version: 1,
        created_at: at(0)?,
        updated_at: at(0)?,
    })
}

/// A market of two outcomes as it is opened at that moment, which is also when it closes: without a maker, and nobody has
/// traded in it.
#[must_use]
pub fn opened_market(id: MarketId, slug: Slug, creator: UserId, at: Timestamp) -> Market {
    Market {
        id,
        slug,
        question: "Will it be so?".to_owned(),
        description: String::new(),
        category: None,
        tags: Vec::new(),
        creator,
        outcomes: ["YES", "NO"].map(|name| Outcome { name: name.to_owned(), last_price: None }).to_vec(),
        status: MarketStatus::Open,
        closes_at: at,
        fee_rate: FeeRate::ZERO,
        fee_recipient: FeeRecipient::House,
        maker: None,
        volume: Credits::ZERO,
        trade_count: 0,
        sequence: 0,
        proposal: None,
        resolution: None,
        settled_at: None,
        version: 1,
        created_at: at,
        updated_at: at,
    }
}

/// A market that was not written yet: open, without a maker.
pub(crate) fn market(world: &World, creator: UserId, outcomes: usize) -> anyhow::Result<Market> {
    let number = world.number();
    let names: Vec<String> = match outcomes {
        2 => vec!["YES".to_owned(), "NO".to_owned()],
        n => (0..n).map(|i| format!("Outcome {i}")).collect(),
    };
    let slug = Slug::parse(&format!("market-{number}"))?;
    Ok(Market {
        question: format!("Will number {number} be drawn?"),
        outcomes: names.into_iter().map(|name| Outcome { name, last_price: None }).collect(),
        closes_at: at(86_400)?,
        ..opened_market(MarketId(world.id()), slug, creator, at(0)?)
    })
}

/// A market maker that opens with even probabilities and has sold that many shares of each outcome.
pub(crate) fn maker(world: &World, funder: UserId, subsidy: Credits, sold: &[i64]) -> anyhow::Result<Maker> {
    let count = sold.len();
    let even = 1000_usize.checked_div(count).context("a maker needs outcomes")?;
    let rest = 1000 - even * (count - 1);
    let mut probabilities = vec![u16::try_from(even)?; count - 1];
    probabilities.push(u16::try_from(rest)?);
    let liquidity = Lmsr::from_subsidy(subsidy, &probabilities)?.liquidity();
    let lmsr = Lmsr::restore(liquidity, &probabilities, sold)?;
    Ok(Maker { account: AccountId(world.id()), funder, subsidy, probabilities, lmsr })
}

/// An open limit order backed by cash, at a price of the outcome as its owner named it. What it
/// reserves is not held on any account.
pub(crate) fn order(
    world: &World,
    market: &mut Market,
    user: UserId,
    (outcome_index, side, limit, quantity): (usize, Side, i64, i64),
) -> anyhow::Result<Order> {
    let outcome = outcome(outcome_index)?;
    let limit = price(limit)?;
    let (book, side_in_book) = book_side(outcome, side, market.is_binary());
    let mut order = Order {
        id: OrderId(world.id()),
        market: market.id,
        user,
        outcome,
        side,
        order_type: OrderType::Limit,
        price: Some(limit),
        max_spend: None,
        backing: Backing::Cash,
        quantity: shares(quantity),
        filled: Shares::ZERO,
        remaining: shares(quantity),
        reserved: Credits::ZERO,
        cost: Credits::ZERO,
        fee: Credits::ZERO,
        time_in_force: TimeInForce::Gtc,
        expires_at: None,
        post_only: false,
        self_trade_prevention: SelfTradePrevention::CancelNewest,
        client_order_id: None,
        counted_by: None,
        status: OrderStatus::Open,
        end_reason: None,
        book,
        book_side: side_in_book,
        book_price: Some(book_price(outcome, limit, market.is_binary())),
        sequence: market.next_sequence(),
        created_at: at(0)?,
        updated_at: at(0)?,
        placed_by: None,
        group: None,
    };
    order.reserved = order.reserve_for(order.remaining)?;
    Ok(order)
}

/// Lets an order hold shares where it held cash.
pub(crate) fn backed_by_shares(mut order: Order) -> Order {
    order.backing = Backing::Shares;
    order.reserved = Credits::ZERO;
    order
}

/// A fill of two orders at the maker's price. Counts it in both orders and in the market; moves
/// neither money nor shares.
pub(crate) fn fill(
    world: &World,
    market: &mut Market,
    taker: &mut Order,
    maker: &mut Order,
    quantity: i64,
) -> anyhow::Result<Trade> {
    let at_price = maker.book_price.context("a maker has a price")?;
    let cost = at_price.cost(shares(quantity))?;
    let trade = Trade {
        maker_order: Some(maker.id),
        maker: Some(maker.user),
        ..fill_by_maker(world, market, taker, quantity, cost, at_price)?
    };
    count_fill(maker, quantity, cost)?;
    Ok(trade)
}

/// A fill of an order by the market maker, at a cost in mills of the book's outcome.
pub(crate) fn fill_by_maker(
    world: &World,
    market: &mut Market,
    taker: &mut Order,
    quantity: i64,
    cost: Credits,
    at_price: Price,
) -> anyhow::Result<Trade> {
    count_fill(taker, quantity, cost)?;
    market.volume = market.volume.plus(cost)?;
    market.trade_count += 1;
    if let Some(traded) = market.outcomes.get_mut(taker.book.index()) {
        traded.last_price = Some(at_price);
    }
    Ok(Trade {
        id: TradeId(world.id()),
        market: market.id,
        sequence: market.next_sequence(),
        outcome: taker.book,
        price: at_price,
        quantity: shares(quantity),
        cost,
        taker_side: taker.book_side,
        settlement: Settlement::Mint,
        taker_order: taker.id,
        taker: taker.user,
        maker_order: None,
        maker: None,
        fee: Credits::ZERO,
        created_at: at(0)?,
    })
}

fn count_fill(order: &mut Order, quantity: i64, book_cost: Credits) -> anyhow::Result<()> {
    let own_cost =
        if order.side == order.book_side { book_cost } else { shares(quantity).set_value()?.minus(book_cost)? };
    order.filled = order.filled.plus(shares(quantity))?;
    order.remaining = order.remaining.minus(shares(quantity))?;
    order.reserved = order.reserve_for(order.remaining)?;
    order.cost = order.cost.plus(own_cost)?;
    if !order.remaining.is_positive() {
        order.status = OrderStatus::Filled;
    }
    Ok(())
}

/// A position with these quantities, nothing of which is held.
pub(crate) fn position(user: UserId, market: &Market, quantities: &[i64]) -> Position {
    Position {
        holdings: quantities.iter().map(|q| Holding { quantity: shares(*q), held: Shares::ZERO }).collect(),
        ..Position::empty(user, market.id, market.outcomes.len())
    }
}

/// Changes that are being gathered, with the ledger's rows made by the ledger itself.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Everything but the accounts.
    pub(crate) changes: Changes,
    loaded: BTreeMap<AccountId, Account>,
    opened: BTreeMap<AccountId, Account>,
}

impl Draft {
    /// Nothing changed yet; the treasury, the fees' account and these can pay and be paid.
    pub(crate) async fn with(world: &World, accounts: &[AccountId]) -> anyhow::Result<Self> {
        let mut draft = Self::default();
        for id in [AccountId::TREASURY, AccountId::FEES].iter().chain(accounts) {
            let account = world.queries.account(*id).await?.with_context(|| format!("there is no account {id}"))?;
            draft.loaded.insert(*id, account);
        }
        Ok(draft)
    }

    /// Opens an account.
    pub(crate) fn open(&mut self, id: AccountId, owner: Owner) -> anyhow::Result<()> {
        self.opened.insert(id, Account::open(id, owner, at(0)?));
        Ok(())
    }

    /// A new user with its account and that much money.
    pub(crate) fn sign_up(&mut self, world: &World, user: User, grant: i64) -> anyhow::Result<()> {
        let account = AccountId::of_user(user.id);
        self.open(account, Owner::User(user.id))?;
        self.changes.new_users.push(user);
        if grant > 0 {
            self.pay(world, AccountId::TREASURY, account, grant, TransferKind::Grant, None)?;
        }
        Ok(())
    }

    /// A new market with its accounts; its maker is endowed with its subsidy by its funder.
    pub(crate) fn open_market(&mut self, world: &World, market: Market) -> anyhow::Result<()> {
        self.open(market.collateral(), Owner::Market(market.id))?;
        if let Some(maker) = &market.maker {
            self.open(maker.account, Owner::Maker(market.id))?;
            let funder = AccountId::of_user(maker.funder);
            self.pay(world, funder, maker.account, maker.subsidy.mills(), TransferKind::Subsidy, Some(market.id))?;
        }
        self.changes.new_markets.push(market);
        Ok(())
    }

    /// Moves money.
    pub(crate) fn pay(
        &mut self,
        world: &World,
        from: AccountId,
        to: AccountId,
        amount: i64,
        kind: TransferKind,
        market: Option<MarketId>,
    ) -> anyhow::Result<()> {
        let posting = Posting {
            id: TransferId(world.id()),
            amount: mills(amount),
            kind,
            reference: Reference { market, trade: None },
            memo: None,
        };
        let mut payer = self.account(from)?.clone();
        let made = ledger::transfer(&mut payer, self.account(to)?, posting, at(0)?)?;
        *self.account(from)? = payer;
        self.changes.transfers.push(made);
        Ok(())
    }

    /// An account, to be changed.
    pub(crate) fn account(&mut self, id: AccountId) -> anyhow::Result<&mut Account> {
        let found = match self.opened.get_mut(&id) {
            Some(account) => Some(account),
            None => self.loaded.get_mut(&id),
        };
        found.with_context(|| format!("account {id} was not loaded"))
    }

    /// Everything that was gathered.
    pub(crate) fn finish(self) -> Changes {
        let mut changes = self.changes;
        changes.new_accounts.extend(self.opened.into_values());
        changes.accounts.extend(self.loaded.into_values());
        changes
    }
}

/// Writes so many users with that much money each.
pub(crate) async fn sign_up(world: &World, count: usize, grant: i64) -> anyhow::Result<Vec<User>> {
    let mut draft = Draft::with(world, &[]).await?;
    let mut users = Vec::with_capacity(count);
    for _ in 0..count {
        let user = user(world)?;
        users.push(user.clone());
        draft.sign_up(world, user, grant)?;
    }
    world.write(&draft.finish()).await?;
    Ok(users)
}

/// Writes one user with a million mills.
pub(crate) async fn trader(world: &World) -> anyhow::Result<User> {
    sign_up(world, 1, 1_000_000).await?.pop().context("nobody signed up")
}

/// Writes markets with their accounts. Their creators must exist.
pub(crate) async fn open_markets(world: &World, markets: &[Market]) -> anyhow::Result<()> {
    let mut funders: Vec<AccountId> =
        markets.iter().filter_map(|m| m.maker.as_ref()).map(|m| AccountId::of_user(m.funder)).collect();
    funders.sort_unstable();
    funders.dedup();
    let mut draft = Draft::with(world, &funders).await?;
    for market in markets {
        draft.open_market(world, market.clone())?;
    }
    world.write(&draft.finish()).await?;
    Ok(())
}

/// Writes one user and a market of its own with that many outcomes.
pub(crate) async fn trader_and_market(world: &World, outcomes: usize) -> anyhow::Result<(User, Market)> {
    let creator = trader(world).await?;
    let market = market(world, creator.id, outcomes)?;
    open_markets(world, std::slice::from_ref(&market)).await?;
    Ok((creator, market))
}

/// The account as it is now.
pub(crate) async fn account(world: &World, id: AccountId) -> anyhow::Result<Account> {
    world.queries.account(id).await?.with_context(|| format!("there is no account {id}"))
}

/// The market as it is now.
pub(crate) async fn market_now(world: &World, id: MarketId) -> anyhow::Result<Market> {
    world.queries.market(&MarketKey::Id(id)).await?.with_context(|| format!("there is no market {id}"))
}

/// The order as it is now.
pub(crate) async fn order_now(world: &World, id: OrderId) -> anyhow::Result<Order> {
    world.queries.order(id).await?.with_context(|| format!("there is no order {id}"))
}

/// One payment between two loaded accounts.
pub(crate) fn payment(from: &mut Account, to: &mut Account, id: TransferId, amount: i64) -> anyhow::Result<Transfer> {
    let posting =
        Posting { id, amount: mills(amount), kind: TransferKind::Payment, reference: Reference::default(), memo: None };
    Ok(ledger::transfer(from, to, posting, at(1)?)?)
}
