-- One row for each pool and dimension in which more is in use now than the limit allows: a limit was lowered below it.
SELECT p.pool, p.areas, p.window_start, d.dimension,
       d.used::bigint AS used,
       (p.limits ->> d.dimension)::bigint AS limit_units,
       d.used::bigint - COALESCE((p.limits ->> d.dimension)::bigint, 0) AS over
FROM pools p
CROSS JOIN LATERAL jsonb_each_text(p.used) d (dimension, used)
WHERE p.retired_at IS NULL
  AND d.used::bigint > COALESCE((p.limits ->> d.dimension)::bigint, 0)
