//! The settings of what `headroom sink` writes: tables or files.

use super::auth::file;
use super::place::{ObjectPlace, StoreKind, place};
use super::{Checking, Open, Secret, Setting, address, either, number};
use crate::limits::{
    SINK_BATCH_EVENTS_MAX, SINK_BATCH_EVENTS_MIN, SINK_BATCH_MAX_MS, SINK_BATCH_MIN_MS, SINK_EVENTS_PER_SECOND_MAX,
    SINK_EVENTS_PER_SECOND_MIN,
};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Longest name of a schema that PostgreSQL allows, in bytes.
const SCHEMA_BYTES_MAX: usize = 63;

/// The beginning of the URL of a Redshift.
const REDSHIFT: &str = "redshift://";

/// Where events are written, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sink {
    /// The tables or the files that the events become.
    pub to: SinkTo,
    /// The longest time that an event waits, in milliseconds.
    pub batch_ms: u64,
    /// The most events of a partition that are written together.
    pub batch_events: u64,
    /// The most events a second that a process reads and writes; `None`: as many as it can.
    pub events_per_second: Option<u64>,
    /// Whether an event that cannot be read is set aside. Otherwise it stops its partition.
    pub is_aside: bool,
    /// Where metrics are shown; `None`: nowhere.
    pub listen: Option<SocketAddr>,
}

/// Where events are written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SinkTo {
    /// Tables of a database.
    Tables(SinkDatabase),
    /// Files in a folder or a bucket.
    Files(SinkFiles),
}

/// Files for events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkFiles {
    /// The folder or the bucket.
    pub place: ObjectPlace,
    /// What each file is.
    pub format: FilesFormat,
}

/// A form of files with rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FilesFormat {
    /// Avro container files.
    Avro,
    /// Parquet, in a build that has it.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl FilesFormat {
    /// Its name in the settings, which is also what the names of its files end with.
    pub fn name(self) -> &'static str {
        match self {
            FilesFormat::Avro => "avro",
            #[cfg(feature = "parquet")]
            FilesFormat::Parquet => "parquet",
        }
    }
}

/// A database for events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkDatabase {
    /// Its URL, without a password.
    pub url: String,
    /// The password of the user in the URL.
    pub password: Option<Secret>,
    /// PEM file of the authorities that sign the certificate of the database; `None`: it is on this machine.
    pub authorities: Option<PathBuf>,
    /// The schema of the tables.
    pub schema: String,
    /// How rows get into Amazon Redshift; `None`: the database is a PostgreSQL.
    pub redshift: Option<SinkRedshift>,
}

/// How rows get into Amazon Redshift: it reads them from a bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkRedshift {
    /// Where files lie until they are read.
    pub staging: ObjectPlace,
    /// The role with which Redshift reads them: ARNs with commas between them, or `default`.
    pub role: String,
}

