-- What pools refused whose slots begin on the days from $1 to $2, of the area $3 if there is one, and how many of the keys a
-- limit would have admitted that was higher by $4.
SELECT slot_day::text, pool, reason, dimension,
       count(*) AS keys,
       sum(units)::bigint AS units,
       count(*) FILTER (WHERE accepted_elsewhere) AS elsewhere,
       count(*) FILTER (WHERE raise_needed <= $4) AS with_raise
FROM lost_demand_keys
WHERE slot_day BETWEEN $1::text::date AND $2::text::date AND ($3::text IS NULL OR $3 = ANY (areas))
GROUP BY slot_day, pool, reason, dimension
ORDER BY slot_day, pool, reason, dimension
