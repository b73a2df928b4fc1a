-- One row for each pool, reason and dimension: how many keys were refused, for how many units, and how many of the keys were
-- accepted in another pool within an hour. A key that no dimension decided (closed, paused, past_cutoff) counts in each
-- dimension that it asked for.
SELECT slot_day, pool, areas, window_start, reason, dimension,
       count(*) AS keys,
       sum(units)::bigint AS units,
       count(CASE WHEN accepted_elsewhere THEN 1 END) AS accepted_elsewhere
FROM lost_demand_keys
GROUP BY slot_day, pool, areas, window_start, reason, dimension
