DROP TABLE job_schedules;
DELETE FROM jobs WHERE state = 'done';
DROP INDEX jobs_by_created_at;
DROP INDEX jobs_unique_key;
DROP INDEX jobs_dead;
DROP INDEX jobs_ended;
DROP INDEX jobs_due;
ALTER TABLE jobs
    DROP CONSTRAINT jobs_state,
    ADD CONSTRAINT jobs_state CHECK (state IN ('waiting', 'running', 'dead')),
    DROP COLUMN result,
    DROP COLUMN kept,
    DROP COLUMN again,
    DROP COLUMN failures,
    DROP COLUMN unique_key,
    DROP COLUMN priority;
CREATE INDEX jobs_due ON jobs (kind, run_at, id) WHERE state <> 'dead';
CREATE INDEX jobs_dead ON jobs (kind, run_at, id) WHERE state = 'dead';
CREATE INDEX jobs_dead_by_run_at ON jobs (run_at) WHERE state = 'dead';
