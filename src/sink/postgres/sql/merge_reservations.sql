-- The reservations of new events, as the last of these events left each. An event shows a reservation as it is afterwards,
-- if it has a status and repeats nothing.
MERGE INTO reservations r
USING (
    SELECT e.reservation,
           (array_agg(e ORDER BY e.seq DESC))[1] AS last,
           (array_agg(e ORDER BY e.seq DESC) FILTER (WHERE e.kind = 'Accepted'))[1] AS accepted
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.status IS NOT NULL AND e.kind <> 'Repeated'
    GROUP BY e.reservation
) n
ON r.reservation = n.reservation
WHEN MATCHED THEN UPDATE SET
    seq = (n.last).seq, status = (n.last).status, demand = (n.last).demand, hold_until = (n.last).hold_until,
    order_ref = (n.last).order_ref, changed_at = (n.last).decided_at,
    accepted_at = COALESCE((n.accepted).decided_at, r.accepted_at),
    was_held = COALESCE((n.accepted).status = 'held', r.was_held),
    key = CASE WHEN (n.accepted).seq IS NULL THEN r.key ELSE (n.accepted).key END,
    actor = CASE WHEN (n.accepted).seq IS NULL THEN r.actor ELSE (n.accepted).actor END,
    ended_at = CASE WHEN (n.last).status IN ('released', 'expired') THEN (n.last).decided_at END,
    end_cause = CASE (n.last).status WHEN 'released' THEN (n.last).cause WHEN 'expired' THEN 'expired' END
WHEN NOT MATCHED THEN INSERT
    (reservation, pool, partition, seq, status, demand, hold_until, order_ref, key, actor, accepted_at, was_held, changed_at,
     ended_at, end_cause)
    VALUES (n.reservation, (n.last).pool, (n.last).partition, (n.last).seq, (n.last).status, (n.last).demand,
            (n.last).hold_until, (n.last).order_ref, (n.accepted).key, (n.accepted).actor, (n.accepted).decided_at,
            (n.accepted).status = 'held', (n.last).decided_at,
            CASE WHEN (n.last).status IN ('released', 'expired') THEN (n.last).decided_at END,
            CASE (n.last).status WHEN 'released' THEN (n.last).cause WHEN 'expired' THEN 'expired' END)
