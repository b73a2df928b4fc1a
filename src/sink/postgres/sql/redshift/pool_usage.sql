-- One row for each event of a pool that was not refused and repeats nothing, and each dimension of the pool: limit and use after
-- it, from its time, `from_time`, to before that of the next one, `until_time`, which is null for how they are now. Between two
-- lives of a pool there is none, unless the end of the first was set aside. `from_seq` is that of `pool_lives`.
SELECT e.pool, d.dimension, e.from_time, e.until_time, d.limit_units, d.used, COALESCE(l.from_seq, 0) AS from_seq
FROM (
    SELECT e.pool, e."partition", e.seq, e.kind, e.decided_at AS from_time,
           lead(e.decided_at) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq) AS until_time
    FROM events e
    WHERE e.used IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
) e
JOIN decision_units d ON d.pool = e.pool AND d."partition" = e."partition" AND d.seq = e.seq AND d.used IS NOT NULL
LEFT JOIN pool_lives l ON {of_life}
WHERE e.kind <> 'PoolRetired'
