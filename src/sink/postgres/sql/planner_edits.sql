-- One row for each change of a pool that was applied: who changed it, and limits and mode before and after.
SELECT e.decided_at, e.actor, e.pool, e.kind, e.version, e.limits, e.mode,
       lag(e.limits) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq) AS limits_before,
       lag(e.mode) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq) AS mode_before
FROM events e
WHERE e.version IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated') AND COALESCE(e.retire_cause, '') <> 'window'
