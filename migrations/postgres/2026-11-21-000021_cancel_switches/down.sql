UPDATE orders SET end_reason = 'requested' WHERE end_reason = 'disconnected';
ALTER TYPE order_row DROP ATTRIBUTE placed_by;
ALTER TABLE orders DROP COLUMN placed_by;
DROP TABLE cancel_switches;
