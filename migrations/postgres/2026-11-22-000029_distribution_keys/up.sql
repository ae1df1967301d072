-- A table that is spread over partitions or servers has to have in its key what it is spread by: the market, or the payer.
-- Behind the id, so that a row is still found by its id alone.
ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD CONSTRAINT orders_pkey PRIMARY KEY (id, market_id);
ALTER TABLE trades DROP CONSTRAINT trades_pkey, ADD CONSTRAINT trades_pkey PRIMARY KEY (id, market_id);
ALTER TABLE order_groups DROP CONSTRAINT order_groups_pkey, ADD CONSTRAINT order_groups_pkey PRIMARY KEY (id, market_id);
ALTER TABLE transfers DROP CONSTRAINT transfers_pkey, ADD CONSTRAINT transfers_pkey PRIMARY KEY (id, from_account);
