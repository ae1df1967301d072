-- What happened, by whom and where: orders by their users, trades by both users and by the market, transfers by both accounts, of
-- which those of users and markets have the ids of these. What an order does is in one place for each of them then, and so
-- in one page, where five indexes had a page each.
CREATE TABLE timelines (
    owner BLOB NOT NULL,
    at INTEGER NOT NULL,
    entry BLOB NOT NULL,
    -- 0 for an order, 1 for a trade of a user, 2 for one in a market, 3 for a transfer that was paid, 4 for one that was received.
    what INTEGER NOT NULL,
    PRIMARY KEY (owner, at, entry, what)
) STRICT, WITHOUT ROWID;

INSERT INTO timelines
SELECT user_id, created_at, id, 0 FROM orders
UNION ALL SELECT market_id, created_at, id, 2 FROM trades
UNION ALL SELECT taker_id, created_at, id, 1 FROM trades
UNION ALL SELECT maker_id, created_at, id, 1 FROM trades WHERE maker_id <> taker_id
UNION ALL SELECT from_account, created_at, id, 3 FROM transfers
UNION ALL SELECT to_account, created_at, id, 4 FROM transfers
ORDER BY 1, 2, 3, 4;

CREATE TRIGGER timelines_are_never_updated BEFORE UPDATE ON timelines BEGIN
    SELECT RAISE(ABORT, 'timelines are written by what happens');
END;
CREATE TRIGGER orders_into_timelines AFTER INSERT ON orders BEGIN
    INSERT INTO timelines VALUES (NEW.user_id, NEW.created_at, NEW.id, 0);
END;
CREATE TRIGGER orders_out_of_timelines AFTER DELETE ON orders BEGIN
    DELETE FROM timelines WHERE owner = OLD.user_id AND at = OLD.created_at AND entry = OLD.id AND what = 0;
END;
CREATE TRIGGER trades_into_timelines AFTER INSERT ON trades BEGIN
    INSERT INTO timelines VALUES (NEW.market_id, NEW.created_at, NEW.id, 2), (NEW.taker_id, NEW.created_at, NEW.id, 1);
    INSERT INTO timelines SELECT NEW.maker_id, NEW.created_at, NEW.id, 1 WHERE NEW.maker_id <> NEW.taker_id;
END;
CREATE TRIGGER transfers_into_timelines AFTER INSERT ON transfers BEGIN
    INSERT INTO timelines VALUES (NEW.from_account, NEW.created_at, NEW.id, 3), (NEW.to_account, NEW.created_at, NEW.id, 4);
END;

DROP INDEX orders_by_user;
DROP INDEX trades_by_market;
DROP INDEX trades_by_taker;
DROP INDEX trades_by_maker;
DROP INDEX transfers_by_payer;
DROP INDEX transfers_by_payee;
