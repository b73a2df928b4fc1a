//! A Redshift of one test: a proxy in front of a real PostgreSQL. It lets through what Redshift takes (`dialect.rs`) and
//! carries out `COPY … FROM 's3://…' FORMAT AVRO` from a real store. No table has a key, so a row that came twice would show.

use super::dialect::{Taken, take};
use crate::buckets::{Bucket, Reader};
use crate::process::{headroom, run};
use crate::sink::files::rows;
use crate::sink::messages::{body, greet, listen, send};
use crate::sink::on_path;
use crate::sink::postgres::Database;
use headroom::config::{SinkRedshift, object_place};
use headroom::sink::Others;
use headroom::sink::postgres::Access;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};

/// Functions and a view of Redshift that the sink uses and PostgreSQL does not have.
const FUNCTIONS: &str = "
    CREATE FUNCTION public.getdate() RETURNS timestamp LANGUAGE sql AS 'SELECT clock_timestamp()::timestamp';
    CREATE FUNCTION public.datediff(unit text, f timestamp, t timestamp) RETURNS bigint LANGUAGE sql AS
        'SELECT (extract(epoch FROM t) * 1000000 - extract(epoch FROM f) * 1000000)::bigint WHERE unit = ''microsecond''';
    CREATE FUNCTION public.db_collation() RETURNS text LANGUAGE sql AS $$SELECT 'case_sensitive'$$;
    CREATE VIEW public.svv_relation_privileges AS
        SELECT n.nspname AS namespace_name, c.relname AS relation_name, a.privilege_type,
               pg_get_userbyid(a.grantee) AS identity_name,
               CASE a.grantee WHEN 0 THEN 'public' ELSE 'user' END AS identity_type, a.is_grantable AS admin_option
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) a";

/// What happens to a statement instead of what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails with this message, in the way in which Redshift tells of what happens inside.
    Says(&'static str),
    /// The connection ends before it is carried out.
    Cut,
    /// It is carried out, and the connection ends before the answer comes.
    LosesAnswer,
    /// Nothing. The next fault waits for it.
    Passes,
    /// It is on its way until [`Redshift::goes_on`].
    Waits,
}

pub struct Redshift {
    pub tables: Database,
    pub bucket: Bucket,
    port: u16,
    /// For the next statements that begin so, one after the other.
    faults: Arc<Mutex<VecDeque<(&'static str, Fault)>>>,
    gate: Arc<Barrier>,
}

impl Redshift {
    pub fn start() -> Redshift {
        Redshift::over(Bucket::start())
    }

    /// One that reads what is copied from this bucket, which speaks S3.
    pub fn over(bucket: Bucket) -> Redshift {
        let tables = Database::start();
        tables.ask(FUNCTIONS);
        let (faults, gate) = (Arc::default(), Arc::new(Barrier::new(2)));
        let proxy = Proxy {
            postgres: tables.port(),
            bucket: bucket.reader(),
            faults: Arc::clone(&faults),
            gate: Arc::clone(&gate),
        };
        // A server that is stopped ends the connection as well.
        let port = listen(move |client| proxy.serve(client));
        Redshift { port, faults, gate, tables, bucket }
    }

    pub fn url(&self) -> String {
        format!("redshift://analyst@127.0.0.1:{}/postgres", self.port)
    }

    /// How this process reaches it.
    pub fn access(&self) -> Access {
        Access { url: self.url(), password: None, authorities: None, schema: "headroom".to_owned(), ending: None }
    }

    /// A writer in this process, which has no way to the bucket.
    pub fn target(&self, writer: u128, others: &Others<(i64, i64)>) -> headroom::sink::redshift::Redshift {
        let staging = object_place("s3://lake/some/place").unwrap();
        let settings = SinkRedshift { staging, role: "default".to_owned() };
        headroom::sink::redshift::Redshift::open(&self.access(), &settings, writer, others).unwrap()
    }

    /// `headroom` with these arguments and the settings of the sink.
    pub fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = headroom([name]);
        command.args(args).env("HEADROOM_SINK_DATABASE", self.url());
        command.env("HEADROOM_SINK_FILES", self.bucket.place());
        command.env("HEADROOM_SINK_REDSHIFT_ROLE", "arn:aws:iam::123456789012:role/headroom");
        self.bucket.named(&mut command);
        command
    }

    /// `headroom sink` with these arguments, over the log of this directory.
    pub fn sink(&self, log: &Path, args: &[&str]) -> Command {
        let mut command = self.command("sink", args);
        on_path(&mut command, log, args);
        command
    }

    #[track_caller]
    pub fn apply(&self) {
        let ended = run(&mut self.sink(Path::new("/nonexistent"), &["apply"]));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    }

    /// What an analyst's tool gets for a query.
    pub fn ask(&self, query: &str) -> Result<String, String> {
        Database::psql_of(&self.url().replace("redshift://", "postgresql://"), &["-t"], query)
    }

    /// The next statement that begins so does not do what it asks for.
    pub fn fails(&self, statement: &'static str, fault: Fault) {
        self.faults.lock().unwrap().push_back((statement, fault));
    }

    /// Whether everything that was to fail has failed.
    pub fn has_failed(&self) -> bool {
        self.faults.lock().unwrap().is_empty()
    }

    /// Lets the statement go on that waits.
    pub fn goes_on(&self) {
        self.gate.wait();
    }

