-- What workers have seen of the silence of a worker that does not renew its
-- row: for which seen_at, when last, by which worker, and how many microseconds
-- of it count. See Silence in package backend. All are 0 if there is none.
ALTER TABLE plainjobs_workers ADD COLUMN silent_seen INTEGER NOT NULL DEFAULT 0; -- microseconds UTC
ALTER TABLE plainjobs_workers ADD COLUMN silent_at   INTEGER NOT NULL DEFAULT 0; -- microseconds UTC
ALTER TABLE plainjobs_workers ADD COLUMN silent_by   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plainjobs_workers ADD COLUMN silent_for  INTEGER NOT NULL DEFAULT 0; -- microseconds

-- What tells on the worker's own host whether its process has ended, or empty.
ALTER TABLE plainjobs_workers ADD COLUMN process TEXT NOT NULL DEFAULT '';

-- The order of claims: by priority, then by run_at, then by id. A job that comes
-- back after a run stands behind those that could run before it, and not at the
-- place of its id, so that jobs that come back do not starve new ones. The id is
-- at the end of each entry of an index anyway.
DROP INDEX plainjobs_pending;
DROP INDEX plainjobs_suspects;
CREATE INDEX plainjobs_pending  ON plainjobs_jobs (name, priority DESC, run_at) WHERE state = 3 AND suspect = 0;
CREATE INDEX plainjobs_suspects ON plainjobs_jobs (name, priority DESC, run_at) WHERE state = 3 AND suspect = 1;

-- Finished jobs by when they finished: what is past its keep is found whatever
-- comes before it. Completions append to it.
CREATE INDEX plainjobs_finished ON plainjobs_jobs (name, state, finished_at) WHERE state >= 5;

-- When the run with a token was started, if its worker told. Both are 0 if it
-- did not.
ALTER TABLE plainjobs_jobs ADD COLUMN started_at    INTEGER NOT NULL DEFAULT 0; -- microseconds UTC
ALTER TABLE plainjobs_jobs ADD COLUMN started_token INTEGER NOT NULL DEFAULT 0;

-- A unique key belongs to a job that exists. Keys that were kept by For for jobs
-- that are deleted or cancelled are free.
DELETE FROM plainjobs_keys WHERE held = 0
  AND NOT EXISTS (SELECT 1 FROM plainjobs_jobs j WHERE j.id = plainjobs_keys.job AND j.state <> 7);

-- How many crashes fail a job of the name; 0 is the default, and a negative
-- number is none.
ALTER TABLE plainjobs_settings ADD COLUMN max_crashes INTEGER NOT NULL DEFAULT 0;
