-- One row for each pool and dimension that was ever full: for how many minutes, to a tenth of one, nothing was left before the
-- pool admitted nothing any more (its cutoff, or the end of its slot).
SELECT u.pool, p.areas, p.window_start, u.dimension,
       min(u.from_time) AS first_full_at,
       round(sum(extract(epoch FROM LEAST(COALESCE(u.until_time, {now}), p.cutoff, p.window_end))
                 - extract(epoch FROM u.from_time)) / 60, 1) AS minutes
FROM pool_usage u
JOIN pools p ON p.pool = u.pool
WHERE u.used >= u.limit_units AND u.from_time < COALESCE(LEAST(p.cutoff, p.window_end), u.from_time + interval '1 second')
GROUP BY u.pool, p.areas, p.window_start, u.dimension
