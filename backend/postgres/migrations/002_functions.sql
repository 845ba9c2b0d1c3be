-- What is done for nearly every job, as functions: one message and no open
-- transaction between them, and plans that are made once for a connection. They
-- are made when the tables may be empty and are used when these are not, so
-- they must use indexes, whatever these are good for then.
--
-- They do what is plain and say so when it is not; then the program does it,
-- step by step.

CREATE TYPE plainjobs.claimed AS (
  id bigint, name text, priority smallint, failures integer, max_attempts bigint, created_at bigint, run_at bigint, now bigint,
  expires_at bigint, metadata bytea, payload bytea);

-- It returns no row with an id, but one without, if it did nothing because the
-- worker has no row, or because a setting, a suspect or an expired job is in the
-- way. Otherwise it has renewed the worker's row, made due jobs pending and
-- claimed what it returns.
--
-- A worker's row that was renewed a moment ago is only locked, so that it is
-- not reaped meanwhile: claims are many, and each version of a row lies about
-- until it is vacuumed.
CREATE FUNCTION plainjobs.claim(me bigint, span bigint, base bigint, asked text[], most bigint[], wanted bigint, room bigint, suspects boolean)
  RETURNS SETOF plainjobs.claimed LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  clock bigint := plainjobs.now_us();
  ids bigint[];
  size bigint;
  expires boolean;
  keyed boolean;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  UPDATE plainjobs.workers w SET seen_at = clock, lease = span
    WHERE w.id = me AND NOT (w.lease = span AND w.seen_at BETWEEN clock - span / 100 AND clock);
  IF NOT FOUND THEN
    PERFORM 1 FROM plainjobs.workers w WHERE w.id = me FOR SHARE;
    IF NOT FOUND THEN
      RETURN NEXT NULL::plainjobs.claimed;
      RETURN;
    END IF;
  END IF;
  IF EXISTS (SELECT 1 FROM plainjobs.settings s
      WHERE (s.name = '' OR s.name = ANY (asked)) AND (s.paused OR s.max_running > 0 OR s.rate > 0))
    OR suspects AND EXISTS (SELECT 1 FROM plainjobs.jobs j WHERE j.state = 3 AND j.suspect)
    OR EXISTS (SELECT 1 FROM plainjobs.jobs j WHERE j.expires_at IS NOT NULL AND j.state < 4 AND j.expires_at <= clock)
  THEN
    RETURN NEXT NULL::plainjobs.claimed;
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
  END IF;
  -- Which jobs come first over all names is found without locks; then each
  -- name's share is locked, past what others have locked, and no more than
  -- that: a job that is locked and not taken is one that others pass over. What
  -- was changed since is looked at again when its lock is had, so no job is
  -- claimed twice.
  IF cardinality(asked) = 1 THEN
    SELECT array_agg(h.id), sum(h.size), bool_or(h.expires), bool_or(h.keyed) INTO ids, size, expires, keyed FROM (
      SELECT j.id, octet_length(j.payload) AS size, j.expires_at IS NOT NULL AS expires, j.flags & 2 <> 0 AS keyed
      FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = asked[1]
      ORDER BY j.priority DESC, j.id LIMIT least(most[1], wanted) FOR UPDATE SKIP LOCKED) h;
  ELSE
    WITH shares AS MATERIALIZED (
        SELECT c.name, count(*) AS most FROM (
          SELECT v.name FROM unnest(asked, most) AS v(name, most)
          CROSS JOIN LATERAL (
            SELECT j.id, j.priority FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = v.name
            ORDER BY j.priority DESC, j.id LIMIT least(v.most, wanted)) p
          ORDER BY p.priority DESC, p.id LIMIT wanted) c
        GROUP BY c.name),
      heads AS MATERIALIZED (
        SELECT h.* FROM shares s CROSS JOIN LATERAL (
          SELECT j.id, j.priority, octet_length(j.payload) AS size, j.expires_at IS NOT NULL AS expires, j.flags & 2 <> 0 AS keyed
          FROM plainjobs.jobs j WHERE j.state = 3 AND NOT j.suspect AND j.name = s.name
          ORDER BY j.priority DESC, j.id LIMIT s.most FOR UPDATE SKIP LOCKED) h)
    SELECT array_agg(h.id), sum(h.size), bool_or(h.expires), bool_or(h.keyed) INTO ids, size, expires, keyed FROM heads h;
  END IF;
  IF ids IS NULL THEN
    RETURN;
  END IF;
  IF size > room THEN
    ids := ARRAY(
      SELECT s.id FROM (
        SELECT j.id, sum(octet_length(j.payload)) OVER earlier AS bytes, row_number() OVER earlier AS place
        FROM plainjobs.jobs j WHERE j.id = ANY (ids) WINDOW earlier AS (ORDER BY j.priority DESC, j.id)) s
      WHERE s.bytes <= room OR s.place = 1);
  END IF;
  INSERT INTO plainjobs.changes (name, state, jobs)
    SELECT j.name, v.state, v.sign * j.jobs
    FROM (SELECT j.name, count(*) AS jobs FROM plainjobs.jobs j WHERE j.id = ANY (ids) AND cardinality(asked) > 1 GROUP BY j.name
        UNION ALL SELECT asked[1], cardinality(ids) WHERE cardinality(asked) = 1) j,
      (VALUES (3::smallint, -1), (4::smallint, 1)) AS v(state, sign);
  IF keyed THEN
    WITH v AS MATERIALIZED (
        SELECT k.name, k.key, k.until FROM plainjobs.jobs j JOIN plainjobs.keys k ON k.name = j.name AND k.key = j.unique_key AND k.job = j.id
        WHERE j.id = ANY (ids) AND j.flags & 2 <> 0 ORDER BY k.name, k.key FOR UPDATE OF k),
      gone AS (DELETE FROM plainjobs.keys k USING v WHERE v.until <= clock AND k.name = v.name AND k.key = v.key)
    UPDATE plainjobs.keys k SET held = false FROM v WHERE v.until > clock AND k.name = v.name AND k.key = v.key;
  END IF;
  IF expires THEN
    RETURN QUERY
    UPDATE plainjobs.jobs j SET state = 4, ending = 0, worker = me, token = base + j.id, expires_at = NULL
    FROM (SELECT x.id, x.expires_at FROM plainjobs.jobs x WHERE x.id = ANY (ids) OFFSET 0) x WHERE j.id = x.id
    RETURNING j.id, j.name, j.priority, j.failures, j.max_attempts, j.created_at, j.run_at, clock, x.expires_at, j.metadata, j.payload;
  ELSE
    RETURN QUERY
    UPDATE plainjobs.jobs j SET state = 4, ending = 0, worker = me, token = base + j.id WHERE j.id = ANY (ids)
    RETURNING j.id, j.name, j.priority, j.failures, j.max_attempts, j.created_at, j.run_at, clock, NULL::bigint, j.metadata, j.payload;
  END IF;
