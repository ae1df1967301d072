UPDATE orders SET end_reason = 'requested' WHERE end_reason = 'group_full';
ALTER TYPE order_row DROP ATTRIBUTE group_id;
ALTER TABLE orders DROP COLUMN group_id;
DROP TABLE order_groups;
