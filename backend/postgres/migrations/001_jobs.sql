-- The tables of plainjobs, all in a schema of their own. "plainjobs." is
-- replaced where the schema has another name.

-- The one clock of the store, in microseconds UTC. Tests replace it to move
-- the clock; nothing else may.
CREATE FUNCTION plainjobs.now_us() RETURNS bigint LANGUAGE sql VOLATILE
  AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- States are those of package backend: 1 scheduled, 2 blocked, 3 pending,
-- 4 running, 5 done, 6 failed, 7 cancelled. Flags are those of flag.go. Names
-- and keys are compared byte by byte, which is also the order of Go's strings.
CREATE TABLE plainjobs.jobs (
  id           bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- a sequence never gives a number twice
  created_at   bigint   NOT NULL, -- microseconds UTC, like all times
  run_at       bigint   NOT NULL,
  finished_at  bigint   NOT NULL, -- created_at until the job is finished
  worker       bigint   NOT NULL DEFAULT 0,
  token        bigint   NOT NULL DEFAULT 0,
  max_attempts bigint   NOT NULL,
  failures     integer  NOT NULL DEFAULT 0,
  flags        integer  NOT NULL DEFAULT 0,
  state        smallint NOT NULL,
  ending       smallint NOT NULL DEFAULT 0, -- of the run that token settled
  crashes      smallint NOT NULL DEFAULT 0,
  priority     smallint NOT NULL,
  suspect      boolean  NOT NULL DEFAULT false,
  name         text     COLLATE "C" NOT NULL,
  expires_at   bigint, -- NULL once the job was started
  unique_key   text     COLLATE "C",
  serial_key   text     COLLATE "C",
  metadata     bytea,
  payload      bytea    NOT NULL
);

-- Each job becomes three dead rows in its life. A queue that is drained is
-- small, so a share of it says little: vacuum by number, and without pauses.
ALTER TABLE plainjobs.jobs SET (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_vacuum_insert_threshold = 50000,
  autovacuum_analyze_scale_factor = 0.1, autovacuum_analyze_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0);

-- Partial indexes: a job is in at most one of them beside its own, a finished
-- one in none that a claim reads.
CREATE INDEX jobs_pending   ON plainjobs.jobs (name, priority DESC, id) WHERE state = 3 AND NOT suspect;
CREATE INDEX jobs_suspects  ON plainjobs.jobs (name, priority DESC, id) WHERE state = 3 AND suspect;
CREATE INDEX jobs_scheduled ON plainjobs.jobs (run_at)                  WHERE state = 1;
CREATE INDEX jobs_blocked   ON plainjobs.jobs (name, serial_key, id)    WHERE state = 2;
CREATE INDEX jobs_expiring  ON plainjobs.jobs (expires_at)              WHERE expires_at IS NOT NULL AND state < 4;
CREATE INDEX jobs_running   ON plainjobs.jobs (worker)                  WHERE state = 4;
CREATE INDEX jobs_ended     ON plainjobs.jobs (state, id)               WHERE state IN (6, 7);

-- The last errors of a job.
CREATE TABLE plainjobs.errors (
  job     bigint  NOT NULL,
  id      bigint  GENERATED ALWAYS AS IDENTITY,
  attempt bigint  NOT NULL,
  at      bigint  NOT NULL,
  error   text    NOT NULL,
  stack   text    NOT NULL,
  PRIMARY KEY (job, id)
);

CREATE TABLE plainjobs.results (
  job    bigint PRIMARY KEY,
  result bytea  NOT NULL
);

CREATE TABLE plainjobs.progress (
  job   bigint PRIMARY KEY,
  done  bigint NOT NULL,
  total bigint NOT NULL
) WITH (fillfactor = 50);

-- A row per live worker process holds all of its leases. seen_at is in no
-- index, so that a beat can leave the page as it is but for the row.
CREATE TABLE plainjobs.workers (
  id         bigint PRIMARY KEY,
  host       text   NOT NULL,
  pid        bigint NOT NULL,
  started_at bigint NOT NULL,
  seen_at    bigint NOT NULL,
  lease      bigint NOT NULL, -- microseconds after seen_at
  jobs       text   NOT NULL, -- the names that it knows, as JSON
  schedules  text   NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- How many jobs there are of a name in a state: counts and, on top of them,
-- what changed since. A row that every transaction changes would have them
-- wait for each other's commits, so each one adds its change instead, and now
-- and then somebody folds them.
CREATE TABLE plainjobs.counts (
  name  text     COLLATE "C" NOT NULL,
  state smallint NOT NULL,
  jobs  bigint   NOT NULL,
  PRIMARY KEY (name, state)
) WITH (fillfactor = 50);
CREATE TABLE plainjobs.changes (
  name  text     COLLATE "C" NOT NULL,
  state smallint NOT NULL,
  jobs  bigint   NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- A name's row is locked by those who must know how many jobs of it wait.
CREATE TABLE plainjobs.gates (
  name text COLLATE "C" PRIMARY KEY
);

-- The unique keys. The primary key is the constraint that keeps a second job
-- out. A key that its job has given back is kept until its time.
CREATE TABLE plainjobs.keys (
  name  text    COLLATE "C" NOT NULL,
  key   text    COLLATE "C" NOT NULL,
  job   bigint  NOT NULL,
  until bigint  NOT NULL,
  held  boolean NOT NULL,
  PRIMARY KEY (name, key)
);
CREATE INDEX keys_kept ON plainjobs.keys (until) WHERE NOT held;

-- The heads of the serial keys: the one job of each that is not blocked.
CREATE TABLE plainjobs.serials (
  name text   COLLATE "C" NOT NULL,
  key  text   COLLATE "C" NOT NULL,
  job  bigint NOT NULL,
  PRIMARY KEY (name, key)
);

-- What is set or paused by name; an empty name is the whole queue. Spans are
-- nanoseconds, as Go has them.
CREATE TABLE plainjobs.settings (
  name        text    COLLATE "C" PRIMARY KEY,
  paused      boolean NOT NULL DEFAULT false,
  max_running bigint  NOT NULL DEFAULT 0,
  rate        bigint  NOT NULL DEFAULT 0,
  per         bigint  NOT NULL DEFAULT 0,
  keep_done   bigint  NOT NULL DEFAULT 0,
  keep_failed bigint  NOT NULL DEFAULT 0,
  keep_rows   bigint  NOT NULL DEFAULT 0
);

-- How many jobs of a name with a rate were claimed in a hundredth of its span,
-- by the end of that hundredth.
CREATE TABLE plainjobs.starts (
  name text   COLLATE "C" NOT NULL,
  slot bigint NOT NULL,
  jobs bigint NOT NULL,
  PRIMARY KEY (name, slot)
);

CREATE TABLE plainjobs.schedules (
  name       text    COLLATE "C" PRIMARY KEY,
  definition text    COLLATE "C" NOT NULL,
  next_at    bigint  NOT NULL,
  last_at    bigint, -- NULL if it never pushed
  removed_at bigint, -- NULL unless it is removed
  paused     boolean NOT NULL DEFAULT false
);
