-- Whose bot a user is.
ALTER TABLE users ADD COLUMN owner_id BLOB REFERENCES users (id);
CREATE INDEX users_by_owner ON users (owner_id, id) WHERE owner_id IS NOT NULL;
