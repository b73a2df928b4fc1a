-- The lives of pools in new events, each as its last definition left it. `begun` is the event among them with which a life began;
-- it is null in a life that goes on, or whose begin is before the first event of the tables. The new events are read once.
WITH definitions AS MATERIALIZED (
    SELECT e.pool, e.partition, e.seq, e.kind, e.decided_at, e.retire_cause, e.areas, e.labels, e.window_start, e.window_end,
           e.cutoff, e.limits, e.used,
           max(CASE WHEN e.kind = 'PoolDefined' AND e.version = 1 THEN e.seq END) OVER lives AS begun,
           max(CASE WHEN e.kind = 'PoolDefined' AND e.version = 1 THEN e.decided_at END) OVER lives AS began_at
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.version IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
    WINDOW lives AS (PARTITION BY e.pool COLLATE "C" ORDER BY e.seq)
)
INSERT INTO pool_lives
    (pool, partition, from_seq, until_seq, began_at, retired_at, retire_cause, areas, labels, window_start, window_end, cutoff,
     limits, used)
SELECT DISTINCT ON (d.pool COLLATE "C", d.begun)
       d.pool, d.partition, COALESCE(d.begun, (SELECT max(l.from_seq) FROM pool_lives l WHERE l.pool = d.pool), 0),
       CASE d.kind WHEN 'PoolRetired' THEN d.seq END, d.began_at, CASE d.kind WHEN 'PoolRetired' THEN d.decided_at END,
       d.retire_cause, d.areas, d.labels, d.window_start, d.window_end, d.cutoff,
       CASE d.kind WHEN 'PoolRetired' THEN d.limits END, CASE d.kind WHEN 'PoolRetired' THEN d.used END
FROM definitions d
ORDER BY d.pool COLLATE "C", d.begun, d.seq DESC
ON CONFLICT (pool, from_seq) DO UPDATE SET
    until_seq = excluded.until_seq, retired_at = excluded.retired_at, retire_cause = excluded.retire_cause,
    areas = excluded.areas, labels = excluded.labels, window_start = excluded.window_start, window_end = excluded.window_end,
    cutoff = excluded.cutoff, limits = excluded.limits, used = excluded.used
