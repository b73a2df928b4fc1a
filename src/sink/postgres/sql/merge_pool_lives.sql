-- The lives of pools in new events, each as its last definition left it. `begun` is the event among them with which a life began, and
-- `after` the one after the end of the life before. A definition after that end belongs to a life whose begin was set aside: that
-- begins there. Before any of the two, the life is the open one of the table, or one that begins after its last one. A life that is
-- open when another one begins ended before that, with an event that was set aside. A life began at the time of the event `begun`,
-- which is the first row with this `begun`; the latest time may be that of an earlier life, before the clock was set back. The new
-- events are read once.
WITH definitions AS MATERIALIZED (
    SELECT e.pool, e.partition, e.seq, e.kind, e.decided_at, e.retire_cause, e.areas, e.labels, e.window_start, e.window_end,
           e.cutoff, e.limits, e.used,
           max(CASE WHEN e.kind = 'PoolDefined' AND e.version = 1 THEN e.seq END) OVER lives AS begun,
           max(CASE WHEN e.kind = 'PoolRetired' THEN e.seq + 1 END) OVER (lives ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
               AS after,
           row_number() OVER lives AS nth, lead(e.seq) OVER lives AS next_seq
    FROM events e
    WHERE e.partition = $1 AND e.seq >= $2 AND e.seq < $3 AND e.version IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
    WINDOW lives AS (PARTITION BY e.pool COLLATE "C" ORDER BY e.seq)
),
-- Lives of the table that end so. Those that have a definition among the new events are written below.
firsts AS (SELECT d.pool, d.seq FROM definitions d WHERE d.nth = 1 AND d.begun = d.seq),
closed AS (
    UPDATE pool_lives l SET until_seq = (SELECT f.seq - 1 FROM firsts f WHERE f.pool = l.pool)
    WHERE l.until_seq IS NULL AND l.pool = ANY (ARRAY(SELECT f.pool FROM firsts f))
)
INSERT INTO pool_lives
    (pool, partition, from_seq, until_seq, began_at, retired_at, retire_cause, areas, labels, window_start, window_end, cutoff,
     limits, used)
SELECT DISTINCT ON (d.pool COLLATE "C", GREATEST(d.begun, d.after))
       d.pool, d.partition,
       COALESCE(GREATEST(d.begun, d.after),
                (SELECT COALESCE(l.until_seq + 1, l.from_seq) FROM pool_lives l WHERE l.pool = d.pool
                 ORDER BY l.from_seq DESC LIMIT 1), 0),
       CASE d.kind WHEN 'PoolRetired' THEN d.seq ELSE d.next_seq - 1 END,
       CASE WHEN d.begun >= COALESCE(d.after, 0)
            THEN first_value(d.decided_at) OVER (PARTITION BY d.pool COLLATE "C", d.begun ORDER BY d.seq) END,
       CASE d.kind WHEN 'PoolRetired' THEN d.decided_at END,
       d.retire_cause, d.areas, d.labels, d.window_start, d.window_end, d.cutoff,
       CASE d.kind WHEN 'PoolRetired' THEN d.limits END, CASE d.kind WHEN 'PoolRetired' THEN d.used END
FROM definitions d
ORDER BY d.pool COLLATE "C", GREATEST(d.begun, d.after), d.seq DESC
ON CONFLICT (pool, from_seq) DO UPDATE SET
    until_seq = excluded.until_seq, retired_at = excluded.retired_at, retire_cause = excluded.retire_cause,
    areas = excluded.areas, labels = excluded.labels, window_start = excluded.window_start, window_end = excluded.window_end,
    cutoff = excluded.cutoff, limits = excluded.limits, used = excluded.used
