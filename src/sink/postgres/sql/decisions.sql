-- One row for each event, with what its pool stands for: areas, slot and labels are those that the pool had last in
-- the life in which the event is. An event that has a whole pool shows that one. `outcome` is applied, refused or repeated, and
-- null when no command was decided. `actor_class` is caller, planner (who changes pools), or headroom (timers and owners, what an
-- operator set right, a record that is no command, and an Abandon, which takes back what a caller asked for who got no answer or has
-- left). `lead_time` is the time from the decision to the begin of the slot.
SELECT {columns},
       COALESCE(e.areas, l.areas) AS areas,
       COALESCE(e.labels, l.labels) AS labels,
       COALESCE(e.window_start, l.window_start) AS window_start,
       COALESCE(e.window_end, l.window_end) AS window_end,
       COALESCE(e.cutoff, l.cutoff) AS cutoff,
       CASE WHEN e.kind IN ('Rejected', 'Malformed') THEN 'refused'
            WHEN e.kind = 'Repeated' THEN 'repeated'
            WHEN e.ask IS NOT NULL THEN 'applied' END AS outcome,
       CASE WHEN e.ask IS NULL OR e.ask = 'Abandon' THEN 'headroom'
            WHEN e.reservation IS NOT NULL OR e.ask = 'Reserve' THEN 'caller'
            ELSE 'planner' END AS actor_class,
       {lead_time} AS lead_time
FROM events e
LEFT JOIN pool_lives l ON {of_life} AND (e.version IS NULL OR 'Rejected' IN (e.kind, e.repeats))
