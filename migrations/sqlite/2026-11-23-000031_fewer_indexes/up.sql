-- Each index took a page more with every order, or with every side of it.
--
-- Orders in the order of their changes are those of one user, sorted. A payout goes on after the user that was paid last. All orders of
-- a market are looked for where it is deleted, which has no trades then, and is refused where an order or a trade is left: so no
-- reference has to look for them. No number of a payer, and none of a market's trades, is given twice where an account is written only if it has paid
-- nothing since, and a market only if nothing was traded since; the audit follows each chain in the order of time.
DROP INDEX positions_unsettled;

CREATE TABLE orders_anew (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT orders_id CHECK (length(id) = 16),
    market_id BLOB NOT NULL,
    user_id BLOB NOT NULL REFERENCES users (id),
    outcome INTEGER NOT NULL CONSTRAINT orders_outcome CHECK (outcome BETWEEN 0 AND 19),
    side TEXT NOT NULL CONSTRAINT orders_side CHECK (side IN ('buy', 'sell')),
    order_type TEXT NOT NULL CONSTRAINT orders_order_type CHECK (order_type IN ('limit', 'market')),
    price INTEGER CONSTRAINT orders_price CHECK (price BETWEEN 1 AND 999),
    max_spend INTEGER CONSTRAINT orders_max_spend CHECK (max_spend >= 0),
    backing TEXT NOT NULL CONSTRAINT orders_backing CHECK (backing IN ('cash', 'shares')),
    quantity INTEGER NOT NULL CONSTRAINT orders_quantity CHECK (quantity > 0),
    filled INTEGER NOT NULL CONSTRAINT orders_filled CHECK (filled >= 0),
    remaining INTEGER NOT NULL CONSTRAINT orders_remaining CHECK (remaining >= 0),
    reserved INTEGER NOT NULL CONSTRAINT orders_reserved CHECK (reserved >= 0),
    cost INTEGER NOT NULL CONSTRAINT orders_cost CHECK (cost >= 0),
    fee INTEGER NOT NULL CONSTRAINT orders_fee CHECK (fee >= 0),
    time_in_force TEXT NOT NULL CONSTRAINT orders_time_in_force CHECK (time_in_force IN ('gtc', 'gtd', 'ioc', 'fok')),
    expires_at INTEGER,
    post_only INTEGER NOT NULL CONSTRAINT orders_post_only CHECK (post_only IN (0, 1)),
    self_trade_prevention TEXT NOT NULL CONSTRAINT orders_self_trade_prevention CHECK (
        self_trade_prevention IN ('cancel_newest', 'cancel_oldest', 'decrement')
    ),
    client_order_id TEXT,
    status TEXT NOT NULL CONSTRAINT orders_status CHECK (status IN ('open', 'filled', 'cancelled', 'expired')),
    book INTEGER NOT NULL CONSTRAINT orders_book CHECK (book BETWEEN 0 AND 19),
    book_side TEXT NOT NULL CONSTRAINT orders_book_side CHECK (book_side IN ('buy', 'sell')),
    book_price INTEGER CONSTRAINT orders_book_price CHECK (book_price BETWEEN 1 AND 999),
    sequence INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    counted_by BLOB REFERENCES api_keys (id),
    placed_by BLOB,
    end_reason TEXT CONSTRAINT orders_end_reason CHECK (
        end_reason IN (
            'requested', 'time_in_force', 'self_trade', 'market_closed', 'expired', 'user_deactivated', 'disconnected',
            'group_full'
        )
    ),
    group_id BLOB,
    CONSTRAINT orders_quantities CHECK (filled + remaining <= quantity),
    CONSTRAINT orders_open CHECK ((status = 'open') = (remaining > 0)),
    CONSTRAINT orders_rest_at_a_price CHECK (status <> 'open' OR book_price IS NOT NULL),
    CONSTRAINT orders_reserve CHECK (status = 'open' OR reserved = 0)
) STRICT, WITHOUT ROWID;
INSERT INTO orders_anew SELECT * FROM orders ORDER BY id;

