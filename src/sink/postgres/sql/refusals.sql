-- One row for each day (UTC), command, reason and dimension: how often callers were refused. `attempts` counts every call, those
-- as well that were given an earlier refusal once more under the same key, whose outcome `decisions` calls repeated, and `keys`
-- counts each Idempotency-Key once for each pool, or for each reservation that was to change, so that retries do not look like
-- demand. A call without a key is a key of its own.
SELECT (e.decided_at AT TIME ZONE 'UTC')::date AS day, e.ask, e.reason, e.dimension,
       count(*) AS attempts,
       count(DISTINCT COALESCE(e.pool, '') || chr(10) || COALESCE(CASE WHEN e.ask <> 'Reserve' THEN e.reservation END, '')
                      || chr(10) || COALESCE(e.key, e.command_id, '')) AS keys
FROM events e
WHERE e.kind = 'Rejected' OR e.repeats = 'Rejected'
GROUP BY 1, 2, 3, 4
