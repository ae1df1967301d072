//! The invariants 1 to 6 and 10, as far as SQL can check them.
//!
//! Each check is a query for the rows that break it: the row's id and a sentence. Sums of balances
//! and of transfers may pass 2^63 and are added in two halves. Elsewhere a sum that leaves 64 bits is
//! itself the breach: SQLite's `sum()` fails, which is reported, and its `*` and `+` of positive
//! integers then give a float of at least 2^63, which equals no integer.

use bellwether_domain::ports::{StoreError, Violation};

use crate::connection::Connection;
use crate::readers::Readers;
use crate::sql::Sql;

/// The invariant's number and the query for what breaks it.
const CHECKS: [(u8, &str); 26] = [
    (1, BALANCES_ARE_TRANSFERS),
    (1, PAID_COUNTS),
    (1, CHAINS_END_IN_THE_LAST_HASH),
    (2, BALANCES_IN_RANGE),
    (2, HOLDINGS_IN_RANGE),
    (3, HELD_CASH),
    (3, RESERVED_WITHOUT_ACCOUNT),
    (3, RESERVES_OF_ORDERS),
    (3, HELD_SHARES),
    (3, HELD_SHARES_WITHOUT_HOLDING),
    (4, EQUAL_TOTALS),
    (4, COLLATERAL_BEFORE_THE_PAYOUT),
    (4, COLLATERAL_DURING_THE_PAYOUT),
    (4, NOTHING_LEFT_AFTER_THE_PAYOUT),
    (5, FILLED_IS_TRADES),
    (5, VOLUME_IS_TRADES),
    (5, SIDES_OF_TRADES),
    (6, NOBODY_LEFT_UNPAID),
    (6, PAID_ONCE),
    (6, PAID_EXACTLY),
    (10, SCORES_ARE_POSITIONS),
    (10, SCORES_ARE_OF_MARKETS),
    (10, SCORES_OF_MARKETS_ARE_TRADES),
    (10, COUNTED_TO_THE_END),
    (10, TIMELINES_ARE_WHAT_HAPPENED),
    (10, LEVELS_ARE_OPEN_ORDERS),
];

/// Every breach that is found, at most `limit`. Each check is one statement, which sees one state of the database, and none
/// compares itself with another. So each is a read of its own: one transaction around all of them would keep the log from
/// beginning anew until the last has ended.
pub(crate) async fn violations(readers: &Readers, limit: u32) -> Result<Vec<Violation>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found = readers.read(balances_add_up).await?;
    for (invariant, text) in CHECKS {
        let room = limit.saturating_sub(found.len());
        if room == 0 {
            break;
        }
        found.extend(readers.read(move |connection| check(connection, invariant, text, room)).await?);
    }
    found.truncate(limit);
    Ok(found)
}

/// What breaks one check, at most so much.
fn check(connection: &mut Connection, invariant: u8, text: &str, room: usize) -> Result<Vec<Violation>, StoreError> {
    let sql = Sql::new(format!("{text} LIMIT ? + 0")).bind(i64::try_from(room).unwrap_or(i64::MAX));
    let broken = connection
        .read("a violation", sql, |row| Ok(Violation { invariant, subject: row.opt_id()?, message: row.text()? }));
    match broken {
        Err(StoreError::Corrupt(message)) if message.contains("integer overflow") => Ok(vec![Violation {
            invariant,
            message: "a sum that this invariant is about leaves the range of 64 bits".to_owned(),
            subject: None,
        }]),
        broken => broken,
    }
}

fn balances_add_up(connection: &mut Connection) -> Result<Vec<Violation>, StoreError> {
    let halves = connection.one(Sql::new(
        "SELECT coalesce(sum(balance >> 32), 0), coalesce(sum(balance & 4294967295), 0) FROM accounts",
    ))?;
    let Some(mut halves) = halves else { return Ok(Vec::new()) };
    let sum = i128::from(halves.int()?) * (1 << 32) + i128::from(halves.int()?);
    if sum == 0 {
        return Ok(Vec::new());
    }
    Ok(vec![Violation {
        invariant: 1,
        message: format!("the balances of all accounts add up to {sum} mills, not 0"),
        subject: None,
    }])
}

// Along timelines, transfers and trades come by account and by market, and nothing is sorted in memory.

