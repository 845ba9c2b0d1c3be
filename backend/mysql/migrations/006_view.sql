-- The jobs for reports; see docs/reports.md. Columns of the view are never renamed or removed,
-- and new ones come last. A user of the view needs SELECT on the tables, too: so it keeps
-- working when the user that created it is deleted.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW plainjobs_view AS
  SELECT j.id, CONVERT(j.name USING utf8mb4) COLLATE utf8mb4_bin AS name,
    CASE WHEN j.worker IS NOT NULL THEN 'running' ELSE ELT(j.state, 'scheduled', 'blocked', 'pending', '', 'done', 'failed', 'cancelled') END AS state,
    j.priority, j.failures, j.max_attempts, j.crashes,
    TIMESTAMPADD(MICROSECOND, j.created_at, TIMESTAMP'1970-01-01 00:00:00.000000') AS created_at,
    TIMESTAMPADD(MICROSECOND, j.run_at, TIMESTAMP'1970-01-01 00:00:00.000000') AS run_at,
    TIMESTAMPADD(MICROSECOND, CASE WHEN j.started_seed = j.seed AND (j.state >= 5 OR j.worker IS NOT NULL) THEN NULLIF(j.started_at, 0) END,
      TIMESTAMP'1970-01-01 00:00:00.000000') AS started_at,
    TIMESTAMPADD(MICROSECOND, CASE WHEN j.state >= 5 THEN j.finished_at END, TIMESTAMP'1970-01-01 00:00:00.000000') AS finished_at,
    TIMESTAMPADD(MICROSECOND, j.expires_at, TIMESTAMP'1970-01-01 00:00:00.000000') AS expires_at,
    j.worker,
    CONVERT(j.unique_key USING utf8mb4) COLLATE utf8mb4_bin AS unique_key,
    CONVERT(j.serial_key USING utf8mb4) COLLATE utf8mb4_bin AS serial_key,
    CASE WHEN JSON_VALID(CONVERT(j.metadata USING utf8mb4)) AND CAST(CONVERT(j.metadata USING utf8mb4) AS BINARY) = j.metadata
      THEN CONVERT(j.metadata USING utf8mb4) END AS metadata,
    CASE WHEN JSON_VALID(CONVERT(j.payload USING utf8mb4)) AND CAST(CONVERT(j.payload USING utf8mb4) AS BINARY) = j.payload
      THEN CONVERT(j.payload USING utf8mb4) END AS payload,
    CASE WHEN JSON_VALID(CONVERT(j.result USING utf8mb4)) AND CAST(CONVERT(j.result USING utf8mb4) AS BINARY) = j.result
      THEN CONVERT(j.result USING utf8mb4) END AS result,
    CONVERT(j.error USING utf8mb4) COLLATE utf8mb4_bin AS error,
    j.flags & 1048576 <> 0 AS payload_dropped
  FROM (
    SELECT j.id, j.name, j.state, j.priority, j.failures, j.max_attempts, j.crashes, j.created_at, j.run_at, j.started_at, j.started_seed, j.seed,
      j.finished_at, j.expires_at, j.unique_key, j.serial_key, j.metadata, j.payload, j.flags,
      CASE WHEN j.state = 3 THEN (SELECT CASE WHEN c.last >= j.id THEN c.worker END FROM plainjobs_claim c
        WHERE c.seed = j.seed AND c.first <= j.id ORDER BY c.first DESC LIMIT 1) END AS worker,
      (SELECT r.result FROM plainjobs_job_result r WHERE r.job = j.id) AS result,
      (SELECT e.error FROM plainjobs_job_error e WHERE e.job = j.id ORDER BY e.number DESC LIMIT 1) AS error
    FROM plainjobs_job j) j;
