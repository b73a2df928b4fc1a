-- Limits and counters of pools in new events, after the definitions. Every event of a pool has them that was not refused and
-- repeats nothing.
INSERT INTO pools (pool, partition, seq, changed_at, limits, used)
SELECT DISTINCT ON (e.pool COLLATE "C") e.pool, e.partition, e.seq, e.decided_at, e.limits, e.used
FROM events e
WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.used IS NOT NULL
  AND e.kind NOT IN ('Rejected', 'Repeated')
ORDER BY e.pool COLLATE "C", e.seq DESC
ON CONFLICT (pool) DO UPDATE SET
    seq = excluded.seq, changed_at = excluded.changed_at, limits = excluded.limits, used = excluded.used
