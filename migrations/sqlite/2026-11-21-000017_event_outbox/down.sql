DROP TABLE event_cursors;
DROP TABLE event_batches;
