-- The tables of plainjobs. Every object carries the prefix, so that they may
-- live in a database that belongs to somebody else.

CREATE TABLE plainjobs_names (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

-- States are those of package backend: 1 scheduled, 2 blocked, 3 pending,
-- 4 running, 5 done, 6 failed, 7 cancelled. Flags are those of flag.go: a job
-- without any needs nothing but its row.
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
  flags        INTEGER NOT NULL DEFAULT 0,
  unique_key   TEXT,
  serial_key   TEXT,
  expires_at   INTEGER, -- NULL once the job was started
  metadata     BLOB,
  payload      BLOB    NOT NULL
) STRICT;

-- Partial indexes: a job is in at most one of them, a finished one in none
-- that a claim reads.
CREATE INDEX plainjobs_pending   ON plainjobs_jobs (name, priority DESC, id) WHERE state = 3 AND suspect = 0;
CREATE INDEX plainjobs_suspects  ON plainjobs_jobs (name, priority DESC, id) WHERE state = 3 AND suspect = 1;
CREATE INDEX plainjobs_scheduled ON plainjobs_jobs (run_at)                  WHERE state = 1;
CREATE INDEX plainjobs_blocked   ON plainjobs_jobs (name, serial_key, id)    WHERE state = 2;
CREATE INDEX plainjobs_expiring  ON plainjobs_jobs (expires_at)              WHERE expires_at IS NOT NULL AND state < 4;
CREATE INDEX plainjobs_running   ON plainjobs_jobs (worker)                  WHERE state = 4;
CREATE INDEX plainjobs_ended     ON plainjobs_jobs (state, id)               WHERE state IN (6, 7);

-- The last errors of a job.
CREATE TABLE plainjobs_errors (
  job     INTEGER NOT NULL,
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  attempt INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  error   TEXT    NOT NULL,
  stack   TEXT    NOT NULL
) STRICT;
CREATE INDEX plainjobs_errors_job ON plainjobs_errors (job, id);

-- A row per live worker process holds all of its leases.
CREATE TABLE plainjobs_workers (
  id         INTEGER PRIMARY KEY,
  host       TEXT    NOT NULL,
  pid        INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at    INTEGER NOT NULL,
  lease      INTEGER NOT NULL, -- microseconds after seen_at
  jobs       TEXT    NOT NULL, -- the names that it knows, as JSON
  schedules  TEXT    NOT NULL,
  presence   TEXT    NOT NULL -- the locked file that shows that its process lives, or empty
) STRICT;

-- How many jobs there are, kept in the transaction that changes it: counting
-- a million rows takes from a tenth of a second to several.
CREATE TABLE plainjobs_counts (
  name  INTEGER NOT NULL,
  state INTEGER NOT NULL,
  jobs  INTEGER NOT NULL,
  PRIMARY KEY (name, state)
) STRICT, WITHOUT ROWID;

-- The unique keys. The primary key is the constraint that keeps a second job
-- out. A key that its job has given back (held = 0) is kept until its time.
CREATE TABLE plainjobs_keys (
  name  INTEGER NOT NULL,
  key   TEXT    NOT NULL,
  job   INTEGER NOT NULL,
  held  INTEGER NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (name, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX plainjobs_keys_kept ON plainjobs_keys (until) WHERE held = 0;

-- The heads of the serial keys: the one job of each that is not blocked.
CREATE TABLE plainjobs_serials (
  name INTEGER NOT NULL,
  key  TEXT    NOT NULL,
  job  INTEGER NOT NULL,
  PRIMARY KEY (name, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE plainjobs_results (
  job    INTEGER PRIMARY KEY,
  result BLOB    NOT NULL
) STRICT;

CREATE TABLE plainjobs_progress (
  job   INTEGER PRIMARY KEY,
  done  INTEGER NOT NULL,
  total INTEGER NOT NULL
) STRICT;

-- What is set or paused by name; 0 is the whole queue.
CREATE TABLE plainjobs_settings (
  name        INTEGER PRIMARY KEY,
  paused      INTEGER NOT NULL DEFAULT 0,
  max_running INTEGER NOT NULL DEFAULT 0,
  rate        INTEGER NOT NULL DEFAULT 0,
  per         INTEGER NOT NULL DEFAULT 0,
  keep_done   INTEGER NOT NULL DEFAULT 0,
  keep_failed INTEGER NOT NULL DEFAULT 0,
  keep_rows   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- How many jobs of a name with a rate were claimed in a hundredth of its span,
-- by the end of that hundredth.
CREATE TABLE plainjobs_starts (
  name INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  jobs INTEGER NOT NULL,
  PRIMARY KEY (name, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE plainjobs_schedules (
  name       TEXT    PRIMARY KEY,
  definition TEXT    NOT NULL,
  next_at    INTEGER NOT NULL,
  last_at    INTEGER NOT NULL DEFAULT 0,
  paused     INTEGER NOT NULL DEFAULT 0,
  removed_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
