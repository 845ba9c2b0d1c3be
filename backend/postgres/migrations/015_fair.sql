-- The fair keys of jobs, and their turns. Flag 16384 is of a job with a fair key. turn is
-- 0 until the job has become pending, and after it was cancelled. Of the jobs of a key
-- that have one turn, nth is 1 for the first.
CREATE TABLE plainjobs.job_fair (
  job  bigint  PRIMARY KEY,
  turn bigint  NOT NULL,
  nth  integer NOT NULL,
  name text    COLLATE "C" NOT NULL,
  key  text    COLLATE "C" NOT NULL
);
CREATE INDEX job_fair_key ON plainjobs.job_fair (name, key, turn, nth);

-- How many jobs of a key have one turn, unless that is 1.
CREATE TABLE plainjobs.fair_weight (
  name   text    COLLATE "C" NOT NULL,
  key    text    COLLATE "C" NOT NULL,
  weight integer NOT NULL,
  PRIMARY KEY (name, key)
);

-- It makes due jobs with fair keys pending, one by one, because each takes its turn
-- after those before it.
CREATE FUNCTION plainjobs.promote_fair(clock bigint, most bigint, OUT name text, OUT jobs bigint) RETURNS SETOF record LANGUAGE plpgsql
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
      LEFT JOIN LATERAL (SELECT x.turn, x.nth FROM plainjobs.job_fair x WHERE x.name = o.name AND x.key = o.key ORDER BY x.turn DESC, x.nth DESC LIMIT 1) l ON true
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
    UPDATE plainjobs.job_fair o SET turn = t, nth = n WHERE o.job = j.id;
    UPDATE plainjobs.job o SET state = 3, run_at = t WHERE o.id = j.id;
    INSERT INTO plainjobs.ready (name, suspect, rank, run_at, last, first) VALUES (j.name, j.suspect, -j.priority::integer, t, j.id, j.id);
    INSERT INTO plainjobs.count_change (name, state, jobs) VALUES (j.name, 1, -1), (j.name, 3, 1);
    name := j.name;
    jobs := 1;
    RETURN NEXT;
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION plainjobs.promote_jobs(clock bigint, most bigint, OUT name text, OUT jobs bigint) RETURNS SETOF record LANGUAGE sql
AS $$
  WITH due AS (
      UPDATE plainjobs.job j SET state = 3
      WHERE j.id = ANY (ARRAY(
        SELECT d.id FROM plainjobs.job d WHERE d.state = 1 AND d.run_at <= clock AND d.flags & 16384 = 0 ORDER BY d.run_at LIMIT most FOR UPDATE SKIP LOCKED))
      RETURNING j.id, j.name, j.suspect, j.priority, j.run_at),
    spans AS (
      INSERT INTO plainjobs.ready (name, suspect, rank, run_at, last, first)
      SELECT a.name, a.suspect, -a.priority::integer, a.run_at, max(a.id), min(a.id) FROM (
        SELECT d.*, d.id - row_number() OVER (PARTITION BY d.name, d.suspect, d.priority, d.run_at ORDER BY d.id) AS island FROM due d) a
      GROUP BY a.name, a.suspect, a.priority, a.run_at, a.island, (a.id - 1) / 100),
    counted AS (
      INSERT INTO plainjobs.count_change (name, state, jobs)
      SELECT d.name, v.state, v.sign * count(*) FROM due d, (VALUES (1::smallint, -1), (3::smallint, 1)) AS v(state, sign) GROUP BY d.name, v.state, v.sign)
  SELECT d.name, count(*) FROM due d GROUP BY d.name
  UNION ALL SELECT f.name, sum(f.jobs)::bigint FROM plainjobs.promote_fair(clock, most) f GROUP BY f.name
$$;
