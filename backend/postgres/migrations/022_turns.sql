-- The priority among whose jobs a job with a fair key has its turn. A key has turns of its
-- own for each priority.
ALTER TABLE plainjobs.job_fair ADD COLUMN priority smallint NOT NULL DEFAULT 0;
UPDATE plainjobs.job_fair f SET priority = j.priority FROM plainjobs.job j WHERE j.id = f.job AND j.priority <> 0;
DROP INDEX plainjobs.job_fair_key;
CREATE INDEX job_fair_key ON plainjobs.job_fair (name, key, priority, turn, nth);

-- As before, but with the turns of the job's priority.
CREATE OR REPLACE FUNCTION plainjobs.promote_fair(clock bigint, most bigint, OUT name text, OUT jobs bigint) RETURNS SETOF record LANGUAGE plpgsql
  SET jit = off
AS $$
DECLARE
  j record;
  first bigint;
  t bigint;
  n integer;
  w integer;
BEGIN
  FOR j IN SELECT d.id, d.name, d.suspect, d.priority FROM plainjobs.job d
      WHERE d.state = 1 AND d.run_at <= clock AND d.flags & 16384 <> 0 ORDER BY d.run_at, d.id LIMIT most FOR UPDATE SKIP LOCKED LOOP
    first := coalesce((SELECT r.run_at FROM plainjobs.ready r WHERE r.name = j.name AND r.suspect = false AND r.rank = -j.priority::integer
      ORDER BY r.run_at LIMIT 1), clock);
    SELECT l.turn, l.nth, coalesce(v.weight, 1) INTO t, n, w FROM plainjobs.job_fair o
      LEFT JOIN LATERAL (SELECT x.turn, x.nth FROM plainjobs.job_fair x WHERE x.name = o.name AND x.key = o.key AND x.priority = j.priority ORDER BY x.turn DESC, x.nth DESC LIMIT 1) l ON true
      LEFT JOIN plainjobs.fair_weight v ON v.name = o.name AND v.key = o.key
      WHERE o.job = j.id;
    IF t IS NULL OR t < first THEN
      t := first;
      n := 1;
    ELSIF n < w THEN
      n := n + 1;
    ELSE
      t := t + 1;
      n := 1;
    END IF;
    UPDATE plainjobs.job_fair o SET turn = t, nth = n, priority = j.priority WHERE o.job = j.id;
    UPDATE plainjobs.job o SET state = 3, run_at = t WHERE o.id = j.id;
    INSERT INTO plainjobs.ready (name, suspect, rank, run_at, last, first) VALUES (j.name, j.suspect, -j.priority::integer, t, j.id, j.id);
    INSERT INTO plainjobs.count_change (name, state, jobs) VALUES (j.name, 1, -1), (j.name, 3, 1);
    name := j.name;
    jobs := 1;
    RETURN NEXT;
  END LOOP;
END $$;
