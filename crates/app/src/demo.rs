//! `bellwether demo`: fills an empty server with lively markets, traders and history.

use anyhow::{Context as _, bail};
use bellwether_domain::ids::MarketId;
use bellwether_domain::market::{FeeRecipient, Market};
use bellwether_domain::money::{Credits, FeeRate, Price, Shares};
use bellwether_domain::order::{Backing, Life, OutcomeSpec, PlaceOrder, SelfTradePrevention, Side, Terms};
use bellwether_domain::ports::{PageRequest, Start, UserFilter};
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::User;
use bellwether_usecases::markets::{Liquidity, OpenMarket, Verdict, close_market, open_market, resolve_market};
use bellwether_usecases::trading::{Command, Request, Trading};
use bellwether_usecases::users::{Password, SignUp, sign_up};
use bellwether_usecases::{Answered, Caller, Context};
use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::Config;
use crate::{print_line, wiring};

/// Everybody's password.
const PASSWORD: &str = "demo pass phrase";
const NAMES: [&str; 12] =
    ["Ada", "Ben", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena"];
/// How many rounds of orders a market sees.
const ROUNDS: usize = 40;

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

/// Fills the store of an empty server. The same every time.
pub(crate) async fn run(config: &Config) -> anyhow::Result<()> {
    let ctx = wiring::command_context(config).await?;
    let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 1 };
    if !ctx.queries.users(&UserFilter::default(), &page).await?.items.is_empty() {
        bail!("there are users already: the demonstration is for an empty server; use another --data-dir");
    }
    let mut random = StdRng::seed_from_u64(7);
    let users = traders(&ctx).await?;
    let trading = Trading::new(ctx.clone());
    let mut orders = 0;
    for (plan, creator) in MARKETS.iter().zip(users.iter().cycle()) {
        let market = open(&ctx, plan, creator).await?;
        orders += trade(&trading, &market, plan.4, &users, &mut random).await?;
    }
    finish(&ctx, &users).await?;
    print_line(&format!("{} users, {} markets, {orders} orders", users.len(), MARKETS.len()));
    print_line(&format!("sign in as ada@example.org … lena@example.org with the password {PASSWORD:?}"));
    Ok(())
}

async fn traders(ctx: &Context) -> anyhow::Result<Vec<User>> {
    let mut users = Vec::new();
    for name in NAMES {
        let email = Email::parse(&format!("{}@example.org", name.to_lowercase()))?;
        let request =
            SignUp { email, display_name: DisplayName::parse(name)?, password: Password(PASSWORD.to_owned()) };
        if let Answered::Fresh(user) = sign_up(ctx, request, None).await? {
            users.push(user);
        }
    }
    Ok(users)
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
    match open_market(ctx, Caller { user: creator.id, role: creator.role }, request, None).await? {
        Answered::Fresh(opened) => Ok(opened.market),
        Answered::Replayed(_) => bail!("a market was opened twice"),
    }
}

/// Traders who believe in about the same probability bid a little below it and ask a little above.
async fn trade(
    trading: &Trading,
    market: &Market,
    belief: f64,
    users: &[User],
    random: &mut StdRng,
) -> anyhow::Result<usize> {
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let user = users.get(random.random_range(0..users.len())).context("a trader")?;
        let opinion = (belief + random.random_range(-0.12..0.12)).clamp(0.03, 0.97);
        let side = if round % 2 == 0 { Side::Buy } else { Side::Sell };
        let edge = random.random_range(-0.03..0.04);
        let quote = if side == Side::Buy { opinion - edge } else { opinion + edge };
        let command = order(market.id, user, side, mills(quote), random.random_range(2..25));
        let Answered::Fresh(outcomes) = trading.submit(Request { commands: vec![command], keyed: None }).await? else {
            continue;
        };
        accepted += outcomes.iter().filter(|o| o.is_ok()).count();
    }
    Ok(accepted)
}

fn order(market: MarketId, user: &User, side: Side, price: Price, quantity: i64) -> Command {
    let terms = Terms::Limit { price, quantity: Shares::new(quantity), life: Life::UntilCancelled, post_only: false };
    Command::Place(PlaceOrder {
        market,
        user: user.id,
        outcome: OutcomeSpec::Id(bellwether_domain::market::OutcomeId::FIRST),
        side,
        terms,
        // Nobody owns shares at first: sellers pay for the rest of a set.
        backing: Some(Backing::Cash),
        self_trade_prevention: SelfTradePrevention::CancelNewest,
        client_order_id: None,
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
        let caller = Caller { user: creator.id, role: creator.role };
        close_market(ctx, caller, market.id).await?;
        if resolves {
            resolve_market(ctx, caller, market.id, Verdict::Outcome("NO".to_owned())).await?;
        }
    }
    Ok(())
}
