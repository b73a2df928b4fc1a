-- One row for each call to reserve or amend that a pool refused for a reason of the pool, counted once for each key: the
-- units that were asked for in the dimension that decided, whether the same key or order was accepted in another pool
-- within an hour, and `raise_needed`. That is an estimate: by how much the limit would have had to be higher for this call
-- and all that the pool refused before it. Where no dimension decided (closed, paused, past_cutoff), there is a row for each
-- dimension that was asked for; `part` counts the rows of a call, so that those with `part = 1` count keys. `slot_day` is the
-- day (UTC) on which the slot begins; of a pool without a window, the day of the refusal.
WITH calls AS (
    SELECT e."partition", e.seq, e.decided_at, e.pool, e.key, e.order_ref, e.reason, e.dimension,
           row_number() OVER (PARTITION BY e.pool, COALESCE(e.key, e.command_id) ORDER BY e."partition", e.seq) AS nth
    FROM events e
    WHERE e.kind = 'Rejected' AND e.ask IN ('Reserve', 'Amend')
      AND e.reason IN ('over_limit', 'closed', 'paused', 'past_cutoff', 'unknown_dimension')
),
refused AS (SELECT * FROM calls WHERE nth = 1),
elsewhere AS (
    SELECT DISTINCT f."partition", f.seq FROM refused f JOIN reservations r ON r.key = f.key
    WHERE r.pool <> f.pool AND r.accepted_at BETWEEN f.decided_at AND f.decided_at + interval '1 hour'
    UNION
    SELECT DISTINCT f."partition", f.seq FROM refused f JOIN reservations r ON r.order_ref = f.order_ref
    WHERE r.pool <> f.pool AND r.accepted_at BETWEEN f.decided_at AND f.decided_at + interval '1 hour'
),
lost AS (
    SELECT f."partition", f.seq, f.decided_at, f.pool, f.key, f.order_ref, f.reason, COALESCE(f.dimension, u.dimension) AS dimension,
           u.demand - COALESCE(u.demand_before, 0) AS units, u.used, u.limit_units,
           row_number() OVER (PARTITION BY f."partition", f.seq ORDER BY u.dimension) AS part
    FROM refused f
    LEFT JOIN decision_units u ON u.pool = f.pool AND u."partition" = f."partition" AND u.seq = f.seq
                              AND (u.dimension = f.dimension OR f.dimension IS NULL AND u.demand IS NOT NULL)
)
SELECT f."partition", f.seq, f.decided_at, (COALESCE(p.window_start, f.decided_at) AT TIME ZONE 'UTC')::date AS slot_day,
       f.pool, p.areas, p.window_start, f.key, f.order_ref, f.reason, f.dimension, f.units,
       l.seq IS NOT NULL AS accepted_elsewhere,
       CASE WHEN f.reason = 'over_limit' THEN
           f.used - f.limit_units + (sum(CASE WHEN f.reason = 'over_limit' THEN f.units END)
               OVER (PARTITION BY f.pool, f.dimension ORDER BY f."partition", f.seq ROWS UNBOUNDED PRECEDING))::bigint
       END AS raise_needed,
       f.part
FROM lost f
LEFT JOIN elsewhere l ON l."partition" = f."partition" AND l.seq = f.seq
LEFT JOIN pools p ON p.pool = f.pool
