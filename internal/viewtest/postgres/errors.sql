SELECT name, error, count(*) AS jobs, max(finished_at) AS latest
FROM plainjobs.view
WHERE state = 'failed' AND finished_at >= now() - interval '1 day'
GROUP BY name, error
ORDER BY jobs DESC, name, error;
