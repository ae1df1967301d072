//! `bellwether demo`: fills an empty server with lively markets, traders and a week of history.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use bellwether_domain::event::{Event, UserData};
use bellwether_domain::ids::MarketId;
use bellwether_domain::market::{FeeRecipient, Market, OutcomeId};
use bellwether_domain::money::{Credits, FeeRate, Price, Shares};
use bellwether_domain::order::{Backing, Life, MarketBound, OutcomeSpec, PlaceOrder, SelfTradePrevention, Side, Terms};
use bellwether_domain::ports::{Changes, Clock, PageRequest, Start, UserFilter};
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::User;
use bellwether_usecases::markets::{
    Independence, Liquidity, OpenMarket, Verdict, close_market, open_market, resolve_market,
};
use bellwether_usecases::trading::{Command, Request, Trading};
use bellwether_usecases::users::{Password, SignUp, sign_up};
use bellwether_usecases::{Answered, Caller, Context};
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::Config;
use crate::wiring::{self, Backend};
use crate::{migrate, print_line};

/// Everybody's password.
const PASSWORD: &str = "demo pass phrase";
const NAMES: [&str; 12] =
    ["Ada", "Ben", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena"];
/// How many rounds of orders every market sees.
const ROUNDS: i32 = 40;
/// How long ago the first market was opened.
const HISTORY: SignedDuration = SignedDuration::from_hours(24 * 7);
/// What each trader begins with, whatever new users are given otherwise.
const GRANT: Credits = Credits::from_mills(1_000_000);

/// A clock that stands where it is put, so that a week passes in seconds.
struct StagedClock(Mutex<Timestamp>);

impl StagedClock {
    fn put(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for StagedClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A market of the demonstration: its question, category, outcomes (yes and no, where none are
/// named), subsidy in credits (0 for no maker), and the probability that its traders believe in.
struct Plan(&'static str, &'static str, &'static [&'static str], i64, f64);

const MARKETS: [Plan; 10] = [
    Plan("Will it rain on the village fair?", "weather", &[], 0, 0.35),
    Plan("Will the new bridge open before summer?", "city", &[], 60, 0.62),
    Plan("Will the release ship this quarter?", "company", &[], 80, 0.71),
    Plan("Who wins the chess club's cup?", "sport", &["Ada", "Chen", "Ivo", "Somebody else"], 90, 0.4),
    Plan("How many people come to the meeting?", "community", &["Under 50", "50 to 99", "100 or more"], 70, 0.5),
    Plan("Will the paper be accepted?", "science", &[], 0, 0.24),
    Plan("Will the bakery on Main Street reopen?", "city", &[], 40, 0.83),
    Plan("Will the telescope see first light by December?", "science", &[], 50, 0.55),
    Plan("Did the marathon record fall?", "sport", &[], 40, 0.15),
    Plan("Was the budget passed in the first reading?", "city", &[], 0, 0.78),
];

/// Fills the store of an empty server: the same orders every time.
pub(crate) async fn run(config: &Config) -> anyhow::Result<()> {
    let backend = Backend::open(config).await?;
    migrate::up_beside_a_server(config, &backend).await?;
    let ctx = wiring::command_context(config, &backend)?;
    let (users, orders) = fill(ctx).await?;
    print_line(&format!("{users} users, {} markets, {orders} orders", MARKETS.len()));
    print_line(&format!("sign in as ada@example.org … lena@example.org with the password {PASSWORD:?}"));
    Ok(())
}

/// Fills the store; how many users and orders there are then.
async fn fill(mut ctx: Context) -> anyhow::Result<(usize, usize)> {
    let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 1 };
    if !ctx.queries.users(&UserFilter::default(), &page).await?.items.is_empty() {
        bail!("there are users already: the demonstration is for an empty server; use another --data-dir");
    }
    let today = ctx.clock.now();
    let clock = Arc::new(StagedClock(Mutex::new(today.checked_sub(HISTORY)?)));
    ctx.clock = clock.clone();
    // The house's own rules may leave traders without money, or its markets undecided.
    ctx.policy.signup_grant = GRANT;
    ctx.policy.challenge_window = SignedDuration::ZERO;
    ctx.policy.independence = Independence::default();

    let mut random = StdRng::seed_from_u64(7);
    let users = traders(&ctx).await?;
    let mut markets = Vec::new();
    for (plan, creator) in MARKETS.iter().zip(users.iter().cycle()) {
        markets.push((open(&ctx, plan, creator).await?, plan.4));
    }
    let trading = Trading::new(ctx.clone());
    let mut orders = 0;
    for round in (0..ROUNDS).rev() {
        clock.put(today.checked_sub(HISTORY * round / ROUNDS)?);
        for (market, belief) in &mut markets {
            // News: what is believed drifts.
            *belief = (*belief + random.random_range(-0.025..0.025)).clamp(0.05, 0.95);
            orders += usize::from(trade(&trading, market, *belief, &users, &mut random).await?);
        }
    }
    finish(&ctx, &users).await?;
    Ok((users.len(), orders))
}

async fn traders(ctx: &Context) -> anyhow::Result<Vec<User>> {
    let mut users = Vec::new();
    for name in NAMES {
        let email = Email::parse(&format!("{}@example.org", name.to_lowercase()))?;
        let request =
            SignUp { email, display_name: DisplayName::parse(name)?, password: Password(PASSWORD.to_owned()) };
        if let Answered::Fresh(user) = sign_up(ctx, None, request, None).await? {
            users.push(verified(ctx, user).await?);
        }
    }
    Ok(users)
}

/// Nobody gets mail at example.org, and some houses let nobody sign in whose address was not verified.
async fn verified(ctx: &Context, mut user: User) -> anyhow::Result<User> {
    user.email_verified = true;
    user.touch(ctx.clock.now());
    let mut unit = ctx.store.begin().await?;
    unit.users().lock(&[user.id]).await?;
    let news = vec![Event::UserUpdated(UserData::of(&user))];
    unit.write(&Changes { users: vec![user.clone()], news, ..Changes::default() }).await?;
    unit.commit().await?;
    Ok(user)
}

async fn open(ctx: &Context, plan: &Plan, creator: &User) -> anyhow::Result<Market> {
    let Plan(question, category, outcomes, subsidy, _) = plan;
    let names: &[&str] = if outcomes.is_empty() { &["YES", "NO"] } else { outcomes };
    let liquidity =
        (*subsidy > 0).then(|| Liquidity { subsidy: Credits::from_mills(subsidy * 1000), probabilities: None });
    let request = OpenMarket {
        question: (*question).to_owned(),
        description: "A market of the demonstration: nothing of it is real.".to_owned(),
        category: Some((*category).to_owned()),
        tags: vec!["demo".to_owned()],
        outcomes: names.iter().map(|n| (*n).to_owned()).collect(),
        closes_at: ctx.clock.now().checked_add(SignedDuration::from_hours(24 * 90))?,
        fee_rate: FeeRate::ZERO,
        fee_recipient: FeeRecipient::House,
        liquidity,
        opening_order: None,
    };
    match open_market(ctx, Caller::signed_in(creator.id, creator.role), request, None).await? {
        Answered::Fresh(opened) => Ok(opened.market),
        Answered::Replayed(_) => bail!("a market was opened twice"),
    }
}

/// Somebody who believes in about the same probability bids a little below it or asks a little
/// above, or takes what is offered. Whether the order was accepted.
async fn trade(
    trading: &Trading,
    market: &Market,
    belief: f64,
    users: &[User],
    random: &mut StdRng,
) -> anyhow::Result<bool> {
    let user = users.get(random.random_range(0..users.len())).context("a trader")?;
    let outcome = random.random_range(0..market.outcomes.len());
    let rivals = u32::try_from(market.outcomes.len() - 1).map_or(1.0, f64::from);
    let chance = if outcome == 0 { belief } else { (1.0 - belief) / rivals };
    let opinion = (chance + random.random_range(-0.08..0.08)).clamp(0.03, 0.97);
    let side = if random.random_bool(0.5) { Side::Buy } else { Side::Sell };
    let edge = random.random_range(-0.03..0.04);
    let price = mills(if side == Side::Buy { opinion - edge } else { opinion + edge });
    let quantity = Shares::new(random.random_range(2..25));
    let terms = if random.random_bool(0.2) {
        Terms::Market { bound: MarketBound::Worst { quantity, price }, fill_or_kill: false }
    } else {
        Terms::Limit { price, quantity, life: Life::UntilCancelled, post_only: false }
    };
    let outcome = OutcomeId::new(outcome).context("an outcome")?;
    // Who sells gives shares; who has none pays for the rest of a set.
    for backing in [None, Some(Backing::Cash)] {
        if submit(trading, user, order(market.id, user, outcome, side, terms, backing)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn submit(trading: &Trading, user: &User, command: Command) -> anyhow::Result<bool> {
    let request = Request { commands: vec![command], keyed: None, key: None, person: user.id };
    let answered = trading.submit(request).await?;
    Ok(matches!(answered, Answered::Fresh(outcomes) if outcomes.iter().all(Result::is_ok)))
}

fn order(
    market: MarketId,
    user: &User,
    outcome: OutcomeId,
    side: Side,
    terms: Terms,
    backing: Option<Backing>,
) -> Command {
    Command::Place(PlaceOrder {
        market,
        user: user.id,
        outcome: OutcomeSpec::Id(outcome),
        side,
        terms,
        backing,
        self_trade_prevention: SelfTradePrevention::CancelNewest,
        client_order_id: None,
        valid_until: None,
        reduce_only: false,
        placed_by: None,
        group: None,
    })
}

/// The nearest price on the tick.
fn mills(price: f64) -> Price {
    let rounded = (1..=999).min_by(|a: &i32, b: &i32| {
        let distance = |m: &i32| (f64::from(*m) / 1000.0 - price).abs();
        distance(a).total_cmp(&distance(b))
    });
    rounded.and_then(|m| Price::from_mills(i64::from(m))).unwrap_or(Price::MIN)
}

/// The last but one market is resolved, the last one closed.
async fn finish(ctx: &Context, users: &[User]) -> anyhow::Result<()> {
    let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 100 };
    let markets = ctx.queries.markets(&bellwether_domain::ports::MarketFilter::default(), &page).await?.items;
    for (plan, resolves) in MARKETS.iter().skip(MARKETS.len() - 2).zip([true, false]) {
        let market = markets.iter().find(|m| m.question == plan.0).context("a market of the demonstration")?;
        let creator = users.iter().find(|u| u.id == market.creator).context("its creator")?;
        let caller = Caller::signed_in(creator.id, creator.role);
        close_market(ctx, caller, market.id, None).await?;
        if resolves {
            resolve_market(ctx, caller, market.id, Verdict::Outcome("NO".to_owned()), None).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bellwether_domain::market::MarketStatus;
    use bellwether_domain::ports::{MarketFilter, TradeFilter};
    use bellwether_domain::session::Device;
    use bellwether_sqlite::{SqliteOptions, SqliteStore};
    use bellwether_usecases::audit::audit;
    use bellwether_usecases::users::log_in;
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;
    use crate::settings::Settings;

    /// A house whose own rules would leave the demonstration without money, without a decision and without a sign-in.
    fn strict(folder: &std::path::Path) -> Config {
        let file = folder.join("bellwether.toml");
        let rules = "signup_grant = 0\nchallenge_window = \"24h\"\nresolver_may_hold = false\n\
                     resolve_alone_up_to = \"0\"\nconceal_existing_accounts = true\npassword_cost = 4";
        std::fs::write(&file, rules).unwrap();
        let args = ["bellwether", "--config", file.to_str().unwrap(), "--data-dir", folder.to_str().unwrap()];
        Config::read(&Settings::load(&Cli::parse_from(args)).unwrap()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn fills_an_empty_store_with_a_week_of_trading_that_passes_the_audit() {
        let folder = tempfile::tempdir().unwrap();
        let config = strict(folder.path());
        let store = Arc::new(SqliteStore::open(&folder.path().join("x.db"), SqliteOptions::default()).unwrap());
        store.migrate_up().await.unwrap();
        let ctx = wiring::command_context(&config, &Backend::Sqlite(store)).unwrap();

        let (users, orders) = fill(ctx.clone()).await.unwrap();
        assert_eq!(users, 12);
        assert!(orders > 300, "{orders} orders");
        assert_eq!(audit(&ctx, 10).await.unwrap(), Vec::new());
        // As it is printed at the end.
        let password = Password(PASSWORD.to_owned());
        log_in(&ctx, "lena@example.org", &password, Device::default()).await.unwrap();

        let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 100 };
        let markets = ctx.queries.markets(&MarketFilter::default(), &page).await.unwrap().items;
        assert!(markets.iter().all(|m| m.volume > Credits::ZERO), "every market traded");
        let count = |status| markets.iter().filter(|m| m.status == status).count();
        assert_eq!((count(MarketStatus::Open), count(MarketStatus::Closed), count(MarketStatus::Resolved)), (8, 1, 1));
        let filter = TradeFilter { market: markets.first().map(|m| m.id), ..TradeFilter::default() };
        let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 100 };
        let trades = ctx.queries.trades(&filter, &page).await.unwrap().items;
        let times = || trades.iter().map(|t| t.created_at);
        assert!(times().max().unwrap().duration_since(times().min().unwrap()) > SignedDuration::from_hours(24));

        let again = fill(ctx).await.unwrap_err().to_string();
        assert!(again.contains("for an empty server"), "{again}");
    }
}
