-- One row for each pool, and for each of its lives that has ended, and each dimension that it has now, or had at the end of the
-- life: what may be in use, and what is. A dimension that was taken from the pool before has none; `pool_usage` has it. A life whose
-- end was set aside has none. `from_seq` is that of `pool_lives`.
WITH lives AS (
    SELECT pool, "partition", from_seq, until_seq AS seq, areas, window_start, window_end, retired_at
    FROM pool_lives
    WHERE until_seq IS NOT NULL AND retired_at IS NOT NULL
    UNION ALL
    SELECT p.pool, p."partition", COALESCE(l.from_seq, 0), p.seq, p.areas, p.window_start, p.window_end, p.retired_at
    FROM pools p
    LEFT JOIN pool_lives l ON l.pool = p.pool AND l.until_seq IS NULL
    WHERE p.retired_at IS NULL
)
SELECT p.pool, p.areas, p.window_start, p.window_end, p.retired_at, u.dimension, u.limit_units, u.used, p.from_seq
FROM lives p
JOIN decision_units u ON u.pool = p.pool AND u."partition" = p."partition" AND u.seq = p.seq
WHERE u.limit_units IS NOT NULL OR u.used IS NOT NULL
