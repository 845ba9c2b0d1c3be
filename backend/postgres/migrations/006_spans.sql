-- Claimable jobs are rows of a table, one for each run of them, and claims are
-- rows of another. A claim changes these, and no job's row: see docs/design.md.
--
-- All tables have new names. Each old name is now a view that raises an error, and
-- so does each old function: a program that still has the old tables open fails,
-- instead of working with half of the tables.

CREATE FUNCTION plainjobs.outdated() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RAISE EXCEPTION 'plainjobs: a newer program has upgraded the tables to version 6: restart this program with that version';
END $$;
CREATE FUNCTION plainjobs.refuse_outdated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM plainjobs.outdated();
  RETURN NULL;
END $$;

-- The server evaluates outdated when it plans a statement. It plans no view for an
-- INSERT: a trigger of the empty table behind the view refuses that one.
DO $$
DECLARE
  t record;
  i record;
BEGIN
  FOR t IN SELECT * FROM (VALUES
      ('jobs', 'job', 'id'), ('errors', 'job_error', 'job, id'), ('results', 'job_result', 'job'), ('progress', 'job_progress', 'job'),
      ('workers', 'worker', 'id'), ('counts', 'job_count', 'name, state'), ('changes', 'count_change', NULL), ('gates', 'gate', 'name'),
      ('keys', 'unique_key', 'name, key'), ('serials', 'serial_head', 'name, key'), ('settings', 'job_setting', 'name'),
      ('starts', 'rate_count', 'name, slot'), ('schedules', 'schedule', 'name')) AS v(old, new, key)
  LOOP
    EXECUTE format('CREATE TABLE plainjobs.outdated_%s (LIKE plainjobs.%s)', t.old, t.old);
    IF t.key IS NOT NULL THEN
      EXECUTE format('ALTER TABLE plainjobs.outdated_%s ADD PRIMARY KEY (%s)', t.old, t.key);
    END IF;
    EXECUTE format('CREATE TRIGGER refuse BEFORE INSERT ON plainjobs.outdated_%s FOR EACH STATEMENT EXECUTE FUNCTION plainjobs.refuse_outdated()', t.old);
    FOR i IN SELECT c.relname FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
        WHERE x.indrelid = format('plainjobs.%s', t.old)::regclass LOOP
      EXECUTE format('ALTER INDEX plainjobs.%I RENAME TO %I', i.relname, t.new || substr(i.relname, length(t.old) + 1));
    END LOOP;
    EXECUTE format('ALTER TABLE plainjobs.%s RENAME TO %s', t.old, t.new);
    EXECUTE format('CREATE VIEW plainjobs.%s AS SELECT * FROM plainjobs.outdated_%s WHERE plainjobs.outdated()', t.old, t.old);
  END LOOP;
END $$;
ALTER SEQUENCE plainjobs.jobs_id_seq RENAME TO job_id_seq;
ALTER SEQUENCE plainjobs.errors_id_seq RENAME TO job_error_id_seq;
CREATE VIEW plainjobs.jobs_id_seq AS SELECT 0::bigint AS last_value, true AS is_called WHERE plainjobs.outdated();

-- The one clock of the store, in microseconds UTC. Tests replace it to move the
-- clock; nothing else may.
ALTER FUNCTION plainjobs.now_us() RENAME TO now_micros;
CREATE FUNCTION plainjobs.now_us() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  PERFORM plainjobs.outdated();
  RETURN 0;
END $$;
CREATE OR REPLACE FUNCTION plainjobs.claim(me bigint, span bigint, base bigint, asked text[], most bigint[], wanted bigint, room bigint, suspects boolean)
  RETURNS SETOF plainjobs.claimed LANGUAGE plpgsql AS $$ BEGIN PERFORM plainjobs.outdated(); END $$;
CREATE OR REPLACE FUNCTION plainjobs.take(me bigint, span bigint, base bigint, asked text[], most bigint[], wanted bigint, room bigint, suspects boolean,
    lows integer[], highs integer[], ranks integer[], firsts bigint[], untils integer[])
  RETURNS SETOF plainjobs.taken LANGUAGE plpgsql AS $$ BEGIN PERFORM plainjobs.outdated(); END $$;
