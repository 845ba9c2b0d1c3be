-- What workers have seen of the silence of a worker that does not renew its
-- row: for which seen_at, when last, by which worker, and how many microseconds
-- of it count. See Silence in package backend. All are 0 if there is none.
ALTER TABLE plainjobs.workers
  ADD COLUMN silent_seen bigint NOT NULL DEFAULT 0, -- microseconds UTC
  ADD COLUMN silent_at   bigint NOT NULL DEFAULT 0, -- microseconds UTC
  ADD COLUMN silent_by   bigint NOT NULL DEFAULT 0,
  ADD COLUMN silent_for  bigint NOT NULL DEFAULT 0, -- microseconds
  -- What tells on the worker's own host whether its process has ended, or empty.
  ADD COLUMN process     text   NOT NULL DEFAULT '';

-- The order of claims: by priority, then by run_at, then by id. A job that comes
-- back after a run stands behind those that could run before it, and not at the
-- place of its id, so that jobs that come back do not starve new ones.
--
-- A range is now the jobs of a name from a rank, a run_at in microseconds and an
-- id on, up to a rank.
DROP INDEX plainjobs.jobs_ready;
DROP INDEX plainjobs.jobs_suspects;
CREATE INDEX jobs_ready    ON plainjobs.jobs (name, (-priority::integer), run_at, id) WHERE state = 3 AND NOT suspect;
CREATE INDEX jobs_suspects ON plainjobs.jobs (name, priority DESC, run_at, id)        WHERE state = 3 AND suspect;

-- A claim returns the keys of its jobs, too.
ALTER TYPE plainjobs.taken ADD ATTRIBUTE unique_key text, ADD ATTRIBUTE serial_key text;

