-- The definitions of pools in new events. An event that has a version has the whole definition of its pool.
INSERT INTO pools
    (pool, partition, seq, changed_at, limits, used, mode, version, areas, labels, window_start, window_end, cutoff,
     hold_ttl_max_ms, hold_life_max_ms, unique_order_ref, retire_after_ms, retired_at, retire_cause)
SELECT DISTINCT ON (e.pool COLLATE "C")
       e.pool, e.partition, e.seq, e.decided_at, e.limits, e.used, e.mode, e.version, e.areas, e.labels, e.window_start,
       e.window_end, e.cutoff, e.hold_ttl_max_ms, e.hold_life_max_ms, e.unique_order_ref, e.retire_after_ms,
       CASE e.kind WHEN 'PoolRetired' THEN e.decided_at END, e.retire_cause
FROM events e
WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.used IS NOT NULL AND e.version IS NOT NULL
  AND e.kind NOT IN ('Rejected', 'Repeated')
ORDER BY e.pool COLLATE "C", e.seq DESC
ON CONFLICT (pool) DO UPDATE SET
    mode = excluded.mode, version = excluded.version, areas = excluded.areas, labels = excluded.labels,
    window_start = excluded.window_start, window_end = excluded.window_end, cutoff = excluded.cutoff,
    hold_ttl_max_ms = excluded.hold_ttl_max_ms, hold_life_max_ms = excluded.hold_life_max_ms,
    unique_order_ref = excluded.unique_order_ref, retire_after_ms = excluded.retire_after_ms,
    retired_at = excluded.retired_at, retire_cause = excluded.retire_cause
