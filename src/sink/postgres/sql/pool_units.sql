-- One row for each pool and dimension: what may be in use, and what is, now or at the end of its life.
SELECT p.pool, p.areas, p.window_start, p.window_end, p.retired_at, d.dimension,
       (p.limits ->> d.dimension)::bigint AS limit_units,
       (p.used ->> d.dimension)::bigint AS used
FROM pools p
CROSS JOIN LATERAL (SELECT jsonb_object_keys(p.limits) UNION SELECT jsonb_object_keys(p.used)) d (dimension)
