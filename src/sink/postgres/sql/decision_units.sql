-- One row for each event and each dimension that it names: the units that were asked for or taken, what the reservation had
-- before an amend, and limit and use of the pool after the event. A repeated answer may have those of the first one instead.
SELECT e.partition, e.seq, e.decided_at, e.kind, e.ask, e.reason, e.pool, e.reservation, d.dimension,
       (e.demand ->> d.dimension)::bigint AS demand,
       (e.demand_before ->> d.dimension)::bigint AS demand_before,
       (e.limits ->> d.dimension)::bigint AS limit_units,
       (e.used ->> d.dimension)::bigint AS used
FROM events e
CROSS JOIN LATERAL (
    SELECT jsonb_object_keys(e.demand) UNION SELECT jsonb_object_keys(e.demand_before)
    UNION SELECT jsonb_object_keys(e.limits) UNION SELECT jsonb_object_keys(e.used)
) d (dimension)
