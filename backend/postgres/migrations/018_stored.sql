-- Schedules that are data: each row has everything that a tick needs. look_at is when a
-- worker looks at the schedule next: next_at, or later. runs are the IDs of its last jobs.
-- job is JSON, as in package jsonrow.
CREATE TABLE plainjobs.stored_schedule (
  name       text    COLLATE "C" PRIMARY KEY,
  definition text    COLLATE "C" NOT NULL,
  next_at    bigint  NOT NULL,
  last_at    bigint  NOT NULL,
  look_at    bigint  NOT NULL,
  paused     boolean NOT NULL,
  problem    text    NOT NULL,
  runs       text    NOT NULL,
  job        text    NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX stored_schedule_look ON plainjobs.stored_schedule (look_at, name);
