-- How long values are kept is PostgreSQL's.
SELECT 1;
