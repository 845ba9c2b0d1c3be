-- The fair keys of jobs, and their turns. Flag 16384 is of a job with a fair key. turn is
-- 0 until the job has become pending, and after it was cancelled. Of the jobs of a key
-- that have one turn, nth is 1 for the first.
CREATE TABLE plainjobs_job_fair (
  job  INTEGER PRIMARY KEY,
  name INTEGER NOT NULL,
  key  TEXT    NOT NULL,
  turn INTEGER NOT NULL,
  nth  INTEGER NOT NULL
) STRICT;
CREATE INDEX plainjobs_job_fair_key ON plainjobs_job_fair (name, key, turn, nth);
