-- One row for each change of a pool that was applied: who changed it, and limits and mode before and after. A definition that
-- begins a life of the pool has none before.
SELECT e.decided_at, e.actor, e.pool, e.kind, e.version, e.limits, e.mode,
       CASE WHEN e.kind_before <> 'PoolRetired' AND (e.kind <> 'PoolDefined' OR e.version > 1) THEN e.limits_before END
           AS limits_before,
       CASE WHEN e.kind_before <> 'PoolRetired' AND (e.kind <> 'PoolDefined' OR e.version > 1) THEN e.mode_before END
           AS mode_before
FROM (
    SELECT e.decided_at, e.actor, e.pool, e.kind, e.version, e.limits, e.mode, e.retire_cause,
           lag(e.kind) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq) AS kind_before,
           lag(e.limits) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq) AS limits_before,
           lag(e.mode) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq) AS mode_before
    FROM events e
    WHERE e.version IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
) e
WHERE COALESCE(e.retire_cause, '') <> 'window'
