-- What a rebuild beside the tables {tables} of the schema $1 would lose or is not allowed to make again, in words. {known} are our
-- columns of them. A column of others whose values the database makes is carried, and so are indexes, statistics and views.
WITH served AS (
    SELECT c.*, y.typarray FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type y ON y.oid = c.reltype
    WHERE n.nspname = $1 AND c.relname IN ({tables})
),
users AS (
    SELECT DISTINCT t.relname, d.classid, d.objid, CASE d.classid WHEN 'pg_rewrite'::regclass THEN 0 ELSE d.objsubid END AS part,
           v.oid AS view, v.relkind, v.relowner, v.relnamespace
    FROM served t
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
                     OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.reltype, t.typarray)
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.ev_type = '1'
    LEFT JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
    WHERE d.deptype <> 'i' AND c.relkind IS DISTINCT FROM 'i' AND COALESCE(k.contype NOT IN ('p', 'n'), true)
      AND d.classid NOT IN ('pg_statistic_ext'::regclass, 'pg_attrdef'::regclass, 'pg_publication_rel'::regclass)
)
SELECT u.relname || ' is used by ' || pg_describe_object(u.classid, u.objid, u.part) AS what FROM users u WHERE u.view IS NULL
UNION
SELECT u.relname || ' is used by the view ' || u.view::regclass || ' of ' || pg_get_userbyid(u.relowner)
       || ', which this user cannot replace'
FROM users u WHERE NOT pg_has_role(u.relowner, 'USAGE') OR NOT has_schema_privilege(u.relnamespace, 'CREATE')
UNION
SELECT t.relname || ' has the column ' || a.attname || ', whose values are not in events'
FROM served t JOIN pg_attribute a ON a.attrelid = t.oid
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND (t.relname, a.attname) NOT IN (VALUES {known})
UNION
SELECT t.relname || ' is partitioned' FROM served t WHERE t.relkind = 'p'
UNION
SELECT t.relname || ' inherits from ' || i.inhparent::regclass FROM served t JOIN pg_inherits i ON i.inhrelid = t.oid
UNION
SELECT t.relname || ' has row security' FROM served t WHERE t.relrowsecurity
UNION
SELECT p.tablename || ' is in the publication ' || p.pubname FROM pg_publication_tables p JOIN served t ON t.relname = p.tablename
WHERE p.schemaname = $1
UNION
SELECT t.relname || ' has a security label' FROM served t JOIN pg_seclabel l ON l.objoid = t.oid
UNION
SELECT t.relname || ' belongs to another user' FROM served t WHERE NOT pg_has_role(t.relowner, 'USAGE')
UNION
SELECT 'this user lacks the right CREATE for the database' WHERE NOT has_database_privilege(current_database(), 'CREATE')
UNION
SELECT 'this user lacks the right CREATE for the schema ' || $1 WHERE NOT has_schema_privilege($1, 'CREATE')
ORDER BY 1
