-- A clock that is set back moves the end of every live hold back by as much, without an event for each. It comes before the ends of
-- lives, so that a hold of this batch is still one here; whoever ended with its pool before a clock was set back does not move with
-- it. Such events are rare: without one, reservations are not read.
WITH clocks AS MATERIALIZED (
    SELECT c.seq, 'epoch'::timestamptz + c.clock_from * interval '1 microsecond' - c.decided_at AS back
    FROM events c
    WHERE c.partition = $1 AND c.seq >= $2 AND c.seq < $3 AND c.kind = 'ClockSet'
),
ends AS MATERIALIZED (
    SELECT e.pool, e.seq
    FROM events e
    WHERE EXISTS (SELECT FROM clocks) AND e.partition = $1 AND e.seq >= $2 AND e.seq < $3
      AND (e.kind = 'PoolRetired' OR e.kind = 'PoolDefined' AND e.version = 1)
)
UPDATE reservations r
SET hold_until = r.hold_until - (
        SELECT COALESCE(sum(c.back), interval '0')
        FROM clocks c
        WHERE c.seq > r.seq
-- Most pools have no end here, which a table of hashes tells at once.
          AND (r.pool NOT IN (SELECT e.pool FROM ends e)
               OR NOT EXISTS (SELECT FROM ends e WHERE e.pool = r.pool AND e.seq > r.seq AND e.seq < c.seq)))
WHERE EXISTS (SELECT FROM clocks)
  AND r.partition = $1 AND r.status = 'held' AND r.seq < (SELECT max(c.seq) FROM clocks c)
