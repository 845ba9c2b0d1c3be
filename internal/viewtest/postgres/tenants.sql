SELECT metadata ->> 'tenant' AS tenant, count(*) AS jobs, sum((payload ->> 'amount')::numeric) AS amount,
  min(created_at) AS oldest
FROM plainjobs.view
WHERE name = 'invoice' AND state IN ('scheduled', 'pending', 'running')
GROUP BY tenant
ORDER BY jobs DESC, tenant;
