-- What pools refused whose slots begin on the days from $1 to $2, of the area $3 if there is one, and how many of the keys a
-- limit would have admitted that was higher by $4: in their order, without those for which it would have been too low even
-- alone. Of the keys those last that no other row counts as well.
WITH raised AS (
    SELECT slot_day, pool, areas, reason, dimension, units, accepted_elsewhere, part, units - units_left <= $4 AS alone,
           sum(CASE WHEN units - units_left <= $4 THEN units END)
               OVER (PARTITION BY pool, from_seq, dimension ORDER BY "partition", seq ROWS UNBOUNDED PRECEDING)
               - units_left <= $4 AS together
    FROM (
{lost_demand_keys}
) k
)
SELECT slot_day::varchar, pool, reason, dimension,
       count(*) AS keys,
       LEAST(sum(units), 9223372036854775807)::bigint AS units,
       count(CASE WHEN accepted_elsewhere THEN 1 END) AS elsewhere,
       count(CASE WHEN alone AND together THEN 1 END) AS with_raise,
       count(CASE WHEN part = 1 THEN 1 END) AS own_keys
FROM raised
WHERE slot_day BETWEEN $1::varchar::date AND $2::varchar::date AND {in_area}
GROUP BY slot_day, pool, reason, dimension
ORDER BY slot_day, pool, reason, dimension