CREATE TABLE trades_anew (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT trades_id CHECK (length(id) = 16),
    market_id BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    outcome INTEGER NOT NULL CONSTRAINT trades_outcome CHECK (outcome BETWEEN 0 AND 19),
    price INTEGER NOT NULL CONSTRAINT trades_price CHECK (price BETWEEN 1 AND 999),
    quantity INTEGER NOT NULL CONSTRAINT trades_quantity CHECK (quantity > 0),
    cost INTEGER NOT NULL CONSTRAINT trades_cost CHECK (cost >= 0),
    taker_side TEXT NOT NULL CONSTRAINT trades_taker_side CHECK (taker_side IN ('buy', 'sell')),
    settlement TEXT NOT NULL CONSTRAINT trades_settlement CHECK (settlement IN ('transfer', 'mint', 'redeem', 'rest')),
    taker_order BLOB NOT NULL REFERENCES orders_anew (id),
    taker_id BLOB NOT NULL,
    maker_order BLOB REFERENCES orders_anew (id),
    maker_id BLOB,
    fee INTEGER NOT NULL CONSTRAINT trades_fee CHECK (fee >= 0),
    created_at INTEGER NOT NULL,
    CONSTRAINT trades_maker CHECK ((maker_order IS NULL) = (maker_id IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO trades_anew SELECT * FROM trades ORDER BY id;

CREATE TABLE transfers_anew (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT transfers_id CHECK (length(id) = 16),
    from_account BLOB NOT NULL REFERENCES accounts (id),
    to_account BLOB NOT NULL REFERENCES accounts (id),
    amount INTEGER NOT NULL CONSTRAINT transfers_amount CHECK (amount > 0),
    kind TEXT NOT NULL CONSTRAINT transfers_kind CHECK (
        kind IN ('grant', 'payment', 'trade', 'fee', 'mint', 'redeem', 'payout', 'subsidy', 'refund')
    ),
    market_id BLOB,
    trade_id BLOB,
    memo TEXT,
    paid_number INTEGER NOT NULL CONSTRAINT transfers_paid_number CHECK (paid_number > 0),
    hash BLOB NOT NULL CONSTRAINT transfers_hash CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    CONSTRAINT transfers_parties CHECK (from_account <> to_account)
) STRICT, WITHOUT ROWID;
INSERT INTO transfers_anew SELECT * FROM transfers ORDER BY id;

DROP TRIGGER trades_are_never_updated;
DROP TRIGGER trades_are_never_deleted;
DROP TRIGGER transfers_are_never_updated;
DROP TRIGGER transfers_are_never_deleted;
DROP TABLE trades;
DROP TABLE orders;
DROP TABLE transfers;
-- What refers to it is renamed, too.
ALTER TABLE orders_anew RENAME TO orders;
ALTER TABLE trades_anew RENAME TO trades;
ALTER TABLE transfers_anew RENAME TO transfers;

CREATE UNIQUE INDEX orders_by_client_order_id ON orders (user_id, client_order_id) WHERE client_order_id IS NOT NULL;
CREATE INDEX orders_bids ON orders (market_id, book, book_price DESC, sequence) WHERE status = 'open' AND book_side = 'buy';
CREATE INDEX orders_asks ON orders (market_id, book, book_price, sequence) WHERE status = 'open' AND book_side = 'sell';
CREATE INDEX orders_open_by_user ON orders (user_id, market_id) WHERE status = 'open';
CREATE INDEX orders_to_expire ON orders (expires_at) WHERE status = 'open' AND expires_at IS NOT NULL;
CREATE INDEX orders_by_user ON orders (user_id, created_at, id);
CREATE INDEX orders_open_by_key ON orders (counted_by) WHERE counted_by IS NOT NULL AND status = 'open';
CREATE INDEX orders_unfilled_by_market ON orders (market_id) WHERE filled = 0;
CREATE INDEX trades_by_market ON trades (market_id, created_at, id);
CREATE INDEX trades_by_taker ON trades (taker_id, created_at, id);
CREATE INDEX trades_by_maker ON trades (maker_id, created_at, id) WHERE maker_id IS NOT NULL;
CREATE INDEX trades_by_taker_order ON trades (taker_order);
CREATE INDEX trades_by_maker_order ON trades (maker_order) WHERE maker_order IS NOT NULL;
CREATE INDEX transfers_by_payer ON transfers (from_account, created_at, id);
CREATE INDEX transfers_by_payee ON transfers (to_account, created_at, id);

CREATE TRIGGER trades_are_never_updated BEFORE UPDATE ON trades BEGIN
    SELECT RAISE(ABORT, 'trades are append-only');
END;
CREATE TRIGGER trades_are_never_deleted BEFORE DELETE ON trades BEGIN
    SELECT RAISE(ABORT, 'trades are append-only');
END;
CREATE TRIGGER transfers_are_never_updated BEFORE UPDATE ON transfers BEGIN
    SELECT RAISE(ABORT, 'transfers are append-only');
END;
CREATE TRIGGER transfers_are_never_deleted BEFORE DELETE ON transfers BEGIN
    SELECT RAISE(ABORT, 'transfers are append-only');
END;

-- The last trade that was counted, in the order of time. What was not counted to the end is begun anew.
DELETE FROM market_scores WHERE market_id IN (
    SELECT market_id FROM countings WHERE NOT done AND users_through = zeroblob(16)
);
ALTER TABLE countings ADD COLUMN last_traded_at INTEGER;
ALTER TABLE countings ADD COLUMN last_trade BLOB;
UPDATE countings SET
    last_traded_at = (SELECT created_at FROM trades WHERE trades.market_id = countings.market_id ORDER BY created_at DESC, id DESC LIMIT 1),
    last_trade = (SELECT id FROM trades WHERE trades.market_id = countings.market_id ORDER BY created_at DESC, id DESC LIMIT 1)
WHERE done OR users_through <> zeroblob(16);
ALTER TABLE countings DROP COLUMN trades_through;
