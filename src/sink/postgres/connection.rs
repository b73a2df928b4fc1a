//! One connection, used by code that blocks.

use super::dialect::{Dialect, quoted};
use crate::causes::causes;
use crate::sink::TargetError;
use crate::time::Stopwatch;
use crate::tls;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Longest wait for one answer of the database. All statements of a batch have it together.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// Longest wait for a connection.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for one of the addresses of the database: behind a machine that is gone the next one gets its turn.
const ADDRESS_LIMIT: Duration = Duration::from_secs(3);
const _: () = assert!(ADDRESS_LIMIT.as_secs().saturating_mul(3) < CONNECT_LIMIT.as_secs());
/// Longest wait for all answers once the process is to end. A batch that is on its way is done by then, if the database answers,
/// and whoever stops processes waits longer before it kills them.
pub(in crate::sink) const LAST_LIMIT: Duration = Duration::from_secs(10);

/// Tells when the process began to end; `None` while it goes on.
pub type Ending = watch::Receiver<Option<Stopwatch>>;

/// How the database is reached.
#[derive(Clone)]
pub struct Access {
    /// The URL of the database, without a password.
    pub url: String,
    /// The password of the user in the URL, if there is one.
    pub password: Option<String>,
    /// PEM file of the authorities that sign the certificate of the server. With it TLS is spoken, and without it the
    /// database has to be on this machine.
    pub authorities: Option<PathBuf>,
    /// The schema that holds the tables.
    pub schema: String,
    /// Bounds the waits at the end of the process; `None` for a command that ends by itself.
    pub ending: Option<Ending>,
}

/// An open connection.
pub struct Database {
    /// Runs on the calling thread: the connection makes progress while an answer is waited for.
    runtime: Runtime,
    pub(super) client: Client,
    pub(super) schema: String,
    pub(super) dialect: Dialect,
    ending: Option<Ending>,
    /// Since when all answers together have this long.
    limited: Option<(Stopwatch, Duration)>,
    /// An answer was given up. The next one would come behind it.
    is_hung: bool,
    /// What was asked last did not get a lock in time, or another transaction and this one waited for each other.
    pub(super) is_in_use: bool,
}

/// What a statement answers: its rows as texts, and how many it changed.
#[derive(Default)]
pub(in crate::sink) struct Said {
    pub(in crate::sink) rows: Vec<Vec<Option<String>>>,
    pub(in crate::sink) changed: u64,
}

impl Said {
    pub(in crate::sink) fn text(&self, row: usize, column: usize) -> Option<&str> {
        self.rows.get(row)?.get(column)?.as_deref()
    }

    pub(in crate::sink) fn number(&self, row: usize, column: usize) -> Option<i64> {
        self.text(row, column)?.parse().ok()
    }
}

