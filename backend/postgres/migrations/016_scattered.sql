-- Claims of scattered jobs. Jobs of many names or priorities are claimed together, but
-- their IDs do not follow each other: a row for each run of IDs would be a row for each
-- job. So the jobs of a claim that have one seed are one row. If they are not all jobs
-- from first to last, jobs has them. Such a row is not found by an ID in first and last:
-- first is the negative of the first ID, and last is 0.
ALTER TABLE plainjobs.claim ADD COLUMN jobs int8multirange;
ALTER TABLE plainjobs.claim ALTER COLUMN jobs SET STORAGE EXTERNAL; -- compression takes longer than the claim
CREATE INDEX claim_jobs ON plainjobs.claim USING gist (jobs) WHERE jobs IS NOT NULL;

CREATE FUNCTION plainjobs.ranges_of(c plainjobs.claim) RETURNS int8multirange LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT coalesce(c.jobs, int8multirange(int8range(c.first, c.last, '[]'))) $$;

-- It stores the claims of jobs that were in spans.
CREATE FUNCTION plainjobs.lease_jobs(ids bigint[], seeds bigint[], me bigint) RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
  INSERT INTO plainjobs.claim (seed, first, last, worker, jobs)
    SELECT c.seed, CASE WHEN c.run THEN c.first ELSE -c.first END, CASE WHEN c.run THEN c.last ELSE 0 END, me,
      CASE WHEN NOT c.run THEN (SELECT range_agg(int8range(v.id, v.id + 1)) FROM unnest(ids, seeds) AS v(id, seed) WHERE v.seed = c.seed) END
    FROM (SELECT v.seed, min(v.id) AS first, max(v.id) AS last, max(v.id) - min(v.id) + 1 = count(*) AS run
      FROM unnest(ids, seeds) AS v(id, seed) GROUP BY v.seed) c;
END $$;

-- Each completion looks for these names.
CREATE INDEX job_setting_unkept ON plainjobs.job_setting (name) WHERE keep_done < 0 OR drop_done;

-- The first spans, in the order of claims, with the limits of their names, and how
-- many jobs of these run.
CREATE OR REPLACE FUNCTION plainjobs.next_spans(most bigint, OUT name text, OUT jobs bigint, OUT max_running bigint, OUT other boolean, OUT running bigint)
  RETURNS SETOF record LANGUAGE plpgsql STABLE
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = on SET enable_mergejoin = off
AS $$
DECLARE
  names text[];
  sizes bigint[];
BEGIN
  SELECT array_agg(w.name ORDER BY w.rank, w.run_at, w.last), array_agg(w.size ORDER BY w.rank, w.run_at, w.last) INTO names, sizes FROM (
    SELECT r.name, r.rank, r.run_at, r.last, r.last - r.first + 1 AS size FROM plainjobs.ready r WHERE NOT r.suspect
    ORDER BY r.suspect, r.rank, r.run_at, r.last LIMIT most) w;
  RETURN QUERY
    WITH n AS MATERIALIZED (SELECT DISTINCT v.name FROM unnest(names) AS v(name)),
      counts AS MATERIALIZED (
        SELECT c.name, sum(c.jobs)::bigint AS jobs FROM (
          SELECT k.name, k.jobs FROM n JOIN plainjobs.job_count k ON k.name = n.name AND k.state = 4
          UNION ALL SELECT k.name, k.jobs FROM n JOIN plainjobs.count_change k ON k.name = n.name WHERE k.state = 4) c
        GROUP BY c.name)
    SELECT v.name, v.size, coalesce(s.max_running, 0)::bigint, coalesce(s.paused OR s.rate > 0, false), coalesce((SELECT c.jobs FROM counts c WHERE c.name = v.name), 0)
    FROM unnest(names, sizes) WITH ORDINALITY AS v(name, size, place) LEFT JOIN plainjobs.job_setting s ON s.name = v.name ORDER BY v.place;
END $$;

