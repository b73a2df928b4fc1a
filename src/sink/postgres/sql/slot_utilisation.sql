-- One row for each life of a pool and each dimension that has a limit now, or had one at the end of the life: what is in use, or
-- was at that end, the most that ever was in the life, and the share of the limit that is used. A dimension that was taken from the
-- pool before has none, however much of it was in use; `pool_usage` has it. A life whose end was set aside has none.
SELECT p.pool, p.areas, p.window_start, p.window_end, p.dimension, p.limit_units, p.used, u.peak_used,
       round(p.used::decimal(18, 0) / NULLIF(p.limit_units, 0), 3) AS utilisation, p.from_seq
FROM pool_units p
LEFT JOIN (SELECT pool, from_seq, dimension, max(used) AS peak_used FROM pool_usage GROUP BY pool, from_seq, dimension) u
       ON u.pool = p.pool AND u.from_seq = p.from_seq AND u.dimension = p.dimension
WHERE p.limit_units IS NOT NULL
