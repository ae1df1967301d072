-- A group's events are mostly the same words again and again. Where this server has lz4, which takes a few microseconds
-- for each order, what is too long for a row is compressed before it is taken apart: most fits then.
DO $$
BEGIN
    ALTER TABLE event_batches ALTER COLUMN payload SET COMPRESSION lz4;
    ALTER TABLE event_batches ALTER COLUMN payload SET STORAGE EXTENDED;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
