-- The reservations of new events, as the last of these events left each. An event shows a reservation as it is afterwards,
-- if it has a status and repeats nothing. When two lives of its pool are among them, the last acceptance counts. The new events
-- are read once and joined with nothing, so that the database has no choice of plans: it takes new events for few, however
-- many they are. What was accepted is new, or its pool has had an earlier life: then nothing of that stays.
WITH changes AS MATERIALIZED (
    SELECT DISTINCT ON (e.reservation COLLATE "C")
           e.reservation, e.pool, e.partition, e.seq, e.status, e.demand, e.hold_until, e.order_ref,
           max(e.key) FILTER (WHERE e.kind = 'Accepted') OVER w AS key,
           (array_agg(e.actor) FILTER (WHERE e.kind = 'Accepted') OVER w)[1] AS actor,
           (array_agg(e.decided_at) FILTER (WHERE e.kind = 'Accepted') OVER w)[1] AS accepted_at,
           (array_agg(e.status = 'held') FILTER (WHERE e.kind = 'Accepted') OVER w)[1] AS was_held,
           e.decided_at AS changed_at,
           CASE WHEN e.status IN ('released', 'expired') THEN e.decided_at END AS ended_at,
           CASE e.status WHEN 'released' THEN e.cause WHEN 'expired' THEN 'expired' END AS end_cause
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.status IS NOT NULL AND e.kind <> 'Repeated'
    WINDOW w AS (PARTITION BY e.reservation COLLATE "C" ORDER BY e.seq DESC
                 ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
    ORDER BY e.reservation COLLATE "C", e.seq DESC
),
accepted AS (
    INSERT INTO reservations
        (reservation, pool, partition, seq, status, demand, hold_until, order_ref, key, actor, accepted_at, was_held,
         changed_at, ended_at, end_cause)
    SELECT * FROM changes WHERE accepted_at IS NOT NULL
    {unless_new}
)
INSERT INTO reservations
    (reservation, pool, partition, seq, status, demand, hold_until, order_ref, key, actor, accepted_at, was_held,
     changed_at, ended_at, end_cause)
SELECT * FROM changes WHERE accepted_at IS NULL
ON CONFLICT (reservation) DO UPDATE SET
    seq = excluded.seq, status = excluded.status, demand = excluded.demand, hold_until = excluded.hold_until,
    order_ref = excluded.order_ref, changed_at = excluded.changed_at, ended_at = excluded.ended_at,
    end_cause = excluded.end_cause
