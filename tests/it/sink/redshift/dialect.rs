//! What Redshift takes of SQL, as far as the sink speaks it. A statement that uses anything else is refused, by name: what is
//! not listed here was not looked up in the documentation of Redshift.

/// What becomes of a statement.
#[derive(PartialEq, Eq, Debug)]
pub enum Taken {
    /// PostgreSQL can carry it out, in these words.
    Statement(String),
    /// The rows of the objects whose names begin so are to be copied into the table.
    Copy { table: String, url: String },
}

/// How statements may begin.
const BEGINNINGS: &[&str] = &[
    "set application_name to",
    "set timezone to",
    "set datestyle to",
    "set search_path to",
    "set statement_timeout to",
    "begin",
    "commit",
    "rollback",
    "lock table",
    "select",
    "with",
    "insert into",
    "update",
    "delete from",
    "truncate",
    "create temp table",
    "create table",
    "create view",
    "create or replace view",
    "create schema",
    "drop view",
    "drop table",
    "alter table",
    "comment on view",
    "comment on table",
];
/// Functions that nodes have, and not only the leader; the last ones are asked of the catalogue, which the leader has.
const FUNCTIONS: &[&str] = &[
    "count",
    "sum",
    "max",
    "min",
    "coalesce",
    "nullif",
    "least",
    "greatest",
    "round",
    "floor",
    "extract",
    "row_number",
    "lag",
    "lead",
    "datediff",
    "getdate",
    "chr",
    "db_collation",
    "position",
    "quote_ident",
    "format_type",
    "current_database",
    "has_database_privilege",
    "has_schema_privilege",
    "has_table_privilege",
];
/// Words that a parenthesis may follow besides.
const BEFORE_PARENTHESES: &[&str] = &[
    "select", "distinct", "by", "else", "case", "between", "is", "in", "over", "values", "as", "and", "or", "not",
    "from", "join", "on", "when", "then", "where", "varchar", "varying", "decimal", "distkey", "sortkey",
];
const TYPES: &[&str] =
    &["bigint", "integer", "varchar", "decimal", "date", "boolean", "timestamp", "timestamptz", "regclass"];
/// Words that Redshift does not know, or does not allow where the sink could use them.
const UNKNOWN: &[&str] = &[
    "conflict",
    "returning",
    "filter",
    "lateral",
    "jsonb",
    "json",
    "text",
    "array",
    "window",
    "merge",
    "unique",
    "primary",
    "references",
    "index",
    "generated",
    "serial",
    "any",
    "ordinality",
    "stdin",
    "concurrently",
    "trigger",
    "infinity",
    "materialized",
    "advisory",
    "identity",
    "inherits",
    "for",
    "numeric",
];
/// Every word that is reserved there, by the page `r_pg_keywords` of its documentation: as a name it needs quotes.
const RESERVED: &str = "
    aes128 aes256 all allowoverwrite analyse analyze and any array as asc authorization az64 backup between binary
    blanksasnull both bytedict bzip2 case cast check collate column constraint create credentials cross current_date
    current_time current_timestamp current_user current_user_id default deferrable deflate defrag delta delta32k desc
    disable distinct do else emptyasnull enable encode encrypt encryption end except explicit false for foreign freeze
    from full globaldict256 globaldict64k grant group gzip having identity ignore ilike in initially inner intersect
    interval into is isnull join leading left like limit localtime localtimestamp lun luns lzo lzop minus mostly16
    mostly32 mostly8 natural new not notnull null nulls off offline offset oid old on only open or order outer overlaps
    parallel partition percent permissions pivot placing primary raw readratio recover references rejectlog resort
    respect restore right select session_user similar snapshot some sysdate system table tag tdes text255 text32k then
    timestamp to top trailing true truncatecolumns union unique unnest unpivot user using verbose wallet when where with
    without";
/// Those of them that statements are made of. PostgreSQL does not take them for a name that stands alone either, but for BETWEEN.
const GRAMMAR: &[&str] = &[
    "all", "and", "as", "asc", "between", "case", "column", "create", "cross", "desc", "distinct", "else", "end",
    "false", "from", "full", "group", "having", "in", "into", "is", "join", "left", "like", "limit", "not", "null",
    "on", "or", "order", "select", "table", "then", "to", "true", "union", "using", "when", "where", "with",
];

/// Whether Redshift takes this only in quotes as a name.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.split_whitespace().any(|word| word == name)
}
const SYMBOLS: &[&str] =
    &["::", "||", "<=", ">=", "<>", "(", ")", ",", ".", ";", "=", "<", ">", "+", "-", "*", "/", "%"];
const AGGREGATES: &[&str] = &["sum", "count", "max", "min"];

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    /// In small letters.
    Word(String),
    /// With its quotes.
    Name(String),
    /// With its quotes.
    Literal(String),
    Number(String),
    Symbol(&'static str),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(text) | Token::Name(text) | Token::Literal(text) | Token::Number(text) => text,
            Token::Symbol(text) => text,
        }
    }

    fn is(&self, text: &str) -> bool {
        matches!(self, Token::Word(_) | Token::Symbol(_)) && self.text() == text
    }
}