CREATE OR REPLACE FUNCTION plainjobs.take(me bigint, span bigint, base bigint, asked text[], most bigint[], wanted bigint, room bigint, suspects boolean,
    lows integer[], highs integer[], ranks integer[], times bigint[], firsts bigint[], untils integer[])
  RETURNS SETOF plainjobs.taken LANGUAGE plpgsql AS $$ BEGIN PERFORM plainjobs.outdated(); END $$;
CREATE OR REPLACE FUNCTION plainjobs.look(asked text[], suspects boolean, chosen boolean, lows integer[], highs integer[], ranks integer[], firsts bigint[], untils integer[],
    OUT clock bigint, OUT plain boolean, OUT ready boolean, OUT next bigint) LANGUAGE plpgsql AS $$ BEGIN PERFORM plainjobs.outdated(); END $$;
CREATE OR REPLACE FUNCTION plainjobs.look(asked text[], suspects boolean, chosen boolean, lows integer[], highs integer[], ranks integer[], times bigint[],
    firsts bigint[], untils integer[],
    OUT clock bigint, OUT plain boolean, OUT ready boolean, OUT next bigint) LANGUAGE plpgsql AS $$ BEGIN PERFORM plainjobs.outdated(); END $$;
CREATE OR REPLACE FUNCTION plainjobs.complete(ids bigint[], tokens bigint[]) RETURNS bigint[] LANGUAGE plpgsql
  AS $$ BEGIN PERFORM plainjobs.outdated(); RETURN NULL; END $$;

ALTER TABLE plainjobs.worker RENAME COLUMN seen_at TO renewed_at;
ALTER TABLE plainjobs.worker RENAME COLUMN silent_seen TO silence_seen;
ALTER TABLE plainjobs.worker RENAME COLUMN silent_at TO silence_at;
ALTER TABLE plainjobs.worker RENAME COLUMN silent_by TO silence_by;
ALTER TABLE plainjobs.worker RENAME COLUMN silent_for TO silence_for;
UPDATE plainjobs.meta SET key = 'environment' WHERE key = 'home';
-- A number that each change of the settings raises.
INSERT INTO plainjobs.meta (key, value) VALUES ('settings', '1');

