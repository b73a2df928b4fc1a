-- A clock that is set back moves the end of every live hold back by as much, without an event for each. It comes before the ends of
-- lives, so that a hold of this batch is still one here; whoever ended with its pool before a clock was set back does not move with
-- it.
UPDATE reservations
SET hold_until = hold_until - (s.back_us / 1000000) * interval '1 second' - (s.back_us % 1000000) * interval '1 microsecond'
FROM (
    SELECT h.reservation, sum(h.back_us)::bigint AS back_us
    FROM (
        SELECT l.reservation, l.pool, l.seq, c.seq AS clock_seq,
               DATEDIFF('microsecond', c.decided_at AT TIME ZONE 'UTC',
                        timestamp 'epoch' + (c.clock_from / 1000000) * interval '1 second'
                            + (c.clock_from % 1000000) * interval '1 microsecond') AS back_us
        FROM {events} c
        JOIN reservations l ON l."partition" = c."partition" AND l.status = 'held' AND l.seq < c.seq
        WHERE c."partition" = $1 AND c.seq >= $2 AND c.seq < $3 AND c.kind = 'ClockSet'
    ) h
    LEFT JOIN (
        SELECT e.pool, e.seq
        FROM {events} e
        WHERE e."partition" = $1 AND e.seq >= $2 AND e.seq < $3
          AND (e.kind = 'PoolRetired' OR e.kind = 'PoolDefined' AND e.version = 1)
    ) e ON e.pool = h.pool AND e.seq > h.seq AND e.seq < h.clock_seq
    WHERE e.seq IS NULL
    GROUP BY h.reservation
) s
WHERE reservations.reservation = s.reservation
