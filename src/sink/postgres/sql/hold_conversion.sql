-- One row for each day (UTC) on which holds began: how many there were, and what became of them. A hold that was confirmed
-- and released later counts as confirmed.
SELECT (r.accepted_at AT TIME ZONE 'UTC')::date AS day,
       count(*) AS holds,
       count(c.reservation) AS confirmed,
       count(CASE WHEN r.end_cause = 'expired' THEN 1 END) AS expired,
       count(CASE WHEN r.status = 'released' AND c.reservation IS NULL THEN 1 END) AS released,
       count(CASE WHEN r.status = 'retired' AND c.reservation IS NULL THEN 1 END) AS retired,
       count(CASE WHEN r.status = 'held' THEN 1 END) AS "open"
FROM reservations r
LEFT JOIN (SELECT DISTINCT pool, reservation FROM events WHERE kind = 'Confirmed') c
       ON c.pool = r.pool AND c.reservation = r.reservation
WHERE r.was_held
GROUP BY 1
