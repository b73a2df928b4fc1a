-- What pools refused whose slots begin on the days from $1 to $2, of the area $3 if there is one, and how many of the keys a
-- limit would have admitted that was higher by $4: in their order, without those for which it would have been too low even
-- alone. Of the keys those last that no other row counts as well.
WITH refused AS (
    SELECT slot_day, pool, areas, reason, dimension, units, accepted_elsewhere, part, "partition", seq,
           raise_needed - (sum(CASE WHEN raise_needed IS NOT NULL THEN units END)
               OVER (PARTITION BY pool, dimension ORDER BY "partition", seq ROWS UNBOUNDED PRECEDING))::bigint AS taken
    FROM lost_demand_keys
),
raised AS (
    SELECT slot_day, pool, areas, reason, dimension, units, accepted_elsewhere, part, taken + units AS alone,
           taken + (sum(CASE WHEN taken + units <= $4 THEN units END)
               OVER (PARTITION BY pool, dimension ORDER BY "partition", seq ROWS UNBOUNDED PRECEDING))::bigint AS together
    FROM refused
)
SELECT slot_day::varchar, pool, reason, dimension,
       count(*) AS keys,
       sum(units)::bigint AS units,
       count(CASE WHEN accepted_elsewhere THEN 1 END) AS elsewhere,
       count(CASE WHEN alone <= $4 AND together <= $4 THEN 1 END) AS with_raise,
       count(CASE WHEN part = 1 THEN 1 END) AS own_keys
FROM raised
WHERE slot_day BETWEEN $1::varchar::date AND $2::varchar::date AND {in_area}
GROUP BY slot_day, pool, reason, dimension
ORDER BY slot_day, pool, reason, dimension
