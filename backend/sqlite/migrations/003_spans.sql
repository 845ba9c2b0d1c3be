-- Claimable jobs are rows of a table, one for each run of them, and claims are
-- rows of another. A claim changes these, and no job's row: see docs/design.md.
--
-- All tables have new names. Each old name is now a view on a function that does
-- not exist, whose name is the error of a program that still has the old tables
-- open. The tables are copied: ALTER TABLE would fail on an application's own
-- views that are broken.

CREATE TABLE plainjobs_job_name (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO plainjobs_job_name (id, name) SELECT id, name FROM plainjobs_names;

-- States are those of package backend, but 3 is pending or running: a job is
-- running if it is in a claim. Flags are those of row.go.
--
-- A token is the seed and the job's id. The seed is drawn when the job becomes
-- claimable, so that claiming it and completing it leave its row as long as it
-- was: rows pushed in bulk fill their pages, and one that grows splits its page.
CREATE TABLE plainjobs_job (
  id           INTEGER PRIMARY KEY, -- never used twice: job_count has the greatest one
  name         INTEGER NOT NULL, -- of job_name
  state        INTEGER NOT NULL,
  ending       INTEGER NOT NULL DEFAULT 0, -- of the run that Fail settled last, if no other was settled since
  suspect      INTEGER NOT NULL DEFAULT 0,
  crashes      INTEGER NOT NULL DEFAULT 0,
  failures     INTEGER NOT NULL DEFAULT 0,
  priority     INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  seed         INTEGER NOT NULL,
  settled_seed INTEGER NOT NULL DEFAULT 0, -- of the run after which the job waits again, or 0
  created_at   INTEGER NOT NULL, -- microseconds UTC, like all times
  run_at       INTEGER NOT NULL,
  finished_at  INTEGER NOT NULL, -- created_at until the job is finished
  flags        INTEGER NOT NULL DEFAULT 0,
  started_at   INTEGER NOT NULL DEFAULT 0, -- when the run of started_seed started, or 0
  started_seed INTEGER NOT NULL DEFAULT 0,
  unique_key   TEXT,
  serial_key   TEXT,
  expires_at   INTEGER, -- NULL once the job was started
  metadata     BLOB,
  payload      BLOB    NOT NULL
) STRICT;
INSERT INTO plainjobs_job (id, name, state, ending, suspect, crashes, failures, priority, max_attempts, seed, created_at, run_at, finished_at, flags,
    started_at, started_seed, unique_key, serial_key, expires_at, metadata, payload)
  SELECT id, name, CASE state WHEN 4 THEN 3 ELSE state END, CASE WHEN state < 4 THEN 0 ELSE ending END, suspect, crashes, failures, priority, max_attempts,
    CASE WHEN state < 4 THEN (SELECT 1 + (random() & 0x1fffffffffffffff)) ELSE token - id END, created_at, run_at, finished_at, flags,
    started_at, started_token - id, unique_key, serial_key, expires_at, metadata, payload
  FROM plainjobs_jobs ORDER BY id;

CREATE INDEX plainjobs_job_scheduled ON plainjobs_job (run_at)                   WHERE state = 1;
CREATE INDEX plainjobs_job_blocked   ON plainjobs_job (name, serial_key, id)     WHERE state = 2;
CREATE INDEX plainjobs_job_expiring  ON plainjobs_job (expires_at)               WHERE expires_at IS NOT NULL AND state < 4;
CREATE INDEX plainjobs_job_ended     ON plainjobs_job (state, id)                WHERE state IN (6, 7);
CREATE INDEX plainjobs_job_finished  ON plainjobs_job (name, state, finished_at) WHERE state >= 5;

-- The pending jobs, in the order of claims: by priority, then by run_at, then by
-- id. A row is a span, the jobs from first to last, all of one name, priority and
-- run_at. Each pending job is in one span. The key has last, not first, so that
-- jobs are claimed off the head of a span without moving it in an index.
CREATE TABLE plainjobs_ready (
  name    INTEGER NOT NULL,
  suspect INTEGER NOT NULL,
  rank    INTEGER NOT NULL, -- the priority, negated
  run_at  INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  first   INTEGER NOT NULL,
  PRIMARY KEY (name, suspect, rank, run_at, last)
) STRICT, WITHOUT ROWID;
CREATE INDEX plainjobs_ready_order ON plainjobs_ready (suspect, rank, run_at, last);
INSERT INTO plainjobs_ready (name, suspect, rank, run_at, last, first)
  SELECT name, suspect, -priority, run_at, max(id), min(id) FROM (
    SELECT id, name, suspect, priority, run_at, id - row_number() OVER (PARTITION BY name, suspect, priority, run_at ORDER BY id) AS island
    FROM plainjobs_jobs WHERE state = 3)
  GROUP BY name, suspect, priority, run_at, island;

-- The leases. A row is the jobs from first to last that have the seed and are
-- not finished: they run. A job that waits again has another seed.
CREATE TABLE plainjobs_claim (
  seed   INTEGER NOT NULL,
  first  INTEGER NOT NULL,
  last   INTEGER NOT NULL,
  worker INTEGER NOT NULL,
  PRIMARY KEY (seed, first)
) STRICT, WITHOUT ROWID;
INSERT INTO plainjobs_claim (seed, first, last, worker)
  SELECT seed, min(id), max(id), worker FROM (
    SELECT id, worker, token - id AS seed, id - row_number() OVER (PARTITION BY worker, token - id ORDER BY id) AS island
    FROM plainjobs_jobs WHERE state = 4)
  GROUP BY seed, worker, island;

-- The last errors of a job.
CREATE TABLE plainjobs_job_error (
  job     INTEGER NOT NULL,
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  attempt INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  error   TEXT    NOT NULL,
  stack   TEXT    NOT NULL
) STRICT;
INSERT INTO plainjobs_job_error (job, id, attempt, at, error, stack) SELECT job, id, attempt, at, error, stack FROM plainjobs_errors ORDER BY id;
CREATE INDEX plainjobs_job_error_job ON plainjobs_job_error (job, id);

CREATE TABLE plainjobs_job_result (
  job    INTEGER PRIMARY KEY,
  result BLOB    NOT NULL
) STRICT;
INSERT INTO plainjobs_job_result (job, result) SELECT job, result FROM plainjobs_results;

CREATE TABLE plainjobs_job_progress (
  job   INTEGER PRIMARY KEY,
  done  INTEGER NOT NULL,
  total INTEGER NOT NULL
) STRICT;
INSERT INTO plainjobs_job_progress (job, done, total) SELECT job, done, total FROM plainjobs_progress;

-- A row per live worker process holds all of its leases.
CREATE TABLE plainjobs_worker (
  id           INTEGER PRIMARY KEY,
  host         TEXT    NOT NULL,
  pid          INTEGER NOT NULL,
  process      TEXT    NOT NULL, -- what tells on its host whether its process has ended, or empty
  lock_file    TEXT    NOT NULL, -- its liveness lock, or empty
  started_at   INTEGER NOT NULL,
  renewed_at   INTEGER NOT NULL,
  lease        INTEGER NOT NULL, -- microseconds after renewed_at
  jobs         TEXT    NOT NULL, -- the names that it knows, as JSON
  schedules    TEXT    NOT NULL,
  -- What workers have seen of its silence, see Silence in package backend. All
  -- are 0 if there is none.
  silence_seen INTEGER NOT NULL DEFAULT 0, -- the renewed_at that is the last
  silence_at   INTEGER NOT NULL DEFAULT 0,
  silence_by   INTEGER NOT NULL DEFAULT 0,
  silence_for  INTEGER NOT NULL DEFAULT 0 -- microseconds
) STRICT;
INSERT INTO plainjobs_worker (id, host, pid, process, lock_file, started_at, renewed_at, lease, jobs, schedules, silence_seen, silence_at, silence_by, silence_for)
  SELECT id, host, pid, process, presence, started_at, seen_at, lease, jobs, schedules, silent_seen, silent_at, silent_by, silent_for FROM plainjobs_workers;

-- How many jobs there are, kept in the transaction that changes it: counting
-- a million rows takes from a tenth of a second to several. State 4 is running.
-- The row of name 0 and state 0 has the greatest id that a job has had. AUTOINCREMENT
-- would write a page more with each push.
CREATE TABLE plainjobs_job_count (
  name  INTEGER NOT NULL,
  state INTEGER NOT NULL,
  jobs  INTEGER NOT NULL,
  PRIMARY KEY (name, state)
) STRICT, WITHOUT ROWID;
INSERT INTO plainjobs_job_count (name, state, jobs) SELECT name, state, jobs FROM plainjobs_counts;
INSERT INTO plainjobs_job_count (name, state, jobs) SELECT 0, 0, seq FROM sqlite_sequence WHERE name = 'plainjobs_jobs';

-- The primary key is the constraint that keeps a second job out. A key that its
-- job has given back (held = 0) is kept until its time.
CREATE TABLE plainjobs_unique_key (
  name  INTEGER NOT NULL,
  key   TEXT    NOT NULL,
  job   INTEGER NOT NULL,
  held  INTEGER NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (name, key)
) STRICT, WITHOUT ROWID;
INSERT INTO plainjobs_unique_key (name, key, job, held, until) SELECT name, key, job, held, until FROM plainjobs_keys;
CREATE INDEX plainjobs_unique_key_kept ON plainjobs_unique_key (until) WHERE held = 0;

-- The job of each serial key that is not blocked.
CREATE TABLE plainjobs_serial_head (
  name INTEGER NOT NULL,
  key  TEXT    NOT NULL,
  job  INTEGER NOT NULL,
  PRIMARY KEY (name, key)
) STRICT, WITHOUT ROWID;
INSERT INTO plainjobs_serial_head (name, key, job) SELECT name, key, job FROM plainjobs_serials;

-- What is set or paused by name; 0 is the whole queue. per and keep are nanoseconds,
-- as Go has them.
-- meta has a number under 'settings' that each change raises.
CREATE TABLE plainjobs_job_setting (
  name        INTEGER PRIMARY KEY,
  paused      INTEGER NOT NULL DEFAULT 0,
  max_running INTEGER NOT NULL DEFAULT 0,
  rate        INTEGER NOT NULL DEFAULT 0,
  per         INTEGER NOT NULL DEFAULT 0,
  keep_done   INTEGER NOT NULL DEFAULT 0,
  keep_failed INTEGER NOT NULL DEFAULT 0,
  keep_rows   INTEGER NOT NULL DEFAULT 0,
  max_crashes INTEGER NOT NULL DEFAULT 0 -- 0 is the default, a negative number no bound
) STRICT;
INSERT INTO plainjobs_job_setting (name, paused, max_running, rate, per, keep_done, keep_failed, keep_rows, max_crashes)
  SELECT name, paused, max_running, rate, per * 1000, keep_done, keep_failed, keep_rows, max_crashes FROM plainjobs_settings;

-- How many jobs of a name with a rate were claimed in a hundredth of its span,
-- by the end of that hundredth.
CREATE TABLE plainjobs_rate_count (
  name INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  jobs INTEGER NOT NULL,
  PRIMARY KEY (name, slot)
) STRICT, WITHOUT ROWID;
INSERT INTO plainjobs_rate_count (name, slot, jobs) SELECT name, slot, jobs FROM plainjobs_starts;

CREATE TABLE plainjobs_schedule (
  name       TEXT    PRIMARY KEY,
  definition TEXT    NOT NULL,
  next_at    INTEGER NOT NULL,
  last_at    INTEGER NOT NULL DEFAULT 0,
  paused     INTEGER NOT NULL DEFAULT 0,
  removed_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO plainjobs_schedule (name, definition, next_at, last_at, paused, removed_at)
  SELECT name, definition, next_at, last_at, paused, removed_at FROM plainjobs_schedules;

UPDATE plainjobs_meta SET key = 'environment' WHERE key = 'home';
INSERT INTO plainjobs_meta (key, value) VALUES ('settings', '1');

DROP TABLE plainjobs_names;
DROP TABLE plainjobs_jobs;
DROP TABLE plainjobs_errors;
DROP TABLE plainjobs_workers;
DROP TABLE plainjobs_counts;
DROP TABLE plainjobs_keys;
DROP TABLE plainjobs_serials;
DROP TABLE plainjobs_results;
DROP TABLE plainjobs_progress;
DROP TABLE plainjobs_settings;
DROP TABLE plainjobs_starts;
DROP TABLE plainjobs_schedules;

CREATE VIEW plainjobs_names     AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_jobs      AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_errors    AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_workers   AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_counts    AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_keys      AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_serials   AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_results   AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_progress  AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_settings  AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_starts    AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
CREATE VIEW plainjobs_schedules AS SELECT "plainjobs: a newer program has upgraded the tables to version 3: restart this program with that version"() AS id;
