-- The tables of the store. "plainjobs_" is replaced where the prefix is another one. Each
-- statement ends with a semicolon at the end of a line, and may run twice: a program may
-- die between two of them, and none is undone then.
--
-- Names, keys and texts are bytes: they are compared byte by byte, whatever the character
-- set of the database or of a connection, and a space at their end counts. All times are
-- microseconds UTC. Every table is InnoDB, whatever the server's default is.

-- States are those of package backend: 1 scheduled, 2 blocked, 3 pending or running, 5 done,
-- 6 failed, 7 cancelled. A job of state 3 is running if it is in a claim. Flags are those of
-- flag.go. A token is the seed and the job's ID. The row has no index but its key: what is
-- searched is in the small tables below, so that claims and completions change one row.
CREATE TABLE IF NOT EXISTS plainjobs_job (
  id           bigint         NOT NULL PRIMARY KEY, -- never used twice
  created_at   bigint         NOT NULL,
  run_at       bigint         NOT NULL,
  finished_at  bigint         NOT NULL, -- created_at until the job is finished
  started_at   bigint         NOT NULL DEFAULT 0, -- of the run of started_seed
  seed         bigint         NOT NULL,
  settled_seed bigint         NOT NULL DEFAULT 0, -- of the run after which the job waits again, or 0
  started_seed bigint         NOT NULL DEFAULT 0,
  max_attempts bigint         NOT NULL,
  failures     int            NOT NULL DEFAULT 0,
  crashes      int            NOT NULL DEFAULT 0,
  flags        int            NOT NULL DEFAULT 0,
  priority     smallint       NOT NULL,
  state        tinyint        NOT NULL,
  ending       tinyint        NOT NULL DEFAULT 0, -- of the run that Fail settled last
  suspect      tinyint        NOT NULL DEFAULT 0,
  name         varbinary(128) NOT NULL,
  expires_at   bigint         NULL, -- NULL once the job was started
  unique_key   varbinary(255) NULL,
  serial_key   varbinary(255) NULL,
  metadata     mediumblob     NULL,
  payload      longblob       NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The pending jobs, in the order of claims: by priority, then by run_at, then by ID. A row
-- is a span, the jobs from first to last, all of one name, priority and run_at, and at most
-- 100. Each pending job is in one span. The key has last, not first, so that jobs are
-- claimed off the head of a span without moving it in an index.
CREATE TABLE IF NOT EXISTS plainjobs_ready (
  name    varbinary(128) NOT NULL,
  suspect tinyint        NOT NULL,
  prio    int            NOT NULL, -- the priority, negated
  run_at  bigint         NOT NULL,
  last    bigint         NOT NULL,
  first   bigint         NOT NULL,
  PRIMARY KEY (name, suspect, prio, run_at, last),
  KEY ready_order (suspect, prio, run_at, last)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The leases. A row is the jobs from first to last that have the seed and are not finished.
CREATE TABLE IF NOT EXISTS plainjobs_claim (
  seed   bigint NOT NULL,
  first  bigint NOT NULL,
  last   bigint NOT NULL,
  worker bigint NOT NULL,
  PRIMARY KEY (seed, first)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The jobs of a state, or with an expiry, in the order in which they are searched.
CREATE TABLE IF NOT EXISTS plainjobs_scheduled (
  run_at bigint NOT NULL,
  job    bigint NOT NULL,
  PRIMARY KEY (run_at, job)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_blocked (
  name     varbinary(128) NOT NULL,
  key_text varbinary(255) NOT NULL,
  job      bigint         NOT NULL,
  PRIMARY KEY (name, key_text, job)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_expiring (
  expires_at bigint NOT NULL,
  job        bigint NOT NULL,
  PRIMARY KEY (expires_at, job)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_finished (
  name        varbinary(128) NOT NULL,
  state       tinyint        NOT NULL,
  finished_at bigint         NOT NULL,
  job         bigint         NOT NULL,
  PRIMARY KEY (name, state, finished_at, job)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_ended (
  state tinyint NOT NULL, -- failed or cancelled
  job   bigint  NOT NULL,
  PRIMARY KEY (state, job)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The last errors of a job. The number of an error is its place among those of the job.
CREATE TABLE IF NOT EXISTS plainjobs_job_error (
  job     bigint     NOT NULL,
  number  int        NOT NULL,
  attempt bigint     NOT NULL,
  at      bigint     NOT NULL,
  took    bigint     NOT NULL, -- microseconds
  worker  blob       NOT NULL, -- what the worker of the run calls itself
  error   mediumblob NOT NULL,
  stack   mediumblob NOT NULL,
  PRIMARY KEY (job, number)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_job_result (
  job    bigint   NOT NULL PRIMARY KEY,
  result longblob NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_job_progress (
  job   bigint NOT NULL PRIMARY KEY,
  done  bigint NOT NULL,
  total bigint NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- A row per live worker process holds all of its leases.
CREATE TABLE IF NOT EXISTS plainjobs_worker (
  id           bigint     NOT NULL PRIMARY KEY,
  pid          bigint     NOT NULL,
  started_at   bigint     NOT NULL,
  renewed_at   bigint     NOT NULL,
  lease        bigint     NOT NULL, -- microseconds after renewed_at
  silence_seen bigint     NOT NULL DEFAULT 0, -- see Silence in package lifecycle
  silence_at   bigint     NOT NULL DEFAULT 0,
  silence_by   bigint     NOT NULL DEFAULT 0,
  silence_for  bigint     NOT NULL DEFAULT 0,
  host         blob       NOT NULL,
  process      blob       NOT NULL,
  version      blob       NOT NULL, -- of its program
  defined      mediumblob NOT NULL, -- what it defines, as JSON; empty until it has defined its settings
  stuck        mediumblob NOT NULL, -- the runs that go on although their contexts have ended, as JSON, or empty
  jobs         mediumblob NOT NULL, -- the names that it knows, as JSON
  schedules    mediumblob NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- How many jobs there are of a name in a state: counts and, on top of them, what changed
-- since. A row that every transaction changes would have them wait for each other's commits.
-- State 4 is running.
CREATE TABLE IF NOT EXISTS plainjobs_job_count (
  name  varbinary(128) NOT NULL,
  state tinyint        NOT NULL,
  jobs  bigint         NOT NULL,
  PRIMARY KEY (name, state)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_count_change (
  id    bigint         NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name  varbinary(128) NOT NULL,
  state tinyint        NOT NULL,
  jobs  bigint         NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The lock of a name is taken by pushes that must know how many jobs of it wait.
CREATE TABLE IF NOT EXISTS plainjobs_push_lock (
  name varbinary(128) NOT NULL PRIMARY KEY
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The unique keys. A key that its job has given back is kept until its time.
CREATE TABLE IF NOT EXISTS plainjobs_unique_key (
  name     varbinary(128) NOT NULL,
  key_text varbinary(255) NOT NULL,
  job      bigint         NOT NULL,
  until_at bigint         NOT NULL,
  held     tinyint        NOT NULL,
  PRIMARY KEY (name, key_text),
  KEY unique_key_kept (held, until_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The job of each serial key that is not blocked.
CREATE TABLE IF NOT EXISTS plainjobs_serial_head (
  name     varbinary(128) NOT NULL,
  key_text varbinary(255) NOT NULL,
  job      bigint         NOT NULL,
  PRIMARY KEY (name, key_text)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What applies to a name, or is paused; an empty name is the whole queue. per and keep are
-- nanoseconds, as Go has them.
CREATE TABLE IF NOT EXISTS plainjobs_job_setting (
  name        varbinary(128) NOT NULL PRIMARY KEY,
  paused      tinyint        NOT NULL DEFAULT 0,
  max_running bigint         NOT NULL DEFAULT 0,
  rate        bigint         NOT NULL DEFAULT 0,
  per         bigint         NOT NULL DEFAULT 0,
  keep_done   bigint         NOT NULL DEFAULT 0,
  keep_failed bigint         NOT NULL DEFAULT 0,
  keep_rows   bigint         NOT NULL DEFAULT 0,
  max_crashes bigint         NOT NULL DEFAULT 0,
  drop_done   tinyint        NOT NULL DEFAULT 0, -- the payloads of done jobs are deleted
  drop_failed tinyint        NOT NULL DEFAULT 0, -- and of failed and cancelled ones
  differ      tinyint        NOT NULL DEFAULT 0, -- workers define different settings
  override    blob           NOT NULL -- what people set, and what applies without it, as JSON; empty if there is none
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- How many jobs of a name with a rate were claimed in a hundredth of its time, by the end
-- of that hundredth.
CREATE TABLE IF NOT EXISTS plainjobs_rate_count (
  name varbinary(128) NOT NULL,
  slot bigint         NOT NULL,
  jobs bigint         NOT NULL,
  PRIMARY KEY (name, slot)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS plainjobs_schedule (
  name       varbinary(128) NOT NULL PRIMARY KEY,
  definition mediumblob     NOT NULL,
  next_at    bigint         NOT NULL,
  last_at    bigint         NOT NULL DEFAULT 0,
  removed_at bigint         NOT NULL DEFAULT 0,
  paused     tinyint        NOT NULL DEFAULT 0
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS plainjobs_activity_minute (
  at        bigint         NOT NULL,
  name      varbinary(128) NOT NULL,
  worker    bigint         NOT NULL,
  done      bigint         NOT NULL,
  retried   bigint         NOT NULL,
  failed    bigint         NOT NULL,
  cancelled bigint         NOT NULL,
  waited    mediumblob     NOT NULL,
  ran       mediumblob     NOT NULL,
  PRIMARY KEY (at, name, worker)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_activity_hour (
  at        bigint         NOT NULL,
  name      varbinary(128) NOT NULL,
  done      bigint         NOT NULL,
  retried   bigint         NOT NULL,
  failed    bigint         NOT NULL,
  cancelled bigint         NOT NULL,
  waited    mediumblob     NOT NULL,
  ran       mediumblob     NOT NULL,
  PRIMARY KEY (at, name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What operators did.
CREATE TABLE IF NOT EXISTS plainjobs_action (
  id      bigint     NOT NULL PRIMARY KEY,
  at      bigint     NOT NULL,
  seen_at bigint     NOT NULL,
  jobs    bigint     NOT NULL,
  total   bigint     NOT NULL,
  who     blob       NOT NULL,
  what    blob       NOT NULL,
  target  mediumblob NOT NULL,
  ending  mediumblob NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The steps of jobs, in the order of their numbers, the signals, and the jobs that wait for
-- one. The lock of a signal's key is its row of signal_lock.
CREATE TABLE IF NOT EXISTS plainjobs_job_step (
  job    bigint         NOT NULL,
  name   varbinary(255) NOT NULL,
  number bigint         NOT NULL,
  at     bigint         NOT NULL,
  result longblob       NOT NULL,
  PRIMARY KEY (job, name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_signal (
  name     varbinary(128) NOT NULL,
  key_text varbinary(255) NOT NULL,
  at       bigint         NOT NULL,
  payload  longblob       NOT NULL,
  PRIMARY KEY (name, key_text),
  KEY signal_at (at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_signal_wait (
  job      bigint         NOT NULL PRIMARY KEY,
  name     varbinary(128) NOT NULL,
  key_text varbinary(255) NOT NULL,
  KEY signal_wait_key (name, key_text)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE TABLE IF NOT EXISTS plainjobs_signal_lock (
  number int NOT NULL PRIMARY KEY -- a hash of the name and the key
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
