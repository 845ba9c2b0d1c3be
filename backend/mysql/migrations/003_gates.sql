-- Gates count jobs that have not ended; see GateStore in package backend. Jobs without gates
-- have no row here: two flags of the job say whether it has.
CREATE TABLE IF NOT EXISTS plainjobs_job_gate (
  id         bigint  NOT NULL PRIMARY KEY, -- never used twice
  label      blob    NOT NULL,
  parent     bigint  NOT NULL, -- the gate in which it counts, or 0
  total      bigint  NOT NULL,
  open       bigint  NOT NULL, -- members that have not ended
  done       bigint  NOT NULL,
  failed     bigint  NOT NULL,
  cancelled  bigint  NOT NULL,
  created_at bigint  NOT NULL,
  ended_at   bigint  NOT NULL, -- 0 until it has ended
  deadline   bigint  NOT NULL, -- 0 if it has none
  due_at     bigint  NULL, -- the deadline while members are to be cancelled after it
  swept      bigint  NOT NULL, -- the last member that was cancelled because of the deadline, or 0
  awaits     bigint  NOT NULL, -- the hub that counts in it, or 0
  kind       tinyint NOT NULL, -- a GateKind of package backend
  listed     tinyint NOT NULL, -- it is a group or a flow
  sealed     tinyint NOT NULL,
  fired      tinyint NOT NULL, -- a member has failed
  passing    tinyint NOT NULL, -- some of its waiters are to be let through
  KEY job_gate_parent (parent, id),
  KEY job_gate_due (due_at, id),
  KEY job_gate_passing (passing, id),
  KEY job_gate_listed (listed, id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS plainjobs_gate_member (
  job  bigint NOT NULL,
  gate bigint NOT NULL,
  PRIMARY KEY (job, gate),
  KEY gate_member_gate (gate, job)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The row stays until the job or the gate is deleted. Only a transaction that has locked the
-- job changes it.
CREATE TABLE IF NOT EXISTS plainjobs_gate_waiter (
  job     bigint  NOT NULL PRIMARY KEY,
  gate    bigint  NOT NULL,
  cond    tinyint NOT NULL, -- a When of package backend
  waits   tinyint NOT NULL,
  delay   bigint  NOT NULL, -- microseconds after the condition holds
  expires bigint  NOT NULL, -- as delay; 0 is none
  KEY gate_waiter_gate (gate, job),
  KEY gate_waiter_waits (gate, waits, job)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The gates in which a hub has yet to be counted. The fold of the hub that ended deletes them.
CREATE TABLE IF NOT EXISTS plainjobs_gate_await (
  gate bigint NOT NULL PRIMARY KEY,
  hub  bigint NOT NULL,
  KEY gate_await_hub (hub, gate)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What changed in gates since they were last folded. A gate that each settlement changed would
-- have them wait for each other's commits. A row of zeros asks for a look at the gate. One of a
-- negative number shows that a transaction of the application has committed.
CREATE TABLE IF NOT EXISTS plainjobs_gate_change (
  id        bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  gate      bigint NOT NULL,
  total     bigint NOT NULL,
  open      bigint NOT NULL,
  done      bigint NOT NULL,
  failed    bigint NOT NULL,
  cancelled bigint NOT NULL,
  KEY gate_change_gate (gate)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
