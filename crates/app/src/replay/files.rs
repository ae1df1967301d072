//! The recorded files: which one it is, and its rows as they stand in it.
//!
//! A file is recognised by its header. Numbers stay text here: what is rounded, and how, is for
//! the plans to say and to count.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;

/// What a file holds.
#[derive(Debug)]
pub(super) enum Recording {
    /// Trades of real venues.
    Trades(Vec<TradeRow>),
    /// Limit orders of real traders.
    Orders(Vec<OrderRow>),
}

/// A trade as a venue recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TradeRow {
    /// The venue and year, such as `kalshi-2025`.
    pub(super) venue: String,
    /// The venue's own name of the market.
    pub(super) market: String,
    /// The question.
    pub(super) title: String,
    /// When.
    pub(super) time: String,
    /// The outcome that was traded, as the taker named it.
    pub(super) outcome: String,
    /// `buy` or `sell`.
    pub(super) side: String,
    /// The price as decimal text; may be empty.
    pub(super) price: String,
    /// The quantity as decimal text.
    pub(super) quantity: String,
    /// What it cost.
    pub(super) cost: String,
    /// The taker's pseudonym; empty where the venue names none.
    pub(super) trader: String,
    /// The venue's id of the trade; may be empty.
    pub(super) trade_id: String,
    /// How the market ended; empty where the file does not say.
    pub(super) result: String,
}

/// A limit order as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderRow {
    /// The order of arrival.
    pub(super) order_id: u64,
    /// Which of the populations that were run apart.
    pub(super) population: String,
    /// The question.
    pub(super) market: String,
    /// The outcome that the book is about.
    pub(super) stock: String,
    /// `buy` or `sell`.
    pub(super) side: String,
    /// The limit in hundredths, 1 to 99.
    pub(super) limit_price: i64,
    /// How many shares.
    pub(super) quantity: i64,
    /// Whose.
    pub(super) trader: String,
    /// The question's id in the file of questions.
    pub(super) question: String,
}

/// How a question of the file of questions ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its options by letter, as one text: `(a) Yes, (b) No`.
    options: String,
    /// The letter of the option that came true, `VOID`, or something else.
    outcome: String,
}

impl Answer {
    /// Whether the option of that text came true; none where the file does not tell.
    pub(super) fn says(&self, option: &str) -> Option<bool> {
        let letter = self.options.split(", (").find_map(|part| {
            let (letter, text) = part.trim_start_matches('(').split_once(") ")?;
            (text.trim().eq_ignore_ascii_case(option.trim())).then_some(letter)
        })?;
        let is_letter = self.outcome.len() == 1 && self.outcome.bytes().all(|b| b.is_ascii_lowercase());
        is_letter.then_some(letter == self.outcome)
    }
}

const TRADES: [&str; 12] =
    ["venue", "market", "title", "ts", "outcome", "side", "price", "quantity", "cost", "trader", "trade_id", "result"];
const ORDERS: [&str; 12] = [
    "order_id",
    "population",
    "market",
    "stock",
    "side",
    "limit_price",
    "quantity",
    "quantity_filled",
    "created_at",
    "trader_id",
    "team_id",
    "qid",
];

/// Reads a file of trades or of orders.
pub(super) fn read(path: &Path) -> anyhow::Result<Recording> {
    let shown = path.display();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot read {shown}"))?;
    let header = reader.headers().with_context(|| format!("{shown} has no header"))?.clone();
    let rows = || format!("{shown} is damaged");
    if header.iter().eq(TRADES) {
        let rows: anyhow::Result<Vec<TradeRow>> = reader.records().map(|row| trade(&row?)).collect();
        return Ok(Recording::Trades(rows.with_context(|| format!("{shown} is damaged"))?));
    }
    if header.iter().eq(ORDERS) {
        let orders: anyhow::Result<Vec<OrderRow>> = reader.records().map(|row| order(&row?)).collect();
        let mut orders = orders.with_context(rows)?;
        orders.sort_by_key(|order| order.order_id);
        return Ok(Recording::Orders(orders));
    }
    anyhow::bail!(
        "{shown} is neither a file of trades nor one of orders.\nTrades have the columns {}\nand orders {}",
        TRADES.join(","),
        ORDERS.join(",")
    )
}

