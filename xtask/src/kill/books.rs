//! The books that a live client keeps from a stream, each of whose changes comes with a checksum.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::Value;

/// A checksum is over so many prices of each side.
const CHECKED: usize = 10;

/// Shares and orders at each price. Prices have three decimals, so their texts are in order too.
#[derive(Clone, Debug, Default, PartialEq)]
struct Book {
    sequence: i64,
    bids: BTreeMap<String, (i64, i64)>,
    asks: BTreeMap<String, (i64, i64)>,
}

impl Book {
    fn change(&mut self, level: &Value) -> anyhow::Result<()> {
        let number = |field: &str| level.get(field).and_then(Value::as_i64).context("a level is not whole");
        let price = level.get("price").and_then(Value::as_str).context("a level has no price")?;
        let is_bid = level.get("side").and_then(Value::as_str) == Some("buy");
        let side = if is_bid { &mut self.bids } else { &mut self.asks };
        let (shares, orders) = side.entry(price.to_owned()).or_default();
        *shares += number("change")?;
        *orders += number("orders")?;
        if *orders == 0 {
            side.remove(price);
        }
        Ok(())
    }

    fn checksum(&self) -> u32 {
        let bids = self.bids.iter().rev().take(CHECKED).map(|level| ("bid", level));
        let asks = self.asks.iter().take(CHECKED).map(|level| ("ask", level));
        let text: String =
            bids.chain(asks).map(|(side, (price, (shares, _)))| format!("{side}:{price}:{shares};")).collect();
        crc32fast::hash(text.as_bytes())
    }
}

/// Books by market and the place of their outcome.
#[derive(Debug, Default)]
pub(super) struct Books {
    books: BTreeMap<(String, i64), Book>,
    /// How many checksums were right.
    pub(super) proved: usize,
}

impl Books {
    /// Keeps step with a message. An error where a book is not what the server says that it is.
    pub(super) fn hear(&mut self, message: &Value) -> anyhow::Result<()> {
        let data = message.get("data").unwrap_or(&Value::Null);
        let market = || data.get("marketId").and_then(Value::as_str).context("it has no market").map(str::to_owned);
        match message.get("type").and_then(Value::as_str) {
            Some("book.snapshot") => {
                for book in list(data, "books") {
                    self.begin(market()?, book)?;
                }
                Ok(())
            }
            Some("book.changed") => self.change(&market()?, data),
            _ => Ok(()),
        }
    }

    /// Takes a whole book. One that was kept in step up to there must be the same.
    fn begin(&mut self, market: String, told: &Value) -> anyhow::Result<()> {
        let sequence = told.get("sequence").and_then(Value::as_i64).context("a book has no sequence")?;
        let mut book = Book { sequence, ..Book::default() };
        for level in list(told, "levels") {
            book.change(level)?;
        }
        self.prove(&book, told)?;
        let kept = self.books.entry((market, place(told)?)).or_default();
        anyhow::ensure!(kept.sequence != sequence || *kept == book, "the book was {kept:?}");
        if kept.sequence < sequence {
            *kept = book;
        }
        Ok(())
    }

    /// Changes the books that the change is newer than.
    fn change(&mut self, market: &str, data: &Value) -> anyhow::Result<()> {
        let sequence = data.get("sequence").and_then(Value::as_i64).context("a change has no sequence")?;
        let mut changed = BTreeMap::new();
        for ((_, place), book) in self.books.iter_mut().filter(|((of, _), _)| of == market) {
            if book.sequence < sequence {
                book.sequence = sequence;
                for level in list(data, "levels").filter(|level| self::place(level).is_ok_and(|at| at == *place)) {
                    book.change(level)?;
                }
                changed.insert(*place, book.clone());
            }
        }
        for told in list(data, "checksums") {
            if let Some(book) = changed.get(&place(told)?) {
                self.prove(book, told)?;
            }
        }
        Ok(())
    }

    fn prove(&mut self, book: &Book, told: &Value) -> anyhow::Result<()> {
        let (ours, theirs) = (book.checksum(), told.get("checksum").and_then(Value::as_u64));
        anyhow::ensure!(theirs == Some(u64::from(ours)), "the checksum of {book:?} is {ours}");
        self.proved += 1;
        Ok(())
    }
}

fn list<'a>(data: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    data.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn place(of: &Value) -> anyhow::Result<i64> {
    of.get("book").and_then(Value::as_i64).context("it has no place")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Books;

    fn level(side: &str, price: &str, change: i64, orders: i64) -> Value {
        json!({ "book": 0, "side": side, "price": price, "change": change, "orders": orders })
    }

    fn snapshot(sequence: i64, levels: &[Value], text: &str) -> Value {
        let checksum = crc32fast::hash(text.as_bytes());
        let book = json!({ "book": 0, "sequence": sequence, "levels": levels, "checksum": checksum });
        json!({ "type": "book.snapshot", "data": { "marketId": "m", "books": [book] } })
    }

    fn change(sequence: i64, levels: &[Value], text: &str) -> Value {
        let checksums = json!([{ "book": 0, "checksum": crc32fast::hash(text.as_bytes()) }]);
        let data = json!({ "marketId": "m", "sequence": sequence, "levels": levels, "checksums": checksums });
        json!({ "type": "book.changed", "data": data })
    }

    #[test]
    fn keeps_step_and_sees_when_it_does_not() {
        let mut books = Books::default();
        let bid = level("buy", "0.400", 5, 1);
        books.hear(&snapshot(7, std::slice::from_ref(&bid), "bid:0.400:5;")).unwrap();
        // What the snapshot has already.
        books.hear(&change(7, std::slice::from_ref(&bid), "")).unwrap();
        books.hear(&change(8, &[level("sell", "0.500", 3, 1)], "bid:0.400:5;ask:0.500:3;")).unwrap();
        books.hear(&change(9, &[level("buy", "0.400", -5, -1)], "ask:0.500:3;")).unwrap();
        assert_eq!(books.proved, 3);
        books.hear(&snapshot(9, &[], "")).unwrap_err();
        books.hear(&change(10, &[level("sell", "0.500", 1, 1)], "ask:0.500:3;")).unwrap_err();
    }
}
