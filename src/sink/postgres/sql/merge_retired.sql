-- The end of a pool's life ends its reservations, without an event for each. A life that begins is the end of one that had none: the
-- event with which that ended was set aside. It is no such end where it is the first that the new events say of its pool, and by the
-- table of pools there was none or its life has ended. Where no life has ended, reservations are not read.
WITH shown AS (
    SELECT e.pool, e.seq, e.kind, e.version, e.decided_at
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.version IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
    UNION ALL
-- A life whose begin was set aside as well. One event of each pool tells it: to sort all of them would take long.
    SELECT min(e.pool), min(e.seq), 'taken', NULL, NULL
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.status IS NOT NULL AND e.kind <> 'Repeated'
    GROUP BY e.pool COLLATE "C"
),
definitions AS (SELECT s.*, row_number() OVER (PARTITION BY s.pool COLLATE "C" ORDER BY s.seq) AS nth FROM shown s),
ends AS MATERIALIZED (
    SELECT d.pool, d.seq, d.decided_at
    FROM definitions d
    WHERE d.kind = 'PoolRetired'
       OR d.kind = 'PoolDefined' AND d.version = 1
          AND CASE WHEN d.nth > 1 THEN true ELSE (SELECT p.retired_at IS NULL FROM pools p WHERE p.pool = d.pool) END
)
UPDATE reservations r
SET status = 'retired', end_cause = 'retired',
    (seq, changed_at, ended_at) = (
        SELECT e.seq, e.decided_at, e.decided_at FROM ends e WHERE e.pool = r.pool AND e.seq > r.seq ORDER BY e.seq LIMIT 1)
WHERE r.pool = ANY (ARRAY(SELECT e.pool FROM ends e)) AND r.status IN ('held', 'confirmed')
  AND r.seq < (SELECT max(e.seq) FROM ends e WHERE e.pool = r.pool)
