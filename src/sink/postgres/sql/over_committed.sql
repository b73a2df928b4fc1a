-- One row for each pool and dimension in which more is in use now than the limit allows: a limit was lowered below it.
SELECT pool, areas, window_start, dimension, used, limit_units, used - COALESCE(limit_units, 0) AS over
FROM pool_units
WHERE retired_at IS NULL AND used > COALESCE(limit_units, 0)