-- take is what it was, in this order.
CREATE FUNCTION plainjobs.take(me bigint, span bigint, base bigint, asked text[], most bigint[], wanted bigint, room bigint, suspects boolean,
    lows integer[], highs integer[], ranks integer[], times bigint[], firsts bigint[], untils integer[])
  RETURNS SETOF plainjobs.taken LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  clock bigint := plainjobs.now_us();
  before bigint := pg_stat_get_xact_tuples_returned('plainjobs.jobs_ready'::regclass);
  due boolean := false;
  ids bigint[];
  size bigint;
  expires boolean;
  keyed boolean;
  free bigint;
  waiting text[];
  read bigint;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  UPDATE plainjobs.workers w SET seen_at = clock, lease = span
    WHERE w.id = me AND NOT (w.lease = span AND w.seen_at BETWEEN clock - span / 100 AND clock);
  IF NOT FOUND THEN
    PERFORM 1 FROM plainjobs.workers w WHERE w.id = me FOR SHARE;
    IF NOT FOUND THEN
      RETURN NEXT NULL::plainjobs.taken;
      RETURN;
    END IF;
  END IF;
  IF EXISTS (SELECT 1 FROM plainjobs.settings s
      WHERE (s.name = '' OR s.name = ANY (asked)) AND (s.paused OR s.max_running > 0 OR s.rate > 0))
    OR suspects AND EXISTS (SELECT 1 FROM plainjobs.jobs j WHERE j.state = 3 AND j.suspect)
    OR EXISTS (SELECT 1 FROM plainjobs.jobs j WHERE j.expires_at IS NOT NULL AND j.state < 4 AND j.expires_at <= clock)
  THEN
    RETURN NEXT NULL::plainjobs.taken;
    RETURN;
  END IF;
  IF EXISTS (SELECT 1 FROM plainjobs.jobs j WHERE j.state = 1 AND j.run_at <= clock) THEN
    WITH due AS (
      UPDATE plainjobs.jobs j SET state = 3
      WHERE j.id = ANY (ARRAY(
        SELECT d.id FROM plainjobs.jobs d WHERE d.state = 1 AND d.run_at <= clock ORDER BY d.run_at LIMIT 1000 FOR UPDATE SKIP LOCKED))
      RETURNING j.name)
    INSERT INTO plainjobs.changes (name, state, jobs)
    SELECT d.name, v.state, v.sign * count(*) FROM due d, (VALUES (1::smallint, -1), (3::smallint, 1)) AS v(state, sign) GROUP BY d.name, v.state, v.sign;
    due := true;
    -- They may stand before what was claimed last.
    lows := ARRAY(SELECT generate_series(1, cardinality(asked)));
    highs := lows;
    ranks := array_fill(-40000, ARRAY[cardinality(asked)]);
    times := array_fill((-9223372036854775808)::bigint, ARRAY[cardinality(asked)]);
    firsts := array_fill(0::bigint, ARRAY[cardinality(asked)]);
    untils := array_fill(40000, ARRAY[cardinality(asked)]);
  END IF;
  -- Which jobs come first over all names is found without locks; then each
  -- range's share is locked, past what others have locked, and no more than
  -- that: a job that is locked and not taken is one that others pass over. What
  -- was changed since is looked at again when its lock is had, so no job is
  -- claimed twice.
  IF cardinality(ranks) = 1 THEN
    SELECT array_agg(h.id), sum(h.size), bool_or(h.expires), bool_or(h.keyed) INTO ids, size, expires, keyed FROM (
      SELECT j.id, octet_length(j.payload) AS size, j.expires_at IS NOT NULL AS expires, j.flags & 2 <> 0 AS keyed
      FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = asked[1]
        AND (-j.priority::integer, j.run_at, j.id) >= (ranks[1], times[1], firsts[1]) AND -j.priority::integer < untils[1]
      ORDER BY -j.priority::integer, j.run_at, j.id LIMIT least(most[1], wanted) FOR UPDATE SKIP LOCKED) h;
    waiting := asked;
  ELSE
    -- A name's ranges are read one after the other, until there is enough.
    WITH found AS MATERIALIZED (
        SELECT v.name, p.place, p.id, p.rank, p.run_at FROM unnest(asked, most, lows, highs) AS v(name, most, low, high)
        CROSS JOIN LATERAL (
          SELECT g.place, p.id, p.rank, p.run_at FROM generate_series(v.low, v.high) AS g(place)
          CROSS JOIN LATERAL (
            SELECT j.id, -j.priority::integer AS rank, j.run_at FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = v.name
              AND (-j.priority::integer, j.run_at, j.id) >= (ranks[g.place], times[g.place], firsts[g.place]) AND -j.priority::integer < untils[g.place]
            ORDER BY -j.priority::integer, j.run_at, j.id LIMIT least(v.most, wanted)) p
          LIMIT least(v.most, wanted)) p),
      shares AS MATERIALIZED (
        SELECT c.name, c.place, count(*) AS most FROM (SELECT f.name, f.place FROM found f ORDER BY f.rank, f.run_at, f.id LIMIT wanted) c
        GROUP BY c.name, c.place),
      heads AS MATERIALIZED (
        SELECT h.* FROM shares s CROSS JOIN LATERAL (
          SELECT j.id, octet_length(j.payload) AS size, j.expires_at IS NOT NULL AS expires, j.flags & 2 <> 0 AS keyed
          FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = s.name
            AND (-j.priority::integer, j.run_at, j.id) >= (ranks[s.place], times[s.place], firsts[s.place]) AND -j.priority::integer < untils[s.place]
          ORDER BY -j.priority::integer, j.run_at, j.id LIMIT s.most FOR UPDATE SKIP LOCKED) h)
    SELECT array_agg(h.id), sum(h.size), bool_or(h.expires), bool_or(h.keyed), (SELECT array_agg(DISTINCT f.name) FROM found f)
    INTO ids, size, expires, keyed, waiting FROM heads h;
  END IF;
  read := pg_stat_get_xact_tuples_returned('plainjobs.jobs_ready'::regclass) - before;
  IF read < 1000 OR ids IS NULL
    OR cardinality(ids) < wanted AND size <= room AND cardinality(ids) < (SELECT min(m.n) FROM unnest(most) AS m(n))
  THEN
    waiting := NULL;
  END IF;
  IF ids IS NULL THEN
    RETURN NEXT ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, read, due, waiting, NULL, NULL)::plainjobs.taken;
    RETURN;
  END IF;
  IF size > room THEN
    ids := ARRAY(
      SELECT s.id FROM (
        SELECT j.id, sum(octet_length(j.payload)) OVER earlier AS bytes, row_number() OVER earlier AS place
        FROM plainjobs.jobs j WHERE j.id = ANY (ids) WINDOW earlier AS (ORDER BY j.priority DESC, j.run_at, j.id)) s
      WHERE s.bytes <= room OR s.place = 1);
  END IF;
  IF keyed THEN
    -- Keys are looked up one by one, whatever statistics say of their number.
    PERFORM FROM plainjobs.jobs j CROSS JOIN LATERAL (
        SELECT FROM plainjobs.keys k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id FOR UPDATE SKIP LOCKED) k
      WHERE j.id = ANY (ids) AND j.flags & 2 <> 0;
    GET DIAGNOSTICS free = ROW_COUNT;
    IF free < (SELECT count(*) FROM plainjobs.jobs j WHERE j.id = ANY (ids) AND j.flags & 2 <> 0
        AND EXISTS (SELECT FROM plainjobs.keys k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id OFFSET 0))
    THEN
      RETURN NEXT NULL::plainjobs.taken;
      RETURN;
    END IF;
  END IF;
  INSERT INTO plainjobs.changes (name, state, jobs)
    SELECT j.name, v.state, v.sign * j.jobs
    FROM (SELECT j.name, count(*) AS jobs FROM plainjobs.jobs j WHERE j.id = ANY (ids) AND cardinality(asked) > 1 GROUP BY j.name
        UNION ALL SELECT asked[1], cardinality(ids) WHERE cardinality(asked) = 1) j,
      (VALUES (3::smallint, -1), (4::smallint, 1)) AS v(state, sign);
  IF keyed THEN
    WITH v AS MATERIALIZED (
        SELECT k.name, k.key, k.until FROM plainjobs.jobs j JOIN plainjobs.keys k ON k.name = j.name AND k.key = j.unique_key AND k.job = j.id
        WHERE j.id = ANY (ids) AND j.flags & 2 <> 0),
      gone AS (DELETE FROM plainjobs.keys k USING v WHERE v.until <= clock AND k.name = v.name AND k.key = v.key)
    UPDATE plainjobs.keys k SET held = false FROM v WHERE v.until > clock AND k.name = v.name AND k.key = v.key;
  END IF;
  IF expires THEN
    RETURN QUERY
    UPDATE plainjobs.jobs j SET state = 4, ending = 0, worker = me, token = base + j.id, expires_at = NULL
    FROM (SELECT x.id, x.expires_at FROM plainjobs.jobs x WHERE x.id = ANY (ids) OFFSET 0) x WHERE j.id = x.id
    RETURNING j.id, j.name, j.priority, j.failures, j.max_attempts, j.created_at, j.run_at, clock, x.expires_at, j.metadata, j.payload,
      read, due, waiting, j.unique_key, j.serial_key;
  ELSE
    RETURN QUERY
    UPDATE plainjobs.jobs j SET state = 4, ending = 0, worker = me, token = base + j.id WHERE j.id = ANY (ids)
    RETURNING j.id, j.name, j.priority, j.failures, j.max_attempts, j.created_at, j.run_at, clock, NULL::bigint, j.metadata, j.payload,
      read, due, waiting, j.unique_key, j.serial_key;
  END IF;
