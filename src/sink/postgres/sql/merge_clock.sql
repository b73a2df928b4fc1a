-- A clock that is set back moves the end of every live hold back by as much, without an event for each.
UPDATE reservations r
SET hold_until = r.hold_until - s.back
FROM (
    SELECT l.reservation,
           sum('epoch'::timestamptz + c.clock_from * interval '1 microsecond' - c.decided_at) AS back
    FROM events c
    JOIN reservations l ON l.partition = $1 AND l.status = 'held' AND l.seq < c.seq
    WHERE c.partition = $1 AND c.seq >= $2 AND c.seq < $3 AND c.kind = 'ClockSet'
    GROUP BY l.reservation
) s
WHERE r.reservation = s.reservation