/// The settings; `None` when no database and no place is named, or when a problem was noted.
pub(super) fn check(checking: &mut Checking<'_>, open: Option<Open>) -> Option<Sink> {
    let url = checking.optional(Setting::SinkDatabase, database);
    let files = checking.optional(Setting::SinkFiles, place);
    let format = checking.setting(Setting::SinkFilesFormat, format);
    let role = checking.optional(Setting::SinkRedshiftRole, role);
    let password = checking.optional(Setting::SinkDatabasePassword, |text| Ok(Secret::of(text)));
    let authorities = checking.optional(Setting::SinkDatabaseCa, file);
    let schema = checking.setting(Setting::SinkSchema, schema);
    let range = SINK_BATCH_MIN_MS..=SINK_BATCH_MAX_MS;
    let batch_ms = checking.setting(Setting::SinkBatchMs, |text| number(text, range.clone()));
    let range = SINK_BATCH_EVENTS_MIN..=SINK_BATCH_EVENTS_MAX;
    let batch_events = checking.setting(Setting::SinkBatchEvents, |text| number(text, range.clone()));
    let range = SINK_EVENTS_PER_SECOND_MIN..=SINK_EVENTS_PER_SECOND_MAX;
    let events_per_second = checking.optional(Setting::SinkEventsPerSecond, |text| number(text, range.clone()));
    let is_aside = checking.setting(Setting::SinkUndecodable, |text| either(text, [("stop", false), ("aside", true)]));
    let listen = checking.optional(Setting::SinkListen, address);
    if listen.is_some_and(|address| !address.ip().is_loopback()) && open.is_some_and(|open| !open.metrics) {
        checking
            .clash(Setting::SinkListen, "is beyond this machine: open = \"metrics\" shows metrics to everybody there");
    }
    if !checking.is_given(Setting::SinkDatabase) {
        for setting in [Setting::SinkDatabasePassword, Setting::SinkDatabaseCa] {
            checking.clash(setting, "is set, and sink_database is not");
        }
        if !checking.is_given(Setting::SinkFiles) {
            checking.clash(Setting::SinkListen, "is set, and neither sink_database nor sink_files is");
        }
    }
    let is_redshift = url.as_ref().is_some_and(|url| url.starts_with(REDSHIFT));
    if url.is_some() && !is_redshift {
        checking.clash(
            Setting::SinkFiles,
            "is set, and sink_database is a PostgreSQL: a sink writes either, and only Redshift reads files. Take one of \
             them away, in a shell with unset HEADROOM_SINK_DATABASE",
        );
    }
    if !is_redshift && url.is_some() == checking.is_given(Setting::SinkDatabase) {
        checking.clash(Setting::SinkRedshiftRole, "is set, and sink_database is no redshift:// URL");
    }
    if is_redshift && format.is_some_and(|format| format != FilesFormat::Avro) {
        checking.clash(Setting::SinkFilesFormat, "is not what a Redshift reads from its bucket: leave it out");
    }
    let redshift = if is_redshift { Some(redshift(checking, files.clone(), role)?) } else { None };
    let to = match (url, files) {
        (Some(url), _) => SinkTo::Tables(SinkDatabase { url, password, authorities, schema: schema?, redshift }),
        (None, files) => SinkTo::Files(SinkFiles { place: files?, format: format? }),
    };
    Some(Sink { to, batch_ms: batch_ms?, batch_events: batch_events?, events_per_second, is_aside: is_aside?, listen })
}

/// What Redshift needs besides its URL.
fn redshift(checking: &mut Checking<'_>, files: Option<ObjectPlace>, role: Option<String>) -> Option<SinkRedshift> {
    if !matches!(files, Some(ObjectPlace::Bucket { store: StoreKind::S3, .. })) {
        checking.clash(
            Setting::SinkDatabase,
            "is a Redshift, which reads rows from a bucket: set sink_files = \"s3://BUCKET/PREFIX\"",
        );
    }
    if !checking.is_given(Setting::SinkRedshiftRole) {
        checking.clash(
            Setting::SinkDatabase,
            "is a Redshift, which reads the bucket with a role: set sink_redshift_role to its ARN, or to \"default\"",
        );
    }
    Some(SinkRedshift { staging: files?, role: role? })
}

/// A chain of ARNs like arn:aws:iam::123456789012:role/NAME, each of which may take on the next, or the cluster's own.
fn role(text: &str) -> Result<String, String> {
    let is_arn = |arn: &str| {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [scheme, partition, service, region, account, name] = parts[..] else { return false };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "+=.@_/-".contains(c);
        (scheme, service, region) == ("arn", "iam", "")
            && partition.starts_with("aws")
            && partition.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            && account.len() == 12
            && account.chars().all(|c| c.is_ascii_digit())
            && name.strip_prefix("role/").is_some_and(|name| !name.is_empty() && name.chars().all(is_name))
    };
    if text == "default" || text.split(',').all(is_arn) {
        return Ok(text.to_owned());
    }
    Err("is neither the ARN of a role, like arn:aws:iam::123456789012:role/NAME, nor default".to_owned())
}

