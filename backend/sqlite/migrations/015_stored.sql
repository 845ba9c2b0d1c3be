-- Schedules that are data: each row has everything that a tick needs. look_at is when a
-- worker looks at the schedule next: next_at, or later. runs are the IDs of its last jobs.
-- job is as in package jsonrow.
CREATE TABLE plainjobs_stored_schedule (
  name       TEXT    PRIMARY KEY,
  definition TEXT    NOT NULL,
  next_at    INTEGER NOT NULL,
  last_at    INTEGER NOT NULL,
  look_at    INTEGER NOT NULL,
  paused     INTEGER NOT NULL,
  problem    TEXT    NOT NULL,
  runs       TEXT    NOT NULL,
  job        TEXT    NOT NULL
) STRICT;
CREATE INDEX plainjobs_stored_look ON plainjobs_stored_schedule (look_at, name);
