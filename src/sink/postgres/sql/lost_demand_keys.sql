-- One row for each call to reserve or amend that a pool refused for a reason of the pool (over_limit, closed, paused, past_cutoff,
-- unknown_dimension), counted once in a life of the pool for each order, under whatever keys it came, and for each key where no
-- order was named; a key of an amend belongs to its reservation. It has the units that were asked for in the dimension that
-- decided (of an amend, those that the reservation did not have before), those that were left, whether the same key or order was
-- accepted in another pool within an hour, and `raise_needed`.
-- That is an estimate: by how much the limit would have had to be higher for this call and all that this limit refused before it
-- in this life of the pool, 9223372036854775807 at most. It is stricter than `headroom lost-demand --raise`, which leaves out
-- those that would not have fitted alone. Where no dimension decided (closed, paused, past_cutoff), there is a row for each
-- dimension of which units were asked for; `part` counts the rows of a call, so that those with `part = 1` count calls. `slot_day`
-- is the day (UTC) on which the slot begins that the pool had last in this life; of a pool without a window, the day of the
-- refusal. What was accepted up to ten seconds before the refusal counts as well: the clocks of two partitions may be so far
-- apart. An amend has a key of its own and names no order, so it counts as accepted elsewhere only where a call with that key was.
-- An acceptance that was taken back within an hour, because its caller got no answer, counts nowhere. An order that the pool
-- accepted later itself is a row all the same. `from_seq` is that of `pool_lives`.
WITH calls AS (
-- The database's optimizer cannot estimate a CASE. So it does not expect few rows here, and it cannot turn the FULL JOIN below into a
-- nested loop: it hashes or sorts both sides and reads each once. Rows with a null key match nothing and are left out first, because
-- a hash would put all of them into one bucket.
    SELECT e."partition", e.seq, e.decided_at, e.pool, e.key, e.order_ref, e.reason, e.dimension,
           l.areas, l.window_start, COALESCE(l.from_seq, 0) AS from_seq,
           row_number() OVER (PARTITION BY e.pool, l.from_seq, e.order_ref,
                                           CASE WHEN e.order_ref IS NULL THEN COALESCE(e.key, e.command_id) END,
                                           CASE WHEN e.ask <> 'Reserve' THEN e.reservation END
                              ORDER BY e."partition", e.seq) AS nth
    FROM events e
    LEFT JOIN pool_lives l ON {of_life}
    WHERE CASE WHEN e.kind = 'Rejected' AND e.ask IN ('Reserve', 'Amend')
                    AND e.reason IN ('over_limit', 'closed', 'paused', 'past_cutoff', 'unknown_dimension') THEN true ELSE false END
      {asked}
),
refused AS (SELECT * FROM calls WHERE nth = 1),
accepted AS (
    SELECT a.key, a.order_ref, a.pool, a.decided_at
    FROM (
        SELECT a.kind, a.key, a.order_ref, a.pool, a.decided_at,
               lead(a.cause) OVER (PARTITION BY a.pool, a.reservation ORDER BY a."partition", a.seq) AS next_cause,
               lead(a.decided_at) OVER (PARTITION BY a.pool, a.reservation ORDER BY a."partition", a.seq) AS next_at
        FROM events a
        WHERE a.kind IN ('Accepted', 'Released', 'Expired') AND {in_time}
    ) a
    WHERE a.kind = 'Accepted'
      AND CASE WHEN a.next_cause = 'abandoned' AND a.next_at <= a.decided_at + interval '1 hour' THEN 1 END IS NULL
),
elsewhere AS (
    SELECT f."partition", f.seq
    FROM (SELECT * FROM refused WHERE key IS NOT NULL) f
    FULL JOIN (SELECT * FROM accepted WHERE key IS NOT NULL) a ON a.key = f.key
    WHERE CASE WHEN a.pool <> f.pool AND a.decided_at >= f.decided_at - interval '10 seconds'
                    AND a.decided_at <= f.decided_at + interval '1 hour' THEN 1 END = 1
    UNION
    SELECT f."partition", f.seq
    FROM (SELECT * FROM refused WHERE order_ref IS NOT NULL) f
    FULL JOIN (SELECT * FROM accepted WHERE order_ref IS NOT NULL) a ON a.order_ref = f.order_ref
    WHERE CASE WHEN a.pool <> f.pool AND a.decided_at >= f.decided_at - interval '10 seconds'
                    AND a.decided_at <= f.decided_at + interval '1 hour' THEN 1 END = 1
),
lost AS (
    SELECT f."partition", f.seq, f.decided_at, f.pool, f.areas, f.window_start, f.from_seq, f.key, f.order_ref, f.reason,
           COALESCE(f.dimension, u.dimension) AS dimension,
           u.demand - COALESCE(u.demand_before, 0) AS units,
           CASE WHEN f.reason = 'over_limit' THEN u.limit_units - u.used END AS units_left,
           row_number() OVER (PARTITION BY f."partition", f.seq ORDER BY u.dimension) AS part
    FROM refused f
    JOIN decision_units u ON u.pool = f.pool AND u."partition" = f."partition" AND u.seq = f.seq
                         AND (u.dimension = f.dimension OR f.dimension IS NULL AND u.demand > COALESCE(u.demand_before, 0))
)
SELECT f."partition", f.seq, f.decided_at, (COALESCE(f.window_start, f.decided_at) AT TIME ZONE 'UTC')::date AS slot_day,
       f.pool, f.areas, f.window_start, f.key, f.order_ref, f.reason, f.dimension, f.units,
       l.seq IS NOT NULL AS accepted_elsewhere,
       CASE WHEN f.units_left IS NOT NULL THEN
           LEAST(sum(CASE WHEN f.units_left IS NOT NULL THEN f.units END)
                     OVER (PARTITION BY f.pool, f.from_seq, f.dimension ORDER BY f."partition", f.seq ROWS UNBOUNDED PRECEDING)
                     - f.units_left, 9223372036854775807)::bigint END AS raise_needed,
       f.part, f.units_left, f.from_seq
FROM lost f
FULL JOIN elsewhere l ON l."partition" = f."partition" AND l.seq = f.seq
WHERE CASE WHEN f.seq IS NOT NULL THEN 1 END = 1
