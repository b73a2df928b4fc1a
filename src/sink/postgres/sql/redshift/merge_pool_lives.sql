-- The lives of pools that new events begin, change and end. First the lives that begin. Then those whose begin is before the first
-- event of the tables or was set aside: a definition belongs to such a one when the life before has ended, or there is none. Then what
-- each is after its last definition. At last those end that are open when another one begins: the event of their end was set aside.
INSERT INTO pool_lives (pool, "partition", from_seq, began_at)
SELECT e.pool, e."partition", e.seq, e.decided_at
FROM {events} e
WHERE e."partition" = $1 AND e.seq >= $2 AND e.seq < $3 AND e.kind = 'PoolDefined' AND e.version = 1;

INSERT INTO pool_lives (pool, "partition", from_seq)
SELECT n.pool, n."partition", COALESCE(n.seq_before + 1, l.until_seq + 1, 0)
FROM (
    SELECT e.pool, e."partition", e.kind, e.version,
           lag(e.kind) OVER (PARTITION BY e.pool ORDER BY e.seq) AS kind_before,
           lag(e.seq) OVER (PARTITION BY e.pool ORDER BY e.seq) AS seq_before
    FROM {events} e
    WHERE e."partition" = $1 AND e.seq >= $2 AND e.seq < $3 AND e.version IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
) n
LEFT JOIN (
    SELECT pool, max(until_seq) AS until_seq, count(CASE WHEN until_seq IS NULL THEN 1 END) AS open_lives
    FROM pool_lives
    WHERE from_seq < $2
    GROUP BY pool
) l ON l.pool = n.pool
WHERE (n.kind <> 'PoolDefined' OR n.version > 1)
  AND (n.kind_before = 'PoolRetired' OR n.kind_before IS NULL AND COALESCE(l.open_lives, 0) = 0);

UPDATE pool_lives
SET until_seq = n.until_seq, retired_at = n.retired_at, retire_cause = n.retire_cause, areas = n.areas, labels = n.labels,
    window_start = n.window_start, window_end = n.window_end, cutoff = n.cutoff, limits = n.limits, used = n.used
FROM (
    SELECT d.pool, w.from_seq, d.retire_cause, d.areas, d.labels, d.window_start, d.window_end, d.cutoff,
           CASE WHEN d.kind = 'PoolRetired' THEN d.seq END AS until_seq,
           CASE WHEN d.kind = 'PoolRetired' THEN d.decided_at END AS retired_at,
           CASE WHEN d.kind = 'PoolRetired' THEN d.limits END AS limits,
           CASE WHEN d.kind = 'PoolRetired' THEN d.used END AS used
    FROM (
        SELECT o.pool, o.from_seq, max(o.seq) AS seq
        FROM (
            SELECT e.pool, e.seq, max(l.from_seq) AS from_seq
            FROM {events} e
            JOIN pool_lives l ON l.pool = e.pool AND l.from_seq <= e.seq
            WHERE e."partition" = $1 AND e.seq >= $2 AND e.seq < $3 AND e.version IS NOT NULL
              AND e.kind NOT IN ('Rejected', 'Repeated')
            GROUP BY e.pool, e.seq
        ) o
        GROUP BY o.pool, o.from_seq
    ) w
    JOIN {events} d ON d."partition" = $1 AND d.seq = w.seq
) n
WHERE pool_lives.pool = n.pool AND pool_lives.from_seq = n.from_seq;

UPDATE pool_lives
SET until_seq = n.seq - 1
FROM (
    SELECT l.pool, l.from_seq, min(e.seq) AS seq
    FROM {events} e
    JOIN pool_lives l ON l.pool = e.pool AND l.from_seq < e.seq AND l.until_seq IS NULL
    WHERE e."partition" = $1 AND e.seq >= $2 AND e.seq < $3 AND e.kind = 'PoolDefined' AND e.version = 1
    GROUP BY l.pool, l.from_seq
) n
WHERE pool_lives.pool = n.pool AND pool_lives.from_seq = n.from_seq
