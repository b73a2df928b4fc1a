-- The reservations of new events, as the last of these events left each. An event shows a reservation as it is afterwards,
-- if it has a status and repeats nothing. Ids are compared byte by byte, and only the columns that are needed are sorted:
-- this statement is what takes longest of a batch.
MERGE INTO reservations r
USING (
    SELECT n.*, a.seq AS accepted_seq, a.decided_at AS accepted_at, a.status AS accepted_status, a.key, a.actor
    FROM (
        SELECT DISTINCT ON (e.reservation COLLATE "C")
               e.reservation, e.pool, e.partition, e.seq, e.status, e.demand, e.hold_until, e.order_ref, e.decided_at, e.cause
        FROM events e
        WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.status IS NOT NULL AND e.kind <> 'Repeated'
        ORDER BY e.reservation COLLATE "C", e.seq DESC
    ) n
    LEFT JOIN (
        SELECT DISTINCT ON (e.reservation COLLATE "C") e.reservation, e.seq, e.decided_at, e.status, e.key, e.actor
        FROM events e
        WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.kind = 'Accepted'
        ORDER BY e.reservation COLLATE "C", e.seq DESC
    ) a ON a.reservation = n.reservation
) n
ON r.reservation = n.reservation
WHEN MATCHED THEN UPDATE SET
    seq = n.seq, status = n.status, demand = n.demand, hold_until = n.hold_until,
    order_ref = n.order_ref, changed_at = n.decided_at,
    accepted_at = COALESCE(n.accepted_at, r.accepted_at),
    was_held = COALESCE(n.accepted_status = 'held', r.was_held),
    key = CASE WHEN n.accepted_seq IS NULL THEN r.key ELSE n.key END,
    actor = CASE WHEN n.accepted_seq IS NULL THEN r.actor ELSE n.actor END,
    ended_at = CASE WHEN n.status IN ('released', 'expired') THEN n.decided_at END,
    end_cause = CASE n.status WHEN 'released' THEN n.cause WHEN 'expired' THEN 'expired' END
WHEN NOT MATCHED THEN INSERT
    (reservation, pool, partition, seq, status, demand, hold_until, order_ref, key, actor, accepted_at, was_held, changed_at,
     ended_at, end_cause)
    VALUES (n.reservation, n.pool, n.partition, n.seq, n.status, n.demand,
            n.hold_until, n.order_ref, n.key, n.actor, n.accepted_at,
            n.accepted_status = 'held', n.decided_at,
            CASE WHEN n.status IN ('released', 'expired') THEN n.decided_at END,
            CASE n.status WHEN 'released' THEN n.cause WHEN 'expired' THEN 'expired' END)
