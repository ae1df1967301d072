CREATE TABLE orders (
    id uuid PRIMARY KEY,
    market_id uuid NOT NULL REFERENCES markets (id),
    user_id uuid NOT NULL REFERENCES users (id),
    outcome bigint NOT NULL CONSTRAINT orders_outcome CHECK (outcome BETWEEN 0 AND 19),
    side text COLLATE "C" NOT NULL CONSTRAINT orders_side CHECK (side IN ('buy', 'sell')),
    order_type text COLLATE "C" NOT NULL CONSTRAINT orders_order_type CHECK (order_type IN ('limit', 'market')),
    price bigint CONSTRAINT orders_price CHECK (price BETWEEN 1 AND 999),
    max_spend bigint CONSTRAINT orders_max_spend CHECK (max_spend >= 0),
    backing text COLLATE "C" NOT NULL CONSTRAINT orders_backing CHECK (backing IN ('cash', 'shares')),
    quantity bigint NOT NULL CONSTRAINT orders_quantity CHECK (quantity > 0),
    filled bigint NOT NULL CONSTRAINT orders_filled CHECK (filled >= 0),
    remaining bigint NOT NULL CONSTRAINT orders_remaining CHECK (remaining >= 0),
    reserved bigint NOT NULL CONSTRAINT orders_reserved CHECK (reserved >= 0),
    cost bigint NOT NULL CONSTRAINT orders_cost CHECK (cost >= 0),
    fee bigint NOT NULL CONSTRAINT orders_fee CHECK (fee >= 0),
    time_in_force text COLLATE "C" NOT NULL CONSTRAINT orders_time_in_force CHECK (time_in_force IN ('gtc', 'gtd', 'ioc', 'fok')),
    expires_at timestamptz,
    post_only boolean NOT NULL,
    self_trade_prevention text COLLATE "C" NOT NULL CONSTRAINT orders_self_trade_prevention CHECK (
        self_trade_prevention IN ('cancel_newest', 'cancel_oldest', 'decrement')
    ),
    client_order_id text COLLATE "C",
    status text COLLATE "C" NOT NULL CONSTRAINT orders_status CHECK (status IN ('open', 'filled', 'cancelled', 'expired')),
    end_reason text COLLATE "C" CONSTRAINT orders_end_reason CHECK (
        end_reason IN ('requested', 'time_in_force', 'self_trade', 'market_closed', 'expired', 'user_deactivated')
    ),
    book bigint NOT NULL CONSTRAINT orders_book CHECK (book BETWEEN 0 AND 19),
    book_side text COLLATE "C" NOT NULL CONSTRAINT orders_book_side CHECK (book_side IN ('buy', 'sell')),
    book_price bigint CONSTRAINT orders_book_price CHECK (book_price BETWEEN 1 AND 999),
    sequence bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT orders_quantities CHECK (filled + remaining <= quantity),
    CONSTRAINT orders_open CHECK ((status = 'open') = (remaining > 0)),
    CONSTRAINT orders_rest_at_a_price CHECK (status <> 'open' OR book_price IS NOT NULL),
    CONSTRAINT orders_reserve CHECK (status = 'open' OR reserved = 0)
);

CREATE UNIQUE INDEX orders_by_client_order_id ON orders (user_id, client_order_id) WHERE client_order_id IS NOT NULL;
-- The book, each side from its best price.
CREATE INDEX orders_bids ON orders (market_id, book, book_price DESC, sequence) WHERE status = 'open' AND book_side = 'buy';
CREATE INDEX orders_asks ON orders (market_id, book, book_price, sequence) WHERE status = 'open' AND book_side = 'sell';
CREATE INDEX orders_open_by_user ON orders (user_id, market_id) WHERE status = 'open';
CREATE INDEX orders_open_by_market ON orders (market_id, id) WHERE status = 'open';
CREATE INDEX orders_to_expire ON orders (expires_at) WHERE status = 'open' AND expires_at IS NOT NULL;
CREATE INDEX orders_by_user ON orders (user_id, created_at, id);
CREATE INDEX orders_by_user_updated ON orders (user_id, updated_at, id);
CREATE INDEX orders_by_market ON orders (market_id, created_at, id);

CREATE TABLE trades (
    id uuid PRIMARY KEY,
    market_id uuid NOT NULL REFERENCES markets (id),
    sequence bigint NOT NULL,
    outcome bigint NOT NULL CONSTRAINT trades_outcome CHECK (outcome BETWEEN 0 AND 19),
    price bigint NOT NULL CONSTRAINT trades_price CHECK (price BETWEEN 1 AND 999),
    quantity bigint NOT NULL CONSTRAINT trades_quantity CHECK (quantity > 0),
    cost bigint NOT NULL CONSTRAINT trades_cost CHECK (cost >= 0),
    taker_side text COLLATE "C" NOT NULL CONSTRAINT trades_taker_side CHECK (taker_side IN ('buy', 'sell')),
    settlement text COLLATE "C" NOT NULL CONSTRAINT trades_settlement CHECK (settlement IN ('transfer', 'mint', 'redeem', 'rest')),
    taker_order uuid NOT NULL REFERENCES orders (id),
    taker_id uuid NOT NULL,
    maker_order uuid REFERENCES orders (id),
    maker_id uuid,
    fee bigint NOT NULL CONSTRAINT trades_fee CHECK (fee >= 0),
    created_at timestamptz NOT NULL,
    CONSTRAINT trades_maker CHECK ((maker_order IS NULL) = (maker_id IS NULL)),
    UNIQUE (market_id, sequence)
);

CREATE INDEX trades_by_market ON trades (market_id, created_at, id);
CREATE INDEX trades_by_outcome ON trades (market_id, outcome, created_at);
CREATE INDEX trades_by_taker ON trades (taker_id, created_at, id);
CREATE INDEX trades_by_maker ON trades (maker_id, created_at, id) WHERE maker_id IS NOT NULL;
CREATE INDEX trades_by_taker_order ON trades (taker_order);
CREATE INDEX trades_by_maker_order ON trades (maker_order) WHERE maker_order IS NOT NULL;

CREATE TRIGGER trades_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON trades
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
