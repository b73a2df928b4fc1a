-- One row for each number of whole hours before the begin of the slot: how many reservations were accepted so early.
SELECT floor((extract(epoch FROM p.window_start) - extract(epoch FROM r.accepted_at)) / 3600)::bigint AS hours_before,
       count(*) AS reservations
FROM reservations r
JOIN pools p ON p.pool = r.pool
WHERE r.accepted_at IS NOT NULL AND p.window_start IS NOT NULL
GROUP BY 1
