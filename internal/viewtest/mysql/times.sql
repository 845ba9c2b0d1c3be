SELECT name, DATE_FORMAT(finished_at, '%Y-%m-%d %H:00') AS hour, COUNT(*) AS runs,
  AVG(TIMESTAMPDIFF(MICROSECOND, created_at, started_at)) / 1000000 AS waited,
  MAX(TIMESTAMPDIFF(MICROSECOND, started_at, finished_at)) / 1000000 AS longest
FROM plainjobs_view
WHERE state = 'done' AND started_at IS NOT NULL
GROUP BY name, hour
ORDER BY hour DESC, name;
