-- The fair keys of jobs, and their turns. Flag 16384 is of a job with a fair key. turn is 0
-- until the job has become pending, and after it was cancelled. Of the jobs of a key that have
-- one turn, nth is 1 for the first.
CREATE TABLE IF NOT EXISTS plainjobs_job_fair (
  job      bigint         NOT NULL PRIMARY KEY,
  turn     bigint         NOT NULL,
  nth      int            NOT NULL,
  name     varbinary(128) NOT NULL,
  key_text varbinary(255) NOT NULL,
  KEY job_fair_key (name, key_text, turn, nth)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- How many jobs of a key have one turn, unless that is 1.
CREATE TABLE IF NOT EXISTS plainjobs_fair_weight (
  name     varbinary(128) NOT NULL,
  key_text varbinary(255) NOT NULL,
  weight   int            NOT NULL,
  PRIMARY KEY (name, key_text)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
