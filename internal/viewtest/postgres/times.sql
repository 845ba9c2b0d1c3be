SELECT name, date_trunc('hour', finished_at) AS hour, count(*) AS runs,
  avg(started_at - created_at) AS waited,
  percentile_cont(0.95) WITHIN GROUP (ORDER BY finished_at - started_at) AS p95
FROM plainjobs.view
WHERE state = 'done' AND started_at IS NOT NULL
GROUP BY name, hour
ORDER BY hour DESC, name;
