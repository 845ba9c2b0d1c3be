-- The tables of plainjobs. Every object carries the prefix, so that they may
-- live in a database that belongs to somebody else.

CREATE TABLE plainjobs_names (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

-- States are those of package backend: 1 scheduled, 3 pending, 4 running,
-- 5 done, 6 failed, 7 cancelled.
--
-- worker, token and finished_at hold numbers of eight bytes from the start,
-- so that a claim or a completion never makes the row longer: rows pushed in
-- bulk fill their pages, and one that grows splits its page.
CREATE TABLE plainjobs_jobs (
  id           INTEGER PRIMARY KEY AUTOINCREMENT, -- AUTOINCREMENT: an id is never used twice
  name         INTEGER NOT NULL,
  state        INTEGER NOT NULL,
  ending       INTEGER NOT NULL DEFAULT 0, -- of the run that token settled
  suspect      INTEGER NOT NULL DEFAULT 0,
  crashes      INTEGER NOT NULL DEFAULT 0,
  failures     INTEGER NOT NULL DEFAULT 0,
  priority     INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  worker       INTEGER NOT NULL DEFAULT -4611686018427387904,
  token        INTEGER NOT NULL DEFAULT -4611686018427387904,
  created_at   INTEGER NOT NULL, -- microseconds UTC, like all times
  run_at       INTEGER NOT NULL,
  finished_at  INTEGER NOT NULL, -- created_at until the job is finished
  payload      BLOB    NOT NULL
) STRICT;

-- Partial indexes: a job is in at most one of them, a finished one in none
-- that a claim reads.
CREATE INDEX plainjobs_pending   ON plainjobs_jobs (name, priority DESC, id) WHERE state = 3 AND suspect = 0;
CREATE INDEX plainjobs_suspects  ON plainjobs_jobs (name, priority DESC, id) WHERE state = 3 AND suspect = 1;
CREATE INDEX plainjobs_scheduled ON plainjobs_jobs (run_at)                  WHERE state = 1;
CREATE INDEX plainjobs_running   ON plainjobs_jobs (worker)                  WHERE state = 4;
CREATE INDEX plainjobs_ended     ON plainjobs_jobs (state, id)               WHERE state IN (6, 7);

-- The last errors of a job.
CREATE TABLE plainjobs_errors (
  job     INTEGER NOT NULL,
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  attempt INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  error   TEXT    NOT NULL
) STRICT;
CREATE INDEX plainjobs_errors_job ON plainjobs_errors (job, id);

-- A row per live worker process holds all of its leases.
CREATE TABLE plainjobs_workers (
  id         INTEGER PRIMARY KEY,
  host       TEXT    NOT NULL,
  pid        INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at    INTEGER NOT NULL,
  lease      INTEGER NOT NULL -- microseconds after seen_at
) STRICT;

-- How many jobs there are, kept in the transaction that changes it: counting
-- a million rows takes from a tenth of a second to several.
CREATE TABLE plainjobs_counts (
  name  INTEGER NOT NULL,
  state INTEGER NOT NULL,
  jobs  INTEGER NOT NULL,
  PRIMARY KEY (name, state)
) STRICT, WITHOUT ROWID;
