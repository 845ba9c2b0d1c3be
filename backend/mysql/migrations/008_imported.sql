-- When the gate was imported, in seconds since 1970; 0 if it was not. Reap does not correct its
-- counts for a day: its jobs may still follow.
ALTER TABLE plainjobs_job_gate ADD COLUMN imported bigint NOT NULL DEFAULT 0;
