-- One row for each day (UTC) on which holds began: how many there were, and what became of them. A hold that was confirmed
-- and released later counts as confirmed.
SELECT (r.accepted_at AT TIME ZONE 'UTC')::date AS day,
       count(*) AS holds,
       count(*) FILTER (WHERE c.reservation IS NOT NULL) AS confirmed,
       count(*) FILTER (WHERE r.end_cause = 'expired') AS expired,
       count(*) FILTER (WHERE r.status = 'released' AND c.reservation IS NULL) AS released,
       count(*) FILTER (WHERE r.status = 'retired' AND c.reservation IS NULL) AS retired,
       count(*) FILTER (WHERE r.status = 'held') AS open
FROM reservations r
LEFT JOIN (SELECT DISTINCT reservation FROM events WHERE kind = 'Confirmed') c ON c.reservation = r.reservation
WHERE r.was_held
GROUP BY 1
