-- Limits and counters of pools in new events, after the definitions. Every event of a pool has them that was not refused and
-- repeats nothing. The last of each is found without sorting them all, and then looked up by its key. The database takes new
-- events for few, however many they are: LATERAL with a LIMIT leaves it no other plan, as a join would.
INSERT INTO pools (pool, partition, seq, changed_at, limits, used)
SELECT e.pool, e.partition, e.seq, e.decided_at, e.limits, e.used
FROM (
    SELECT max(e.seq) AS seq
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.used IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
    GROUP BY e.pool COLLATE "C"
) l
CROSS JOIN LATERAL (SELECT * FROM events e WHERE e.partition = $1 AND e.seq = l.seq LIMIT 1) e
ON CONFLICT (pool) DO UPDATE SET
    seq = excluded.seq, changed_at = excluded.changed_at, limits = excluded.limits, used = excluded.used
