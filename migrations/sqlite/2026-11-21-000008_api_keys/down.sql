DROP INDEX orders_open_by_key;
ALTER TABLE orders DROP COLUMN counted_by;
DROP TABLE api_key_spending;
DROP TABLE api_keys;
