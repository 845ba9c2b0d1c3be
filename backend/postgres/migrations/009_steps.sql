-- The steps that jobs have done, the signals that were sent, and the jobs that wait
-- for one. Flag 4096 is of jobs with steps, flag 8192 of jobs that wait or have waited
-- for a signal.
CREATE TABLE plainjobs.job_step (
  id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order in which the steps of a job were stored
  job    bigint NOT NULL,
  name   text COLLATE "C" NOT NULL,
  at     bigint NOT NULL,
  result bytea  NOT NULL,
  UNIQUE (job, name)
);

CREATE TABLE plainjobs.signal (
  name    text COLLATE "C" NOT NULL,
  key     text COLLATE "C" NOT NULL,
  at      bigint NOT NULL,
  payload bytea  NOT NULL,
  PRIMARY KEY (name, key)
);
CREATE INDEX signal_at ON plainjobs.signal (at);

CREATE TABLE plainjobs.signal_wait (
  job  bigint PRIMARY KEY,
  name text COLLATE "C" NOT NULL,
  key  text COLLATE "C" NOT NULL
);
CREATE INDEX signal_wait_key ON plainjobs.signal_wait (name, key);