impl Database {
    /// Connects, and makes the schema the one in which tables are looked for.
    ///
    /// # Errors
    /// [`TargetError::Operator`] when the access is wrong, [`TargetError::Transient`] when the database does not answer.
    pub fn connect(access: &Access) -> Result<Database, TargetError> {
        let config = settings(access)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| TargetError::Operator(format!("cannot start an event loop: {error}")))?;
        let connecting = async {
            match &access.authorities {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    tokio::spawn(connection);
                    Ok(client)
                }
                Some(authorities) => {
                    let tls = tls::believing(authorities).map_err(Trouble::Operator)?;
                    let (client, connection) = config.connect(MakeRustlsConnect::new((*tls).clone())).await?;
                    tokio::spawn(connection);
                    Ok(client)
                }
            }
        };
        let ending = access.ending.clone();
        let client = match runtime.block_on(within(CONNECT_LIMIT, ending.clone(), connecting)) {
            Ok(client) => client,
            Err(trouble) => {
                // A name server that hangs keeps the thread that asks it, and nobody waits for it.
                runtime.shutdown_background();
                return Err(trouble.told());
            }
        };
        let (schema, dialect) = (access.schema.clone(), Dialect::of(&access.url));
        let mut database =
            Database { runtime, client, schema, dialect, ending, limited: None, is_hung: false, is_in_use: false };
        for setting in dialect.session() {
            database.say(setting)?;
        }
        database.say(&format!("SET search_path TO {}", quoted(&access.schema)))?;
        Ok(database)
    }

    /// Asks one statement, whose values are in it. Of Redshift everything is asked so: what its prepared statements can do is
    /// another question for each of its versions.
    pub(in crate::sink) fn say(&mut self, statement: &str) -> Result<Said, TargetError> {
        self.run(async |client| {
            let mut said = Said::default();
            for message in client.simple_query(statement).await? {
                match message {
                    SimpleQueryMessage::Row(row) => {
                        said.rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
                    }
                    SimpleQueryMessage::CommandComplete(changed) => said.changed = changed,
                    _ => {}
                }
            }
            Ok(said)
        })
    }

    /// From now on all answers together have this long; with `None` each of them has [`ANSWER_LIMIT`].
    pub(in crate::sink) fn limit_all(&mut self, limit: Option<Duration>) {
        self.limited = limit.map(|limit| (Stopwatch::start(), limit));
    }

    /// How long the next answer may take.
    pub(super) fn limit(&self) -> Duration {
        self.limited.map_or(ANSWER_LIMIT, |(since, limit)| since.left_of(limit))
    }

    /// Waits for what is asked of the database, for a bounded time. A session that has hung is not asked again.
    pub(super) fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, Trouble>,
    ) -> Result<T, TargetError> {
        if self.is_hung {
            return Err(TargetError::Transient(
                "the database has left an earlier question without an answer".to_owned(),
            ));
        }
        let limit = self.limit();
        let done = self.runtime.block_on(within(limit, self.ending.clone(), work(&mut self.client)));
        self.is_hung = matches!(done, Err(Trouble::Late(_)));
        self.is_in_use = self.dialect == Dialect::Postgres && done.as_ref().is_err_and(Trouble::is_of_locks);
        done.map_err(|trouble| self.of_schema(&trouble).unwrap_or_else(|| trouble.told()))
    }

    /// Why no table is found, when that is because this user may not look into the schema. The database itself says then that
    /// the table does not exist.
    fn of_schema(&mut self, trouble: &Trouble) -> Option<TargetError> {
        let Trouble::Database(error) = trouble else { return None };
        if error.code() != Some(&SqlState::UNDEFINED_TABLE) {
            return None;
        }
        let lacks = self.lacks_usage().is_ok_and(|lacks| lacks);
        lacks.then(|| TargetError::Operator(format!("this user lacks the right USAGE for the schema {}", self.schema)))
    }
}

/// Waits for so long at most, and for less when the process is to end.
async fn within<T>(
    limit: Duration,
    ending: Option<Ending>,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    tokio::select! {
        biased;
        done = tokio::time::timeout(limit, work) => done.unwrap_or(Err(Trouble::Late(limit))),
        () = last_moment(ending) => Err(Trouble::Late(LAST_LIMIT)),
    }
}

/// Waits until the process is to end and has had its time for it.
pub(in crate::sink) async fn last_moment(ending: Option<Ending>) {
    let never = std::future::pending::<()>();
    let Some(mut ending) = ending else { return never.await };
    // Nobody tells the end of a process that has ended already.
    let began = ending.wait_for(Option::is_some).await.ok().and_then(|began| *began);
    match began {
        Some(began) => drop(tokio::time::timeout(began.left_of(LAST_LIMIT), never).await),
        None => never.await,
    }
}

/// The URL in the words of the client, which verifies every certificate, and whether it asks for that in those of libpq.
fn verified(url: &str) -> (String, bool) {
    let words = ["sslmode=verify-full", "sslmode=verify-ca"];
    let is_verified = words.iter().any(|word| url.contains(word));
    (words.iter().fold(url.to_owned(), |url, word| url.replace(word, "sslmode=require")), is_verified)
}

/// The settings of the client, checked: a password and the events do not travel in the clear.
fn settings(access: &Access) -> Result<Config, TargetError> {
    let operator = |why: String| TargetError::Operator(why);
    let url = match access.url.strip_prefix("redshift://") {
        Some(rest) => format!("postgresql://{rest}"),
        None => access.url.clone(),
    };
    let (url, is_verified) = verified(&url);
    if is_verified && access.authorities.is_none() {
        return Err(operator("sink_database asks for a verified server: set sink_database_ca".to_owned()));
    }
    let mut config = Config::from_str(&url).map_err(|error| operator(format!("sink_database: {}", causes(&error))))?;
    if config.get_password().is_some() {
        return Err(operator("sink_database has a password in it: set sink_database_password_file".to_owned()));
    }
    if let Some(password) = &access.password {
        config.password(password);
    }
    config.connect_timeout(ADDRESS_LIMIT);
    // After a failover the first of several machines may be a standby, which answers and takes no row.
    let machines = config.get_hosts().len().max(config.get_hostaddrs().len());
    let is_postgres = Dialect::of(&access.url) == Dialect::Postgres;
    if machines > 1 && is_postgres && !url.contains("target_session_attrs") {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    if access.authorities.is_some() {
        config.ssl_mode(SslMode::Require);
        return Ok(config);
    }
    let is_near = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    };
    let far = config.get_hosts().iter().find(|host| !is_near(host));
    let is_far = config.get_hostaddrs().iter().any(|address| !address.is_loopback());
    if far.is_some() || is_far {
        return Err(operator(
            "sink_database is not on this machine, and sink_database_ca is not set: events travel over TLS only"
                .to_owned(),
        ));
    }
    config.ssl_mode(SslMode::Disable);
    Ok(config)
}

