ALTER TABLE jobs
    -- 0 comes first.
    ADD COLUMN priority bigint NOT NULL DEFAULT 1 CONSTRAINT jobs_priority CHECK (priority BETWEEN 0 AND 2),
    -- Of the jobs of a kind that are not done, one has it.
    ADD COLUMN unique_key text COLLATE "C",
    -- How often it failed in a row.
    ADD COLUMN failures bigint NOT NULL DEFAULT 0 CONSTRAINT jobs_failures CHECK (failures >= 0),
    -- It was put aside once more while it ran.
    ADD COLUMN again boolean NOT NULL DEFAULT false,
    -- Whether it stays when it is done, for people to see what came of it.
    ADD COLUMN kept boolean NOT NULL DEFAULT false,
    ADD COLUMN result text COLLATE "C",
    DROP CONSTRAINT jobs_state,
    ADD CONSTRAINT jobs_state CHECK (state IN ('waiting', 'running', 'dead', 'done'));

UPDATE jobs SET failures = attempts;

DROP INDEX jobs_due;
DROP INDEX jobs_dead;
DROP INDEX jobs_dead_by_run_at;
CREATE INDEX jobs_due ON jobs (kind, priority, run_at, id) WHERE state IN ('waiting', 'running');
CREATE INDEX jobs_ended ON jobs (run_at) WHERE state IN ('dead', 'done');
CREATE INDEX jobs_dead ON jobs (kind) WHERE state = 'dead';
CREATE UNIQUE INDEX jobs_unique_key ON jobs (kind, unique_key) WHERE unique_key IS NOT NULL AND state <> 'done';
-- As they are listed.
CREATE INDEX jobs_by_created_at ON jobs (created_at, id);

-- Up to which moment each schedule has put its jobs aside.
CREATE TABLE job_schedules (
    name text COLLATE "C" PRIMARY KEY,
    slot timestamptz NOT NULL
);
