-- Schedules that are data: each row has everything that a tick needs. look_at is when a
-- worker looks at the schedule next: next_at, or later. runs are the IDs of its last jobs.
-- job is JSON, as in package jsonrow.
CREATE TABLE IF NOT EXISTS plainjobs_stored_schedule (
  name       varbinary(128) NOT NULL PRIMARY KEY,
  definition mediumblob     NOT NULL,
  next_at    bigint         NOT NULL,
  last_at    bigint         NOT NULL,
  look_at    bigint         NOT NULL,
  paused     tinyint        NOT NULL,
  problem    mediumblob     NOT NULL,
  runs       varbinary(255) NOT NULL,
  job        longblob       NOT NULL,
  KEY plainjobs_stored_look (look_at, name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
