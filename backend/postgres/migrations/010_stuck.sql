-- The version of a worker's program, and as JSON the runs that go on although their
-- contexts have ended, or an empty text if there are none.
ALTER TABLE plainjobs.worker
  ADD COLUMN version text NOT NULL DEFAULT '',
  ADD COLUMN stuck   text NOT NULL DEFAULT '';

-- How long the run took that ended with the error, or 0, and what its worker calls itself.
ALTER TABLE plainjobs.job_error
  ADD COLUMN took   bigint NOT NULL DEFAULT 0, -- microseconds
  ADD COLUMN worker text   NOT NULL DEFAULT '';