/// What Redshift would do with a statement; the error says what it does not have.
pub fn take(statement: &str) -> Result<Taken, String> {
    let mut tokens = tokens(statement)?;
    if tokens.last().is_some_and(|token| token.is(";")) {
        tokens.pop();
    }
    if tokens.first().is_some_and(|token| token.is("copy")) {
        return copy(&tokens);
    }
    if tokens.first().is_some_and(|token| token.is("grant")) {
        return Ok(Taken::Statement(said(&tokens)));
    }
    let words: Vec<&str> = tokens.iter().map(Token::text).collect();
    let begins = |beginning: &&&str| words.starts_with(&beginning.split(' ').collect::<Vec<_>>());
    let Some(beginning) = BEGINNINGS.iter().find(begins) else {
        return Err(format!("begins with {}", words.iter().take(4).copied().collect::<Vec<_>>().join(" ")));
    };
    if *beginning == "alter table" && words.get(3..5) != Some(&["add", "column"]) {
        return Err("ALTER TABLE does not ADD COLUMN".to_owned());
    }
    for at in 0..tokens.len() {
        check(&tokens, at)?;
    }
    Ok(Taken::Statement(said(&tokens)))
}

fn copy(tokens: &[Token]) -> Result<Taken, String> {
    let words: Vec<&str> = tokens.iter().map(Token::text).collect();
    let ["copy", table, "from", url, "iam_role", role, end @ ..] = &words[..] else {
        return Err("COPY is not COPY table FROM 's3://…' IAM_ROLE …".to_owned());
    };
    let expected = ["format", "avro", "'auto'", "timeformat", "'auto'", "compupdate", "off", "statupdate", "off"];
    if end != expected {
        return Err(format!("COPY with {}", end.join(" ")));
    }
    if *role != "default" && !role.starts_with("'arn:aws:iam::") {
        return Err(format!("COPY with the role {role}"));
    }
    let url = url.strip_prefix("'s3://").and_then(|url| url.strip_suffix('\'')).ok_or("COPY from no bucket")?;
    Ok(Taken::Copy { table: (*table).to_owned(), url: url.to_owned() })
}

fn check(tokens: &[Token], at: usize) -> Result<(), String> {
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    let after = tokens.get(at + 1);
    let is = |token: Option<&Token>, text: &str| token.is_some_and(|token| token.is(text));
    if is(tokens.get(at), ";") {
        return Err("several statements at once".to_owned());
    }
    let Some(Token::Word(word)) = tokens.get(at) else { return Ok(()) };
    let word = &**word;
    if UNKNOWN.contains(&word) && !is(before(1), ".") {
        return Err(format!("the word {word}"));
    }
    if is(before(1), "::") && !TYPES.contains(&word) {
        return Err(format!("a cast to {word}"));
    }
    if word == "decimal" && !is(after, "(") {
        return Err("decimal without a scale, which has none there".to_owned());
    }
    let is_keyword = match word {
        "partition" => is(after, "by"),
        "interval" | "timestamp" => {
            matches!(after, Some(Token::Literal(_))) || is(after, "with") || is(before(1), "::")
        }
        word => GRAMMAR.contains(&word),
    };
    if is_reserved(word) && !is_keyword && !is(before(1), ".") {
        return Err(format!("the reserved word {word} without quotes"));
    }
    if word == "distinct" && is(after, "on") {
        return Err("DISTINCT ON".to_owned());
    }
    if word == "over" && is(after, "(") {
        check_window(tokens, at)?;
    }
    let names_table = is(before(1), "table") || is(before(1), "into");
    let may_have = FUNCTIONS.contains(&word) || BEFORE_PARENTHESES.contains(&word) || names_table;
    if is(after, "(") && !may_have && !(word == "like" || is(before(1), ")")) {
        return Err(format!("the function {word}"));
    }
    Ok(())
}

/// An aggregate over a window that has an order needs a frame.
fn check_window(tokens: &[Token], at: usize) -> Result<(), String> {
    let closing = |from: usize| {
        let mut depth = 0;
        (from..tokens.len()).find(|at| {
            depth += i32::from(tokens[*at].is("(")) - i32::from(tokens[*at].is(")"));
            depth == 0
        })
    };
    let window = &tokens[at..closing(at + 1).ok_or("a parenthesis that is not closed")?];
    let has = |word: &str| window.iter().any(|token| token.is(word));
    let function = (0..at).rev().find(|from| closing(*from) == Some(at - 1) && tokens[*from].is("("));
    let function = function.and_then(|open| open.checked_sub(1)).map_or("", |at| tokens[at].text());
    if AGGREGATES.contains(&function) && has("order") && !has("rows") {
        return Err(format!("{function} over a window without a frame"));
    }
    Ok(())
}

