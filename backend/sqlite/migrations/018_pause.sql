-- Pauses of gates. A claim blocks the members of a paused gate: they have flag 262144,
-- and flag 1024 as jobs that wait behind a gate.

ALTER TABLE plainjobs_job_gate ADD COLUMN paused INTEGER NOT NULL DEFAULT 0; -- 1 is paused; 2 has been resumed, and its jobs are being released
CREATE INDEX plainjobs_job_gate_paused ON plainjobs_job_gate (id) WHERE paused = 1;
CREATE INDEX plainjobs_job_held ON plainjobs_job (id) WHERE state = 2 AND flags & 262144 <> 0;
