-- A clock that is set back moves the end of every live hold back by as much, without an event for each.
UPDATE reservations
SET hold_until = hold_until - (s.back_us / 1000000) * interval '1 second' - (s.back_us % 1000000) * interval '1 microsecond'
FROM (
    SELECT l.reservation,
           sum(DATEDIFF('microsecond', c.decided_at AT TIME ZONE 'UTC',
                        timestamp 'epoch' + (c.clock_from / 1000000) * interval '1 second'
                            + (c.clock_from % 1000000) * interval '1 microsecond'))::bigint AS back_us
    FROM {events} c
    JOIN reservations l ON l."partition" = c."partition" AND l.status = 'held' AND l.seq < c.seq
    WHERE c."partition" = $1 AND c.seq >= $2 AND c.seq < $3 AND c.kind = 'ClockSet'
    GROUP BY l.reservation
) s
WHERE reservations.reservation = s.reservation
