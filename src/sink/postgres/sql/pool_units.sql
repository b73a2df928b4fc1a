-- One row for each pool, and for each of its lives that has ended, and each dimension that it has now, or had at the end of the
-- life: what may be in use, and what is. A dimension that was taken from the pool before has none; `pool_usage` has it. A life whose
-- end was set aside has none. `from_seq` is that of `pool_lives`.
WITH lives AS (
    SELECT pool, "partition", from_seq, until_seq AS seq, areas, window_start, window_end, retired_at, limits, used
    FROM pool_lives
    WHERE until_seq IS NOT NULL AND retired_at IS NOT NULL
    UNION ALL
    SELECT p.pool, p."partition", COALESCE(l.from_seq, 0), p.seq, p.areas, p.window_start, p.window_end, p.retired_at,
           p.limits, p.used
    FROM pools p
-- With a LIMIT the database looks up each by its key. A join of all is one row by row where it takes them for few.
    LEFT JOIN LATERAL (
        SELECT l.from_seq FROM pool_lives l WHERE l.pool = p.pool AND l.until_seq IS NULL ORDER BY l.from_seq DESC LIMIT 1
    ) l ON true
    WHERE p.retired_at IS NULL
)
SELECT p.pool, p.areas, p.window_start, p.window_end, p.retired_at, d.dimension,
       (p.limits ->> d.dimension)::bigint AS limit_units,
       (p.used ->> d.dimension)::bigint AS used,
       p.from_seq
FROM lives p
CROSS JOIN LATERAL (SELECT jsonb_object_keys(p.limits) UNION SELECT jsonb_object_keys(p.used)) d (dimension)
