//! The logarithmic market scoring rule: its promises as properties, its extremes against values
//! computed with 80 digits, and a recorded tape of real markets that ran on the rule.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use bellwether_domain::lmsr::{Lmsr, LmsrError, MAX_SOLD, cost_function};
use bellwether_domain::money::{Credits, Price, Shares};
use proptest::prelude::*;

/// 2 to 20 opening probabilities in mills, some of them at the very edge.
fn probabilities() -> impl Strategy<Value = Vec<u16>> {
    (2..=20_usize).prop_flat_map(|n| prop::collection::vec(prop_oneof![Just(0.0), 0.0..1.0_f64], n)).prop_map(
        |weights| {
            let total: f64 = weights.iter().sum();
            let spare = 1000.0 - f64::from(u32::try_from(weights.len()).unwrap_or(0));
            let mut mills: Vec<u16> = weights.iter().map(|w| 1 + small(spare * w / total.max(1e-9))).collect();
            let missing = 1000 - mills.iter().sum::<u16>();
            if let Some(first) = mills.first_mut() {
                *first += missing;
            }
            mills
        },
    )
}

/// A liquidity from one end of the range to the other.
fn liquidity() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..5.0_f64, 1 => -3.0..12.0_f64].prop_map(|exponent| 10_f64.powf(exponent))
}

/// A market in some state, near the middle or far out.
fn market() -> impl Strategy<Value = Lmsr> {
    (probabilities(), liquidity(), prop_oneof![3 => Just(3.0), 1 => Just(40.0), 1 => Just(1e6)])
        .prop_flat_map(|(p, b, spread)| {
            let reach = whole((b * spread).clamp(1.0, 1e15));
            let n = p.len();
            (Just(p), Just(b), prop::collection::vec(-reach..=reach, n))
        })
        .prop_filter_map("a market", |(p, b, sold)| Lmsr::restore(b, &p, &sold).ok())
}

/// A market and an outcome of it.
fn market_and_outcome() -> impl Strategy<Value = (Lmsr, usize)> {
    market().prop_flat_map(|m| {
        let n = m.outcomes();
        (Just(m), 0..n)
    })
}

/// A number of shares of any magnitude.
fn shares() -> impl Strategy<Value = i64> {
    (0.0..9.0_f64).prop_map(|exponent| whole(10_f64.powf(exponent)).max(1))
}

fn limit() -> impl Strategy<Value = Price> {
    (1..=999_i64).prop_filter_map("a price", Price::from_mills)
}

#[expect(clippy::as_conversions, reason = "test input")]
fn whole(value: f64) -> i64 {
    value as i64
}

#[expect(clippy::as_conversions, reason = "test input")]
fn small(value: f64) -> u16 {
    value as u16
}

#[expect(clippy::as_conversions, reason = "below 2^53")]
fn float(value: i64) -> f64 {
    value as f64
}

fn mills(result: Result<Credits, LmsrError>) -> i64 {
    result.map_or(i64::MIN, Credits::mills)
}

fn after(market: &Lmsr, outcome: usize, delta: i64) -> Lmsr {
    let mut market = market.clone();
    assert_eq!(market.trade(outcome, delta), Ok(()));
    market
}

fn price(market: &Lmsr, outcome: usize) -> f64 {
    market.price(outcome).unwrap_or(f64::NAN)
}

