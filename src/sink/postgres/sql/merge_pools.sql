-- Limits and counters of pools in new events, after the definitions. Every event of a pool has them that was not refused and
-- repeats nothing. A pool of which there is one after the end of its life lives again, and the event that defined it was set aside:
-- nothing else is known of it. The last of each is found without sorting them all, and then looked up by its key. The database takes new
-- events for few, however many they are: LATERAL with a LIMIT leaves it no other plan, as a join would.
INSERT INTO pools (pool, partition, seq, changed_at, limits, used, retired_at)
SELECT e.pool, e.partition, e.seq, e.decided_at, e.limits, e.used, CASE e.kind WHEN 'PoolRetired' THEN e.decided_at END
FROM (
    SELECT max(e.seq) AS seq
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.used IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
    GROUP BY e.pool COLLATE "C"
) l
CROSS JOIN LATERAL (SELECT * FROM events e WHERE e.partition = $1 AND e.seq = l.seq LIMIT 1) e
ON CONFLICT (pool) DO UPDATE SET
    seq = excluded.seq, changed_at = excluded.changed_at, limits = excluded.limits, used = excluded.used,
    retired_at = excluded.retired_at,
    (mode, version, areas, labels, window_start, window_end, cutoff, hold_ttl_max_ms, hold_life_max_ms, unique_order_ref,
     retire_after_ms, retire_cause) = (
        SELECT pools.mode, pools.version, pools.areas, pools.labels, pools.window_start, pools.window_end, pools.cutoff,
               pools.hold_ttl_max_ms, pools.hold_life_max_ms, pools.unique_order_ref, pools.retire_after_ms, pools.retire_cause
        WHERE pools.retired_at IS NULL OR excluded.retired_at IS NOT NULL)