DROP FUNCTION plainjobs.claim_jobs(bigint, bigint, text[], bigint[], bigint, bigint, boolean, integer, bigint, boolean);
DROP TYPE plainjobs.claimed_job;
CREATE TYPE plainjobs.claimed_job AS (
  id bigint, name text, priority smallint, failures integer, max_attempts bigint, created_at bigint, run_at bigint, seed bigint,
  expires_in bigint, -- microseconds
  unique_key text, serial_key text, metadata bytea, payload bytea,
  read bigint, -- index entries of spans
  flags integer,
  gates bigint[]); -- the gate behind which it stood, the condition, and the gates in which it counts; NULL if it has none of these

-- As before, but the jobs of one seed are one row of claim, and the gates come with the
-- jobs.
CREATE FUNCTION plainjobs.claim_jobs(me bigint, span bigint, asked text[], most bigint[], wanted bigint, room bigint, suspects boolean,
    from_rank integer, from_time bigint, chosen boolean)
  RETURNS SETOF plainjobs.claimed_job LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  clock bigint := plainjobs.now_micros();
  entries bigint := pg_stat_get_xact_tuples_returned('plainjobs.ready_pkey'::regclass) + pg_stat_get_xact_tuples_returned('plainjobs.ready_order'::regclass);
  special boolean;
  due boolean;
  limited text[];
  held text[]; -- those of the limited names whose settings are locked
  -- Which spans to lock: the first so many of each name, and the most jobs of it.
  share_names text[];
  share_spans bigint[];
  share_most bigint[];
  read bigint;
  seen bigint;
  -- The locked spans, and up to where they are taken.
  places tid[];
  lasts bigint[];
  firsts bigint[];
  untils bigint[];
  -- The jobs.
  ids bigint[];
  seeds bigint[];
  job_names text[];
  size bigint;
  keyed boolean;
  expires boolean;
  free bigint;
  changed bigint;
  timeout text;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  UPDATE plainjobs.worker w SET renewed_at = clock, lease = span
    WHERE w.id = me AND NOT (w.lease = span AND w.renewed_at BETWEEN clock - span / 100 AND clock);
  IF NOT FOUND THEN
    PERFORM 1 FROM plainjobs.worker w WHERE w.id = me FOR SHARE;
    IF NOT FOUND THEN
      RETURN NEXT NULL::plainjobs.claimed_job;
      RETURN;
    END IF;
  END IF;
  IF chosen THEN
    special := EXISTS (SELECT 1 FROM plainjobs.job_setting s WHERE s.name = ANY (''::text || asked) AND (s.name = '' AND s.paused OR s.rate > 0));
  ELSE
    special := EXISTS (SELECT 1 FROM plainjobs.job_setting s WHERE (s.name = '' OR s.name = ANY (asked)) AND (s.paused OR s.max_running > 0 OR s.rate > 0));
  END IF;
  SELECT special
      OR suspects AND EXISTS (SELECT 1 FROM plainjobs.ready r WHERE r.suspect)
      OR EXISTS (SELECT 1 FROM plainjobs.job j WHERE j.expires_at IS NOT NULL AND j.state < 4 AND j.expires_at <= clock),
    EXISTS (SELECT 1 FROM plainjobs.job j WHERE j.state = 1 AND j.run_at <= clock)
  INTO special, due;
  IF special THEN
    RETURN NEXT NULL::plainjobs.claimed_job;
    RETURN;
  END IF;
  IF due THEN
    PERFORM plainjobs.promote_jobs(clock, 1000);
    from_rank := -40000;
    IF chosen THEN -- from the spans without these
      RETURN NEXT NULL::plainjobs.claimed_job;
      RETURN;
    END IF;
  END IF;
  IF chosen THEN
    limited := ARRAY(SELECT s.name FROM plainjobs.job_setting s WHERE s.name = ANY (asked) AND s.max_running > 0 ORDER BY s.name);
  END IF;
  IF cardinality(limited) > 0 THEN
    held := ARRAY(SELECT s.name FROM plainjobs.job_setting s WHERE s.name = ANY (limited) ORDER BY s.name FOR UPDATE SKIP LOCKED);
    IF cardinality(held) = 0 AND cardinality(limited) = cardinality(asked) THEN
      -- Others are claiming all of them. Wait for one, and hold no other meanwhile.
      timeout := current_setting('lock_timeout');
      BEGIN
        PERFORM set_config('lock_timeout', '100ms', true);
        held := ARRAY(SELECT s.name FROM plainjobs.job_setting s WHERE s.name = limited[1] FOR UPDATE);
      EXCEPTION WHEN lock_not_available THEN
        RETURN NEXT ROW(0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::plainjobs.claimed_job;
        RETURN;
      END;
      PERFORM set_config('lock_timeout', timeout, true);
    END IF;
    -- A new statement sees what those have claimed that had the locks before.
    WITH running AS MATERIALIZED (
        SELECT c.name, sum(c.jobs)::bigint AS jobs FROM (
          SELECT k.name, k.jobs FROM plainjobs.job_count k WHERE k.state = 4 AND k.name = ANY (held)
          UNION ALL SELECT k.name, k.jobs FROM plainjobs.count_change k WHERE k.state = 4 AND k.name = ANY (held)) c
        GROUP BY c.name),
      free AS (
        SELECT v.name, CASE WHEN v.name <> ALL (limited) THEN v.most WHEN v.name <> ALL (held) OR s.paused THEN 0
          ELSE least(v.most, coalesce(nullif(s.max_running, 0) - coalesce((SELECT r.jobs FROM running r WHERE r.name = v.name), 0), v.most)) END AS most
        FROM unnest(asked, most) AS v(name, most) LEFT JOIN plainjobs.job_setting s ON s.name = v.name)
    SELECT array_agg(f.name), array_agg(f.most), sum(f.most) INTO asked, most, wanted FROM free f WHERE f.most > 0;
    IF asked IS NULL THEN
      RETURN;
    END IF;
  END IF;
  IF cardinality(asked) = 1 AND most IS NOT NULL THEN
    wanted := least(wanted, most[1]);
    most := NULL;
  END IF;
  LOOP
    -- Which spans come first is found without locks, and the others are not read again.
    share_names := NULL;
    share_most := NULL;
    IF cardinality(asked) = 1 THEN
      SELECT asked, ARRAY[count(*)], (array_agg(c.rank ORDER BY c.before))[1], (array_agg(c.run_at ORDER BY c.before))[1]
      INTO share_names, share_spans, from_rank, from_time FROM (
        SELECT s.rank, s.run_at, sum(s.size) OVER (ORDER BY s.rank, s.run_at, s.last) - s.size AS before FROM (
          SELECT r.rank, r.run_at, r.last, (r.last - r.first + 1)::integer AS size
          FROM plainjobs.ready r WHERE r.name = asked[1] AND NOT r.suspect AND (r.rank, r.run_at) >= (from_rank, from_time)
            ORDER BY r.rank, r.run_at, r.last LIMIT wanted) s) c
      WHERE c.before < wanted;
      IF share_spans[1] = 0 THEN
        RETURN;
      END IF;
    ELSE
      -- If most pending jobs are of the names, they are at the head of all.
      seen := 0;
      read := 0;
      IF most IS NULL AND cardinality(asked) > 4 THEN
        WITH w AS MATERIALIZED (
            SELECT r.name, r.rank, r.run_at, r.last, (r.last - r.first + 1)::integer AS size
            FROM plainjobs.ready r WHERE NOT r.suspect AND (r.rank, r.run_at) >= (from_rank, from_time)
            ORDER BY r.suspect, r.rank, r.run_at, r.last LIMIT 4 * wanted + 64),
          mine AS MATERIALIZED (
            SELECT w.name, w.rank, w.run_at, w.size, sum(w.size) OVER (ORDER BY w.rank, w.run_at, w.last) - w.size AS before FROM w WHERE w.name = ANY (asked)),
          shares AS (SELECT m.name, count(*) AS spans FROM mine m WHERE m.before < wanted GROUP BY m.name)
        SELECT array_agg(s.name), array_agg(s.spans), (SELECT count(*) FROM w), (SELECT coalesce(sum(m.size), 0) FROM mine m),
          coalesce((SELECT m.rank FROM mine m WHERE m.before = 0), from_rank), coalesce((SELECT m.run_at FROM mine m WHERE m.before = 0), from_time)
        INTO share_names, share_spans, read, seen, from_rank, from_time FROM shares s;
        IF seen >= wanted OR read < 4 * wanted + 64 THEN
          IF share_names IS NULL THEN
            RETURN;
          END IF;
        ELSE
          share_names := NULL;
        END IF;
      END IF;
      IF share_names IS NULL THEN
        WITH found AS MATERIALIZED (
            SELECT v.name, v.most, p.* FROM unnest(asked, coalesce(most, array_fill(wanted, ARRAY[cardinality(asked)]))) AS v(name, most)
            CROSS JOIN LATERAL (
              SELECT r.rank, r.run_at, r.last, (r.last - r.first + 1)::integer AS size
              FROM plainjobs.ready r WHERE r.name = v.name AND NOT r.suspect AND (r.rank, r.run_at) >= (from_rank, from_time)
              ORDER BY r.rank, r.run_at, r.last LIMIT least(v.most, wanted)) p),
          capped AS (
            SELECT f.name, f.most, f.rank, f.run_at, f.last,
              least(f.size, f.most - (sum(f.size) OVER (PARTITION BY f.name ORDER BY f.rank, f.run_at, f.last) - f.size)) AS size FROM found f),
          placed AS (
            SELECT c.name, c.most, sum(c.size) OVER (ORDER BY c.rank, c.run_at, c.last) - c.size AS before FROM capped c WHERE c.size > 0),
          shares AS (SELECT p.name, p.most, count(*) AS spans FROM placed p WHERE p.before < wanted GROUP BY p.name, p.most)
        SELECT array_agg(s.name), array_agg(s.spans), array_agg(s.most) INTO share_names, share_spans, share_most FROM shares s;
        IF share_names IS NULL THEN
          RETURN;
        END IF;
      END IF;
    END IF;
    -- Each name's share is locked, past what others have locked, and no more than
    -- that: others pass over a span that is locked, taken or not.
    WITH heads AS MATERIALIZED (
        SELECT s.name, s.most, r.*
        FROM unnest(share_names, share_spans, coalesce(share_most, array_fill(wanted, ARRAY[cardinality(share_names)]))) AS s(name, spans, most)
        CROSS JOIN LATERAL (
          SELECT r.ctid AS place, r.rank, r.run_at, r.last, r.first, (r.last - r.first + 1)::integer AS size
          FROM plainjobs.ready r WHERE r.name = s.name AND NOT r.suspect AND (r.rank, r.run_at) >= (from_rank, from_time)
          ORDER BY r.rank, r.run_at, r.last LIMIT s.spans FOR UPDATE SKIP LOCKED) r),
      capped AS (
        SELECT h.*, least(h.size, h.most - (sum(h.size) OVER (PARTITION BY h.name ORDER BY h.rank, h.run_at, h.last) - h.size)) AS fits FROM heads h),
      placed AS (
        SELECT c.*, least(c.fits, wanted - (sum(c.fits) OVER (ORDER BY c.rank, c.run_at, c.last) - c.fits)) AS takes FROM capped c WHERE c.fits > 0)
    SELECT array_agg(p.place), array_agg(p.last), array_agg(p.first), array_agg(p.first - 1 + p.takes)
    INTO places, lasts, firsts, untils FROM (SELECT * FROM placed WHERE takes > 0 ORDER BY rank, run_at, last) p;
    IF places IS NULL THEN
      -- Others are claiming all of them. A claim is short: wait for one, so that a
      -- short queue is not taken for an empty one.
      timeout := current_setting('lock_timeout');
      BEGIN
        PERFORM set_config('lock_timeout', '100ms', true);
        SELECT ARRAY[h.place], ARRAY[h.last], ARRAY[h.first], ARRAY[least(h.last, h.first - 1 + least(wanted, coalesce(share_most[1], wanted)))]
        INTO places, lasts, firsts, untils FROM (
          SELECT r.ctid AS place, r.last, r.first
          FROM plainjobs.ready r WHERE r.name = share_names[1] AND NOT r.suspect AND (r.rank, r.run_at) >= (from_rank, from_time)
          ORDER BY r.rank, r.run_at, r.last LIMIT 1 FOR UPDATE) h;
      EXCEPTION WHEN lock_not_available THEN
        RETURN NEXT ROW(0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::plainjobs.claimed_job;
        RETURN;
      END;
      PERFORM set_config('lock_timeout', timeout, true);
      IF places IS NULL THEN
        RETURN;
      END IF;
    END IF;
    -- A span was committed with its jobs, so a new statement sees them.
    SELECT array_agg(j.id), array_agg(j.seed), CASE WHEN cardinality(asked) > 1 THEN array_agg(j.name) END,
      sum(octet_length(j.payload)), bool_or(j.flags & 2 <> 0), bool_or(j.expires_at IS NOT NULL)
    INTO ids, seeds, job_names, size, keyed, expires
    FROM unnest(firsts, untils) AS s(first, until)
    JOIN plainjobs.job j ON j.id BETWEEN s.first AND s.until AND j.state = 3;
    IF size > room THEN
      SELECT array_agg(f.id ORDER BY f.n), array_agg(f.seed ORDER BY f.n), CASE WHEN cardinality(asked) > 1 THEN array_agg(f.name ORDER BY f.n) END
      INTO ids, seeds, job_names FROM (
        SELECT j.id, j.seed, j.name, row_number() OVER earlier AS n, sum(octet_length(j.payload)) OVER earlier AS bytes
        FROM unnest(firsts, untils) WITH ORDINALITY AS s(first, until, place)
        JOIN plainjobs.job j ON j.id BETWEEN s.first AND s.until AND j.state = 3 WINDOW earlier AS (ORDER BY s.place, j.id)) f
      WHERE f.bytes <= room OR f.n = 1;
      SELECT array_agg(s.span), array_agg(s.last), array_agg(s.upto) INTO places, lasts, untils FROM (
        SELECT s.*, (SELECT max(x.id) FROM unnest(ids) AS x(id) WHERE x.id BETWEEN s.first AND s.until) AS upto
        FROM unnest(places, lasts, firsts, untils) AS s(span, last, first, until)) s
      WHERE s.upto IS NOT NULL;
    END IF;
    -- Operators lock jobs and keys before spans, so a claim waits for neither.
    IF keyed OR expires THEN
      PERFORM FROM plainjobs.job j WHERE j.id = ANY (ids) AND (j.flags & 2 <> 0 OR j.expires_at IS NOT NULL) FOR UPDATE SKIP LOCKED;
      GET DIAGNOSTICS free = ROW_COUNT;
      IF free < (SELECT count(*) FROM plainjobs.job j WHERE j.id = ANY (ids) AND (j.flags & 2 <> 0 OR j.expires_at IS NOT NULL)) THEN
        RETURN NEXT NULL::plainjobs.claimed_job;
        RETURN;
      END IF;
    END IF;
    IF keyed THEN
      -- Keys are looked up one by one, whatever statistics say of their number.
      PERFORM FROM plainjobs.job j CROSS JOIN LATERAL (
          SELECT FROM plainjobs.unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id FOR UPDATE SKIP LOCKED) k
        WHERE j.id = ANY (ids) AND j.flags & 2 <> 0;
      GET DIAGNOSTICS free = ROW_COUNT;
      IF free < (SELECT count(*) FROM plainjobs.job j WHERE j.id = ANY (ids) AND j.flags & 2 <> 0
          AND EXISTS (SELECT FROM plainjobs.unique_key k WHERE k.name = j.name AND k.key = j.unique_key AND k.job = j.id OFFSET 0))
      THEN
        RETURN NEXT NULL::plainjobs.claimed_job;
        RETURN;
      END IF;
    END IF;
    -- The spans are locked, so their rows stay where they are.
    DELETE FROM plainjobs.ready r WHERE r.ctid = ANY (ARRAY(SELECT s.place FROM unnest(places, lasts, untils) AS s(place, last, until) WHERE s.until = s.last));
    GET DIAGNOSTICS changed = ROW_COUNT;
    UPDATE plainjobs.ready r SET first = s.until + 1 FROM unnest(places, lasts, untils) AS s(place, last, until) WHERE s.until < s.last AND r.ctid = s.place;
    GET DIAGNOSTICS free = ROW_COUNT;
    IF changed + free <> cardinality(places) THEN
      RAISE EXCEPTION 'plainjobs: spans changed while they were locked';
    END IF;
    EXIT WHEN ids IS NOT NULL;
    -- All jobs of the spans were deleted outside the store.
  END LOOP;
  PERFORM plainjobs.lease_jobs(ids, seeds, me);
  INSERT INTO plainjobs.count_change (name, state, jobs)
    SELECT n.name, v.state, v.sign * n.jobs
    FROM (SELECT x.name, count(*) AS jobs FROM unnest(job_names) AS x(name) GROUP BY x.name
        UNION ALL SELECT asked[1], cardinality(ids) WHERE job_names IS NULL) n,
      (VALUES (3::smallint, -1), (4::smallint, 1)) AS v(state, sign);
  entries := pg_stat_get_xact_tuples_returned('plainjobs.ready_pkey'::regclass) + pg_stat_get_xact_tuples_returned('plainjobs.ready_order'::regclass) - entries;
  RETURN QUERY
    SELECT j.id, j.name, j.priority, j.failures, j.max_attempts, j.created_at, j.run_at, j.seed, j.expires_at - clock,
      j.unique_key, j.serial_key, j.metadata, j.payload, entries, j.flags,
      CASE WHEN j.flags & 768 <> 0 THEN
        coalesce((SELECT ARRAY[w.gate, w.condition] FROM plainjobs.gate_waiter w WHERE j.flags & 512 <> 0 AND w.job = j.id), '{0,0}')
        || ARRAY(SELECT CASE WHEN EXISTS (SELECT 1 FROM plainjobs.job_gate g WHERE g.id = m.gate AND g.paused = 1) THEN -m.gate ELSE m.gate END
          FROM plainjobs.gate_member m WHERE m.job = j.id ORDER BY m.gate) END
    FROM plainjobs.job j WHERE j.id = ANY (ids);
  IF keyed THEN
    WITH v AS MATERIALIZED (
        SELECT k.name, k.key, k.until FROM plainjobs.job j JOIN plainjobs.unique_key k ON k.name = j.name AND k.key = j.unique_key AND k.job = j.id
        WHERE j.id = ANY (ids) AND j.flags & 2 <> 0),
      gone AS (DELETE FROM plainjobs.unique_key k USING v WHERE v.until <= clock AND k.name = v.name AND k.key = v.key)
    UPDATE plainjobs.unique_key k SET held = false FROM v WHERE v.until > clock AND k.name = v.name AND k.key = v.key;
  END IF;
  IF expires THEN
    UPDATE plainjobs.job j SET expires_at = NULL WHERE j.id = ANY (ids) AND j.expires_at IS NOT NULL;
  END IF;
END $$;

CREATE OR REPLACE FUNCTION plainjobs.cut_ready(ids bigint[]) RETURNS SETOF bigint LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  j record;
  s record;
BEGIN
  FOR j IN SELECT v.id, v.name, v.suspect, -v.priority::integer AS rank, v.run_at, v.seed FROM plainjobs.job v
      WHERE v.id = ANY (ids) AND v.state = 3 ORDER BY v.name, v.suspect, -v.priority::integer, v.run_at, v.id LOOP
    FOR attempt IN 1..10 LOOP
      SELECT r.last, r.first INTO s FROM plainjobs.ready r
        WHERE r.name = j.name AND r.suspect = j.suspect AND r.rank = j.rank AND r.run_at = j.run_at AND r.last >= j.id
        ORDER BY r.last LIMIT 1 FOR UPDATE;
      IF FOUND AND s.first <= j.id THEN
        IF j.id = s.last THEN
          DELETE FROM plainjobs.ready r WHERE r.name = j.name AND r.suspect = j.suspect AND r.rank = j.rank AND r.run_at = j.run_at AND r.last = s.last;
        ELSE
          UPDATE plainjobs.ready r SET first = j.id + 1
            WHERE r.name = j.name AND r.suspect = j.suspect AND r.rank = j.rank AND r.run_at = j.run_at AND r.last = s.last;
        END IF;
        IF s.first < j.id THEN
          INSERT INTO plainjobs.ready (name, suspect, rank, run_at, last, first) VALUES (j.name, j.suspect, j.rank, j.run_at, j.id - 1, s.first);
        END IF;
        RETURN NEXT j.id;
        EXIT;
      END IF;
      EXIT WHEN EXISTS (SELECT 1 FROM plainjobs.claim c WHERE c.seed = j.seed AND c.first <= j.id AND c.last >= j.id)
        OR EXISTS (SELECT 1 FROM plainjobs.claim c WHERE c.jobs @> j.id AND c.seed + 0 = j.seed);
      IF attempt = 10 THEN -- a statement outside the store took it out of its span
        RETURN NEXT j.id;
      END IF;
    END LOOP;
  END LOOP;
END $$;

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
      AND NOT EXISTS (
        SELECT 1 FROM unnest(plainjobs.ranges_of(c)) AS r(ids) JOIN plainjobs.job j ON j.id >= lower(r.ids) AND j.id < upper(r.ids)
        WHERE j.seed = c.seed AND j.state = 3);
    RETURN NULL;
  END IF;
  RETURN coalesce(settled, '{}');
END $$;

CREATE OR REPLACE FUNCTION plainjobs.complete_members(firsts bigint[], lasts bigint[], seeds bigint[], claim_seeds bigint[], claim_firsts bigint[],
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
      AND NOT EXISTS (
        SELECT 1 FROM unnest(plainjobs.ranges_of(c)) AS r(ids) JOIN plainjobs.job j ON j.id >= lower(r.ids) AND j.id < upper(r.ids)
        WHERE j.seed = c.seed AND j.state = 3);
    settled := NULL;
  ELSE
    settled := coalesce(settled, '{}');
  END IF;
END $$;

-- The jobs for reports; see docs/reports.md. Columns of the view are never renamed or
-- removed, and new ones come last.
CREATE OR REPLACE VIEW plainjobs.view AS
  SELECT j.id, j.name,
    CASE WHEN c.worker IS NOT NULL THEN 'running' ELSE (ARRAY['scheduled', 'blocked', 'pending', NULL, 'done', 'failed', 'cancelled'])[j.state] END AS state,
    j.priority, j.failures, j.max_attempts, j.crashes,
    plainjobs.as_time(j.created_at) AS created_at,
    plainjobs.as_time(j.run_at) AS run_at,
    plainjobs.as_time(CASE WHEN j.started_seed = j.seed AND (j.state > 4 OR c.worker IS NOT NULL) THEN nullif(j.started_at, 0) END) AS started_at,
    plainjobs.as_time(CASE WHEN j.state > 4 THEN j.finished_at END) AS finished_at,
    plainjobs.as_time(j.expires_at) AS expires_at,
    c.worker,
    j.unique_key, j.serial_key,
    plainjobs.as_json(j.metadata) AS metadata,
    plainjobs.as_json(j.payload) AS payload,
    plainjobs.as_json((SELECT r.result FROM plainjobs.job_result r WHERE r.job = j.id)) AS result,
    (SELECT e.error FROM plainjobs.job_error e WHERE e.job = j.id ORDER BY e.id DESC LIMIT 1) AS error,
    j.flags & 1048576 <> 0 AS payload_dropped
  FROM plainjobs.job j
  LEFT JOIN LATERAL (
    SELECT k.worker FROM (
      (SELECT k.worker, k.last FROM plainjobs.claim k WHERE k.seed = j.seed AND k.first <= j.id ORDER BY k.first DESC LIMIT 1)
      UNION ALL SELECT k.worker, j.id FROM plainjobs.claim k WHERE k.jobs @> j.id AND k.seed + 0 = j.seed) k
    WHERE j.state = 3 AND k.last >= j.id) c ON true;
