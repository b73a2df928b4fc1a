-- Holds what Kafka Connect wrote against `headroom cat`, whose lines are the rows of `said`: every event, in every column of
-- the view. The lines of the file are the rows of `filed`. Fails when anything differs.
CREATE TEMP TABLE wanted AS SELECT event.* FROM said, jsonb_populate_record(NULL::events, line) AS event;

CREATE TEMP TABLE compared AS
SELECT name, count(*) FILTER (WHERE value <> 'null') AS filled,
    count(*) FILTER (WHERE value IS DISTINCT FROM to_jsonb(written) -> name) AS different
FROM wanted LEFT JOIN events AS written USING (partition, seq), jsonb_each(to_jsonb(wanted)) AS field (name, value)
GROUP BY name;

-- Of each line of the file, a value of each type: a symbol, numbers, bytes, a time, a map of numbers and one of texts.
CREATE TEMP TABLE in_file AS
SELECT substring(line FROM '^Struct\{kind=(\w+)') AS kind,
    substring(line FROM ',partition=(\d+)')::integer AS partition, substring(line FROM ',seq=(\d+)')::bigint AS seq,
    encode(decode(substring(line FROM ',prev=([^,}]*)'), 'base64'), 'hex') AS prev,
    'epoch'::timestamptz + substring(line FROM ',decided_at=(\d+)')::bigint * '1 microsecond'::interval AS decided_at,
    substring(line FROM ',demand=\{[^}]*orders=(\d+)')::bigint AS orders,
    substring(line FROM ',labels=\{[^}]*depot=([^,}]*)') AS depot
FROM filed;
CREATE TEMP TABLE of_file AS
SELECT kind, partition, seq, prev, decided_at, (wanted.demand ->> 'orders')::bigint AS orders,
    line -> 'labels' ->> 'depot' AS depot
FROM wanted JOIN said ON (line ->> 'partition')::integer = partition AND (line ->> 'seq')::bigint = seq;

\echo Rows of the table, by column: in how many there is a value, and in how many it is not that of headroom cat.
TABLE compared ORDER BY name;
SELECT (SELECT count(*) FROM said) AS events, (SELECT count(*) FROM headroom_events) AS rows,
    (SELECT count(*) FROM filed) AS lines, (SELECT count(*) FROM (SELECT DISTINCT line FROM filed) AS once) AS different_lines;

DO $$
DECLARE
    found text;
BEGIN
    SELECT format('headroom cat has %s events, the table %s, the file %s different ones', a, b, c) INTO found
    FROM (SELECT count(*) FROM said) AS of_log (a), (SELECT count(*) FROM headroom_events) AS of_table (b),
        (SELECT count(*) FROM (SELECT DISTINCT line FROM filed) AS once) AS of_file (c)
    WHERE a = 0 OR a <> b OR a <> c;
    ASSERT found IS NULL, found;

    SELECT string_agg(name, ', ') INTO found FROM compared WHERE different > 0;
    ASSERT found IS NULL, 'the table differs in ' || found;

    -- The day is to have something of every type.
    SELECT string_agg(type, ', ') INTO found
    FROM unnest(ARRAY['prev', 'decided_at', 'demand', 'areas', 'unique_order_ref', 'reason', 'asked_version']) AS type
    WHERE type NOT IN (SELECT name FROM compared WHERE filled > 0);
    ASSERT found IS NULL, 'no event has ' || found;

    SELECT string_agg(name, ', ') INTO found
    FROM (SELECT jsonb_object_keys(line) FROM said UNION SELECT column_name FROM information_schema.columns
            WHERE table_name = 'headroom_events'
        -- The connector leaves the labels out; what follows is not in the schema.
        EXCEPT SELECT unnest(ARRAY['labels', 'digest', 'trace_id', 'internal'])
        EXCEPT SELECT name FROM compared) AS missing (name);
    ASSERT found IS NULL, 'the view has no ' || found;

    SELECT string_agg(format('%s of partition %s', seq, partition), ', ') INTO found
    FROM ((TABLE of_file EXCEPT TABLE in_file) UNION (TABLE in_file EXCEPT TABLE of_file)) AS differing;
    ASSERT found IS NULL, 'the file differs in event ' || found;
    ASSERT (SELECT count(depot) > 0 AND count(orders) > 0 FROM in_file), 'the file has no labels, or no units';
END $$;
