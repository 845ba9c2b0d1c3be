-- Reap does not correct the counts of imported gates: their jobs may still follow.
ALTER TABLE plainjobs.job_gate ADD COLUMN imported boolean NOT NULL DEFAULT false;
