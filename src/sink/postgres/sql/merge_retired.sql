-- The end of a pool's life ends its reservations, without an event for each. A life that begins is the end of one that had none: the
-- event with which that ended was set aside. Where no life has ended, reservations are not read.
WITH definitions AS (
    SELECT e.pool, e.seq, e.kind, e.version, e.decided_at,
           lag(e.kind) OVER (PARTITION BY e.pool COLLATE "C" ORDER BY e.seq) AS kind_before
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.version IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
),
ends AS MATERIALIZED (
    SELECT d.pool, d.seq, d.decided_at
    FROM definitions d
    WHERE d.kind = 'PoolRetired'
       OR d.kind = 'PoolDefined' AND d.version = 1
          AND CASE WHEN d.kind_before IS NULL THEN (SELECT p.retired_at IS NULL FROM pools p WHERE p.pool = d.pool)
                   ELSE d.kind_before <> 'PoolRetired' END
)
UPDATE reservations r
SET status = 'retired', end_cause = 'retired',
    (seq, changed_at, ended_at) = (
        SELECT e.seq, e.decided_at, e.decided_at FROM ends e WHERE e.pool = r.pool AND e.seq > r.seq ORDER BY e.seq LIMIT 1)
WHERE r.pool = ANY (ARRAY(SELECT e.pool FROM ends e)) AND r.status IN ('held', 'confirmed')
  AND r.seq < (SELECT max(e.seq) FROM ends e WHERE e.pool = r.pool)
