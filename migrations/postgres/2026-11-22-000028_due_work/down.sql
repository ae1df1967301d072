DROP INDEX users_deactivated;
DROP INDEX markets_to_pay;
