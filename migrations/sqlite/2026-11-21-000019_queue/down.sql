DROP TABLE job_schedules;
CREATE TABLE old_jobs (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT jobs_id CHECK (length(id) = 16),
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT jobs_state CHECK (state IN ('waiting', 'running', 'dead')),
    run_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL CONSTRAINT jobs_attempts CHECK (attempts >= 0),
    last_error TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO old_jobs SELECT id, kind, payload, state, run_at, attempts, last_error, created_at FROM jobs WHERE state <> 'done';
DROP TABLE jobs;
ALTER TABLE old_jobs RENAME TO jobs;
CREATE INDEX jobs_due ON jobs (kind, run_at, id) WHERE state <> 'dead';
CREATE INDEX jobs_dead ON jobs (kind, run_at, id) WHERE state = 'dead';
CREATE INDEX jobs_dead_by_run_at ON jobs (run_at) WHERE state = 'dead';
