-- Reap does not correct the counts of imported gates: their jobs may still follow.
ALTER TABLE plainjobs_job_gate ADD COLUMN IF NOT EXISTS imported boolean NOT NULL DEFAULT 0;
