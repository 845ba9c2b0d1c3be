-- The steps that jobs have done, the signals that were sent, and the jobs that wait
-- for one. Flag 4096 is of jobs with steps, flag 8192 of jobs that wait or have waited
-- for a signal.

CREATE TABLE plainjobs_job_step (
  id     INTEGER PRIMARY KEY, -- in the order in which the steps of a job were stored
  job    INTEGER NOT NULL,
  name   TEXT    NOT NULL,
  at     INTEGER NOT NULL,
  result BLOB    NOT NULL,
  UNIQUE (job, name)
) STRICT;

CREATE TABLE plainjobs_signal (
  name    TEXT    NOT NULL,
  key     TEXT    NOT NULL,
  at      INTEGER NOT NULL,
  payload BLOB    NOT NULL,
  PRIMARY KEY (name, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX plainjobs_signal_at ON plainjobs_signal (at);

CREATE TABLE plainjobs_signal_wait (
  job  INTEGER PRIMARY KEY,
  name TEXT    NOT NULL,
  key  TEXT    NOT NULL
) STRICT;
CREATE INDEX plainjobs_signal_wait_key ON plainjobs_signal_wait (name, key);
