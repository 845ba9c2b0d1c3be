SELECT name, strftime('%Y-%m-%d %H:00', finished_at) AS hour, count(*) AS runs,
  round(avg(unixepoch(started_at, 'subsec') - unixepoch(created_at, 'subsec')), 3) AS waited,
  round(max(unixepoch(finished_at, 'subsec') - unixepoch(started_at, 'subsec')), 3) AS longest
FROM plainjobs_view
WHERE state = 'done' AND started_at IS NOT NULL
GROUP BY name, hour
ORDER BY hour DESC, name;