    /// Whoever wrote last is said to have ended, as time would say.
    pub fn writers_are_gone(&self) {
        self.tables.ask("UPDATE sink_positions SET writer = NULL");
    }

    /// The same of this writer alone.
    pub fn writer_is_gone(&self, writer: &str) {
        self.tables.ask(&format!("UPDATE sink_positions SET writer = NULL WHERE writer = '{writer}'"));
    }
}

#[derive(Clone)]
struct Proxy {
    postgres: u16,
    bucket: Reader,
    faults: Arc<Mutex<VecDeque<(&'static str, Fault)>>>,
    gate: Arc<Barrier>,
}

impl Proxy {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let mut server = TcpStream::connect(("127.0.0.1", self.postgres))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        greet(&mut client, &mut server)?;
        relay(&mut server, &mut client)?;
        // As in PostgreSQL 8: a backslash begins an escape.
        for setting in ["SET standard_conforming_strings = off", "SET escape_string_warning = off"] {
            send(&mut server, b'Q', format!("{setting}\0").as_bytes())?;
            relay(&mut server, &mut io::sink())?;
        }
        let mut state = b'I';
        loop {
            let mut tag = [0];
            client.read_exact(&mut tag)?;
            let asked = body(&mut client)?;
            match tag[0] {
                b'Q' => {}
                b'X' => return Ok(()),
                other => panic!("the sink asks Redshift only in whole statements, and not with {}", other as char),
            }
            let statement = String::from_utf8(asked).unwrap();
            let statement = statement.trim_end_matches('\0');
            let fault = self.fault_of(statement);
            if fault == Some(Fault::Waits) {
                self.gate.wait();
            }
            state = match (fault, take(statement)) {
                (Some(Fault::Cut), _) => return client.shutdown(Shutdown::Both),
                (Some(Fault::Says(why)), _) => raise(why, &mut server, &mut client)?,
                (_, Err(what)) => {
                    raise(&format!("Redshift does not take {what} in: {statement}"), &mut server, &mut client)?
                }
                (_, Ok(Taken::Statement(_))) if state == b'T' && statement.starts_with("TRUNCATE") => {
                    raise("TRUNCATE commits the transaction", &mut server, &mut client)?
                }
                (_, Ok(Taken::Statement(said))) => {
                    send(&mut server, b'Q', format!("{said}\0").as_bytes())?;
                    if fault == Some(Fault::LosesAnswer) {
                        relay(&mut server, &mut io::sink())?;
                        return client.shutdown(Shutdown::Both);
                    }
                    relay(&mut server, &mut client)?
                }
                (_, Ok(Taken::Copy { table, url })) => self.copy(&table, &url, &mut server, &mut client)?,
            };
        }
    }

    fn fault_of(&self, statement: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let is_next = faults.front().is_some_and(|(beginning, _)| statement.starts_with(beginning));
        if is_next { faults.pop_front().map(|(_, fault)| fault) } else { None }
    }

    /// Copies every object whose name begins so, by the names of its fields.
    fn copy(&self, table: &str, url: &str, server: &mut TcpStream, client: &mut TcpStream) -> io::Result<u8> {
        let objects = self.bucket.beginning_with(url);
        if objects.is_empty() {
            return raise(&format!("The specified S3 prefix '{url}' does not exist"), server, client);
        }
        let rows: Vec<_> = objects.iter().flat_map(|(_, bytes)| rows(bytes)).collect();
        let names: Vec<&String> = rows[0].keys().collect();
        let columns: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        send(server, b'Q', format!("COPY {table} ({}) FROM STDIN\0", columns.join(", ")).as_bytes())?;
        let mut tag = [0];
        server.read_exact(&mut tag)?;
        let answer = body(server)?;
        if tag[0] != b'G' {
            send(client, tag[0], &answer)?;
            return relay(server, client);
        }
        for row in &rows {
            let cells: Vec<String> = names.iter().map(|name| cell(&row[*name])).collect();
            send(server, b'd', format!("{}\n", cells.join("\t")).as_bytes())?;
        }
        send(server, b'c', b"")?;
        relay(server, client)
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "\\N".to_owned(),
        Value::String(text) => {
            let text = text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
            assert!(!text.contains('\0') && text.len() <= 65_535, "no column takes it");
            text
        }
        other => other.to_string(),
    }
}

/// Makes a statement fail where it stands, with the code that Redshift has for what happens inside.
fn raise(why: &str, server: &mut TcpStream, client: &mut TcpStream) -> io::Result<u8> {
    let why = why.replace('\\', "\\\\").replace('\'', "''").replace('$', "");
    let raise = format!("DO $no$ BEGIN RAISE EXCEPTION USING ERRCODE = 'XX000', MESSAGE = '{why}'; END $no$\0");
    send(server, b'Q', raise.as_bytes())?;
    relay(server, client)
}

/// Passes on what the server says, until it is ready for the next statement. Answers in which state its transaction is.
fn relay(server: &mut TcpStream, client: &mut impl Write) -> io::Result<u8> {
    loop {
        let mut tag = [0];
        server.read_exact(&mut tag)?;
        let mut said = body(server)?;
        if tag[0] == b'S' && said.starts_with(b"server_version\0") {
            said = b"server_version\08.0.2\0".to_vec();
        }
        send(client, tag[0], &said)?;
        if tag[0] == b'Z' {
            return Ok(said[0]);
        }
    }
}