const BALANCES_ARE_TRANSFERS: &str = "\
    WITH sums AS MATERIALIZED (\
        SELECT owner AS account, sum(CASE what WHEN 4 THEN amount >> 32 ELSE -(amount >> 32) END) AS high, \
            sum(CASE what WHEN 4 THEN amount & 4294967295 ELSE -(amount & 4294967295) END) AS low \
        FROM timelines CROSS JOIN transfers ON transfers.id = entry WHERE what IN (3, 4) GROUP BY owner\
    ), sums_of_all AS (\
        SELECT id, balance, coalesce(high, 0) AS high, coalesce(low, 0) AS low FROM accounts LEFT JOIN sums ON account = id\
    ) \
    SELECT id, 'the account has ' || balance || ' mills, which is not the sum of its transfers' FROM sums_of_all \
    WHERE high + (low >> 32) <> balance >> 32 OR low & 4294967295 <> balance & 4294967295";

const PAID_COUNTS: &str = "\
    WITH paid AS MATERIALIZED (\
        SELECT owner AS account, count(*) AS number, max(paid_number) AS last \
        FROM timelines CROSS JOIN transfers ON transfers.id = entry WHERE what = 3 GROUP BY owner\
    ) \
    SELECT id, 'the account counts ' || paid_count || ' transfers paid where there are ' || coalesce(number, 0) \
        || ', the last numbered ' || coalesce(last, 0) \
    FROM accounts LEFT JOIN paid ON account = id WHERE paid_count <> coalesce(number, 0) OR paid_count <> coalesce(last, 0)";

/// Beside `max`, a bare column is that of the row with the largest number.
const CHAINS_END_IN_THE_LAST_HASH: &str = "\
    WITH last AS MATERIALIZED (\
        SELECT owner AS account, max(paid_number) AS number, hash \
        FROM timelines CROSS JOIN transfers ON transfers.id = entry WHERE what = 3 GROUP BY owner\
    ) \
    SELECT id, 'the account''s chain does not end in the hash of its last transfer' FROM accounts \
    LEFT JOIN last ON account = id AND number = paid_count \
    WHERE chain IS NOT CASE paid_count WHEN 0 THEN zeroblob(32) ELSE hash END";

const TIMELINES_ARE_WHAT_HAPPENED: &str = "\
    SELECT NULL, 'the timelines have ' || there || ' entries where ' || happened || ' things happened' FROM (\
        SELECT (SELECT count(*) FROM timelines) AS there, (SELECT count(*) FROM orders) \
            + (SELECT 2 * count(*) + count(CASE WHEN maker_id <> taker_id THEN 1 END) FROM trades) \
            + (SELECT 2 * count(*) FROM transfers) AS happened\
    ) WHERE there <> happened";

/// Each side along its own index.
const LEVELS_ARE_OPEN_ORDERS: &str = "\
    WITH resting AS MATERIALIZED (\
        SELECT market_id, book, 'buy' AS book_side, book_price, sum(remaining) AS quantity, count(*) AS orders FROM orders \
        WHERE status = 'open' AND book_side = 'buy' GROUP BY market_id, book, book_price \
        UNION ALL SELECT market_id, book, 'sell', book_price, sum(remaining), count(*) FROM orders \
        WHERE status = 'open' AND book_side = 'sell' GROUP BY market_id, book, book_price\
    ), levels AS (\
        SELECT market_id, book, book_side, book_price, quantity, orders FROM book_levels\
    ) \
    SELECT market_id, 'the level at ' || book_price || ' of the ' || book_side || ' side of book ' || book || ' has ' || quantity \
        || ' shares of ' || orders || ' orders ' || found FROM (\
        SELECT *, 'that do not rest there' AS found FROM (SELECT * FROM levels EXCEPT SELECT * FROM resting) \
        UNION ALL SELECT *, 'that it does not count' FROM (SELECT * FROM resting EXCEPT SELECT * FROM levels)\
    )";

const BALANCES_IN_RANGE: &str = "\
    SELECT id, 'the account holds ' || held || ' of ' || balance || ' mills' FROM accounts \
    WHERE CASE owner_kind WHEN 'treasury' THEN held <> 0 ELSE balance < 0 OR held < 0 OR held > balance END";

const HOLDINGS_IN_RANGE: &str = "\
    SELECT user_id, 'the user holds ' || held || ' of ' || quantity || ' shares of outcome ' || outcome || ' in market ' \
        || lower(hex(market_id)) \
    FROM holdings WHERE held < 0 OR held > quantity";

const HELD_CASH: &str = "\
    WITH reserved AS MATERIALIZED (\
        SELECT user_id, sum(reserved) AS mills FROM orders WHERE status = 'open' GROUP BY user_id\
    ) \
    SELECT id, 'the account holds ' || held || ' mills where open orders reserve ' || coalesce(mills, 0) \
    FROM accounts LEFT JOIN reserved ON owner_kind = 'user' AND user_id = owner_id WHERE held <> coalesce(mills, 0)";

