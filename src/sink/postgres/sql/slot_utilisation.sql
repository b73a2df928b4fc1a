-- One row for each pool and dimension: what is in use now, or was at the end of its life, the most that ever was, and the share of the limit that is used.
SELECT p.pool, p.areas, p.window_start, p.window_end, d.dimension,
       d.limit_units::bigint AS limit_units,
       (p.used ->> d.dimension)::bigint AS used,
       u.peak_used,
       round((p.used ->> d.dimension)::numeric / NULLIF(d.limit_units::numeric, 0), 3) AS utilisation
FROM pools p
CROSS JOIN LATERAL jsonb_each_text(p.limits) d (dimension, limit_units)
LEFT JOIN (SELECT pool, dimension, max(used) AS peak_used FROM pool_usage GROUP BY pool, dimension) u
       ON u.pool = p.pool AND u.dimension = d.dimension