END $$;

-- look is what it was, in this order.
CREATE FUNCTION plainjobs.look(asked text[], suspects boolean, chosen boolean, lows integer[], highs integer[], ranks integer[], times bigint[],
    firsts bigint[], untils integer[],
    OUT clock bigint, OUT plain boolean, OUT ready boolean, OUT next bigint) LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
  clock := plainjobs.now_us();
  ready := false;
  next := 0;
  plain := chosen OR NOT EXISTS (SELECT 1 FROM plainjobs.settings s
    WHERE (s.name = '' OR s.name = ANY (asked)) AND (s.paused OR s.max_running > 0 OR s.rate > 0));
  IF NOT plain THEN
    RETURN;
  END IF;
  ready := EXISTS (
      SELECT 1 FROM unnest(asked, lows, highs) AS v(name, low, high)
      CROSS JOIN LATERAL generate_series(v.low, v.high) AS g(place)
      CROSS JOIN LATERAL (
        SELECT 1 FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = v.name
          AND (-j.priority::integer, j.run_at, j.id) >= (ranks[g.place], times[g.place], firsts[g.place]) AND -j.priority::integer < untils[g.place]
        ORDER BY -j.priority::integer, j.run_at, j.id LIMIT 1) p)
    OR suspects AND EXISTS (
      SELECT 1 FROM unnest(asked) AS v(name)
      CROSS JOIN LATERAL (SELECT 1 FROM plainjobs.jobs j WHERE j.state = 3 AND j.suspect AND j.name = v.name LIMIT 1) p);
  IF ready THEN
    RETURN;
  END IF;
  next := coalesce((SELECT min(j.run_at) FROM plainjobs.jobs j WHERE j.state = 1), 0);
  IF next = 0 OR next > clock THEN
    RETURN;
  END IF;
  ready := EXISTS (
      SELECT 1 FROM (SELECT j.name FROM plainjobs.jobs j WHERE j.state = 1 AND j.run_at <= clock ORDER BY j.run_at LIMIT 1000) due
      WHERE due.name = ANY (asked))
    OR (SELECT count(*) FROM (SELECT 1 FROM plainjobs.jobs j WHERE j.state = 1 AND j.run_at <= clock LIMIT 1001) due) > 1000;
  next := coalesce((SELECT min(j.run_at) FROM plainjobs.jobs j WHERE j.state = 1 AND j.run_at > clock), 0);
