-- Lists that are filtered by one thing and sorted by another, from their first row on. Neither table is written
-- by orders and trades.
CREATE INDEX markets_by_status_closes_at ON markets (status, closes_at, id);
CREATE INDEX markets_by_category_closes_at ON markets (category, closes_at, id);
CREATE INDEX markets_by_creator_closes_at ON markets (creator_id, closes_at, id);
CREATE INDEX users_by_role_display_name ON users (role, display_name, id) WHERE role <> 'user';
CREATE INDEX users_by_status_display_name ON users (status, display_name, id) WHERE status <> 'active';