END $$;

-- It makes running jobs done whose leases are held, if they hold no keys and
-- are to be kept. It returns their ids and then their tokens, or NULL if they are
-- all of them. Each job is looked up by its id: state + 0 is in no index, and
-- where statistics say that none runs, all that do would be read for each.
CREATE FUNCTION plainjobs.complete(ids bigint[], tokens bigint[]) RETURNS bigint[] LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  clock bigint := plainjobs.now_us();
  unkept text[] := ARRAY(SELECT s.name FROM plainjobs.settings s WHERE s.keep_done < 0);
  settled bigint[];
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  IF current_setting('lock_timeout') = '0' THEN
    PERFORM set_config('lock_timeout', '10s', true); -- the caller may have no deadline, and tries again if he has
  END IF;
  WITH done AS (
      UPDATE plainjobs.jobs j SET state = 5, finished_at = clock, suspect = false, crashes = 0, worker = 0
      FROM unnest(ids, tokens) AS v(id, token)
      WHERE j.id = v.id AND j.token = v.token AND j.state + 0 = 4 AND j.flags & 5 = 0 AND j.name <> ALL (unkept)
      RETURNING j.id, j.token, j.name),
    counted AS (
      INSERT INTO plainjobs.changes (name, state, jobs)
      SELECT d.name, v.state, v.sign * d.jobs FROM (SELECT d.name, count(*) AS jobs FROM done d GROUP BY d.name) d,
        (VALUES (4::smallint, -1), (5::smallint, 1)) AS v(state, sign))
  SELECT array_agg(d.id) || array_agg(d.token) INTO settled FROM done d;
  IF cardinality(settled) = 2 * cardinality(ids) THEN
    RETURN NULL;
  END IF;
  RETURN coalesce(settled, '{}');
END $$;