END $$;

-- Programs that opened the store before it had this order call the functions as
-- they were. What they say of ids is not where a claim begins in this order, so
-- everything is read for them.
CREATE OR REPLACE FUNCTION plainjobs.take(me bigint, span bigint, base bigint, asked text[], most bigint[], wanted bigint, room bigint, suspects boolean,
    lows integer[], highs integer[], ranks integer[], firsts bigint[], untils integer[])
  RETURNS SETOF plainjobs.taken LANGUAGE sql
AS $$
  SELECT t.* FROM (
    SELECT array_agg(n::integer) AS places, array_agg(-40000) AS ranks, array_agg((-9223372036854775808)::bigint) AS times,
      array_agg(0::bigint) AS firsts, array_agg(40000) AS untils
    FROM generate_series(1, cardinality(asked)) AS n) w
  CROSS JOIN LATERAL plainjobs.take(me, span, base, asked, most, wanted, room, suspects, w.places, w.places, w.ranks, w.times, w.firsts, w.untils) t
$$;

CREATE OR REPLACE FUNCTION plainjobs.look(asked text[], suspects boolean, chosen boolean, lows integer[], highs integer[], ranks integer[], firsts bigint[], untils integer[],
    OUT clock bigint, OUT plain boolean, OUT ready boolean, OUT next bigint) LANGUAGE sql
AS $$
  SELECT l.clock, l.plain, l.ready, l.next FROM (
    SELECT array_agg(n::integer) AS places, array_agg(-40000) AS ranks, array_agg((-9223372036854775808)::bigint) AS times,
      array_agg(0::bigint) AS firsts, array_agg(40000) AS untils
    FROM generate_series(1, cardinality(asked)) AS n) w
  CROSS JOIN LATERAL plainjobs.look(asked, suspects, chosen, w.places, w.places, w.ranks, w.times, w.firsts, w.untils) l
$$;

-- Finished jobs by when they finished: what is past its keep is found whatever
-- comes before it. Completions append to it.
CREATE INDEX jobs_finished ON plainjobs.jobs (name, state, finished_at) WHERE state >= 5;

-- When the run with a token was started, if its worker told. Both are 0 if it
-- did not.
ALTER TABLE plainjobs.jobs
  ADD COLUMN started_at    bigint NOT NULL DEFAULT 0, -- microseconds UTC
  ADD COLUMN started_token bigint NOT NULL DEFAULT 0;

-- A unique key belongs to a job that exists. Keys that were kept by For for jobs
-- that are deleted or cancelled are free.
DELETE FROM plainjobs.keys k WHERE NOT k.held
  AND NOT EXISTS (SELECT 1 FROM plainjobs.jobs j WHERE j.id = k.job AND j.state <> 7);

-- How many crashes fail a job of the name; 0 is the default, and a negative
-- number is none.
ALTER TABLE plainjobs.settings ADD COLUMN max_crashes bigint NOT NULL DEFAULT 0;