/// Checks the beginning, and that there is no password: the setting is printed.
fn database(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty: name a database or, to write files, take the setting away, in a shell with unset \
                    HEADROOM_SINK_DATABASE"
            .to_owned());
    }
    let rest = ["postgresql://", "postgres://", REDSHIFT].iter().find_map(|scheme| text.strip_prefix(scheme));
    let rest = rest.ok_or("is not a URL like postgresql://user@host:5432/name or redshift://user@host:5439/name")?;
    let user = rest.split(['/', '?']).next().and_then(|host| host.rsplit_once('@')).map_or("", |(user, _)| user);
    let has_password = user.contains(':') || rest.contains("password");
    if has_password {
        return Err("has a password in it, which would be printed: set sink_database_password_file".to_owned());
    }
    Ok(text.to_owned())
}

fn format(text: &str) -> Result<FilesFormat, String> {
    match text {
        "avro" => Ok(FilesFormat::Avro),
        #[cfg(feature = "parquet")]
        "parquet" => Ok(FilesFormat::Parquet),
        #[cfg(not(feature = "parquet"))]
        "parquet" => Err("is not in this build: make one with --features parquet".to_owned()),
        _ => Err("is neither avro nor parquet".to_owned()),
    }
}

fn schema(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = (1..=SCHEMA_BYTES_MAX).contains(&text.len())
        && text.chars().all(is_plain)
        && !text.starts_with(|c: char| c.is_ascii_digit());
    if !is_name {
        return Err("is not a name of small letters, digits and _".to_owned());
    }
    if text.starts_with("pg_") || text == "information_schema" {
        return Err("is a schema of PostgreSQL's own".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::tests::check;
    use crate::config::{FilesFormat, Setting, SinkFiles, SinkTo};

    #[test]
    fn a_sink_may_write_files() {
        let files = check(&[(Setting::SinkFiles, "s3://lake/headroom"), (Setting::SinkListen, "127.0.0.1:1")]);
        let SinkTo::Files(SinkFiles { place, format }) = files.unwrap().sink.unwrap().to else { panic!("a place") };
        assert_eq!(format, FilesFormat::Avro);
        assert_eq!(place.to_string(), "s3://lake/headroom");
    }

    #[test]
    fn a_redshift_has_a_bucket_and_a_role() {
        const ROLE: &str = "arn:aws:iam::123456789012:role/service/headroom";
        let database = (Setting::SinkDatabase, "redshift://writer@cluster:5439/lake");
        let bucket = (Setting::SinkFiles, "s3://lake/headroom");
        let role = (Setting::SinkRedshiftRole, ROLE);
        let sink = check(&[database, bucket, role]).unwrap().sink.unwrap();
        let SinkTo::Tables(tables) = sink.to else { panic!("{:?}", sink.to) };
        let redshift = tables.redshift.unwrap();
        assert_eq!((redshift.staging.to_string(), &*redshift.role), ("s3://lake/headroom".to_owned(), ROLE));
        let chain = format!("{ROLE},arn:aws-cn:iam::210987654321:role/reader");
        for good in ["default", &*chain] {
            assert!(check(&[database, bucket, (Setting::SinkRedshiftRole, good)]).is_ok(), "{good}");
        }
        let parquet = check(&[database, bucket, role, (Setting::SinkFilesFormat, "parquet")]).unwrap_err();
        let why = if cfg!(feature = "parquet") { "is not what a Redshift reads" } else { "is not in this build" };
        assert!(parquet.contains(why), "{parquet}");
        let postgres = (Setting::SinkDatabase, "postgresql://writer@db:5432/lake");
        for (settings, problem) in [
            (&[database, role][..], "sink_database is a Redshift, which reads rows from a bucket"),
            (&[database, role, (Setting::SinkFiles, "file:///lake")], "which reads rows from a bucket"),
            (&[database, role, (Setting::SinkFiles, "gs://lake/x")], "which reads rows from a bucket"),
            (&[database, bucket], "which reads the bucket with a role"),
            (&[postgres, role], "sink_redshift_role is set, and sink_database is no redshift:// URL"),
            (&[bucket, role], "sink_redshift_role is set, and sink_database is no redshift:// URL"),
            (&[(Setting::SinkDatabase, "redshift://u:hidden@cluster/x"), bucket, role], "has a password in it"),
        ] {
            let problems = check(settings).unwrap_err();
            assert!(problems.contains(problem) && !problems.contains("hidden"), "{problem} in\n{problems}");
        }
        for bad in [
            "arn:aws:iam::1234:role/x",
            "arn:aws:s3::123456789012:role/x",
            "role",
            "default,default",
            "arn:aws:iam::123456789012:role/x' y",
        ] {
            let problems = check(&[database, bucket, (Setting::SinkRedshiftRole, bad)]).unwrap_err();
            assert!(problems.contains("is neither the ARN of a role"), "{bad}: {problems}");
        }
    }

    #[test]
    fn a_sink_has_a_database_without_a_password_in_its_url() {
        use Setting::{
            SinkBatchEvents, SinkBatchMs, SinkDatabase, SinkDatabaseCa, SinkDatabasePassword, SinkEventsPerSecond,
            SinkSchema, SinkUndecodable,
        };
        let database = (SinkDatabase, "postgresql://writer@db:5432/lake?connect_timeout=3");
        assert_eq!(check(&[]).unwrap().sink, None);
        let sink = check(&[database, (SinkDatabasePassword, "hidden")]).unwrap();
        assert!(!format!("{sink:?}").contains("hidden") && !sink.dump().contains("hidden"));
        let sink = sink.sink.unwrap();
        let SinkTo::Tables(tables) = sink.to else { panic!("{:?}", sink.to) };
        assert_eq!((&*tables.schema, sink.batch_ms, sink.is_aside), ("headroom", 60_000, false));
        assert_eq!(tables.password.map(|password| password.expose().to_owned()), Some("hidden".to_owned()));
        for (settings, problem) in [
            (
                &[(SinkDatabase, ""), (Setting::SinkFiles, "file:///lake")][..],
                "in a shell with unset HEADROOM_SINK_DATABASE",
            ),
            (&[(SinkDatabase, "db:5432")], "is not a URL like postgresql://user@host:5432/name"),
            (&[(SinkDatabase, "postgresql://u:hidden@db/x")], "has a password in it"),
            (&[(SinkDatabase, "postgresql://db/x?user=u&password=hidden")], "has a password in it"),
            (&[(SinkDatabaseCa, "ca.pem")], "sink_database_ca is set, and sink_database is not"),
            (&[(SinkDatabasePassword, "hidden")], "sink_database_password is set, and sink_database is not"),
            (&[database, (Setting::SinkFiles, "file:///lake")], "sink_database is a PostgreSQL: a sink writes either"),
            (&[(Setting::SinkFiles, "/lake")], "is no place like file:///FOLDER"),
            (&[(Setting::SinkFiles, "file:///lake"), (Setting::SinkFilesFormat, "orc")], "is neither avro nor parquet"),
            (&[(Setting::SinkListen, "127.0.0.1:1")], "is set, and neither sink_database nor sink_files is"),
            (&[database, (SinkSchema, "Head-room")], "is not a name of small letters"),
            (&[database, (SinkSchema, "pg_lake")], "is a schema of PostgreSQL's own"),
            (&[database, (SinkSchema, "information_schema")], "is a schema of PostgreSQL's own"),
            (
                &[database, (SinkBatchEvents, "999")],
                "sink_batch_events = \"999\" is not a whole number from 1000 to 100000",
            ),
            (&[database, (SinkBatchMs, "99")], "is not a whole number from 100 to 3600000"),
            (
                &[database, (SinkEventsPerSecond, "999")],
                "sink_events_per_second = \"999\" is not a whole number from 1000 to 1000000",
            ),
            (&[database, (Setting::SinkListen, "0.0.0.0:9090")], "shows metrics to everybody there"),
            (&[database, (SinkUndecodable, "skip")], "is neither stop nor aside"),
        ] {
            let problems = check(settings).unwrap_err();
            assert!(problems.contains(problem) && !problems.contains("hidden"), "{problem} in\n{problems}");
        }
    }
}
