-- One row for each life of a pool and dimension that was ever full: for how many minutes, to a tenth of one, nothing was left
-- before the pool admitted nothing any more (its cutoff, or the end of its slot, as it was said to be at that time). What was full
-- only after that has none, and so has a time that ends before it began, because the clock was set back.
SELECT u.pool, l.areas, l.window_start, u.dimension,
       min(u.from_time) AS first_full_at,
       round(sum(extract(epoch FROM GREATEST(LEAST(COALESCE(u.until_time, {now}), u.closes_at), u.from_time))
                 - extract(epoch FROM u.from_time)) / 60, 1) AS minutes,
       u.from_seq
FROM pool_usage u
LEFT JOIN pool_lives l ON l.pool = u.pool AND l.from_seq = u.from_seq
WHERE u.used >= u.limit_units
GROUP BY u.pool, u.from_seq, l.areas, l.window_start, u.dimension
