-- One row for each day (UTC) on which holds began: how many there were, and what became of them. A hold that was confirmed
-- and released later counts as confirmed. One that was taken back, because its caller got no answer, does not count: where the
-- caller tried again, the one does that stayed.
SELECT (h.began_at AT TIME ZONE 'UTC')::date AS day,
       count(*) AS holds,
       count(CASE WHEN h.fate = 'confirmed' THEN 1 END) AS confirmed,
       count(CASE WHEN h.fate = 'expired' THEN 1 END) AS expired,
       count(CASE WHEN h.fate = 'released' THEN 1 END) AS released,
       count(CASE WHEN h.fate = 'retired' THEN 1 END) AS retired,
       count(CASE WHEN h.fate = 'open' THEN 1 END) AS "open"
FROM (
    SELECT min(CASE WHEN o.kind = 'Accepted' AND o.status = 'held' AND COALESCE(o.next_cause, '') <> 'abandoned' THEN o.decided_at END)
               AS began_at,
           CASE WHEN count(CASE WHEN o.kind = 'Confirmed' THEN 1 END) > 0 THEN 'confirmed'
                WHEN count(CASE WHEN o.status = 'expired' THEN 1 END) > 0 THEN 'expired'
                WHEN count(CASE WHEN o.status = 'released' THEN 1 END) > 0 THEN 'released'
                WHEN count(o.until_seq) > 0 THEN 'retired'
                ELSE 'open' END AS fate
    FROM (
        SELECT e.reservation, e.kind, e.status, e.decided_at, l.from_seq, l.until_seq,
-- Confirmations are a partition of their own, so that the next cause is that of the end.
               lead(e.cause) OVER (PARTITION BY e.reservation, l.from_seq, CASE WHEN e.kind = 'Confirmed' THEN 1 END
                                   ORDER BY e."partition", e.seq) AS next_cause,
               count(CASE WHEN e.kind = 'Accepted' THEN 1 END)
                   OVER (PARTITION BY e.reservation, l.from_seq ORDER BY e."partition", e.seq ROWS UNBOUNDED PRECEDING) AS acceptance
        FROM events e
        LEFT JOIN pool_lives l ON {of_life}
        WHERE e.kind IN ('Accepted', 'Confirmed', 'Released', 'Expired')
    ) o
    GROUP BY o.reservation, o.from_seq, o.acceptance
) h
WHERE h.began_at IS NOT NULL
GROUP BY 1
