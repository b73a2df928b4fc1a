-- One row for each life of a pool and dimension that was ever full: for how many minutes, to a tenth of one, nothing was left
-- before the pool admitted nothing any more (its cutoff, or the end of its slot). A time that ends before it began,
-- because the clock was set back, counts as none.
SELECT u.pool, l.areas, l.window_start, u.dimension,
       min(u.from_time) AS first_full_at,
       round(sum(extract(epoch FROM GREATEST(LEAST(COALESCE(u.until_time, {now}), l.cutoff, l.window_end), u.from_time))
                 - extract(epoch FROM u.from_time)) / 60, 1) AS minutes,
       u.from_seq
FROM pool_usage u
LEFT JOIN pool_lives l ON l.pool = u.pool AND l.from_seq = u.from_seq
WHERE u.used >= u.limit_units AND u.from_time < COALESCE(LEAST(l.cutoff, l.window_end), u.from_time + interval '1 second')
GROUP BY u.pool, u.from_seq, l.areas, l.window_start, u.dimension
