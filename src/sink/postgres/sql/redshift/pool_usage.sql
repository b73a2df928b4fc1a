-- One row for each time in which limit and use of a pool in a dimension stayed as they were: from `from_time` to before
-- `until_time`, which is null for how they are now. Between two lives of a pool there is none.
SELECT u.pool, u.dimension, u.from_time, u.until_time, u.limit_units, u.used
FROM (
    SELECT d.kind, d.pool, d.dimension, d.decided_at AS from_time,
           lead(d.decided_at) OVER (PARTITION BY d.pool, d.dimension ORDER BY d."partition", d.seq) AS until_time,
           d.limit_units, d.used
    FROM decision_units d
    WHERE d.used IS NOT NULL AND d.kind NOT IN ('Rejected', 'Repeated')
) u
WHERE u.kind <> 'PoolRetired'
