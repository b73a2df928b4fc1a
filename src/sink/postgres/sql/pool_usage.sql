-- One row for each event of a pool that was not refused and repeats nothing, and each dimension of the pool: limit and use after
-- it, from its time, `from_time`, to before that of the next one, `until_time`, which is null for how they are now. Where the clock was
-- set back in between, and the next one is earlier, it ends when it began. Between two lives of a pool there is none, unless the end
-- of the first was set aside. `from_seq` is that of `pool_lives`. From `closes_at` on the pool admits nothing, as it was defined at
-- `from_time` (its cutoff, or the end of its slot); where the tables do not have that definition, as the last one of the life says.
SELECT e.pool, d.dimension, e.from_time,
       CASE WHEN e.until_time < e.from_time THEN e.from_time ELSE e.until_time END AS until_time,
       {limit_and_used}, COALESCE(l.from_seq, 0) AS from_seq,
       CASE WHEN e.is_defined = 1 THEN e.closes_at ELSE LEAST(l.cutoff, l.window_end) END AS closes_at
FROM (
    SELECT e.pool, e."partition", e.seq, e.kind, {objects}e.from_time, e.until_time,
           max(e.defines) OVER (PARTITION BY e.pool, e.definition) AS is_defined,
           max(CASE WHEN e.defines = 1 THEN e.closes_at END) OVER (PARTITION BY e.pool, e.definition) AS closes_at
    FROM (
        SELECT e.pool, e."partition", e.seq, e.kind, {objects}e.decided_at AS from_time, LEAST(e.cutoff, e.window_end) AS closes_at,
               CASE WHEN e.version IS NOT NULL AND e.kind <> 'PoolRetired' THEN 1 END AS defines,
               lead(e.decided_at) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq) AS until_time,
-- The events from one definition to before the next have its number.
               count(e.version) OVER (PARTITION BY e.pool ORDER BY e."partition", e.seq ROWS UNBOUNDED PRECEDING) AS definition
        FROM events e
        WHERE e.used IS NOT NULL AND e.kind NOT IN ('Rejected', 'Repeated')
    ) e
) e
{each_dimension}
LEFT JOIN pool_lives l ON {of_life}
WHERE e.kind <> 'PoolRetired'
