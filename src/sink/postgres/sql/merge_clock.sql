-- A clock that is set back moves the end of every live hold back by as much, without an event for each. Such events are
-- rare: without one, reservations are not read.
WITH clocks AS MATERIALIZED (
    SELECT c.seq, 'epoch'::timestamptz + c.clock_from * interval '1 microsecond' - c.decided_at AS back
    FROM events c
    WHERE c.partition = $1 AND c.seq >= $2 AND c.seq < $3 AND c.kind = 'ClockSet'
)
UPDATE reservations r
SET hold_until = r.hold_until - (SELECT sum(c.back) FROM clocks c WHERE c.seq > r.seq)
WHERE EXISTS (SELECT FROM clocks)
  AND r.partition = $1 AND r.status = 'held' AND r.seq < (SELECT max(c.seq) FROM clocks c)
