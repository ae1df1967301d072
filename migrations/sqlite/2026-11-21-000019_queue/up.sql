-- A constraint cannot be changed in place, so the table is made anew.
CREATE TABLE new_jobs (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT jobs_id CHECK (length(id) = 16),
    kind TEXT NOT NULL,
    -- JSON, of a form that the kind decides.
    payload TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT jobs_state CHECK (state IN ('waiting', 'running', 'dead', 'done')),
    -- When it is due; while it runs, when its lease ends; of one that has ended, when it did.
    run_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL CONSTRAINT jobs_attempts CHECK (attempts >= 0),
    last_error TEXT,
    created_at INTEGER NOT NULL,
    -- 0 comes first.
    priority INTEGER NOT NULL DEFAULT 1 CONSTRAINT jobs_priority CHECK (priority BETWEEN 0 AND 2),
    -- Of the jobs of a kind that are not done, one has it.
    unique_key TEXT,
    -- How often it failed in a row.
    failures INTEGER NOT NULL DEFAULT 0 CONSTRAINT jobs_failures CHECK (failures >= 0),
    -- It was put aside once more while it ran.
    again INTEGER NOT NULL DEFAULT 0,
    -- Whether it stays when it is done, for people to see what came of it.
    kept INTEGER NOT NULL DEFAULT 0,
    result TEXT
) STRICT, WITHOUT ROWID;

INSERT INTO new_jobs (id, kind, payload, state, run_at, attempts, last_error, created_at, failures)
SELECT id, kind, payload, state, run_at, attempts, last_error, created_at, attempts FROM jobs;
DROP TABLE jobs;
ALTER TABLE new_jobs RENAME TO jobs;

CREATE INDEX jobs_due ON jobs (kind, priority, run_at, id) WHERE state IN ('waiting', 'running');
CREATE INDEX jobs_ended ON jobs (run_at) WHERE state IN ('dead', 'done');
CREATE INDEX jobs_dead ON jobs (kind) WHERE state = 'dead';
CREATE UNIQUE INDEX jobs_unique_key ON jobs (kind, unique_key) WHERE unique_key IS NOT NULL AND state <> 'done';
-- As they are listed.
CREATE INDEX jobs_by_created_at ON jobs (created_at, id);

-- Up to which moment each schedule has put its jobs aside.
CREATE TABLE job_schedules (
    name TEXT NOT NULL PRIMARY KEY,
    slot INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
