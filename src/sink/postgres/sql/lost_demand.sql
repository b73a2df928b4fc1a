-- One row for each pool, with its areas and its slot, reason, dimension and day: how many keys were refused (of each order the
-- first one), for how many units, and how many of the keys or orders were accepted in another pool within an hour. A pool has
-- several rows of a day where its lives had other areas, or slots that begin at other times. A key that no dimension decided (closed,
-- paused, past_cutoff) counts in each dimension that it asked for. `slot_day` is the day (UTC) on which the slot begins; of a pool
-- without a window, the day of the refusal. `units` are 9223372036854775807 at most, however many more were asked for.
SELECT slot_day, pool, areas, window_start, reason, dimension,
       count(*) AS keys,
       LEAST(sum(units), 9223372036854775807)::bigint AS units,
       count(CASE WHEN accepted_elsewhere THEN 1 END) AS accepted_elsewhere
FROM lost_demand_keys
GROUP BY slot_day, pool, areas, window_start, reason, dimension
