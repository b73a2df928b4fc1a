-- One row for each event, with what its pool stands for: areas, slot and labels are those that the pool has now. `outcome`
-- is applied, refused or repeated, and null when no command was decided. `actor_class` is caller, planner (who changes
-- pools), or headroom (timers and owners). `lead_time` is the time from the decision to the begin of the slot.
SELECT {columns},
       COALESCE(e.areas, p.areas) AS areas,
       COALESCE(e.labels, p.labels) AS labels,
       COALESCE(e.window_start, p.window_start) AS window_start,
       COALESCE(e.window_end, p.window_end) AS window_end,
       COALESCE(e.cutoff, p.cutoff) AS cutoff,
       CASE WHEN e.kind IN ('Rejected', 'Malformed') THEN 'refused'
            WHEN e.kind = 'Repeated' THEN 'repeated'
            WHEN e.ask IS NOT NULL THEN 'applied' END AS outcome,
       CASE WHEN e.ask IS NULL THEN 'headroom'
            WHEN e.reservation IS NOT NULL OR e.ask = 'Reserve' THEN 'caller'
            ELSE 'planner' END AS actor_class,
       {lead_time} AS lead_time
FROM events e
LEFT JOIN pools p ON p.pool = e.pool
