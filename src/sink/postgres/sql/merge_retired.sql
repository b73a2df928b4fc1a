-- The end of a pool's life ends its reservations, without an event for each. Where no pool has retired, reservations are not read.
WITH ends AS MATERIALIZED (
    SELECT e.pool, e.seq, e.decided_at
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.kind = 'PoolRetired'
)
UPDATE reservations r
SET status = 'retired', end_cause = 'retired',
    (seq, changed_at, ended_at) = (
        SELECT e.seq, e.decided_at, e.decided_at FROM ends e WHERE e.pool = r.pool AND e.seq > r.seq ORDER BY e.seq LIMIT 1)
WHERE r.pool = ANY (ARRAY(SELECT e.pool FROM ends e)) AND r.status IN ('held', 'confirmed')
  AND r.seq < (SELECT max(e.seq) FROM ends e WHERE e.pool = r.pool)