const RESERVED_WITHOUT_ACCOUNT: &str = "\
    SELECT id, 'the open order reserves ' || reserved || ' mills of a user without an account' FROM orders \
    WHERE status = 'open' AND reserved <> 0 \
        AND NOT EXISTS (SELECT 1 FROM accounts WHERE owner_kind = 'user' AND owner_id = orders.user_id)";

const RESERVES_OF_ORDERS: &str = "\
    SELECT id, 'the order reserves ' || reserved || ' mills for ' || remaining || ' shares at ' || coalesce(book_price, 'no price') \
    FROM orders WHERE reserved IS NOT CASE \
        WHEN status = 'open' AND backing = 'cash' AND book_side = 'buy' THEN remaining * book_price \
        WHEN status = 'open' AND backing = 'cash' THEN remaining * (1000 - book_price) \
        ELSE 0 END";

/// What open orders that are backed by shares hold: an ask its own outcome, a bid every other.
macro_rules! held_shares {
    ($query:literal) => {
        concat!(
            "WITH wanted AS MATERIALIZED (\
                SELECT orders.market_id, user_id, outcomes.outcome AS outcome, sum(remaining) AS held \
                FROM orders JOIN outcomes ON outcomes.market_id = orders.market_id \
                    AND (book_side = 'sell') = (outcomes.outcome = orders.book) \
                WHERE status = 'open' AND backing = 'shares' GROUP BY 1, 2, 3\
            ) ",
            $query
        )
    };
}

const HELD_SHARES: &str = held_shares!(
    "SELECT user_id, 'the user holds ' || h.held || ' shares of outcome ' || outcome || ' in market ' || lower(hex(market_id)) \
        || ' where open orders hold ' || coalesce(wanted.held, 0) \
    FROM holdings AS h LEFT JOIN wanted USING (market_id, user_id, outcome) WHERE h.held <> coalesce(wanted.held, 0)"
);

const HELD_SHARES_WITHOUT_HOLDING: &str = held_shares!(
    "SELECT user_id, 'open orders hold ' || held || ' shares of outcome ' || outcome || ' in market ' || lower(hex(market_id)) \
        || ' that the user does not have' \
    FROM wanted WHERE NOT EXISTS (SELECT 1 FROM holdings AS h \
        WHERE h.market_id = wanted.market_id AND h.user_id = wanted.user_id AND h.outcome = wanted.outcome)"
);

/// For each outcome: the shares of all users and of the maker, the latter alone, and the weight.
macro_rules! totals {
    ($query:literal) => {
        concat!(
            "WITH held AS MATERIALIZED (\
                SELECT market_id, outcome, sum(quantity) AS shares, \
                    sum(CASE WHEN settled_at IS NULL THEN quantity ELSE 0 END) AS unpaid \
                FROM holdings JOIN positions USING (market_id, user_id) GROUP BY market_id, outcome\
            ), makers AS (\
                SELECT market_id, max(sold) AS sets FROM outcomes GROUP BY market_id\
            ), totals AS (\
                SELECT o.market_id AS market_id, o.outcome AS outcome, o.weight AS weight, \
                    coalesce(held.shares, 0) AS shares, coalesce(held.unpaid, 0) AS unpaid, \
                    CASE WHEN m.maker_account IS NULL THEN 0 ELSE makers.sets - o.sold END AS of_maker \
                FROM outcomes AS o JOIN markets AS m ON m.id = o.market_id JOIN makers ON makers.market_id = o.market_id \
                LEFT JOIN held ON held.market_id = o.market_id AND held.outcome = o.outcome\
            ), sums AS MATERIALIZED (\
                SELECT market_id, min(shares + of_maker) AS fewest, max(shares + of_maker) AS most, \
                    sum(unpaid * coalesce(weight, 0)) AS owed, sum(of_maker * coalesce(weight, 0)) AS owed_to_maker \
                FROM totals GROUP BY market_id\
            ) ",
            $query
        )
    };
}

const EQUAL_TOTALS: &str = totals!(
    "SELECT id, 'the outcomes have between ' || fewest || ' and ' || most || ' shares, which must be the same number' \
    FROM markets JOIN sums ON market_id = id WHERE fewest <> most AND settled_at IS NULL \
        AND NOT EXISTS (SELECT 1 FROM positions WHERE positions.market_id = id AND positions.settled_at IS NOT NULL)"
);

