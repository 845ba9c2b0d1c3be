-- The version of a worker's program, and as JSON the runs that go on although their
-- contexts have ended, or an empty text if there are none.
ALTER TABLE plainjobs.worker
  ADD COLUMN version text NOT NULL DEFAULT '',
  ADD COLUMN stuck   text NOT NULL DEFAULT '';
