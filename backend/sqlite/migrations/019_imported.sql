-- Reap does not correct the counts of imported gates: their jobs may still follow.
ALTER TABLE plainjobs_job_gate ADD COLUMN imported INTEGER NOT NULL DEFAULT 0;