/// What can go wrong while the database is asked.
pub(super) enum Trouble {
    Database(tokio_postgres::Error),
    Late(Duration),
    Operator(String),
    Fenced,
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Trouble {
        Trouble::Database(error)
    }
}

impl Trouble {
    fn is_of_locks(&self) -> bool {
        let Trouble::Database(error) = self else { return false };
        error.code().is_some_and(|code| [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].contains(code))
    }

    pub(super) fn told(self) -> TargetError {
        match self {
            Trouble::Fenced => TargetError::Fenced,
            Trouble::Operator(why) => TargetError::Operator(why),
            Trouble::Late(limit) => TargetError::Transient(format!("the database did not answer within {limit:?}")),
            Trouble::Database(error) => match error.as_db_error() {
                None if is_settled(&error) => TargetError::Operator(refused(&causes(&error))),
                None => TargetError::Transient(format!("the database cannot be reached: {}", causes(&error))),
                Some(said) => {
                    // The detail of such an error quotes rows, and only that of this one does not: what is in the way.
                    let is_named = *said.code() == SqlState::DEPENDENT_OBJECTS_STILL_EXIST;
                    let detail =
                        said.detail().filter(|_| is_named).map_or(String::new(), |detail| format!(": {detail}"));
                    let why = format!("the database says: {}{detail} ({})", said.message(), said.code().code());
                    let may_pass = is_transient(said.code()) || passes_in_redshift(said.message());
                    if may_pass { TargetError::Transient(why) } else { TargetError::Operator(why) }
                }
            },
        }
    }
}

fn refused(why: &str) -> String {
    if why.ends_with("password missing") {
        return "the database asks for a password: set sink_database_password_file".to_owned();
    }
    format!("the database cannot be reached with these settings: {why}")
}

/// Whether the client itself says no, and goes on doing so: no password is known and one is asked for, or the database asks for
/// a proof that the client does not know. It names these by its words only.
fn is_settled(error: &tokio_postgres::Error) -> bool {
    let told = error.to_string();
    ["invalid configuration", "authentication error"].iter().any(|kind| told.starts_with(kind))
}

/// Whether the same may succeed later. By class: connections, rollbacks (serialization, deadlocks), resources, what an
/// administrator stops, and the system; and a lock that was not free in time. A violation of the protocol (08P01) is among the
/// connections: poolers and proxies say it of everything that they cannot do now, such as reaching their database.
fn is_transient(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "25" | "40" | "53" | "57" | "58") || *code == SqlState::LOCK_NOT_AVAILABLE
}

/// Whether the same may succeed later, of what Redshift says under the code of an internal error: two transactions were in
/// each other's way (1023), or a COPY did not reach the bucket, or S3 has said no for now.
fn passes_in_redshift(message: &str) -> bool {
    message.starts_with("1023")
        || ["Serializable isolation violation", "S3 prefix", "S3CurlException"]
            .iter()
            .any(|part| message.contains(part))
        || message.contains("S3ServiceException") && passes_in_s3(message)
}

