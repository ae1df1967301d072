-- Administrators look users up by how their names begin.
CREATE INDEX users_by_name ON users (lower(display_name));
