-- The pools of new events. An event that has a version has the whole definition of its pool, and every event of a pool that
-- was not refused and repeats nothing has its limits and counters. A pool of which there is one after the end of its life lives
-- again, and the event that defined it was set aside: nothing else is known of it.
CREATE TEMP TABLE headroom_merged AS
WITH changes AS (
    SELECT e.pool, e."partition", e.seq, e.kind, e.decided_at, e.limits, e.used, e.mode, e.version, e.areas, e.labels,
           e.window_start, e.window_end, e.cutoff, e.hold_ttl_max_ms, e.hold_life_max_ms, e.unique_order_ref,
           e.retire_after_ms, e.retire_cause,
           row_number() OVER (PARTITION BY e.pool ORDER BY e.seq DESC) AS nth,
           max(CASE WHEN e.version IS NOT NULL THEN e.seq END) OVER (PARTITION BY e.pool) AS defined_seq
    FROM {events} e
    WHERE e."partition" = $1 AND e.seq >= $2 AND e.seq < $3 AND e.used IS NOT NULL
      AND e.kind NOT IN ('Rejected', 'Repeated')
)
SELECT n.pool, n."partition", n.seq, n.decided_at AS changed_at, n.limits, n.used,
       CASE WHEN n.defined_seq IS NULL THEN p.mode ELSE d.mode END AS mode,
       CASE WHEN n.defined_seq IS NULL THEN p.version ELSE d.version END AS version,
       CASE WHEN n.defined_seq IS NULL THEN p.areas ELSE d.areas END AS areas,
       CASE WHEN n.defined_seq IS NULL THEN p.labels ELSE d.labels END AS labels,
       CASE WHEN n.defined_seq IS NULL THEN p.window_start ELSE d.window_start END AS window_start,
       CASE WHEN n.defined_seq IS NULL THEN p.window_end ELSE d.window_end END AS window_end,
       CASE WHEN n.defined_seq IS NULL THEN p.cutoff ELSE d.cutoff END AS cutoff,
       CASE WHEN n.defined_seq IS NULL THEN p.hold_ttl_max_ms ELSE d.hold_ttl_max_ms END AS hold_ttl_max_ms,
       CASE WHEN n.defined_seq IS NULL THEN p.hold_life_max_ms ELSE d.hold_life_max_ms END AS hold_life_max_ms,
       CASE WHEN n.defined_seq IS NULL THEN p.unique_order_ref ELSE d.unique_order_ref END AS unique_order_ref,
       CASE WHEN n.defined_seq IS NULL THEN p.retire_after_ms ELSE d.retire_after_ms END AS retire_after_ms,
       CASE WHEN n.kind = 'PoolRetired' THEN n.decided_at END AS retired_at, d.retire_cause
FROM changes n
LEFT JOIN changes d ON d.pool = n.pool AND d.seq = n.defined_seq AND (d.kind <> 'PoolRetired' OR d.seq = n.seq)
LEFT JOIN pools p ON p.pool = n.pool AND p.retired_at IS NULL
WHERE n.nth = 1;

DELETE FROM pools USING headroom_merged m WHERE pools.pool = m.pool;

INSERT INTO pools
    (pool, "partition", seq, changed_at, limits, used, mode, version, areas, labels, window_start, window_end, cutoff,
     hold_ttl_max_ms, hold_life_max_ms, unique_order_ref, retire_after_ms, retired_at, retire_cause)
SELECT pool, "partition", seq, changed_at, limits, used, mode, version, areas, labels, window_start, window_end, cutoff,
       hold_ttl_max_ms, hold_life_max_ms, unique_order_ref, retire_after_ms, retired_at, retire_cause
FROM headroom_merged;

DROP TABLE headroom_merged
