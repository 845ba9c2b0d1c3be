SELECT name, error, count(*) AS jobs, max(finished_at) AS latest
FROM plainjobs_view
WHERE state = 'failed' AND finished_at >= datetime('now', '-1 day')
GROUP BY name, error
ORDER BY jobs DESC, name, error;
