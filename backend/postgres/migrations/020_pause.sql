-- Pauses of gates. A claim blocks the members of a paused gate: they have flag 262144,
-- and flag 1024 as jobs that wait behind a gate.
ALTER TABLE plainjobs.job_gate ADD COLUMN paused smallint NOT NULL DEFAULT 0; -- 1 is paused; 2 has been resumed, and its jobs are being released
CREATE INDEX job_gate_paused ON plainjobs.job_gate (id) WHERE paused > 0;
CREATE INDEX job_held ON plainjobs.job (id) WHERE state = 2 AND flags & 262144 <> 0;
