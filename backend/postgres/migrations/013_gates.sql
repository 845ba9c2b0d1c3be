-- Gates count jobs that have not ended; see GateStore in package backend. Jobs
-- without gates have no row here: two flags of the job say whether it has.

CREATE TABLE plainjobs.job_gate (
  id         bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- a sequence never gives a number twice
  label      text    NOT NULL,
  parent     bigint  NOT NULL, -- the gate in which it counts, or 0
  total      bigint  NOT NULL,
  open       bigint  NOT NULL, -- members that have not ended
  done       bigint  NOT NULL,
  failed     bigint  NOT NULL,
  cancelled  bigint  NOT NULL,
  created_at bigint  NOT NULL,
  ended_at   bigint  NOT NULL, -- 0 until it has ended
  deadline   bigint  NOT NULL, -- 0 if it has none
  kind       smallint NOT NULL, -- a GateKind of package backend
  awaits     bigint  NOT NULL, -- the hub that counts in it, or 0
  swept      bigint, -- the last member that was cancelled because of the deadline, or 0; NULL if none is left to cancel
  sealed     boolean NOT NULL,
  fired      boolean NOT NULL, -- a member has failed
  passing    boolean NOT NULL -- some of its waiters are to be let through
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_gate_parent   ON plainjobs.job_gate (parent)   WHERE parent > 0;
CREATE INDEX job_gate_deadline ON plainjobs.job_gate (deadline) WHERE swept IS NOT NULL;
CREATE INDEX job_gate_passing  ON plainjobs.job_gate (id)       WHERE passing;
CREATE INDEX job_gate_listed   ON plainjobs.job_gate (id)       WHERE kind < 2;

CREATE TABLE plainjobs.gate_member (
  job  bigint NOT NULL,
  gate bigint NOT NULL,
  PRIMARY KEY (job, gate)
);
CREATE INDEX gate_member_gate ON plainjobs.gate_member (gate, job);

-- The row stays until the job or the gate is deleted. Only a transaction that has
-- locked the job changes it.
CREATE TABLE plainjobs.gate_waiter (
  job       bigint   PRIMARY KEY,
  gate      bigint   NOT NULL,
  condition smallint NOT NULL, -- a When of package backend
  waits     boolean  NOT NULL,
  delay     bigint   NOT NULL, -- microseconds after the condition holds
  expires   bigint   NOT NULL -- as delay; 0 is none
);
CREATE INDEX gate_waiter_gate ON plainjobs.gate_waiter (gate, job);
CREATE INDEX gate_waiter_waits ON plainjobs.gate_waiter (gate, condition, job) WHERE waits;

-- The gates in which a hub has yet to be counted. The fold of the hub that ended deletes
-- them.
CREATE TABLE plainjobs.gate_await (
  gate bigint PRIMARY KEY,
  hub  bigint NOT NULL
);
CREATE INDEX gate_await_hub ON plainjobs.gate_await (hub, gate);

-- What changed in gates since they were last folded. A gate that each settlement
-- changed would have them wait for each other's commits. A row of zeros asks for a
-- look at the gate.
CREATE TABLE plainjobs.gate_change (
  gate      bigint NOT NULL,
  total     bigint NOT NULL,
  open      bigint NOT NULL,
  done      bigint NOT NULL,
  failed    bigint NOT NULL,
  cancelled bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX gate_change_gate ON plainjobs.gate_change (gate);

-- Flag 256 is of a job that counts in a gate, flag 512 of one that has a row in
-- gate_waiter, and flag 1024 of one that waits behind a gate. The last is not blocked
-- by the head of its serial key.
DROP INDEX plainjobs.job_blocked;
CREATE INDEX job_blocked ON plainjobs.job (name, serial_key, id) WHERE state = 2 AND flags & 1024 = 0;
CREATE INDEX job_behind  ON plainjobs.job (name)                 WHERE state = 2 AND flags & 1024 <> 0;

-- It makes running jobs done whose leases are held, if they hold no keys, count in no
-- gate, and are to be kept: the jobs of each range that have its seed. It returns their
-- ids and then their seeds, or NULL if they are all; it then deletes those of the claims
-- that lease nothing more. Each job is looked up by its id.
CREATE OR REPLACE FUNCTION plainjobs.complete_jobs(firsts bigint[], lasts bigint[], seeds bigint[], claim_seeds bigint[], claim_firsts bigint[])
  RETURNS bigint[] LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  clock bigint := plainjobs.now_micros();
  unkept text[] := ARRAY(SELECT s.name FROM plainjobs.job_setting s WHERE s.keep_done < 0 OR s.drop_done);
  settled bigint[];
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  IF current_setting('lock_timeout') = '0' THEN
    PERFORM set_config('lock_timeout', '10s', true); -- the caller may have no deadline, and tries again if it has
  END IF;
  WITH done AS (
      UPDATE plainjobs.job j SET state = 5, ending = 0, finished_at = clock, suspect = false, crashes = 0
      FROM unnest(firsts, lasts, seeds) AS v(first, last, seed)
      WHERE j.id BETWEEN v.first AND v.last AND j.seed = v.seed AND j.state = 3 AND j.flags & 261 = 0 AND j.name <> ALL (unkept)
      RETURNING j.id, j.seed, j.name),
    counted AS (
      INSERT INTO plainjobs.count_change (name, state, jobs)
      SELECT d.name, v.state, v.sign * d.jobs FROM (SELECT d.name, count(*) AS jobs FROM done d GROUP BY d.name) d,
        (VALUES (4::smallint, -1), (5::smallint, 1)) AS v(state, sign))
  SELECT array_agg(d.id) || array_agg(d.seed) INTO settled FROM done d;
  IF cardinality(settled) = 2 * (SELECT sum(v.last - v.first + 1) FROM unnest(firsts, lasts) AS v(first, last)) THEN
    DELETE FROM plainjobs.claim c USING unnest(claim_seeds, claim_firsts) AS v(seed, first) WHERE c.seed = v.seed AND c.first = v.first
      AND NOT EXISTS (SELECT 1 FROM plainjobs.job j WHERE j.id BETWEEN c.first AND c.last AND j.seed = c.seed AND j.state = 3);
    RETURN NULL;
  END IF;
  RETURN coalesce(settled, '{}');
END $$;

-- It is complete_jobs of jobs some of which count in gates. It also returns these gates.
CREATE FUNCTION plainjobs.complete_members(firsts bigint[], lasts bigint[], seeds bigint[], claim_seeds bigint[], claim_firsts bigint[],
    OUT settled bigint[], OUT gates bigint[]) LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  clock bigint := plainjobs.now_micros();
  unkept text[] := ARRAY(SELECT s.name FROM plainjobs.job_setting s WHERE s.keep_done < 0 OR s.drop_done);
  members bigint[];
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  IF current_setting('lock_timeout') = '0' THEN
    PERFORM set_config('lock_timeout', '10s', true); -- the caller may have no deadline, and tries again if it has
  END IF;
  WITH done AS (
      UPDATE plainjobs.job j SET state = 5, ending = 0, finished_at = clock, suspect = false, crashes = 0
      FROM unnest(firsts, lasts, seeds) AS v(first, last, seed)
      WHERE j.id BETWEEN v.first AND v.last AND j.seed = v.seed AND j.state = 3 AND j.flags & 5 = 0 AND j.name <> ALL (unkept)
      RETURNING j.id, j.seed, j.name, j.flags),
    counted AS (
      INSERT INTO plainjobs.count_change (name, state, jobs)
      SELECT d.name, v.state, v.sign * d.jobs FROM (SELECT d.name, count(*) AS jobs FROM done d GROUP BY d.name) d,
        (VALUES (4::smallint, -1), (5::smallint, 1)) AS v(state, sign))
  SELECT array_agg(d.id) || array_agg(d.seed), array_agg(d.id) FILTER (WHERE d.flags & 256 <> 0) INTO settled, members FROM done d;
  -- A new statement sees the gates that were added while the first one waited for a job.
  WITH told AS (
      INSERT INTO plainjobs.gate_change (gate, total, open, done, failed, cancelled)
      SELECT m.gate, 0, -count(*), count(*), 0, 0 FROM unnest(members) AS v(job)
        CROSS JOIN LATERAL (SELECT x.gate FROM plainjobs.gate_member x WHERE x.job = v.job OFFSET 0) m
      GROUP BY m.gate
      RETURNING gate)
  SELECT array_agg(t.gate) INTO gates FROM told t;
  IF cardinality(settled) = 2 * (SELECT sum(v.last - v.first + 1) FROM unnest(firsts, lasts) AS v(first, last)) THEN
    DELETE FROM plainjobs.claim c USING unnest(claim_seeds, claim_firsts) AS v(seed, first) WHERE c.seed = v.seed AND c.first = v.first
      AND NOT EXISTS (SELECT 1 FROM plainjobs.job j WHERE j.id BETWEEN c.first AND c.last AND j.seed = c.seed AND j.state = 3);
    settled := NULL;
  ELSE
    settled := coalesce(settled, '{}');
  END IF;
END $$;