const COLLATERAL_BEFORE_THE_PAYOUT: &str = totals!(
    "SELECT markets.id, 'the collateral is ' || coalesce(balance, 0) || ' mills for ' || most || ' complete sets' \
    FROM markets JOIN sums ON market_id = markets.id LEFT JOIN accounts ON accounts.id = markets.id \
    WHERE decided_at IS NULL AND coalesce(balance, 0) <> most * 1000"
);

const COLLATERAL_DURING_THE_PAYOUT: &str = totals!(
    "SELECT id, 'the collateral is ' || collateral || ' mills where ' || owing || ' are still to be paid' FROM (\
        SELECT markets.id AS id, coalesce(balance, 0) AS collateral, owed + CASE WHEN EXISTS (\
            SELECT 1 FROM timelines CROSS JOIN transfers ON transfers.id = entry \
            WHERE owner = maker_account AND what = 4 AND transfers.market_id = markets.id AND kind = 'payout'\
        ) THEN 0 ELSE owed_to_maker END AS owing \
        FROM markets JOIN sums ON market_id = markets.id LEFT JOIN accounts ON accounts.id = markets.id \
        WHERE decided_at IS NOT NULL AND settled_at IS NULL\
    ) WHERE collateral <> owing"
);

const NOTHING_LEFT_AFTER_THE_PAYOUT: &str = "\
    SELECT accounts.id, 'the market ' || lower(hex(markets.id)) || ' is settled but ' || balance || ' mills are left' \
    FROM markets JOIN accounts ON accounts.id IN (markets.id, markets.maker_account) \
    WHERE settled_at IS NOT NULL AND balance <> 0";

const FILLED_IS_TRADES: &str = "\
    WITH taken AS MATERIALIZED (\
        SELECT taker_order AS id, sum(quantity) AS shares FROM trades GROUP BY taker_order\
    ), made AS MATERIALIZED (\
        SELECT maker_order AS id, sum(quantity) AS shares FROM trades WHERE maker_order IS NOT NULL GROUP BY maker_order\
    ) \
    SELECT orders.id, 'the order counts ' || filled || ' shares filled where its trades have ' \
        || (coalesce(taken.shares, 0) + coalesce(made.shares, 0)) \
    FROM orders LEFT JOIN taken ON taken.id = orders.id LEFT JOIN made ON made.id = orders.id \
    WHERE filled <> coalesce(taken.shares, 0) + coalesce(made.shares, 0)";

const VOLUME_IS_TRADES: &str = "\
    WITH made AS MATERIALIZED (\
        SELECT owner AS market_id, sum(cost) AS cost, count(*) AS number, count(DISTINCT sequence) AS sequences \
        FROM timelines CROSS JOIN trades ON trades.id = entry WHERE what = 2 GROUP BY owner\
    ) \
    SELECT m.market_id, 'the market counts ' || trade_count || ' trades for ' || volume || ' mills where there are ' \
        || coalesce(number, 0) || ' for ' || coalesce(cost, 0) || CASE WHEN sequences < number THEN ', some of the same sequence' ELSE '' END \
    FROM market_counters AS m LEFT JOIN made ON made.market_id = m.market_id \
    WHERE volume <> coalesce(cost, 0) OR trade_count <> coalesce(number, 0) OR sequences < number";

const SIDES_OF_TRADES: &str = "\
    SELECT id, 'the trade''s cost is ' || cost || ' mills for ' || quantity || ' shares at ' || price \
        || CASE WHEN maker_id IS NULL THEN ', and nobody made it' ELSE '' END \
    FROM trades WHERE maker_order IS NOT NULL AND (maker_id IS NULL OR cost <> price * quantity)";

const NOBODY_LEFT_UNPAID: &str = "\
    SELECT user_id, 'the user was not paid in the settled market ' || lower(hex(market_id)) \
    FROM markets JOIN positions ON market_id = id WHERE markets.settled_at IS NOT NULL AND positions.settled_at IS NULL";

const PAID_ONCE: &str = "\
    SELECT to_account, 'the account got ' || count(*) || ' payouts of the market ' || lower(hex(market_id)) \
    FROM transfers JOIN markets ON markets.id = market_id \
    WHERE kind = 'payout' AND to_account IS NOT maker_account GROUP BY market_id, to_account HAVING count(*) > 1";