/// The answers of the questions in `questions.csv` beside a file of orders; none without it.
pub(super) fn answers_beside(path: &Path) -> anyhow::Result<HashMap<String, Answer>> {
    let path = path.with_file_name("questions.csv");
    if !path.is_file() {
        return Ok(HashMap::new());
    }
    let mut reader = csv::Reader::from_path(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let header = reader.headers()?.clone();
    let column = |name: &str| header.iter().position(|h| h == name);
    let (Some(id), Some(options), Some(outcome)) = (column("qid"), column("options"), column("outcome")) else {
        return Ok(HashMap::new());
    };
    let mut answers = HashMap::new();
    for row in reader.records() {
        let row = row.with_context(|| format!("{} is damaged", path.display()))?;
        let text = |column: usize| row.get(column).unwrap_or_default().to_owned();
        answers.insert(text(id), Answer { options: text(options), outcome: text(outcome) });
    }
    Ok(answers)
}

fn trade(row: &csv::StringRecord) -> anyhow::Result<TradeRow> {
    let text = |column: usize| row.get(column).unwrap_or_default().to_owned();
    Ok(TradeRow {
        venue: text(0),
        market: text(1),
        title: text(2),
        time: text(3),
        outcome: text(4),
        side: text(5),
        price: text(6),
        quantity: text(7),
        cost: text(8),
        trader: text(9),
        trade_id: text(10),
        result: text(11),
    })
}

fn order(row: &csv::StringRecord) -> anyhow::Result<OrderRow> {
    let text = |column: usize| row.get(column).unwrap_or_default().to_owned();
    let line = row.position().map_or(0, csv::Position::line);
    let number = |column: usize, name: &str| {
        text(column).parse::<i64>().with_context(|| format!("line {line}: {name} is not a whole number"))
    };
    Ok(OrderRow {
        order_id: u64::try_from(number(0, "order_id")?).with_context(|| format!("line {line}: order_id"))?,
        population: text(1),
        market: text(2),
        stock: text(3),
        side: text(4),
        limit_price: number(5, "limit_price")?,
        quantity: number(6, "quantity")?,
        trader: text(9),
        question: text(11),
    })
}

/// A decimal text rounded to units of `10^-decimals`, half away from zero; and whether that was
/// exact. None where the text is no plain decimal that is zero or above, or far too large.
pub(super) fn round_decimal(text: &str, decimals: usize) -> Option<(i64, bool)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let (kept, cut) = fraction.split_at_checked(decimals).unwrap_or((fraction, ""));
    let units: i64 = format!("{whole}{kept:0<decimals$}").parse().ok()?;
    let is_exact = cut.bytes().all(|b| b == b'0');
    let rounds_up = cut.bytes().next().is_some_and(|b| b >= b'5');
    Some((units.checked_add(i64::from(rounds_up))?, is_exact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_decimals_and_says_whether_it_had_to() {
        for (text, decimals, expected) in [
            ("13.0", 0, Some((13, true))),
            ("13", 0, Some((13, true))),
            ("0.75", 3, Some((750, true))),
            ("0.0828", 3, Some((83, false))),
            ("0.9995", 3, Some((1000, false))),
            ("0.9949999999999999999", 3, Some((995, false))),
            ("201.5678", 2, Some((20157, false))),
            ("0.0", 2, Some((0, true))),
            ("", 3, None),
            ("-1", 3, None),
            ("1e-5", 3, None),
            ("nan", 3, None),
            ("99999999999999999999", 0, None),
        ] {
            assert_eq!(round_decimal(text, decimals), expected, "{text}");
        }
    }

    #[test]
    fn finds_an_option_among_the_options_of_a_question() {
        let answer = |outcome: &str| Answer {
            options: "(a) Less than .3%, (b) Between .3% and .6%, inclusive, (c) More than .6%".to_owned(),
            outcome: outcome.to_owned(),
        };
        assert_eq!(answer("b").says("Between .3% and .6%, inclusive"), Some(true));
        assert_eq!(answer("b").says("more than .6%"), Some(false));
        assert_eq!(answer("VOID").says("More than .6%"), None);
        assert_eq!(answer("a").says("Yes"), None);
    }
}
