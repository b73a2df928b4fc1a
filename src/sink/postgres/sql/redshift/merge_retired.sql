-- The end of a pool's life ends its reservations, without an event for each. A life that begins is the end of one that had none: the
-- event with which that ended was set aside. The time is that of the first of these events: a clock that was set back makes a later
-- one the earlier.
UPDATE reservations
SET seq = n.seq, status = 'retired', changed_at = n.decided_at, ended_at = n.decided_at, end_cause = 'retired'
FROM (
    SELECT w.reservation, w.seq, d.decided_at
    FROM (
        SELECT l.reservation, min(e.seq) AS seq
        FROM {events} e
        JOIN reservations l ON l."partition" = e."partition" AND l.pool = e.pool AND l.seq < e.seq
                           AND l.status IN ('held', 'confirmed')
        WHERE e."partition" = $1 AND e.seq >= $2 AND e.seq < $3
          AND (e.kind = 'PoolRetired' OR e.kind = 'PoolDefined' AND e.version = 1)
        GROUP BY l.reservation
    ) w
    JOIN {events} d ON d."partition" = $1 AND d.seq = w.seq
) n
WHERE reservations.reservation = n.reservation
