-- The reservations of new events, as the last of these events left each. An event shows a reservation as it is afterwards,
-- if it has a status and repeats nothing. In Redshift a MERGE takes no such query, so the rows are replaced.
CREATE TEMP TABLE headroom_merged AS
WITH changes AS (
    SELECT e.reservation, e.pool, e."partition", e.seq, e.kind, e.status, e.demand, e.hold_until, e.order_ref, e.key, e.actor,
           e.decided_at, e.cause,
           row_number() OVER (PARTITION BY e.reservation ORDER BY e.seq DESC) AS nth,
           row_number() OVER (PARTITION BY e.reservation, e.kind ORDER BY e.seq DESC) AS nth_of_kind
    FROM {events} e
    WHERE e."partition" = $1 AND e.seq >= $2 AND e.seq < $3 AND e.status IS NOT NULL AND e.kind <> 'Repeated'
)
SELECT n.reservation, n.pool, n."partition", n.seq, n.status, n.demand, n.hold_until, n.order_ref,
       CASE WHEN a.seq IS NULL THEN r.key ELSE a.key END AS key,
       CASE WHEN a.seq IS NULL THEN r.actor ELSE a.actor END AS actor,
       COALESCE(a.decided_at, r.accepted_at) AS accepted_at,
       COALESCE(a.status = 'held', r.was_held) AS was_held,
       n.decided_at AS changed_at,
       CASE WHEN n.status IN ('released', 'expired') THEN n.decided_at END AS ended_at,
       CASE WHEN n.status = 'released' THEN n.cause WHEN n.status = 'expired' THEN 'expired' END AS end_cause
FROM changes n
LEFT JOIN changes a ON a.reservation = n.reservation AND a.kind = 'Accepted' AND a.nth_of_kind = 1
LEFT JOIN reservations r ON r.pool = n.pool AND r.reservation = n.reservation
WHERE n.nth = 1;

DELETE FROM reservations USING headroom_merged m
WHERE reservations.pool = m.pool AND reservations.reservation = m.reservation;

INSERT INTO reservations
    (reservation, pool, "partition", seq, status, demand, hold_until, order_ref, key, actor, accepted_at, was_held, changed_at,
     ended_at, end_cause)
SELECT reservation, pool, "partition", seq, status, demand, hold_until, order_ref, key, actor, accepted_at, was_held,
       changed_at, ended_at, end_cause
FROM headroom_merged;

DROP TABLE headroom_merged
