-- Types of rows are PostgreSQL's.
SELECT 1;
