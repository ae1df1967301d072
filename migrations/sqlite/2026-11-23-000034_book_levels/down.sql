DROP TRIGGER orders_into_levels;
DROP TRIGGER orders_join_levels;
DROP TRIGGER orders_leave_levels;
DROP TRIGGER orders_out_of_levels;
DROP TABLE book_levels;
