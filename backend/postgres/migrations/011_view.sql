-- Data as JSON, or NULL where they are not JSON that jsonb can represent.
CREATE FUNCTION plainjobs.as_json(data bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT
AS $$
BEGIN
  RETURN convert_from(data, 'UTF8')::jsonb;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END $$;

-- An instant as a time.
CREATE FUNCTION plainjobs.as_time(micros bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT 'epoch'::timestamptz + micros * interval '1 microsecond' $$;

-- The jobs for reports; see docs/reports.md. Columns of the view are never renamed or
-- removed, and new ones come last.
CREATE VIEW plainjobs.view AS
  SELECT j.id, j.name,
    CASE WHEN c.last IS NOT NULL THEN 'running' ELSE (ARRAY['scheduled', 'blocked', 'pending', NULL, 'done', 'failed', 'cancelled'])[j.state] END AS state,
    j.priority, j.failures, j.max_attempts, j.crashes,
    plainjobs.as_time(j.created_at) AS created_at,
    plainjobs.as_time(j.run_at) AS run_at,
    plainjobs.as_time(CASE WHEN j.started_seed = j.seed AND (j.state > 4 OR c.last IS NOT NULL) THEN nullif(j.started_at, 0) END) AS started_at,
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
    SELECT k.worker, k.last FROM plainjobs.claim k WHERE j.state = 3 AND k.seed = j.seed AND k.first <= j.id ORDER BY k.first DESC LIMIT 1) c
    ON c.last >= j.id;
