-- One row for each number of whole hours before the begin of the slot: how many reservations were accepted so early. The slot
-- is the one that the pool had last in the life in which it accepted.
SELECT floor((extract(epoch FROM l.window_start) - extract(epoch FROM e.decided_at)) / 3600)::bigint AS hours_before,
       count(*) AS reservations
FROM events e
JOIN pool_lives l ON {of_life}
WHERE e.kind = 'Accepted' AND l.window_start IS NOT NULL
GROUP BY 1
