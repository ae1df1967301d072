ALTER TABLE orders DROP COLUMN group_id;
DROP TABLE order_groups;
