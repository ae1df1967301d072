ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD CONSTRAINT orders_pkey PRIMARY KEY (id);
ALTER TABLE trades DROP CONSTRAINT trades_pkey, ADD CONSTRAINT trades_pkey PRIMARY KEY (id);
ALTER TABLE order_groups DROP CONSTRAINT order_groups_pkey, ADD CONSTRAINT order_groups_pkey PRIMARY KEY (id);
ALTER TABLE transfers DROP CONSTRAINT transfers_pkey, ADD CONSTRAINT transfers_pkey PRIMARY KEY (id);
