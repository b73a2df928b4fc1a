-- One row for each pool and dimension: what may be in use, and what is, now or at the end of its life.
SELECT p.pool, p.areas, p.window_start, p.window_end, p.retired_at, u.dimension, u.limit_units, u.used
FROM pools p
JOIN decision_units u ON u.pool = p.pool AND u."partition" = p."partition" AND u.seq = p.seq
WHERE u.limit_units IS NOT NULL OR u.used IS NOT NULL