-- The pending jobs, in the order of claims: by priority, then by run_at, then by
-- id. A row is a span, the jobs from first to last, all of one name, priority and
-- run_at, and at most 100. Each pending job is in one span. The key has last, not
-- first, so that jobs are claimed off the head of a span without moving it in an
-- index. A span is visible when its jobs are.
CREATE TABLE plainjobs.ready (
  run_at  bigint  NOT NULL,
  last    bigint  NOT NULL,
  first   bigint  NOT NULL,
  rank    integer NOT NULL, -- the priority, negated
  suspect boolean NOT NULL,
  name    text    COLLATE "C" NOT NULL,
  PRIMARY KEY (name, suspect, rank, run_at, last)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX ready_order ON plainjobs.ready (suspect, rank, run_at, last);

-- The leases. A row is the jobs from first to last that have the seed and are
-- not finished: they run. A job that waits again has another seed.
CREATE TABLE plainjobs.claim (
  seed   bigint NOT NULL,
  first  bigint NOT NULL,
  last   bigint NOT NULL,
  worker bigint NOT NULL,
  PRIMARY KEY (seed, first)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

INSERT INTO plainjobs.ready (name, suspect, rank, run_at, last, first)
  SELECT name, suspect, -priority::integer, run_at, max(id), min(id) FROM (
    SELECT id, name, suspect, priority, run_at, id - row_number() OVER (PARTITION BY name, suspect, priority, run_at ORDER BY id) AS island
    FROM plainjobs.job WHERE state = 3) a
  GROUP BY name, suspect, priority, run_at, island, (id - 1) / 100;
INSERT INTO plainjobs.claim (seed, first, last, worker)
  SELECT seed, min(id), max(id), worker FROM (
    SELECT id, worker, token - id AS seed, id - row_number() OVER (PARTITION BY worker, token - id ORDER BY id) AS island
    FROM plainjobs.job WHERE state = 4) a
  GROUP BY seed, worker, island;

-- From here on state 3 is pending or running: a job is running if it is in a claim.
-- A token is the seed and the job's id. The seed is drawn when a job becomes
-- claimable, so that a claim leaves the row as it is. Old jobs that were never
-- claimed have the seed 0, and finished ones had none to keep.
DROP INDEX plainjobs.job_ready;
DROP INDEX plainjobs.job_suspects;
DROP INDEX plainjobs.job_running;
ALTER TABLE plainjobs.job ADD COLUMN settled_seed bigint NOT NULL DEFAULT 0; -- of the run after which the job waits again, or 0
UPDATE plainjobs.job SET state = 3, token = token - id, started_token = CASE started_token WHEN token THEN token - id ELSE 0 END WHERE state = 4;
UPDATE plainjobs.job SET token = 1 + (random() * 4e18)::bigint, ending = 0, started_token = 0
  WHERE token <> 0 AND state < 4 AND NOT EXISTS (SELECT 1 FROM plainjobs.claim c WHERE c.seed = token AND id BETWEEN c.first AND c.last);
ALTER TABLE plainjobs.job RENAME COLUMN token TO seed;
ALTER TABLE plainjobs.job RENAME COLUMN started_token TO started_seed;
ALTER TABLE plainjobs.job DROP COLUMN worker;

CREATE TYPE plainjobs.claimed_job AS (
  id bigint, name text, priority smallint, failures integer, max_attempts bigint, created_at bigint, run_at bigint, seed bigint, now bigint,
  expires_at bigint, unique_key text, serial_key text, metadata bytea, payload bytea,
  read bigint, -- index entries of spans
  flags integer);

-- It claims in one message, and without a transaction that stays open between
-- messages. Its plans are made once for a connection, perhaps when the tables are
-- empty: they must use indexes.
--
-- It returns one row without an id if it did nothing, because the worker has no
-- row or because a setting, a suspect, an expired job or a lock of a job or a key
-- is in the way; and one with the id 0 if other transactions have locked all
-- pending jobs. A most of NULL bounds no name. It reads the spans from a rank and a
-- run_at on, or all if it made due jobs pending.
--
-- If the program has chosen the names from next_spans, a most for each, a max_running
-- is not in the way: it locks the settings of such names, and takes no more jobs than
-- they allow then.
--
-- A worker's row that was renewed a moment ago is only locked, so that it is not
-- reaped meanwhile: each new version of a row stays until it is vacuumed.
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
  names text[];
  ranks integer[];
  times bigint[];
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
          SELECT r.rank, r.run_at, r.last, r.first, (r.last - r.first + 1)::integer AS size
          FROM plainjobs.ready r WHERE r.name = s.name AND NOT r.suspect AND (r.rank, r.run_at) >= (from_rank, from_time)
          ORDER BY r.rank, r.run_at, r.last LIMIT s.spans FOR UPDATE SKIP LOCKED) r),
      capped AS (
        SELECT h.*, least(h.size, h.most - (sum(h.size) OVER (PARTITION BY h.name ORDER BY h.rank, h.run_at, h.last) - h.size)) AS fits FROM heads h),
      placed AS (
        SELECT c.*, least(c.fits, wanted - (sum(c.fits) OVER (ORDER BY c.rank, c.run_at, c.last) - c.fits)) AS takes FROM capped c WHERE c.fits > 0)
    SELECT array_agg(p.name ORDER BY p.rank, p.run_at, p.last), array_agg(p.rank ORDER BY p.rank, p.run_at, p.last),
      array_agg(p.run_at ORDER BY p.rank, p.run_at, p.last), array_agg(p.last ORDER BY p.rank, p.run_at, p.last),
      array_agg(p.first ORDER BY p.rank, p.run_at, p.last), array_agg(p.first - 1 + p.takes ORDER BY p.rank, p.run_at, p.last)
    INTO names, ranks, times, lasts, firsts, untils FROM placed p WHERE p.takes > 0;
    IF names IS NULL THEN
      -- Others are claiming all of them. A claim is short: wait for one, so that a
      -- short queue is not taken for an empty one.
      timeout := current_setting('lock_timeout');
      BEGIN
        PERFORM set_config('lock_timeout', '100ms', true);
        SELECT ARRAY[h.name], ARRAY[h.rank], ARRAY[h.run_at], ARRAY[h.last], ARRAY[h.first],
          ARRAY[least(h.last, h.first - 1 + least(wanted, coalesce(share_most[1], wanted)))]
        INTO names, ranks, times, lasts, firsts, untils FROM (
          SELECT r.name, r.rank, r.run_at, r.last, r.first
          FROM plainjobs.ready r WHERE r.name = share_names[1] AND NOT r.suspect AND (r.rank, r.run_at) >= (from_rank, from_time)
          ORDER BY r.rank, r.run_at, r.last LIMIT 1 FOR UPDATE) h;
      EXCEPTION WHEN lock_not_available THEN
        RETURN NEXT ROW(0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::plainjobs.claimed_job;
        RETURN;
      END;
      PERFORM set_config('lock_timeout', timeout, true);
      IF names IS NULL THEN
        RETURN;
      END IF;
    END IF;
    -- A span was committed with its jobs, so a new statement sees them.
    SELECT array_agg(j.id ORDER BY s.place, j.id), array_agg(j.seed ORDER BY s.place, j.id),
      CASE WHEN cardinality(asked) > 1 THEN array_agg(j.name ORDER BY s.place, j.id) END,
      sum(octet_length(j.payload)), bool_or(j.flags & 2 <> 0), bool_or(j.expires_at IS NOT NULL)
    INTO ids, seeds, job_names, size, keyed, expires
    FROM unnest(firsts, untils) WITH ORDINALITY AS s(first, until, place)
    JOIN plainjobs.job j ON j.id BETWEEN s.first AND s.until AND j.state = 3;
    IF size > room THEN
      SELECT array_agg(f.id ORDER BY f.n), array_agg(f.seed ORDER BY f.n), CASE WHEN cardinality(asked) > 1 THEN array_agg(f.name ORDER BY f.n) END
      INTO ids, seeds, job_names FROM (
        SELECT j.id, j.seed, j.name, row_number() OVER earlier AS n, sum(octet_length(j.payload)) OVER earlier AS bytes
        FROM unnest(firsts, untils) WITH ORDINALITY AS s(first, until, place)
        JOIN plainjobs.job j ON j.id BETWEEN s.first AND s.until AND j.state = 3 WINDOW earlier AS (ORDER BY s.place, j.id)) f
      WHERE f.bytes <= room OR f.n = 1;
      SELECT array_agg(s.name), array_agg(s.rank), array_agg(s.run_at), array_agg(s.last), array_agg(s.first), array_agg(s.upto)
      INTO names, ranks, times, lasts, firsts, untils FROM (
        SELECT s.*, (SELECT max(x.id) FROM unnest(ids) AS x(id) WHERE x.id BETWEEN s.first AND s.until) AS upto
        FROM unnest(names, ranks, times, lasts, firsts, untils) AS s(name, rank, run_at, last, first, until)) s
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
    DELETE FROM plainjobs.ready r USING unnest(names, ranks, times, lasts, untils) AS s(name, rank, run_at, last, until)
      WHERE s.until = s.last AND r.name = s.name AND NOT r.suspect AND r.rank = s.rank AND r.run_at = s.run_at AND r.last = s.last;
    UPDATE plainjobs.ready r SET first = s.until + 1 FROM unnest(names, ranks, times, lasts, untils) AS s(name, rank, run_at, last, until)
      WHERE s.until < s.last AND r.name = s.name AND NOT r.suspect AND r.rank = s.rank AND r.run_at = s.run_at AND r.last = s.last;
    EXIT WHEN ids IS NOT NULL;
    -- All jobs of the spans were deleted outside the store.
  END LOOP;
  INSERT INTO plainjobs.claim (seed, first, last, worker)
    SELECT c.seed, min(c.id), max(c.id), me FROM (
      SELECT v.seed, v.id, v.id - row_number() OVER (PARTITION BY v.seed ORDER BY v.id) AS island FROM unnest(ids, seeds) AS v(id, seed)) c
    GROUP BY c.seed, c.island;
  INSERT INTO plainjobs.count_change (name, state, jobs)
    SELECT n.name, v.state, v.sign * n.jobs
    FROM (SELECT x.name, count(*) AS jobs FROM unnest(job_names) AS x(name) GROUP BY x.name
        UNION ALL SELECT asked[1], cardinality(ids) WHERE job_names IS NULL) n,
      (VALUES (3::smallint, -1), (4::smallint, 1)) AS v(state, sign);
  entries := pg_stat_get_xact_tuples_returned('plainjobs.ready_pkey'::regclass) + pg_stat_get_xact_tuples_returned('plainjobs.ready_order'::regclass) - entries;
  RETURN QUERY
    SELECT j.id, j.name, j.priority, j.failures, j.max_attempts, j.created_at, j.run_at, j.seed, clock, j.expires_at,
      j.unique_key, j.serial_key, j.metadata, j.payload, entries, j.flags
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

-- The first spans, in the order of claims, with the limits of their names, and how
-- many jobs of these run.
CREATE FUNCTION plainjobs.next_spans(most bigint, OUT name text, OUT jobs bigint, OUT max_running bigint, OUT other boolean, OUT running bigint)
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
    WITH counts AS MATERIALIZED (
      SELECT c.name, sum(c.jobs)::bigint AS jobs FROM (
        SELECT k.name, k.jobs FROM plainjobs.job_count k WHERE k.state = 4 AND k.name = ANY (names)
        UNION ALL SELECT k.name, k.jobs FROM plainjobs.count_change k WHERE k.state = 4 AND k.name = ANY (names)) c
      GROUP BY c.name)
    SELECT v.name, v.size, coalesce(s.max_running, 0)::bigint, coalesce(s.paused OR s.rate > 0, false), coalesce((SELECT c.jobs FROM counts c WHERE c.name = v.name), 0)
    FROM unnest(names, sizes) WITH ORDINALITY AS v(name, size, place) LEFT JOIN plainjobs.job_setting s ON s.name = v.name ORDER BY v.place;
END $$;

-- It makes at most so many due jobs pending, and returns their names and times.
CREATE FUNCTION plainjobs.promote_jobs(clock bigint, most bigint, OUT name text, OUT jobs bigint) RETURNS SETOF record LANGUAGE sql
AS $$
  WITH due AS (
      UPDATE plainjobs.job j SET state = 3
      WHERE j.id = ANY (ARRAY(
        SELECT d.id FROM plainjobs.job d WHERE d.state = 1 AND d.run_at <= clock ORDER BY d.run_at LIMIT most FOR UPDATE SKIP LOCKED))
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
$$;

-- It takes pending jobs, whose rows the caller has locked, out of their spans, and
-- returns those that it took: the others are running.
--
-- A span that a claim or an operator has locked is waited for, and read again if
-- it was changed: the job may be in a claim now, or in another span.
CREATE FUNCTION plainjobs.cut_ready(ids bigint[]) RETURNS SETOF bigint LANGUAGE plpgsql
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
      EXIT WHEN EXISTS (SELECT 1 FROM plainjobs.claim c WHERE c.seed = j.seed AND c.first <= j.id AND c.last >= j.id);
      IF attempt = 10 THEN -- a statement outside the store took it out of its span
        RETURN NEXT j.id;
      END IF;
    END LOOP;
  END LOOP;
END $$;

-- It makes running jobs done whose leases are held, if they hold no keys and are
-- to be kept: the jobs of each range that have its seed. It returns their ids and
-- then their seeds, or NULL if they are all; it then deletes those of the claims that lease nothing more. Each
-- job is looked up by its id.
CREATE FUNCTION plainjobs.complete_jobs(firsts bigint[], lasts bigint[], seeds bigint[], claim_seeds bigint[], claim_firsts bigint[])
  RETURNS bigint[] LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  clock bigint := plainjobs.now_micros();
  unkept text[] := ARRAY(SELECT s.name FROM plainjobs.job_setting s WHERE s.keep_done < 0);
  settled bigint[];
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  IF current_setting('lock_timeout') = '0' THEN
    PERFORM set_config('lock_timeout', '10s', true); -- the caller may have no deadline, and tries again if it has
  END IF;
  WITH done AS (
      UPDATE plainjobs.job j SET state = 5, ending = 0, finished_at = clock, suspect = false, crashes = 0
      FROM unnest(firsts, lasts, seeds) AS v(first, last, seed)
      WHERE j.id BETWEEN v.first AND v.last AND j.seed = v.seed AND j.state = 3 AND j.flags & 5 = 0 AND j.name <> ALL (unkept)
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

-- Whether a claim would find a job, in one message: a waiting worker asks this
-- between being notified of a job and claiming it. It is not plain if a setting is
-- in the way: the program has to choose from the names first. Of the due jobs it
-- looks at as many as a claim makes pending. next is when the first of the others
-- is due, or 0.
CREATE FUNCTION plainjobs.poll_jobs(asked text[], suspects boolean, chosen boolean,
    OUT clock bigint, OUT plain boolean, OUT ready boolean, OUT next bigint) LANGUAGE plpgsql
  SET jit = off SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  read bigint := 1000;
BEGIN
  clock := plainjobs.now_micros();
  ready := false;
  next := 0;
  plain := chosen OR NOT EXISTS (SELECT 1 FROM plainjobs.job_setting s
    WHERE (s.name = '' OR s.name = ANY (asked)) AND (s.paused OR s.max_running > 0 OR s.rate > 0));
  IF NOT plain THEN
    RETURN;
  END IF;
  IF cardinality(asked) > 4 THEN -- if few jobs are pending, there is no need to ask for each name
    SELECT count(*), coalesce(bool_or(w.name = ANY (asked)), false) INTO read, ready FROM (
      SELECT r.name FROM plainjobs.ready r WHERE NOT r.suspect ORDER BY r.suspect, r.rank, r.run_at, r.last LIMIT 1000) w;
  END IF;
  ready := ready
    OR read = 1000 AND EXISTS (
      SELECT 1 FROM unnest(asked) AS v(name)
      CROSS JOIN LATERAL (SELECT 1 FROM plainjobs.ready r WHERE r.name = v.name AND NOT r.suspect ORDER BY r.rank, r.run_at, r.last LIMIT 1) p)
    OR suspects AND EXISTS (SELECT 1 FROM plainjobs.ready r WHERE r.suspect AND r.name = ANY (asked));
  IF ready THEN
    RETURN;
  END IF;
  next := coalesce((SELECT min(j.run_at) FROM plainjobs.job j WHERE j.state = 1), 0);
  IF next = 0 OR next > clock THEN
    RETURN;
  END IF;
  ready := EXISTS (
      SELECT 1 FROM (SELECT j.name FROM plainjobs.job j WHERE j.state = 1 AND j.run_at <= clock ORDER BY j.run_at LIMIT 1000) due
      WHERE due.name = ANY (asked))
    OR (SELECT count(*) FROM (SELECT 1 FROM plainjobs.job j WHERE j.state = 1 AND j.run_at <= clock LIMIT 1001) due) > 1000;
  next := coalesce((SELECT min(j.run_at) FROM plainjobs.job j WHERE j.state = 1 AND j.run_at > clock), 0);
END $$;
