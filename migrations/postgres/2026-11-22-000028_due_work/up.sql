-- Markets that are to be paid are found without passing those that wait, for however long, to be decided.
CREATE INDEX markets_to_pay ON markets (id) WHERE settled_at IS NULL AND status IN ('resolved', 'voided');
-- Users that are gone are looked at by turns, in the order of their ids.
CREATE INDEX users_deactivated ON users (id) WHERE status = 'deactivated';
