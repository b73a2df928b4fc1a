-- One row for each change of a pool that was applied: who changed it, and limits and mode before and after. A definition that
-- begins a life of the pool has none before.
SELECT e.decided_at, e.actor, e.pool, e.kind, e.version, e.limits, e.mode,
       CASE WHEN e.kind <> 'PoolDefined' OR e.version > 1 THEN
           lag(e.limits) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq) END AS limits_before,
       CASE WHEN e.kind <> 'PoolDefined' OR e.version > 1 THEN
           lag(e.mode) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq) END AS mode_before
FROM events e
WHERE e.version IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated') AND COALESCE(e.retire_cause, '') <> 'window'
