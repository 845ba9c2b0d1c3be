-- The gates of flows; see GateKind in package backend. Kinds from 2 are what the
-- jobs of a flow depend on.

ALTER TABLE plainjobs_job_gate ADD COLUMN kind     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plainjobs_job_gate ADD COLUMN awaits   INTEGER NOT NULL DEFAULT 0; -- the hub that counts in it, or 0
ALTER TABLE plainjobs_job_gate ADD COLUMN awaiting INTEGER NOT NULL DEFAULT 0; -- 1 until the end of the hub is counted
CREATE INDEX plainjobs_job_gate_awaiting ON plainjobs_job_gate (awaits, id) WHERE awaiting = 1;
CREATE INDEX plainjobs_job_gate_listed   ON plainjobs_job_gate (id) WHERE kind < 2;
