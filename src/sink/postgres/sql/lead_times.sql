-- One row for each number of whole hours before the begin of the slot: how many reservations were accepted so early. The slot
-- is the one that the pool had last in the life in which it accepted. An acceptance that was taken back, because its caller got no
-- answer, does not count: where the caller tried again, the one does that stayed.
SELECT floor((extract(epoch FROM a.window_start) - extract(epoch FROM a.decided_at)) / 3600)::bigint AS hours_before,
       count(*) AS reservations
FROM (
    SELECT e.kind, e.decided_at, l.window_start,
           lead(e.cause) OVER (PARTITION BY e.pool, e.reservation, l.from_seq ORDER BY e."partition", e.seq) AS next_cause
    FROM events e
    JOIN pool_lives l ON {of_life}
    WHERE e.kind IN ('Accepted', 'Released', 'Expired') AND l.window_start IS NOT NULL
) a
WHERE a.kind = 'Accepted' AND COALESCE(a.next_cause, '') <> 'abandoned'
GROUP BY 1
