SELECT name, error, COUNT(*) AS jobs, MAX(finished_at) AS latest
FROM plainjobs_view
WHERE state = 'failed' AND finished_at >= UTC_TIMESTAMP() - INTERVAL 1 DAY
GROUP BY name, error
ORDER BY jobs DESC, name, error;
