-- The pools of new events. An event that has a version has the whole definition of its pool, and every event of a pool that
-- was not refused and repeats nothing has its limits and counters.
MERGE INTO pools p
USING (
    SELECT e.pool,
           (array_agg(e ORDER BY e.seq DESC))[1] AS last,
           (array_agg(e ORDER BY e.seq DESC) FILTER (WHERE e.version IS NOT NULL))[1] AS defined
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.used IS NOT NULL
      AND e.kind NOT IN ('Rejected', 'Repeated')
    GROUP BY e.pool
) n
ON p.pool = n.pool
WHEN MATCHED AND (n.defined).seq IS NULL THEN UPDATE SET
    seq = (n.last).seq, changed_at = (n.last).decided_at, limits = (n.last).limits, used = (n.last).used
WHEN MATCHED THEN UPDATE SET
    seq = (n.last).seq, changed_at = (n.last).decided_at, limits = (n.last).limits, used = (n.last).used,
    mode = (n.defined).mode, version = (n.defined).version, areas = (n.defined).areas, labels = (n.defined).labels,
    window_start = (n.defined).window_start, window_end = (n.defined).window_end, cutoff = (n.defined).cutoff,
    hold_ttl_max_ms = (n.defined).hold_ttl_max_ms, hold_life_max_ms = (n.defined).hold_life_max_ms,
    unique_order_ref = (n.defined).unique_order_ref, retire_after_ms = (n.defined).retire_after_ms,
    retired_at = CASE (n.defined).kind WHEN 'PoolRetired' THEN (n.defined).decided_at END,
    retire_cause = (n.defined).retire_cause
WHEN NOT MATCHED THEN INSERT
    (pool, partition, seq, changed_at, limits, used, mode, version, areas, labels, window_start, window_end, cutoff,
     hold_ttl_max_ms, hold_life_max_ms, unique_order_ref, retire_after_ms, retired_at, retire_cause)
    VALUES (n.pool, (n.last).partition, (n.last).seq, (n.last).decided_at, (n.last).limits, (n.last).used,
            (n.defined).mode, (n.defined).version, (n.defined).areas, (n.defined).labels, (n.defined).window_start,
            (n.defined).window_end, (n.defined).cutoff, (n.defined).hold_ttl_max_ms, (n.defined).hold_life_max_ms,
            (n.defined).unique_order_ref, (n.defined).retire_after_ms,
            CASE (n.defined).kind WHEN 'PoolRetired' THEN (n.defined).decided_at END, (n.defined).retire_cause)