/// The same of an answer of S3, such as `…,Status 404,Error NoSuchBucket,…`. What is wrong with a bucket, its region, its keys
/// or its policy stays so. A file may be gone because the sink that had the partition before has copied it.
fn passes_in_s3(message: &str) -> bool {
    let said = |name: &str| message.split_once(name).and_then(|(_, rest)| rest.split(',').next()).map(str::trim);
    match (said(",Status "), said(",Error ")) {
        (_, Some("NoSuchKey" | "RequestTimeout" | "ExpiredToken")) | (None, _) => true,
        (Some(status), _) => matches!(status.parse::<u16>(), Ok(307 | 408 | 429 | 500..=599)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_elsewhere_is_reached_over_tls_only() {
        let access = |url: &str, ca: Option<&str>| Access {
            url: url.to_owned(),
            password: None,
            authorities: ca.map(PathBuf::from),
            schema: "headroom".to_owned(),
            ending: None,
        };
        for url in ["postgresql://u@127.0.0.1/db", "postgresql://u@localhost/db", "postgresql:///db?host=/run/pg"] {
            assert!(settings(&access(url, None)).is_ok(), "{url}");
        }
        for url in ["postgresql://u@10.0.0.1/db", "postgresql://u@db.example/db", "postgresql://u@localhost,far/db"] {
            let error = settings(&access(url, None)).unwrap_err();
            assert!(error.to_string().contains("sink_database_ca is not set"), "{url}: {error}");
            let secured = settings(&access(url, Some("ca.pem"))).unwrap();
            assert_eq!(secured.get_ssl_mode(), SslMode::Require, "{url}");
        }
        for mode in ["verify-full", "verify-ca"] {
            let url = format!("postgresql://u@localhost/db?connect_timeout=3&sslmode={mode}");
            let error = settings(&access(&url, None)).unwrap_err();
            assert!(error.to_string().contains("set sink_database_ca"), "{error}");
            assert_eq!(settings(&access(&url, Some("ca.pem"))).unwrap().get_ssl_mode(), SslMode::Require);
        }
    }

    #[test]
    fn several_machines_are_asked_for_the_one_that_takes_writes_and_each_has_its_turn() {
        for (hosts, expected) in [
            ("127.0.0.1/db", TargetSessionAttrs::Any),
            ("127.0.0.1,127.0.0.2:5433/db", TargetSessionAttrs::ReadWrite),
            ("127.0.0.1,127.0.0.2/db?target_session_attrs=any", TargetSessionAttrs::Any),
        ] {
            let access = Access {
                url: format!("postgresql://u@{hosts}"),
                password: None,
                authorities: None,
                schema: "headroom".to_owned(),
                ending: None,
            };
            let config = settings(&access).unwrap();
            assert_eq!(config.get_target_session_attrs(), expected, "{hosts}");
            assert!(config.get_connect_timeout().is_some_and(|limit| limit.saturating_mul(2) < CONNECT_LIMIT));
        }
    }

    #[test]
    fn a_url_that_is_wrong_is_named_with_what_is_wrong_in_it() {
        let access = Access {
            url: "postgresql://u@127.0.0.1:port/db".to_owned(),
            password: None,
            authorities: None,
            schema: "headroom".to_owned(),
            ending: None,
        };
        let error = settings(&access).unwrap_err().to_string();
        assert!(error.starts_with("sink_database: ") && error.contains("port"), "{error}");
    }

    #[test]
    fn the_database_ends_a_statement_when_the_sink_gives_it_up() {
        let limit = ANSWER_LIMIT.as_millis().to_string();
        let is_bound = |setting: &&str| setting.contains("statement_timeout") && setting.contains(&limit);
        assert!([Dialect::Postgres, Dialect::Redshift].iter().all(|dialect| dialect.session().iter().any(is_bound)));
    }

    #[test]
    fn an_error_is_transient_by_its_class() {
        for (code, expected) in [
            (SqlState::T_R_SERIALIZATION_FAILURE, true),
            (SqlState::T_R_DEADLOCK_DETECTED, true),
            (SqlState::ADMIN_SHUTDOWN, true),
            (SqlState::PROTOCOL_VIOLATION, true),
            (SqlState::DISK_FULL, true),
            (SqlState::LOCK_NOT_AVAILABLE, true),
            (SqlState::UNIQUE_VIOLATION, false),
            (SqlState::UNDEFINED_COLUMN, false),
            (SqlState::INVALID_PASSWORD, false),
        ] {
            assert_eq!(is_transient(&code), expected, "{code:?}");
        }
    }

    #[test]
    fn what_redshift_says_may_pass() {
        for (message, expected) in [
            ("1023", true),
            ("S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown", true),
            ("The specified S3 prefix 's3://lake/p' does not exist", true),
            ("S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Rid 1,CanRetry 1", true),
            ("S3ServiceException:We encountered an internal error.,Status 500,Error InternalError,Rid 1", true),
            ("S3ServiceException:The provided token has expired.,Status 400,Error ExpiredToken,Rid 1", true),
            ("S3CurlException: Connection timed out, CurlError 28", true),
            ("S3ServiceException:Access Denied,Status 403,Error AccessDenied", false),
            ("S3ServiceException:The specified bucket does not exist,Status 404,Error NoSuchBucket,CanRetry 1", false),
            ("S3ServiceException:The bucket is in another region,Status 301,Error PermanentRedirect,Rid 1", false),
            ("S3ServiceException:The key does not exist in our records.,Status 403,Error InvalidAccessKeyId", false),
            (
                "S3ServiceException:The authorization header is wrong,Status 400,Error AuthorizationHeaderMalformed",
                false,
            ),
            ("Load into table 'events' failed.  Check 'stl_load_errors' system table for details.", false),
        ] {
            assert_eq!(passes_in_redshift(message), expected, "{message}");
        }
    }
}
