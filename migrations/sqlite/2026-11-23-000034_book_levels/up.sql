-- What rests at each price of each book. Who looks at a book is told of its best levels, each of which may have thousands of orders:
-- they were all read for it, each on a page of its own, after every change of a book that is looked at often.
CREATE TABLE book_levels (
    market_id BLOB NOT NULL,
    book INTEGER NOT NULL,
    book_side TEXT NOT NULL,
    book_price INTEGER NOT NULL,
    quantity INTEGER NOT NULL CONSTRAINT book_levels_quantity CHECK (quantity >= 0),
    orders INTEGER NOT NULL CONSTRAINT book_levels_orders CHECK (orders >= 0),
    PRIMARY KEY (market_id, book, book_side, book_price)
) STRICT, WITHOUT ROWID;

INSERT INTO book_levels
SELECT market_id, book, book_side, book_price, sum(remaining), count(*) FROM orders WHERE status = 'open'
GROUP BY market_id, book, book_side, book_price ORDER BY 1, 2, 3, 4;

-- What rests joins its level, and what rested leaves it; a change of an order that goes on resting is both, in either order.
CREATE TRIGGER orders_into_levels AFTER INSERT ON orders WHEN NEW.status = 'open' BEGIN
    INSERT INTO book_levels VALUES (NEW.market_id, NEW.book, NEW.book_side, NEW.book_price, NEW.remaining, 1)
    ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity, orders = orders + 1;
END;
CREATE TRIGGER orders_join_levels AFTER UPDATE ON orders WHEN NEW.status = 'open' BEGIN
    INSERT INTO book_levels VALUES (NEW.market_id, NEW.book, NEW.book_side, NEW.book_price, NEW.remaining, 1)
    ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity, orders = orders + 1;
END;
CREATE TRIGGER orders_leave_levels AFTER UPDATE ON orders WHEN OLD.status = 'open' BEGIN
    UPDATE book_levels SET quantity = quantity - OLD.remaining, orders = orders - 1
    WHERE market_id = OLD.market_id AND book = OLD.book AND book_side = OLD.book_side AND book_price = OLD.book_price;
    DELETE FROM book_levels
    WHERE market_id = OLD.market_id AND book = OLD.book AND book_side = OLD.book_side AND book_price = OLD.book_price AND orders = 0;
END;
CREATE TRIGGER orders_out_of_levels AFTER DELETE ON orders WHEN OLD.status = 'open' BEGIN
    UPDATE book_levels SET quantity = quantity - OLD.remaining, orders = orders - 1
    WHERE market_id = OLD.market_id AND book = OLD.book AND book_side = OLD.book_side AND book_price = OLD.book_price;
    DELETE FROM book_levels
    WHERE market_id = OLD.market_id AND book = OLD.book AND book_side = OLD.book_side AND book_price = OLD.book_price AND orders = 0;
END;
