DROP TABLE transfers;
DROP TABLE accounts;
DROP TABLE users;
DROP FUNCTION refuse_change();
