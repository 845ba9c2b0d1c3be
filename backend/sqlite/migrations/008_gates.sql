-- Gates count jobs that have not ended; see GateStore in package backend. Jobs
-- without gates have no row here: two flags of the job say whether it has.

CREATE TABLE plainjobs_job_gate (
  id         INTEGER PRIMARY KEY AUTOINCREMENT, -- AUTOINCREMENT: an id is never used twice
  label      TEXT    NOT NULL,
  parent     INTEGER NOT NULL, -- the gate in which it counts, or 0
  total      INTEGER NOT NULL DEFAULT 0,
  open       INTEGER NOT NULL DEFAULT 0, -- members that have not ended
  done       INTEGER NOT NULL DEFAULT 0,
  failed     INTEGER NOT NULL DEFAULT 0,
  cancelled  INTEGER NOT NULL DEFAULT 0,
  sealed     INTEGER NOT NULL DEFAULT 0,
  fired      INTEGER NOT NULL DEFAULT 0, -- a member has failed
  created_at INTEGER NOT NULL,
  ended_at   INTEGER NOT NULL DEFAULT 0, -- 0 until it has ended
  deadline   INTEGER NOT NULL DEFAULT 0, -- 0 if it has none
  swept      INTEGER, -- the last member that was cancelled because of the deadline, or 0; NULL if none is left to cancel
  passing    INTEGER NOT NULL DEFAULT 0 -- some of its waiters are to be let through
) STRICT;
CREATE INDEX plainjobs_job_gate_parent   ON plainjobs_job_gate (parent)   WHERE parent > 0;
CREATE INDEX plainjobs_job_gate_deadline ON plainjobs_job_gate (deadline) WHERE swept IS NOT NULL;
CREATE INDEX plainjobs_job_gate_passing  ON plainjobs_job_gate (passing)  WHERE passing = 1;

CREATE TABLE plainjobs_gate_member (
  job  INTEGER NOT NULL,
  gate INTEGER NOT NULL,
  PRIMARY KEY (job, gate)
) STRICT, WITHOUT ROWID;
CREATE INDEX plainjobs_gate_member_gate ON plainjobs_gate_member (gate, job);

-- The row stays until the job or the gate is deleted.
CREATE TABLE plainjobs_gate_waiter (
  job       INTEGER PRIMARY KEY,
  gate      INTEGER NOT NULL,
  condition INTEGER NOT NULL, -- a When of package backend
  waits     INTEGER NOT NULL,
  delay     INTEGER NOT NULL, -- microseconds after the condition holds
  expires   INTEGER NOT NULL -- as delay; 0 is none
) STRICT;
CREATE INDEX plainjobs_gate_waiter_gate ON plainjobs_gate_waiter (gate, waits, job);

-- A job that waits behind a gate has flag 1024. It is not blocked by the head of
-- its serial key.
DROP INDEX plainjobs_job_blocked;
CREATE INDEX plainjobs_job_blocked ON plainjobs_job (name, serial_key, id) WHERE state = 2 AND flags & 1024 = 0;
CREATE INDEX plainjobs_job_behind ON plainjobs_job (name) WHERE state = 2 AND flags & 1024 <> 0;