const PAID_EXACTLY: &str = "\
    WITH paid AS MATERIALIZED (\
        SELECT market_id, to_account, sum(amount) AS mills FROM transfers \
        WHERE kind = 'payout' AND market_id IS NOT NULL GROUP BY market_id, to_account\
    ), owed AS MATERIALIZED (\
        SELECT p.market_id AS market_id, p.user_id AS user_id, p.settled_at AS settled_at, sum(quantity * weight) AS mills \
        FROM positions AS p JOIN holdings AS h USING (market_id, user_id) \
        JOIN outcomes AS o ON o.market_id = p.market_id AND o.outcome = h.outcome GROUP BY p.market_id, p.user_id\
    ) \
    SELECT owed.user_id, 'the user was paid ' || coalesce(paid.mills, 0) || ' mills in market ' || lower(hex(owed.market_id)) \
        || ' where ' || CASE WHEN settled_at IS NULL THEN 'nothing' ELSE coalesce(owed.mills, 'nothing') END || ' was due' \
    FROM owed LEFT JOIN paid ON paid.market_id = owed.market_id AND paid.to_account = owed.user_id \
    WHERE coalesce(paid.mills, 0) IS NOT CASE WHEN settled_at IS NULL THEN 0 ELSE owed.mills END";

// What is kept of how users trade.

const SCORES_ARE_POSITIONS: &str = "\
    WITH counted AS MATERIALIZED (\
        SELECT user_id, sum(received - spent) AS profit, count(*) AS number FROM positions WHERE counted = 1 GROUP BY user_id\
    ) \
    SELECT users.id, 'the user''s score is of ' || coalesce(scores.markets, 0) || ' markets with a profit of ' \
        || coalesce(scores.profit, 0) || ' mills where ' || coalesce(number, 0) || ' are counted with ' || coalesce(counted.profit, 0) \
    FROM users LEFT JOIN scores ON scores.user_id = users.id LEFT JOIN counted ON counted.user_id = users.id \
    WHERE coalesce(scores.markets, 0) <> coalesce(number, 0) OR coalesce(scores.profit, 0) <> coalesce(counted.profit, 0)";

const SCORES_ARE_OF_MARKETS: &str = "\
    WITH sums AS MATERIALIZED (\
        SELECT user_id, sum(trades) AS trades, sum(volume) AS volume, sum(judged_shares) AS shares, sum(missed) AS missed, \
            sum(CASE WHEN judged_shares > 0 THEN 1 ELSE 0 END) AS judged \
        FROM market_scores JOIN positions USING (market_id, user_id) WHERE counted = 1 GROUP BY user_id\
    ) \
    SELECT scores.user_id, 'the user''s score is not the sum of what is kept of its markets' \
    FROM scores LEFT JOIN sums ON sums.user_id = scores.user_id \
    WHERE scores.trades <> coalesce(sums.trades, 0) OR scores.volume <> coalesce(sums.volume, 0) \
        OR scores.judged_shares <> coalesce(shares, 0) OR scores.missed <> coalesce(sums.missed, 0) \
        OR judged_markets <> coalesce(judged, 0)";

const SCORES_OF_MARKETS_ARE_TRADES: &str = "\
    WITH made AS MATERIALIZED (\
        SELECT market_id, user_id, count(*) AS trades, sum(cost) AS volume, coalesce(sum(scored), 0) AS shares, \
            coalesce(sum(scored * miss * miss), 0) AS missed \
        FROM (\
            SELECT trades.market_id, taker_id AS user_id, cost, CASE WHEN status = 'resolved' THEN quantity END AS scored, \
                price - weight AS miss \
            FROM trades JOIN markets ON markets.id = trades.market_id \
            JOIN outcomes ON outcomes.market_id = trades.market_id AND outcomes.outcome = trades.outcome \
            UNION ALL \
            SELECT market_id, maker_id, cost, NULL, NULL FROM trades WHERE maker_id <> taker_id\
        ) AS sides WHERE market_id IN (SELECT market_id FROM countings WHERE done = 1) GROUP BY market_id, user_id\
    ) \
    SELECT coalesce(made.user_id, kept.user_id), 'what is kept of the user in market ' || lower(hex(coalesce(made.market_id, kept.market_id))) \
        || ' is not what its trades come to' \
    FROM made FULL JOIN (\
        SELECT * FROM market_scores WHERE market_id IN (SELECT market_id FROM countings WHERE done = 1)\
    ) AS kept ON kept.market_id = made.market_id AND kept.user_id = made.user_id \
    WHERE kept.trades IS NOT made.trades OR kept.volume IS NOT made.volume \
        OR kept.judged_shares IS NOT made.shares OR kept.missed IS NOT made.missed";

const COUNTED_TO_THE_END: &str = "\
    SELECT user_id, 'the user''s position in market ' || lower(hex(market_id)) || ' is not counted, though the market is' \
    FROM positions WHERE counted = 0 AND market_id IN (SELECT market_id FROM countings WHERE done = 1)";
