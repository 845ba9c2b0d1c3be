SELECT JSON_VALUE(metadata, '$.tenant') AS tenant, COUNT(*) AS jobs,
  SUM(JSON_VALUE(payload, '$.amount')) AS amount, MIN(created_at) AS oldest
FROM plainjobs_view
WHERE name = 'invoice' AND state IN ('scheduled', 'pending', 'running')
GROUP BY tenant
ORDER BY jobs DESC, tenant;
