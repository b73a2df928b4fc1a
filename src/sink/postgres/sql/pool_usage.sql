-- One row for each time in which limit and use of a pool in a dimension stayed as they were: from `from_time` to before
-- `until_time`, which is null for how they are now. Between two lives of a pool there is none.
SELECT u.pool, u.dimension, u.from_time, u.until_time, u.limit_units, u.used
FROM (
    SELECT e.kind, e.pool, d.dimension, e.decided_at AS from_time,
           lead(e.decided_at) OVER (PARTITION BY e.pool, d.dimension ORDER BY e.partition, e.seq) AS until_time,
           (e.limits ->> d.dimension)::bigint AS limit_units,
           d.used::bigint AS used
    FROM events e
    CROSS JOIN LATERAL jsonb_each_text(e.used) d (dimension, used)
    WHERE e.kind NOT IN ('Rejected', 'Repeated')
) u
WHERE u.kind <> 'PoolRetired'
