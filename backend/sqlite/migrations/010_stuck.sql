-- The version of a worker's program, and as JSON the runs that go on although their
-- contexts have ended, or an empty text if there are none.
ALTER TABLE plainjobs_worker ADD COLUMN version TEXT NOT NULL DEFAULT '';
ALTER TABLE plainjobs_worker ADD COLUMN stuck   TEXT NOT NULL DEFAULT '';

-- How long the run took that ended with the error, or 0, and what its worker calls itself.
ALTER TABLE plainjobs_job_error ADD COLUMN took   INTEGER NOT NULL DEFAULT 0; -- microseconds
ALTER TABLE plainjobs_job_error ADD COLUMN worker TEXT    NOT NULL DEFAULT '';
