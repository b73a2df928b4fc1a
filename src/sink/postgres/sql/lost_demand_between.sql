-- What pools refused whose slots begin on the days from $1 to $2, of the area $3 if there is one, and how many of the keys a
-- limit would have admitted that was higher by $4. Of the keys those last that no other row counts as well.
SELECT slot_day::varchar, pool, reason, dimension,
       count(*) AS keys,
       sum(units)::bigint AS units,
       count(CASE WHEN accepted_elsewhere THEN 1 END) AS elsewhere,
       count(CASE WHEN raise_needed <= $4 THEN 1 END) AS with_raise,
       count(CASE WHEN part = 1 THEN 1 END) AS own_keys
FROM lost_demand_keys
WHERE slot_day BETWEEN $1::varchar::date AND $2::varchar::date AND {in_area}
GROUP BY slot_day, pool, reason, dimension
ORDER BY slot_day, pool, reason, dimension
