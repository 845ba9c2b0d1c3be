-- Whether a claim would find a job, in one message: whoever waits asks this
-- between being told of a job and claiming it.
--
-- It does what is plain and says so when it is not: a setting is in the way, and
-- the program has to choose from the names first.
-- Ranges are those of take. Of those that are due it looks at as many as a claim
-- makes pending; if there are more, claims go on until there are not. Next is
-- when the first of the others is due, or 0.
CREATE FUNCTION plainjobs.look(asked text[], suspects boolean, chosen boolean, lows integer[], highs integer[], ranks integer[], firsts bigint[], untils integer[],
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
          AND (-j.priority::integer, j.id) >= (ranks[g.place], firsts[g.place]) AND -j.priority::integer < untils[g.place]
        ORDER BY -j.priority::integer, j.id LIMIT 1) p)
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
