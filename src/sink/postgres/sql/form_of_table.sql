-- What makes an empty copy of the table $2 of the schema $1 what that one is, one statement a row, in their order. CREATE TABLE LIKE
-- has made its columns already. Names are without a schema, so the first one of the search path is meant. What an index is called and
-- how it is stored is kept. So are the comments, but for the one that says that the table is incomplete, which is $3.
WITH served AS (
    SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2
),
indexes AS (
    SELECT i.*, c.relname AS name, c.reltablespace, t.relname AS of_table, k.conname AS key
    FROM served t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype = 'p'
)
SELECT s.statement FROM (
    SELECT 1 AS step, format('ALTER TABLE %I SET TABLESPACE %I', t.relname, p.spcname) AS statement
    FROM served t JOIN pg_tablespace p ON p.oid = t.reltablespace
    UNION ALL
    SELECT 2, format('ALTER TABLE %I SET (%s)', t.relname, o.options)
    FROM served t LEFT JOIN pg_class toast ON toast.oid = t.reltoastrelid
    CROSS JOIN LATERAL (
        SELECT string_agg(o, ', ') AS options
        FROM (SELECT unnest(t.reloptions) AS o UNION ALL SELECT 'toast.' || unnest(toast.reloptions)) o
    ) o
    WHERE o.options IS NOT NULL
    UNION ALL
    SELECT 3, format('ALTER TABLE %I ALTER COLUMN %I SET STATISTICS %s', t.relname, a.attname, a.attstattarget)
    FROM served t JOIN pg_attribute a ON a.attrelid = t.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0
    UNION ALL
    SELECT 3, format('ALTER TABLE %I ALTER COLUMN %I SET (%s)', t.relname, a.attname, array_to_string(a.attoptions, ', '))
    FROM served t JOIN pg_attribute a ON a.attrelid = t.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attoptions IS NOT NULL
    UNION ALL
    SELECT 4, pg_get_indexdef(i.indexrelid, 0, true) FROM indexes i
    UNION ALL
    SELECT 5, format('ALTER TABLE %I ADD CONSTRAINT %I PRIMARY KEY USING INDEX %I', i.of_table, i.key, i.name)
    FROM indexes i WHERE i.key IS NOT NULL
    UNION ALL
    SELECT 6, format('ALTER INDEX %I SET TABLESPACE %I', i.name, p.spcname)
    FROM indexes i JOIN pg_tablespace p ON p.oid = i.reltablespace
    UNION ALL
    SELECT 6, format('ALTER TABLE %I CLUSTER ON %I', i.of_table, i.name) FROM indexes i WHERE i.indisclustered
    UNION ALL
    SELECT 6, format('ALTER TABLE %I REPLICA IDENTITY %s', t.relname,
                     CASE t.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE format('USING INDEX %I', i.name) END)
    FROM served t LEFT JOIN indexes i ON i.indisreplident WHERE t.relreplident <> 'd'
    UNION ALL
    SELECT 7, replace(pg_get_statisticsobjdef(s.oid), format('CREATE STATISTICS %I.%I', n.nspname, s.stxname),
                      format('CREATE STATISTICS %I', s.stxname))
    FROM served t JOIN pg_statistic_ext s ON s.stxrelid = t.oid JOIN pg_namespace n ON n.oid = s.stxnamespace
    UNION ALL
    SELECT 8, format('COMMENT ON TABLE %I IS %L', t.relname, d.description)
    FROM served t JOIN pg_description d ON d.objoid = t.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
    WHERE d.description <> $3
    UNION ALL
    SELECT 8, format('COMMENT ON INDEX %I IS %L', i.name, d.description)
    FROM indexes i JOIN pg_description d ON d.objoid = i.indexrelid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
    UNION ALL
    SELECT 9, format('ALTER TABLE %I OWNER TO %I', t.relname, pg_get_userbyid(t.relowner))
    FROM served t WHERE pg_get_userbyid(t.relowner) <> current_user
) s
ORDER BY s.step, s.statement