proptest! {
    #[test]
    fn prices_are_strictly_between_0_and_1_and_add_up_to_1(market in market()) {
        let prices: Vec<f64> = (0..market.outcomes()).filter_map(|o| market.price(o)).collect();
        prop_assert_eq!(prices.len(), market.outcomes());
        prop_assert!(prices.iter().all(|p| *p > 0.0 && *p < 1.0));
        prop_assert!((prices.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn prices_in_mills_add_up_to_1000_and_stay_within_1_to_999(market in market()) {
        let quoted = market.prices_mills();
        prop_assert_eq!(quoted.len(), market.outcomes());
        prop_assert_eq!(quoted.iter().map(|p| u32::from(*p)).sum::<u32>(), 1000);
        prop_assert!(quoted.iter().all(|p| (1..=999).contains(p)));
        // Without an outcome that had to be lifted to 1 mill, each is within a mill of its price.
        let exact: Vec<f64> = (0..market.outcomes()).map(|o| price(&market, o) * 1000.0).collect();
        if exact.iter().all(|p| *p >= 1.0) {
            for (quoted, exact) in quoted.iter().zip(exact) {
                prop_assert!((f64::from(*quoted) - exact).abs() < 1.000_001);
            }
        }
    }

    #[test]
    fn a_new_market_maker_opens_at_its_probabilities(p in probabilities(), subsidy in 10_000..1_000_000_000_000_i64) {
        let market = Lmsr::from_subsidy(Credits::from_mills(subsidy), &p).unwrap();
        prop_assert_eq!(market.prices_mills(), p.clone());
        for (outcome, mills) in p.iter().enumerate() {
            prop_assert!((price(&market, outcome) * 1000.0 - f64::from(*mills)).abs() < 1e-9);
        }
        let lowest = p.iter().copied().min().unwrap();
        let worst_loss = market.liquidity() * (1000.0 / f64::from(lowest)).ln() * 1000.0;
        prop_assert!(worst_loss <= float(subsidy) && worst_loss > float(subsidy) * (1.0 - 1e-11));
    }

    #[test]
    fn buying_raises_the_price_and_selling_lowers_it((market, o) in market_and_outcome(), x in shares()) {
        prop_assert!(price(&after(&market, o, x), o) >= price(&market, o));
        prop_assert!(price(&after(&market, o, -x), o) <= price(&market, o));
        let (up, now) = (price(&after(&market, o, 1), o), price(&market, o));
        prop_assert!(up >= now);
        // Where a share moves the price by more than the float's last bits, it moves it strictly.
        if now > 1e-9 && now < 1.0 - 1e-9 && now * (1.0 - now) / market.liquidity() > 1e-14 {
            prop_assert!(up > now);
        }
    }

    #[test]
    fn costs_stay_within_their_bounds((market, o) in market_and_outcome(), x in shares()) {
        for cost in [market.buy_cost(o, x), market.buy_rest_cost(o, x)] {
            prop_assert!((1..=1000 * x).contains(&mills(cost)));
        }
        for proceeds in [market.sell_proceeds(o, x), market.sell_rest_proceeds(o, x)] {
            prop_assert!((0..1000 * x).contains(&mills(proceeds)));
        }
    }

    #[test]
    fn more_shares_never_cost_less_nor_bring_less((market, o) in market_and_outcome(), x in shares(), more in shares()) {
        for (fewer, larger) in [(x, x + 1), (x, x + more)] {
            prop_assert!(market.buy_cost(o, fewer).unwrap() <= market.buy_cost(o, larger).unwrap());
            prop_assert!(market.sell_proceeds(o, fewer).unwrap() <= market.sell_proceeds(o, larger).unwrap());
            prop_assert!(market.buy_rest_cost(o, fewer).unwrap() <= market.buy_rest_cost(o, larger).unwrap());
            prop_assert!(market.sell_rest_proceeds(o, fewer).unwrap() <= market.sell_rest_proceeds(o, larger).unwrap());
        }
    }

    #[test]
    fn buying_and_selling_back_never_gains((market, o) in market_and_outcome(), x in shares(), part in 0.0..=1.0_f64) {
        let paid = mills(market.buy_cost(o, x));
        let mut now = after(&market, o, x);
        prop_assert!(mills(now.sell_proceeds(o, x)) <= paid);
        let first = whole(float(x) * part);
        let mut received = mills(now.sell_proceeds(o, first));
        now.trade(o, -first).unwrap();
        received += mills(now.sell_proceeds(o, x - first));
        prop_assert!(received <= paid);
        // The other way round, and with the rest of the set.
        let lower = after(&market, o, -x);
        prop_assert!(mills(market.sell_proceeds(o, x)) <= mills(lower.buy_cost(o, x)));
        prop_assert!(mills(lower.sell_rest_proceeds(o, x)) <= mills(market.buy_rest_cost(o, x)));
        // An outcome and the rest of its set are a whole set, which is worth 1000 mills.
        prop_assert!(mills(market.buy_cost(o, x)) + mills(after(&market, o, x).buy_rest_cost(o, x)) >= 1000 * x);
    }

    #[test]
    fn splitting_a_trade_never_makes_it_better((market, o) in market_and_outcome(), x in shares(), y in shares()) {
        let (up, down) = (after(&market, o, x), after(&market, o, -x));
        prop_assert!(mills(market.buy_cost(o, x)) + mills(up.buy_cost(o, y)) >= mills(market.buy_cost(o, x + y)));
        prop_assert!(
            mills(market.sell_proceeds(o, x)) + mills(down.sell_proceeds(o, y)) <= mills(market.sell_proceeds(o, x + y))
        );
    }

    #[test]
    fn costs_agree_with_the_cost_function(
        (market, o) in probabilities().prop_flat_map(|p| {
            let n = p.len();
            (Just(p), 10.0..1e5_f64, prop::collection::vec(-3.0..3.0_f64, n), 0..n)
        }).prop_map(|(p, b, spread, o)| {
            let sold: Vec<i64> = spread.iter().map(|s| whole(s * b)).collect();
            (Lmsr::restore(b, &p, &sold).map(|m| (m, p)), o)
        }),
        x in 1..100_000_i64,
    ) {
        let (market, p) = market.unwrap();
        let b = market.liquidity();
        let state = |own: i64, others: i64| -> f64 {
            let q: Vec<f64> = market.sold().iter().zip(&p).enumerate()
                .map(|(i, (s, p))| float(s + if i == o { own } else { others }) + b * (f64::from(*p) / 1000.0).ln())
                .collect();
            cost_function(b, &q) * 1000.0
        };
        let now = state(0, 0);
        let noise = 1e-6 + (now.abs() + 1000.0 * float(x)) * 1e-13;
        for (exact, cost) in [
            (state(x, 0) - now, market.buy_cost(o, x)),
            (state(0, x) - now, market.buy_rest_cost(o, x)),
        ] {
            let cost = float(mills(cost));
            prop_assert!(cost >= exact - noise && cost <= exact.max(0.0) + 1.0 + 2e-6 + noise, "{cost} {exact}");
        }
        for (exact, proceeds) in [
            (now - state(-x, 0), market.sell_proceeds(o, x)),
            (now - state(0, -x), market.sell_rest_proceeds(o, x)),
        ] {
            let proceeds = float(mills(proceeds));
            prop_assert!(proceeds <= exact + noise && proceeds >= exact - 1.0 - 2e-6 - noise, "{proceeds} {exact}");
        }
    }

    #[test]
    fn a_complete_set_added_to_the_state_changes_no_price_and_no_cost(
        (market, o) in market_and_outcome(), sets in -1_000_000..1_000_000_i64, x in shares(),
    ) {
        let mut shifted = market.clone();
        for outcome in 0..market.outcomes() {
            shifted.trade(outcome, sets).unwrap();
        }
        prop_assert_eq!(shifted.price(o), market.price(o));
        prop_assert_eq!(shifted.buy_cost(o, x), market.buy_cost(o, x));
        prop_assert_eq!(shifted.sell_proceeds(o, x), market.sell_proceeds(o, x));
        prop_assert_eq!(shifted.sets(), market.sets() + sets);
        prop_assert_eq!(shifted.holdings(o), market.holdings(o));
    }

    #[test]
    fn a_buyer_up_to_a_limit_gets_all_there_is_and_pays_no_more_than_the_limit(
        (market, o) in market_and_outcome(), limit in limit(), x in shares(),
    ) {
        let most = market.shares_until_price_rises_to(o, limit);
        let target = float(limit.mills()) / 1000.0;
        prop_assert!((0..=Shares::MAX_ORDER.count()).contains(&most));
        if most > 0 {
            prop_assert!(price(&after(&market, o, most), o) <= target);
            prop_assert!(mills(market.buy_cost(o, most)) <= most * limit.mills());
            let some = x.min(most);
            prop_assert!(mills(market.buy_cost(o, some)) <= some * limit.mills());
        }
        if most < Shares::MAX_ORDER.count() {
            prop_assert!(price(&after(&market, o, most + 1), o) > target);
        }
    }

    #[test]
    fn a_seller_down_to_a_limit_gets_all_there_is_and_no_less_than_the_limit(
        (market, o) in market_and_outcome(), limit in limit(), x in shares(),
    ) {
        let most = market.shares_until_price_falls_to(o, limit);
        let target = float(limit.mills()) / 1000.0;
        prop_assert!((0..=Shares::MAX_ORDER.count()).contains(&most));
        if most > 0 {
            prop_assert!(price(&after(&market, o, -most), o) >= target);
            prop_assert!(mills(market.sell_proceeds(o, most)) >= most * limit.mills());
            let some = x.min(most);
            prop_assert!(mills(market.sell_proceeds(o, some)) >= some * limit.mills());
            // Who buys the rest of the set instead pays no more than the complement.
            prop_assert!(mills(market.buy_rest_cost(o, some)) <= some * limit.complement().mills());
        }
        if most < Shares::MAX_ORDER.count() {
            prop_assert!(price(&after(&market, o, -most - 1), o) < target);
        }
    }

    #[test]
    fn a_budget_buys_as_many_shares_as_it_pays_for((market, o) in market_and_outcome(), budget in shares()) {
        let credits = Credits::from_mills(budget);
        let most = market.shares_for_budget(o, credits);
        prop_assert!((0..=Shares::MAX_ORDER.count()).contains(&most));
        prop_assert!(mills(market.buy_cost(o, most)) <= budget);
        prop_assert!(most == Shares::MAX_ORDER.count() || mills(market.buy_cost(o, most + 1)) > budget);
        let rest = market.rest_shares_for_budget(o, credits);
        prop_assert!((0..=Shares::MAX_ORDER.count()).contains(&rest));
        prop_assert!(mills(market.buy_rest_cost(o, rest)) <= budget);
        prop_assert!(rest == Shares::MAX_ORDER.count() || mills(market.buy_rest_cost(o, rest + 1)) > budget);
    }

    #[test]
    fn the_maker_can_always_pay_for_its_sets_whatever_the_resolution(
        p in probabilities(),
        subsidy in 100.0..1e12_f64,
        trades in prop::collection::vec((0..20_usize, 0..6_u8, -6.0..2.5_f64), 1..120),
        weights in prop::collection::vec(0.0..1.0_f64, 20),
    ) {
        // A little above the least: the lowest liquidity is a thousandth.
        let subsidy = whole(subsidy);
        let mut market = Lmsr::from_subsidy(Credits::from_mills(subsidy), &p).unwrap();
        let mut cash = subsidy;
        for (outcome, kind, size) in trades {
            let o = outcome % market.outcomes();
            let x = whole(market.liquidity() * 10_f64.powf(size)).clamp(1, 1_000_000_000_000);
            // What the maker receives, with the sets that a trader of the rest brings or takes.
            let (income, delta) = match kind {
                0 => (mills(market.buy_cost(o, x)), x),
                1 => (-mills(market.sell_proceeds(o, x)), -x),
                2 => (mills(market.buy_rest_cost(o, x)) - 1000 * x, -x),
                3 => (1000 * x - mills(market.sell_rest_proceeds(o, x)), x),
                // The attacks: single shares, and everything that moves the price to its end.
                4 => (mills(market.buy_cost(o, 1)), 1),
                _ => {
                    let x = market.shares_until_price_rises_to(o, Price::MAX);
                    (mills(market.buy_cost(o, x)), x)
                }
            };
            if market.trade(o, delta).is_err() {
                continue;
            }
            cash += income;
            prop_assert!(cash - 1000 * market.sets() >= 0);
            prop_assert!((0..market.outcomes()).all(|o| market.holdings(o).unwrap() >= 0));
            // Any resolution is between those in which one outcome pays everything.
            let owed = market.sold().iter().map(|s| s * 1000).max().unwrap();
            prop_assert!(cash >= owed);
            let total: f64 = weights.iter().take(market.outcomes()).sum::<f64>().max(1e-9);
            let mixed: f64 = market.sold().iter().zip(&weights).map(|(s, w)| float(*s) * w / total).sum();
            prop_assert!(float(cash) >= mixed * 1000.0 - 1e-9 * float(cash.abs()));
        }
    }

    #[test]
    fn a_market_maker_is_restored_to_what_it_was(market in market(), p in probabilities()) {
        if let Ok(again) = Lmsr::restore(market.liquidity(), &p, market.sold()) {
            prop_assert_eq!(again.sold(), market.sold());
            prop_assert_eq!(Lmsr::restore(again.liquidity(), &p, again.sold()).unwrap(), again);
        }
    }
}

/// Liquidity, opening probabilities, sold, outcome, shares; the cost rounded up and the proceeds
/// rounded down, computed with 80 digits.
type Known<'a> = (f64, &'a [u16], &'a [i64], usize, i64, i64, i64);

const KNOWN: &[Known<'static>] = &[
    (100.0, &[500, 500], &[0, 0], 0, 1, 502, 498),
    (100.0, &[500, 500], &[0, 0], 0, 1_000_000_000, 999_999_930_686, 69_314),
    (100.0, &[500, 500], &[4000, 0], 1, 25, 1, 0),
    (100.0, &[500, 500], &[4000, 0], 0, 25, 25_000, 24_999),
    (100.0, &[500, 500], &[0, 4000], 0, 8000, 4_000_000, 0),
    (0.001, &[999, 1], &[0, 0], 1, 3, 2994, 0),
    (0.001, &[1, 999], &[1_000_000, 0], 1, 2_000_001, 1_000_001_007, 0),
    (1e12, &[333, 333, 334], &[5, -7, 0], 2, 1, 335, 334),
    (1e12, &[333, 333, 334], &[5, -7, 0], 2, 1_000_000_000, 334_111_234_306, 333_888_790_311),
    (
        1e12,
        &[1, 999],
        &[3_000_000_000_000_000, -3_000_000_000_000_000],
        0,
        1_000_000_000,
        1_000_000_000_000,
        999_999_999_999,
    ),
    (1e9, &[10, 20, 970], &[-2_000_000_000, 1_500_000_000, 0], 0, 123_456_789, 167_595_971, 148_154_735),
    (
        73.25,
        &[50; 20],
        &[-190, -170, -150, -130, -110, -90, -70, -50, -30, -10, 10, 30, 50, 70, 90, 110, 130, 150, 170, 190],
        7,
        911,
        566_482,
        666,
    ),
    (12345.678, &[1, 1, 998], &[40_000, -60_000, 12], 1, 987_654, 842_074_110, 93),
    (250.5, &[100, 200, 300, 400], &[3000, 0, -3000, 1], 2, 2999, 5, 0),
];

#[test]
fn known_costs_are_met_to_the_mill_even_at_the_extremes() {
    let mut guarded = 0;
    for (b, p, sold, o, x, cost, proceeds) in KNOWN {
        let market = Lmsr::restore(*b, p, sold).unwrap();
        let (up, down) = (mills(market.buy_cost(*o, *x)), mills(market.sell_proceeds(*o, *x)));
        // Where the exact value is a whole mill, the guard takes the next; nowhere else.
        assert!(up == *cost || up == cost + 1, "{b} {sold:?}: {up}, not {cost}");
        assert!(down == *proceeds || down == proceeds - 1, "{b} {sold:?}: {down}, not {proceeds}");
        guarded += (up - cost) + (proceeds - down);
        assert_eq!(mills(market.buy_rest_cost(*o, *x)), 1000 * x - down);
        assert_eq!(mills(market.sell_rest_proceeds(*o, *x)), 1000 * x - up);
    }
    assert_eq!(guarded, 1, "only the fifth, whose cost is 4000 credits exactly");
}

#[test]
fn everything_is_finite_at_the_ends_of_the_range() {
    for b in [1e-3, 1.0, 1e6, 1e12] {
        for sold in [[MAX_SOLD, -MAX_SOLD, 0], [-MAX_SOLD, MAX_SOLD, MAX_SOLD], [MAX_SOLD; 3], [-MAX_SOLD; 3]] {
            let market = Lmsr::restore(b, &[1, 1, 998], &sold).unwrap();
            for (o, own) in sold.into_iter().enumerate() {
                let price = market.price(o).unwrap();
                assert!(price > 0.0 && price < 1.0);
                for x in [1, 1_000_000_000, 2 * MAX_SOLD] {
                    for (result, room) in [
                        (market.buy_cost(o, x), own + x <= MAX_SOLD),
                        (market.sell_rest_proceeds(o, x), own + x <= MAX_SOLD),
                        (market.sell_proceeds(o, x), own - x >= -MAX_SOLD),
                        (market.buy_rest_cost(o, x), own - x >= -MAX_SOLD),
                    ] {
                        match result {
                            Ok(value) => assert!(room && (0..=1000 * x).contains(&value.mills())),
                            Err(error) => assert!(!room && error == LmsrError::OutOfRange),
                        }
                    }
                }
                for limit in [Price::MIN, Price::MAX] {
                    let rise = market.shares_until_price_rises_to(o, limit);
                    let fall = market.shares_until_price_falls_to(o, limit);
                    assert!(rise >= 0 && own + rise <= MAX_SOLD && fall >= 0 && own - fall >= -MAX_SOLD);
                }
                for budget in [Credits::from_mills(i64::MIN), Credits::ZERO, Credits::from_mills(1), Credits::MAX] {
                    let buy = market.shares_for_budget(o, budget);
                    let rest = market.rest_shares_for_budget(o, budget);
                    assert!((0..=1_000_000_000).contains(&buy) && (0..=1_000_000_000).contains(&rest));
                    assert!(budget.is_positive() || (buy, rest) == (0, 0));
                }
            }
            assert_eq!(market.prices_mills().iter().sum::<u16>(), 1000);
        }
    }
}

#[test]
fn prices_in_mills_are_rounded_by_largest_remainders_and_never_below_one() {
    let quoted = |b, p: &[u16], sold: &[i64]| Lmsr::restore(b, p, sold).unwrap().prices_mills();
    assert_eq!(quoted(100.0, &[500, 500], &[0, 0]), [500, 500]);
    assert_eq!(quoted(100.0, &[333, 333, 334], &[7, 7, 7]), [333, 333, 334]);
    assert_eq!(quoted(1.0, &[500, 500], &[1000, 0]), [999, 1]);
    assert_eq!(quoted(1.0, &[250; 4], &[0, 1000, 0, 0]), [1, 997, 1, 1]);
    assert_eq!(quoted(1.0, &[50; 20], &[0; 20]), [50; 20]);
    // 0.4750, 0.5250: e^(-0.1 / 2) / (e^(-0.1 / 2) + e^(0.1 / 2)) = 0.475021.
    assert_eq!(quoted(100.0, &[500, 500], &[0, 10]), [475, 525]);
}

#[test]
fn a_subsidy_fixes_the_liquidity_so_that_the_worst_loss_is_covered() {
    let market = Lmsr::from_subsidy(Credits::from_mills(69_315), &[500, 500]).unwrap();
    assert!((market.liquidity() - 69.315 / 2_f64.ln()).abs() < 1e-9);
    // Everybody buys the outcome that happens.
    let x = Shares::MAX_ORDER.count();
    let paid = market.buy_cost(0, x).unwrap().mills();
    let left = 69_315 + paid - 1000 * x;
    assert!((0..=1).contains(&left), "{left}");
}

#[test]
fn no_shares_cost_nothing() {
    let market = Lmsr::restore(100.0, &[500, 500], &[0, 0]).unwrap();
    assert_eq!(market.buy_cost(0, 0), Ok(Credits::ZERO));
    assert_eq!(market.sell_proceeds(0, 0), Ok(Credits::ZERO));
    assert_eq!(market.buy_rest_cost(0, 0), Ok(Credits::ZERO));
    assert_eq!(market.sell_rest_proceeds(0, 0), Ok(Credits::ZERO));
}

#[test]
fn sets_and_holdings_follow_the_shares_sold() {
    let mut market = Lmsr::restore(100.0, &[200, 300, 500], &[0, 0, 0]).unwrap();
    assert_eq!((market.sets(), market.holdings(2)), (0, Some(0)));
    market.trade(1, 30).unwrap();
    market.trade(2, -5).unwrap();
    assert_eq!(market.sold(), [0, 30, -5]);
    assert_eq!(market.sets(), 30);
    assert_eq!([0, 1, 2].map(|o| market.holdings(o)), [Some(30), Some(0), Some(35)]);
    assert_eq!(market.holdings(3), None);
    // Traders who bring back more than they bought leave it with sets to redeem.
    market.trade(0, -9).unwrap();
    market.trade(1, -40).unwrap();
    assert_eq!((market.sets(), market.holdings(0)), (-5, Some(4)));
}

#[test]
fn what_is_not_a_market_maker_is_refused() {
    let subsidy = Credits::from_mills(100_000);
    let refused = |p: &[u16]| Lmsr::from_subsidy(subsidy, p).unwrap_err();
    assert_eq!(refused(&[]), LmsrError::OutcomeCount(0));
    assert_eq!(refused(&[1000]), LmsrError::OutcomeCount(1));
    assert_eq!(refused(&[40; 21]), LmsrError::OutcomeCount(21));
    assert_eq!(refused(&[1000, 0]), LmsrError::Probabilities);
    assert_eq!(refused(&[500, 499]), LmsrError::Probabilities);
    assert_eq!(refused(&[u16::MAX; 20]), LmsrError::Probabilities);
    for mills in [i64::MIN, -1, 0, i64::MAX] {
        assert_eq!(Lmsr::from_subsidy(Credits::from_mills(mills), &[500, 500]), Err(LmsrError::Liquidity));
    }
    for b in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-4, 1e13] {
        assert_eq!(Lmsr::restore(b, &[500, 500], &[0, 0]), Err(LmsrError::Liquidity));
    }
    assert_eq!(Lmsr::restore(1.0, &[500, 500], &[0]), Err(LmsrError::SoldCount));
    assert_eq!(Lmsr::restore(1.0, &[500, 500], &[0, i64::MIN]), Err(LmsrError::OutOfRange));
}

#[test]
fn a_refused_quote_or_trade_says_why_and_leaves_the_state() {
    let mut market = Lmsr::restore(100.0, &[500, 500], &[MAX_SOLD, 0]).unwrap();
    assert_eq!(market.price(2), None);
    assert_eq!(market.buy_cost(2, 1), Err(LmsrError::UnknownOutcome));
    assert_eq!(market.buy_cost(1, -1), Err(LmsrError::NegativeShares));
    assert_eq!(market.sell_proceeds(1, i64::MIN), Err(LmsrError::NegativeShares));
    assert_eq!(market.buy_cost(0, 1), Err(LmsrError::OutOfRange));
    assert_eq!(market.buy_cost(0, i64::MAX), Err(LmsrError::OutOfRange));
    assert_eq!(market.shares_for_budget(2, Credits::MAX), 0);
    assert_eq!(market.shares_until_price_rises_to(2, Price::MAX), 0);
    for delta in [1, i64::MAX, i64::MIN] {
        assert_eq!(market.trade(0, delta), Err(LmsrError::OutOfRange));
    }
    assert_eq!(market.trade(2, 1), Err(LmsrError::UnknownOutcome));
    assert_eq!(market.sold(), [MAX_SOLD, 0]);
}

#[test]
fn the_cost_function_is_stable_and_known() {
    assert!((cost_function(100.0, &[0.0, 0.0]) - 100.0 * 2_f64.ln()).abs() < 1e-12);
    assert!((cost_function(0.001, &[1e15, 0.0]) - 1e15).abs() < 1e-3);
    assert!(cost_function(1e12, &[-1e15, -1e15]).is_finite());
    assert!(cost_function(1.0, &[]).is_infinite());
}

/// One trade of the recorded markets.
struct Row {
    market: String,
    trader: String,
    cost: f64,
    /// Change of the YES shares outstanding; a trade of NO shares is a change the other way.
    delta: f64,
    /// YES shares outstanding after the trade.
    outstanding: f64,
    price_after: f64,
}

/// The tape, or `None`, with a word about it, where the data folder is not there.
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
fn tape() -> Option<Vec<Row>> {
    let folder = std::env::var_os("BELLWETHER_TEST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let file = folder.join("lmsr_trades.csv");
    if !file.exists() {
        eprintln!("SKIPPED: the recorded LMSR tape is not there ({}); set BELLWETHER_TEST_DATA", file.display());
        return None;
    }
    Some(read(&file).expect("the recorded LMSR tape is readable"))
}

fn read(file: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut reader = csv::Reader::from_path(file)?;
    let header = reader.headers()?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let text = |name: &str| {
            let at = header.iter().position(|h| h == name);
            at.and_then(|at| record.get(at)).ok_or_else(|| format!("there is no column {name}"))
        };
        rows.push(Row {
            market: text("market_id")?.to_owned(),
            trader: text("trader_id")?.to_owned(),
            cost: text("cost")?.parse()?,
            delta: text("yes_shares_delta")?.parse()?,
            outstanding: text("yes_shares_outstanding")?.parse()?,
            price_after: text("price_after")?.parse()?,
        });
    }
    Ok(rows)
}

/// `C(q) = 100 ln(1 + e^(q / 100))`: the recorded markets have b = 100 and two equal outcomes.
fn recorded_cost(yes: f64) -> f64 {
    cost_function(100.0, &[yes, 0.0])
}

#[test]
fn recorded_markets_are_priced_as_the_rule_says() {
    let Some(rows) = tape() else { return };
    assert_eq!(rows.len(), 2080);
    for row in &rows {
        let q = row.outstanding;
        let expected = 1.0 / (1.0 + (-q / 100.0).exp());
        assert!((row.price_after - expected).abs() < 1e-6, "{q}: {} {expected}", row.price_after);
        // The maker holds whole shares: its prices at the two nearest states enclose the recorded.
        let at = |q: f64| price(&Lmsr::restore(100.0, &[500, 500], &[whole(q), 0]).unwrap(), 0);
        assert!(at(q.floor()) <= row.price_after + 1e-6 && at(q.ceil()) >= row.price_after - 1e-6);
    }
}

#[test]
fn recorded_costs_are_the_differences_of_the_cost_function() {
    let Some(rows) = tape() else { return };
    // The recorded venue sells no shares short. `yes_shares_delta > 0` either buys YES, which costs
    // C(q) - C(q - d), or sells NO, which brings d less that; below zero the other way round.
    // `cost` is never negative, so it does not tell which: the trader's holding does. A trade that
    // is larger than the holding closes it and opens the other side, and `cost` then adds up what
    // the first leg brought and what the second one cost.
    let mut holdings: HashMap<(&str, &str), f64> = HashMap::new();
    let (mut to_the_last_digit, mut one_leg, mut two_legs, mut unexplained) = (0, 0, 0, 0);
    let (mut worst_one, mut worst_two) = (0.0_f64, 0.0_f64);
    for row in &rows {
        let holding = holdings.entry((&row.market, &row.trader)).or_insert(0.0);
        let (q, d) = (row.outstanding, row.delta);
        let yes = |from: f64, to: f64| (recorded_cost(to) - recorded_cost(from)).abs();
        let no = |from: f64, to: f64| (to - from).abs() - yes(from, to);
        let error = (yes(q - d, q) - row.cost).abs().min((no(q - d, q) - row.cost).abs());
        let crossing = q - d - *holding;
        let closed_and_opened = if *holding * d < 0.0 && holding.abs() < d.abs() {
            if d > 0.0 { no(q - d, crossing) + yes(crossing, q) } else { yes(q - d, crossing) + no(crossing, q) }
        } else {
            f64::NAN
        };
        *holding += d;
        // The columns have 7 significant digits, which leaves at most a few 10^-6 credits; the
        // venue solved for the shares that a round cost buys, and stopped within about 10^-5.
        if error <= 4e-5 {
            one_leg += 1;
            to_the_last_digit += i32::from(error <= 1e-6);
            worst_one = worst_one.max(error);
        // Here the holding, a sum of up to dozens of rounded deltas, moves the crossing point.
        } else if (closed_and_opened - row.cost).abs() <= 2e-3 {
            two_legs += 1;
            worst_two = worst_two.max((closed_and_opened - row.cost).abs());
        } else {
            unexplained += 1;
        }
    }
    eprintln!(
        "{one_leg} costs of one leg, worst error {worst_one:.1e} ({to_the_last_digit} within 1e-6); \
         {two_legs} of two legs, worst error {worst_two:.1e}; {unexplained} unexplained"
    );
    assert_eq!((to_the_last_digit, one_leg, two_legs, unexplained), (897, 2010, 70, 0));
}

#[test]
fn recorded_trades_cost_as_much_in_mills_at_a_finer_scale() {
    let Some(rows) = tape() else { return };
    // Shares and liquidity scaled by a million: the whole shares of this scale are the recorded
    // digits, and its credits are millionths of the recorded ones.
    let scale = 1e6;
    let mut exact = 0;
    for row in &rows {
        let (q, x) = (whole((row.outstanding * scale).round()), whole((row.delta.abs() * scale).round()));
        let market = Lmsr::restore(100.0 * scale, &[500, 500], &[q, 0]).unwrap();
        let (yes, no) = if row.delta > 0.0 {
            // Back from after the trade: what a seller of all of it would get.
            (market.sell_proceeds(0, x), market.buy_rest_cost(0, x))
        } else {
            (market.buy_cost(0, x), market.sell_rest_proceeds(0, x))
        };
        let error = |m: Result<Credits, LmsrError>| (float(mills(m)) / 1000.0 / scale - row.cost).abs();
        exact += i32::from(error(yes).min(error(no)) <= 4e-5);
    }
    assert_eq!(exact, 2010);
}
