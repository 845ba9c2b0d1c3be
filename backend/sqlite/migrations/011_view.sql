-- The jobs for reports; see docs/reports.md. Columns of the view are never renamed or
-- removed, and new ones come last. Times are texts that SQLite's date functions read.
CREATE VIEW plainjobs_view AS
  SELECT j.id, n.name,
    CASE j.state WHEN 1 THEN 'scheduled' WHEN 2 THEN 'blocked' WHEN 3 THEN CASE WHEN j.worker IS NULL THEN 'pending' ELSE 'running' END
      WHEN 5 THEN 'done' WHEN 6 THEN 'failed' WHEN 7 THEN 'cancelled' END AS state,
    j.priority, j.failures, j.max_attempts, j.crashes,
    strftime('%Y-%m-%d %H:%M:%S', j.created_at / 1000000, 'unixepoch') || printf('.%06d', j.created_at % 1000000) AS created_at,
    strftime('%Y-%m-%d %H:%M:%S', j.run_at / 1000000, 'unixepoch') || printf('.%06d', j.run_at % 1000000) AS run_at,
    strftime('%Y-%m-%d %H:%M:%S', j.started / 1000000, 'unixepoch') || printf('.%06d', j.started % 1000000) AS started_at,
    strftime('%Y-%m-%d %H:%M:%S', j.finished / 1000000, 'unixepoch') || printf('.%06d', j.finished % 1000000) AS finished_at,
    strftime('%Y-%m-%d %H:%M:%S', j.expires_at / 1000000, 'unixepoch') || printf('.%06d', j.expires_at % 1000000) AS expires_at,
    j.worker, j.unique_key, j.serial_key,
    CASE WHEN json_valid(CAST(j.metadata AS TEXT)) THEN CAST(j.metadata AS TEXT) END AS metadata,
    CASE WHEN json_valid(CAST(j.payload AS TEXT)) THEN CAST(j.payload AS TEXT) END AS payload,
    (SELECT CASE WHEN json_valid(CAST(r.result AS TEXT)) THEN CAST(r.result AS TEXT) END FROM plainjobs_job_result r WHERE r.job = j.id) AS result,
    (SELECT e.error FROM plainjobs_job_error e WHERE e.job = j.id ORDER BY e.id DESC LIMIT 1) AS error,
    j.flags & 1048576 <> 0 AS payload_dropped
  FROM (
    SELECT j.id, j.name, j.state, j.priority, j.failures, j.max_attempts, j.crashes, j.created_at, j.run_at, j.expires_at, j.unique_key, j.serial_key, j.metadata, j.payload, j.flags,
      CASE WHEN j.state >= 5 THEN j.finished_at END AS finished,
      CASE WHEN j.started_seed = j.seed AND (j.state >= 5 OR j.state = 3) THEN nullif(j.started_at, 0) END AS started,
      CASE WHEN j.state = 3 THEN (SELECT CASE WHEN c.last >= j.id THEN c.worker END FROM plainjobs_claim c
        WHERE c.seed = j.seed AND c.first <= j.id ORDER BY c.first DESC LIMIT 1) END AS worker
    FROM plainjobs_job j) j
  JOIN plainjobs_job_name n ON n.id = j.name;