/// The statement for PostgreSQL: without what says where rows lie, and with functions and a view that the test has made.
fn said(tokens: &[Token]) -> String {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token.is("distkey") || token.is("sortkey") {
            at += 4;
            continue;
        }
        if ["getdate", "datediff", "db_collation", "svv_relation_privileges"]
            .iter()
            .any(|of_redshift| token.is(of_redshift))
        {
            words.extend(["public", "."]);
        }
        words.push(token.text());
        at += 1;
    }
    words.join(" ")
}

fn tokens(statement: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = statement.trim_start();
    while let Some(first) = rest.chars().next() {
        let length_while = |is: fn(char) -> bool| rest.find(|c: char| !is(c)).unwrap_or(rest.len());
        let length = match first {
            '\'' => quoted(rest, '\'')?,
            '"' => quoted(rest, '"')?,
            '0'..='9' => length_while(|c| c.is_ascii_digit() || c == '.'),
            'a'..='z' | 'A'..='Z' | '_' => length_while(|c| c.is_ascii_alphanumeric() || c == '_'),
            _ => {
                let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
                let symbol = symbol.filter(|_| !["->", "--", "/*", "<@", "-|"].iter().any(|no| rest.starts_with(no)));
                let symbol =
                    symbol.ok_or_else(|| format!("the symbol {}", rest.chars().take(3).collect::<String>()))?;
                tokens.push(Token::Symbol(symbol));
                rest = rest[symbol.len()..].trim_start();
                continue;
            }
        };
        let text = rest[..length].to_owned();
        tokens.push(match first {
            '\'' => Token::Literal(text),
            '"' => Token::Name(text),
            '0'..='9' => Token::Number(text),
            _ => Token::Word(text.to_lowercase()),
        });
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The length of what begins with this quote. In a literal a backslash begins an escape.
fn quoted(text: &str, quote: char) -> Result<usize, String> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote == '\'' {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => drop(chars.next()),
                _ => return Ok(at + 1),
            }
        }
    }
    Err("a quote that is not closed".to_owned())
}

#[test]
fn what_redshift_does_not_have_is_refused_by_name() {
    for (statement, why) in [
        ("INSERT INTO a (b) VALUES (1) ON CONFLICT DO NOTHING", "the word conflict"),
        ("COPY events (a) FROM STDIN", "COPY is not"),
        ("MERGE INTO a USING b ON a.c = b.c WHEN MATCHED THEN DELETE", "begins with merge into a using"),
        ("CREATE TABLE a (b bigint PRIMARY KEY)", "the word primary"),
        ("CREATE TABLE a (b bigint UNIQUE)", "the word unique"),
        ("CREATE INDEX a ON b (c)", "begins with create index"),
        ("SELECT a FROM b FOR UPDATE", "the word for"),
        ("SELECT count(*) FILTER (WHERE a) FROM b", "the word filter"),
        ("SELECT a FROM b CROSS JOIN LATERAL c(b.d)", "the word lateral"),
        ("SELECT a -> 'b' FROM c", "the symbol ->"),
        ("SELECT a::jsonb FROM c", "the word jsonb"),
        ("SELECT a::text FROM c", "the word text"),
        ("SELECT a[1] FROM c", "the symbol [1]"),
        ("SELECT a::decimal / 3 FROM c", "decimal without a scale"),
        ("SELECT DISTINCT ON (a) b FROM c", "DISTINCT ON"),
        ("SELECT sum(a) OVER (PARTITION BY b ORDER BY c) FROM d", "sum over a window without a frame"),
        ("SELECT partition FROM events", "the reserved word partition without quotes"),
        ("SELECT open FROM a", "the reserved word open without quotes"),
        ("SELECT a FROM user", "the reserved word user without quotes"),
        ("SELECT a AS timestamp FROM b", "the reserved word timestamp without quotes"),
        ("CREATE TABLE a (delta bigint)", "the reserved word delta without quotes"),
        ("SELECT clock_timestamp()", "the function clock_timestamp"),
        ("SELECT array_agg(a) FROM b", "the function array_agg"),
        ("UPDATE a SET b = 1 RETURNING c", "the word returning"),
        ("SELECT 1; SELECT 2", "several statements at once"),
        ("SELECT pg_try_advisory_lock(1)", "the function pg_try_advisory_lock"),
        ("SET idle_in_transaction_session_timeout TO 1", "begins with set idle_in_transaction_session_timeout to 1"),
    ] {
        let refused = take(statement).unwrap_err();
        assert!(refused.starts_with(why), "{statement}: {refused}");
    }
    let said = take("CREATE TABLE a (\"b\" bigint) DISTKEY (b) SORTKEY (b)").unwrap();
    assert_eq!(said, Taken::Statement("create table a ( \"b\" bigint )".to_owned()));
    let said = take("SELECT 'it''s \\\\' || GETDATE(), e.partition FROM e").unwrap();
    let expected = "select 'it''s \\\\' || public . getdate ( ) , e . partition from e";
    assert_eq!(said, Taken::Statement(expected.to_owned()));
}
