ALTER TABLE outcomes
    DROP CONSTRAINT outcomes_weights,
    ADD CONSTRAINT outcomes_outcome CHECK (outcome BETWEEN 0 AND 19),
    ADD CONSTRAINT outcomes_last_price CHECK (last_price BETWEEN 1 AND 999),
    ADD CONSTRAINT outcomes_probability CHECK (probability BETWEEN 0 AND 1000),
    ADD CONSTRAINT outcomes_proposed_weight CHECK (proposed_weight BETWEEN 0 AND 1000),
    ADD CONSTRAINT outcomes_weight CHECK (weight BETWEEN 0 AND 1000);
ALTER TABLE answers
    ADD CONSTRAINT answers_fingerprint CHECK (length(fingerprint) = 32),
    ADD CONSTRAINT answers_status CHECK (status BETWEEN 0 AND 65535);
ALTER TABLE positions
    DROP CONSTRAINT positions_figures,
    ADD CONSTRAINT positions_spent CHECK (spent >= 0),
    ADD CONSTRAINT positions_received CHECK (received >= 0),
    ADD CONSTRAINT positions_shares CHECK (cardinality(free) = cardinality(held) AND 0 <= ALL (free) AND 0 <= ALL (held));
ALTER TABLE market_counters
    DROP CONSTRAINT market_counters_figures,
    ADD CONSTRAINT market_counters_volume CHECK (volume >= 0),
    ADD CONSTRAINT market_counters_trade_count CHECK (trade_count >= 0),
    ADD CONSTRAINT market_counters_sequence CHECK (sequence >= 0);
ALTER TABLE accounts
    DROP CONSTRAINT accounts_figures,
    ADD CONSTRAINT accounts_owner_kind CHECK (owner_kind IN ('user', 'market', 'maker', 'treasury', 'fees')),
    ADD CONSTRAINT accounts_paid_count CHECK (paid_count >= 0),
    ADD CONSTRAINT accounts_chain CHECK (length(chain) = 32),
    ADD CONSTRAINT accounts_owner CHECK ((owner_id IS NULL) = (owner_kind IN ('treasury', 'fees'))),
    ADD CONSTRAINT accounts_balance CHECK (owner_kind = 'treasury' OR balance >= 0),
    ADD CONSTRAINT accounts_held CHECK (held >= 0 AND CASE owner_kind WHEN 'treasury' THEN held = 0 ELSE held <= balance END);
ALTER TABLE transfers
    DROP CONSTRAINT transfers_figures,
    ADD CONSTRAINT transfers_kind CHECK (
        kind IN ('grant', 'payment', 'trade', 'fee', 'mint', 'redeem', 'payout', 'subsidy', 'refund')
    ),
    ADD CONSTRAINT transfers_amount CHECK (amount > 0),
    ADD CONSTRAINT transfers_paid_number CHECK (paid_number > 0),
    ADD CONSTRAINT transfers_hash CHECK (length(hash) = 32),
    ADD CONSTRAINT transfers_parties CHECK (from_account <> to_account);
ALTER TABLE trades
    DROP CONSTRAINT trades_figures,
    ADD CONSTRAINT trades_outcome CHECK (outcome BETWEEN 0 AND 19),
    ADD CONSTRAINT trades_price CHECK (price BETWEEN 1 AND 999),
    ADD CONSTRAINT trades_quantity CHECK (quantity > 0),
    ADD CONSTRAINT trades_cost CHECK (cost >= 0),
    ADD CONSTRAINT trades_taker_side CHECK (taker_side IN ('buy', 'sell')),
    ADD CONSTRAINT trades_settlement CHECK (settlement IN ('transfer', 'mint', 'redeem', 'rest')),
    ADD CONSTRAINT trades_fee CHECK (fee >= 0),
    ADD CONSTRAINT trades_maker CHECK ((maker_order IS NULL) = (maker_id IS NULL));
ALTER TABLE orders
    DROP CONSTRAINT orders_figures,
    ADD CONSTRAINT orders_outcome CHECK (outcome BETWEEN 0 AND 19),
    ADD CONSTRAINT orders_side CHECK (side IN ('buy', 'sell')),
    ADD CONSTRAINT orders_order_type CHECK (order_type IN ('limit', 'market')),
    ADD CONSTRAINT orders_price CHECK (price BETWEEN 1 AND 999),
    ADD CONSTRAINT orders_max_spend CHECK (max_spend >= 0),
    ADD CONSTRAINT orders_backing CHECK (backing IN ('cash', 'shares')),
    ADD CONSTRAINT orders_quantity CHECK (quantity > 0),
    ADD CONSTRAINT orders_filled CHECK (filled >= 0),
    ADD CONSTRAINT orders_remaining CHECK (remaining >= 0),
    ADD CONSTRAINT orders_reserved CHECK (reserved >= 0),
    ADD CONSTRAINT orders_cost CHECK (cost >= 0),
    ADD CONSTRAINT orders_fee CHECK (fee >= 0),
    ADD CONSTRAINT orders_time_in_force CHECK (time_in_force IN ('gtc', 'gtd', 'ioc', 'fok')),
    ADD CONSTRAINT orders_self_trade_prevention CHECK (
        self_trade_prevention IN ('cancel_newest', 'cancel_oldest', 'decrement')
    ),
    ADD CONSTRAINT orders_status CHECK (status IN ('open', 'filled', 'cancelled', 'expired')),
    ADD CONSTRAINT orders_end_reason CHECK (
        end_reason IN ('requested', 'time_in_force', 'self_trade', 'market_closed', 'expired', 'user_deactivated')
    ),
    ADD CONSTRAINT orders_book CHECK (book BETWEEN 0 AND 19),
    ADD CONSTRAINT orders_book_side CHECK (book_side IN ('buy', 'sell')),
    ADD CONSTRAINT orders_book_price CHECK (book_price BETWEEN 1 AND 999),
    ADD CONSTRAINT orders_quantities CHECK (filled + remaining <= quantity),
    ADD CONSTRAINT orders_open CHECK ((status = 'open') = (remaining > 0)),
    ADD CONSTRAINT orders_rest_at_a_price CHECK (status <> 'open' OR book_price IS NOT NULL),
    ADD CONSTRAINT orders_reserve CHECK (status = 'open' OR reserved = 0);
ALTER TABLE positions RESET (fillfactor);
ALTER TABLE outcomes RESET (fillfactor);
ALTER TABLE market_counters RESET (fillfactor);
ALTER TABLE accounts RESET (fillfactor);
ALTER TABLE positions
    ADD CONSTRAINT positions_market_id_fkey FOREIGN KEY (market_id) REFERENCES markets (id),
    ADD CONSTRAINT positions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id);
DROP TYPE client_order_id;
DROP TYPE user_in_market;
DROP TYPE book_request;
DROP TYPE answer_key;
DROP TYPE answer_row;
DROP TYPE trade_row;
DROP TYPE position_row;
DROP TYPE outcome_row;
DROP TYPE market_counters_change;
DROP TYPE transfer_row;
DROP TYPE account_change;
DROP TYPE order_change;
DROP TYPE order_row;
