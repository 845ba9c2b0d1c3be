-- The version of a worker's program, and as JSON the runs that go on although their
-- contexts have ended, or an empty text if there are none.
ALTER TABLE plainjobs_worker ADD COLUMN version TEXT NOT NULL DEFAULT '';
ALTER TABLE plainjobs_worker ADD COLUMN stuck   TEXT NOT NULL DEFAULT '';
