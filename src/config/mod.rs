//! The settings of a process, in two stages: [`raw`] collects texts from file, environment and flags, and this file
//! parses and checks them into a [`Config`]. Both are pure. Neither stops at the first problem: an operator gets the
//! whole list at once, each problem with its source. Bounds of the system are in [`crate::limits`], not here.

mod auth;
mod canary;
mod kafka;
mod log;
mod place;
mod quota;
pub mod raw;
mod setting;
mod sink;
mod snapshots;
mod tls;
mod traces;

use crate::access::Quota;
use crate::limits::{DEADLINE_MAX_MS, HTTP_CONNECTIONS_MAX, PARTITIONS_MAX};
pub use auth::{Auth, Open, Proofs};
pub use kafka::{Kafka, Registry, Roles, Secret, TopicNames};
pub(crate) use place::PLACES;
pub use place::{ObjectPlace, StoreKind, place as object_place};
pub use raw::{FileText, Given, Inputs, Raw, Source};
pub use setting::{Group, Kind, Setting};
pub use sink::{FilesFormat, Sink, SinkDatabase, SinkFiles, SinkRedshift, SinkTo};
pub(crate) use snapshots::{DAY_MS, HOUR_MS};
pub use snapshots::{EventsKeep, Keep, SnapshotRule, Snapshots};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
pub use tls::Tls;
pub use traces::Traces;

/// Longest name of a host, in bytes, as in DNS.
const HOST_BYTES_MAX: usize = 253;

/// The format of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// One line of text for people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Which calls get a line of the access log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLog {
    /// No call has a line.
    Off,
    /// Calls that were refused have one, up to a bounded number in a second, and some of the others.
    Sampled,
    /// Every call has a line.
    All,
}

/// Levels of log lines, from none to all of them.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// The settings of a process, parsed and checked against each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The address that HTTP is served on; port 0 takes a free port.
    pub listen: SocketAddr,
    /// The directory of the embedded log and of checkpoints; on Kafka, of checkpoints and notes about the log.
    pub data_dir: PathBuf,
    /// The number of partitions that the log must have; `None` accepts the number of an existing log.
    pub partitions: Option<u32>,
    /// Where `headroom sink` writes the events; `None` when no database and no place for files is named.
    pub sink: Option<Sink>,
    /// The Kafka cluster that carries the log; `None` for the embedded log.
    pub kafka: Option<Kafka>,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The log lines that are written: a level, or directives in the syntax of `tracing`.
    pub log_level: String,
    /// Which calls get a line of the access log.
    pub access_log: AccessLog,
    /// Where spans are sent; `None` when none are recorded.
    pub traces: Option<Traces>,
    /// The deadline of a call without `Request-Timeout-Ms`, in milliseconds, 1 to [`DEADLINE_MAX_MS`].
    pub deadline_default_ms: u64,
    /// The host names that calls which change something may be addressed to, in lower case.
    pub hosts: BTreeSet<String>,
    /// The connections that one client address may have; `None` when only the bound on all connections applies.
    pub connections_per_address: Option<usize>,
    /// Where snapshots are written; `None` when no place is named.
    pub snapshots: Option<Snapshots>,
    /// How long the embedded log keeps its events on this disk; `None` for ever.
    pub log_keep: Option<EventsKeep>,
    /// Where segments of the embedded log go that leave it; `None` when they are removed.
    pub log_archive: Option<ObjectPlace>,
    /// The time between two rounds of the canary, in milliseconds; `None` when there is no canary.
    pub canary_interval_ms: Option<u64>,
    /// The files of TLS; `None` when plain HTTP is served.
    pub tls: Option<Tls>,
    /// How callers are known.
    pub auth: Auth,
    /// The file of API tokens, whether or not they are accepted.
    pub tokens_file: PathBuf,
    /// What is shown to callers without a credential.
    pub open: Open,
    /// How often callers may call.
    pub quota: Quota,
    /// The texts and sources of all settings, for [`Config::dump`].
    given: BTreeMap<Setting, Given>,
}

/// One problem of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file, variable or flag that has to be changed.
    pub source: Source,
    /// What is wrong, with the value, and what would be right.
    pub detail: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.detail)
    }
}

/// All problems of the configuration. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems {
    all: Vec<Problem>,
    /// The format of log lines, unless it is one of the problems.
    pub log_format: Option<LogFormat>,
}

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.all.len();
        write!(f, "the configuration has {count} problem{}", if count == 1 { "" } else { "s" })?;
        self.all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// All [`Problems`] at once.
    pub fn load(inputs: &Inputs) -> Result<Config, Problems> {
        Config::check(Raw::gather(inputs))
    }

    fn check(raw: Raw) -> Result<Config, Problems> {
        let mut checking = Checking { given: &raw.given, problems: raw.problems };
        let listen = checking.setting(Setting::Listen, address);
        let data_dir = checking.setting(Setting::DataDir, directory);
        let partitions = checking.optional(Setting::Partitions, |text| number(text, 1..=PARTITIONS_MAX));
        let log_format = checking.setting(Setting::LogFormat, log_format);
        let log_level = checking.setting(Setting::LogLevel, log_level);
        let access_log = checking.setting(Setting::AccessLog, access_log);
        let traces = traces::check(&mut checking);
        let deadline = checking.setting(Setting::DeadlineDefaultMs, |text| number(text, 1..=DEADLINE_MAX_MS));
        let hosts = checking.optional(Setting::Hosts, hosts).unwrap_or_default();
        let per_address = |text: &str| number(text, 1..=HTTP_CONNECTIONS_MAX);
        let connections_per_address = checking.optional(Setting::ConnectionsPerAddress, per_address);
        let canary_interval_ms = canary::check(&mut checking);
        let snapshots = snapshots::check(&mut checking);
        let log = log::check(&mut checking, snapshots.as_ref());
        let tls = tls::check(&mut checking);
        let auth = auth::check(&mut checking, listen);
        let tokens_file = auth::tokens_file(&mut checking, data_dir.as_deref());
        let open = auth::open(&mut checking);
        let quota = quota::check(&mut checking);
        let sink = sink::check(&mut checking, open);
        let kafka = kafka::check(&mut checking, snapshots.as_ref());
        let problems = checking.problems;
        match (listen, data_dir, log_format.zip(access_log), log_level, deadline.zip(log), auth.zip(open)) {
            (
                Some(listen),
                Some(data_dir),
                Some((log_format, access_log)),
                Some(log_level),
                Some((deadline_default_ms, (log_keep, log_archive))),
                Some((auth, open)),
            ) if problems.is_empty() => {
                let given = raw.given;
                Ok(Config {
                    listen,
                    data_dir,
                    partitions,
                    sink,
                    kafka,
                    log_format,
                    log_level,
                    access_log,
                    traces,
                    deadline_default_ms,
                    hosts,
                    connections_per_address,
                    canary_interval_ms,
                    snapshots,
                    log_keep,
                    log_archive,
                    tls,
                    auth,
                    tokens_file,
                    open,
                    quota,
                    given,
                })
            }
            _ => Err(Problems { all: problems, log_format }),
        }
    }

    /// Whether what has left the log may be in an archive that is not named. What has left a cluster went nowhere.
    pub fn archive_is_unnamed(&self) -> bool {
        self.kafka.is_none() && self.log_archive.is_none()
    }

    /// The same, with the places of snapshots and of what has left the log as the dump of another process names them, where
    /// this one names none.
    #[must_use]
    pub fn with_places_of(self, dump: &str) -> Config {
        let file = FileText { path: "dump".to_owned(), text: dump.to_owned() };
        let raw = Raw::gather(&Inputs { file: Some(file), ..Inputs::default() });
        let mut checking = Checking { given: &raw.given, problems: Vec::new() };
        let snapshots = self.snapshots.clone().or_else(|| snapshots::check(&mut checking));
        let archive = self.log_archive.clone();
        let log_archive = archive.or_else(|| checking.optional(Setting::LogArchive, object_place));
        Config { snapshots, log_archive, ..self }
    }

    /// The settings in force as a TOML file, each with its source. Saved and given with `--config`, the file means the
    /// same. Secrets are left out: a server with such a file asks for them.
    pub fn dump(&self) -> String {
        let mut text =
            "# The settings in force. As a file for --config, this means the same; add the secrets.\n".to_owned();
        for setting in Setting::ALL {
            let name = setting.name();
            // Writing to a String never fails.
            let _ = match (self.given.get(setting), setting.kind()) {
                (Some(Given { source, .. }), Kind::Secret) => writeln!(text, "# {name} = (secret) # {source}"),
                (Some(Given { text: value, source }), Kind::Number(_) | Kind::Truth) if is_bare(value.trim()) => {
                    writeln!(text, "{name} = {} # {source}", value.trim())
                }
                (Some(Given { text: value, source }), _) => writeln!(text, "{name} = {} # {source}", quoted(value)),
                (None, _) => writeln!(text, "# {name} is not set: {}", setting.doc()),
            };
        }
        text
    }
}

struct Checking<'a> {
    given: &'a BTreeMap<Setting, Given>,
    problems: Vec<Problem>,
}

impl Checking<'_> {
    /// The checked value of a setting; `None` when it is not set or is wrong, which is noted as a problem.
    fn optional<T>(&mut self, setting: Setting, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let given = self.given.get(&setting)?;
        check(&given.text)
            .map_err(|what| {
                let shown = shown(setting, &given.text);
                let detail = format!("{} = {shown} {what}", setting.name());
                self.problems.push(Problem { source: given.source.clone(), detail });
            })
            .ok()
    }

    /// The same for a setting that has a default, and so always a value.
    fn setting<T>(&mut self, setting: Setting, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        debug_assert!(setting.default().is_some(), "{} has no default: read it with optional()", setting.name());
        self.optional(setting, check)
    }

    /// Whether the setting is set. A secret counts as set when a file is named for it, even if that cannot be read.
    fn is_given(&self, setting: Setting) -> bool {
        let files = Setting::SECRETS.iter().filter(|(secret, _)| *secret == setting).map(|(_, file)| file);
        [setting].iter().chain(files).any(|setting| self.given.contains_key(setting))
    }

    /// Whether the setting has another value than its default.
    fn is_changed(&self, setting: Setting) -> bool {
        self.given.get(&setting).is_some_and(|given| Some(&given.text) != setting.default().as_ref())
    }

    /// Notes a problem of settings that contradict each other, with the source of this one.
    fn clash(&mut self, setting: Setting, what: impl Display) {
        if let Some(given) = self.given.get(&setting) {
            let detail = format!("{} {what}", setting.name());
            self.problems.push(Problem { source: given.source.clone(), detail });
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is not an IP address and a port, such as 127.0.0.1:8080".to_owned())
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("is empty: give the path of a directory".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn number<T: FromStr + PartialOrd + Display>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let number = text.trim().parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("is not a whole number from {} to {}", range.start(), range.end()))
}

/// Parses host names without ports, separated by commas.
fn hosts(text: &str) -> Result<BTreeSet<String>, String> {
    let names: BTreeSet<String> = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    if names.iter().all(|name| is_host_name(name)) {
        return Ok(names);
    }
    Err("is not a list of host names without ports, separated by commas".to_owned())
}

/// Whether a text can be a host name.
pub fn is_host_name(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    either(text, [("text", LogFormat::Text), ("json", LogFormat::Json)])
}

/// What one of two words stands for.
fn either<T>(text: &str, choices: [(&str, T); 2]) -> Result<T, String> {
    let [(one, _), (other, _)] = &choices;
    let wrong = format!("is neither {one} nor {other}");
    choices.into_iter().find(|(word, _)| *word == text).map(|(_, value)| value).ok_or(wrong)
}

fn access_log(text: &str) -> Result<AccessLog, String> {
    match text {
        "off" => Ok(AccessLog::Off),
        "sampled" => Ok(AccessLog::Sampled),
        "all" => Ok(AccessLog::All),
        _ => Err("is neither off, sampled nor all".to_owned()),
    }
}

/// Checks a log filter. It is stricter than the filter's own parser, which takes a misspelt level for a module's name and
/// then writes no other lines.
fn log_level(text: &str) -> Result<String, String> {
    let is_level = |text: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text.trim()));
    let is_module = |text: &str| {
        let text = text.trim();
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-'))
    };
    let is_directive = |text: &str| match text.split_once('=') {
        Some((module, level)) => is_module(module) && is_level(level),
        None => is_level(text),
    };
    if text.split(',').all(is_directive) {
        return Ok(text.to_owned());
    }
    Err(format!("is not a level ({}), or module=level, separated by commas", LEVELS.join(", ")))
}

/// A wrong value in a message. What has an `@` may be an address with a password before it, or has one after its name, so it is
/// left out like a secret.
fn shown(setting: Setting, text: &str) -> String {
    let may_have_secret = text.contains('@') || text.contains("password=");
    if setting.kind() == Kind::Secret || may_have_secret { "(secret)".to_owned() } else { quoted(text) }
}

/// Whether TOML has this number or truth as it is written. `08` and `TRUE` mean something as settings, and nothing in TOML.
fn is_bare(text: &str) -> bool {
    matches!(text, "true" | "false") || text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
}

/// The text as a TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration of these flags alone.
    pub(super) fn check(settings: &[(Setting, &str)]) -> Result<Config, String> {
        let mut inputs = Inputs::default();
        inputs.flags.extend(settings.iter().map(|(setting, text)| (*setting, (*text).to_owned())));
        Config::load(&inputs).map_err(|problems| problems.to_string())
    }

    fn file(text: &str) -> Inputs {
        let file = FileText { path: "headroom.toml".to_owned(), text: text.to_owned() };
        Inputs { file: Some(file), ..Inputs::default() }
    }

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults_are_a_valid_configuration() {
        let config = Config::load(&Inputs::default()).unwrap();
        assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(config.data_dir, PathBuf::from(".headroom"));
        assert_eq!((config.partitions, config.log_format), (None, LogFormat::Text));
        assert_eq!(config.deadline_default_ms, crate::limits::DEADLINE_DEFAULT_MS);
    }

    #[test]
    fn flags_come_before_environment_before_file_before_defaults() {
        let mut inputs =
            file("listen = \"127.1.1.1:1\"\ndata_dir = \"of-file\"\npartitions = 2\nlog_format = \"json\"");
        inputs.env = env(&[("HEADROOM_LISTEN", "127.2.2.2:2"), ("HEADROOM_DATA_DIR", "of-env")]);
        inputs.flags.insert(Setting::Listen, "127.3.3.3:3".to_owned());
        let config = Config::load(&inputs).unwrap();
        assert_eq!(config.listen, "127.3.3.3:3".parse().unwrap());
        assert_eq!(config.data_dir, PathBuf::from("of-env"));
        assert_eq!((config.partitions, config.log_format), (Some(2), LogFormat::Json));
        let dump = config.dump();
        for line in [
            "listen = \"127.3.3.3:3\" # flag --listen",
            "data_dir = \"of-env\" # environment variable HEADROOM_DATA_DIR",
            "partitions = 2 # file headroom.toml",
            "log_level = \"info\" # default",
        ] {
            assert!(dump.lines().any(|other| other == line), "{line} in\n{dump}");
        }
    }

    #[test]
    fn every_problem_is_reported_with_its_source() {
        let mut inputs =
            file("listne = \"x\"\npartitions = 0\nlog_level = [1]\nlog_format = \"xml\"\n[server]\nport = 1");
        inputs.env = env(&[("HEADROOM_LISTEN", "localhost"), ("HEADROOM_LOG_LVL", "info"), ("HOME", "/")]);
        inputs.flags.insert(Setting::DeadlineDefaultMs, "6000".to_owned());
        let problems = Config::load(&inputs).unwrap_err().to_string();
        let known: Vec<_> = Setting::ALL.iter().map(|setting| setting.name()).collect();
        let known = format!("the settings are {}", known.join(", "));
        let expected = format!(
            "the configuration has 8 problems
  file headroom.toml: there is no setting listne; {known}
  file headroom.toml: log_level must be a string, a whole number, true or false
  file headroom.toml: there is no setting server; {known}
  environment variable HEADROOM_LOG_LVL: there is no setting log_lvl; {known}
  environment variable HEADROOM_LISTEN: listen = \"localhost\" is not an IP address and a port, such as 127.0.0.1:8080
  file headroom.toml: partitions = \"0\" is not a whole number from 1 to 1024
  file headroom.toml: log_format = \"xml\" is neither text nor json
  flag --deadline-default-ms: deadline_default_ms = \"6000\" is not a whole number from 1 to 5000"
        );
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_file_that_is_not_toml_is_a_problem_like_others() {
        let mut inputs = file("listen = \"1.1.1.1:1\"\npartitions = = 4\n");
        inputs.env = env(&[("HEADROOM_LOG_FORMAT", "")]);
        let problems = Config::load(&inputs).unwrap_err().to_string();
        assert!(problems.contains("file headroom.toml: line 2 is not valid TOML: "), "{problems}");
        assert!(problems.contains("HEADROOM_LOG_FORMAT: log_format = \"\" is neither"), "{problems}");
    }

    #[test]
    fn variables_of_an_orchestrator_or_the_rig_are_no_problem() {
        let mut inputs =
            Inputs { env: env(&[("HEADROOM_CONFIG", "x"), ("HEADROOM_RIG_DIR", "x")]), ..Inputs::default() };
        inputs.env.extend(env(&[
            ("HEADROOM_PORT", "tcp://10.0.0.1:8080"),
            ("HEADROOM_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("HEADROOM_SERVICE_HOST", "10.0.0.1"),
            ("HEADROOM_GATEWAY_SERVICE_PORT_HTTP", "8080"),
        ]));
        assert!(Config::load(&inputs).is_ok());
    }

    /// The story: a shell that is not in UTF-8 named the data directory. The server took another name for it, found nothing
    /// there, and began a new log, which knew nothing of what was given away already.
    #[test]
    fn a_variable_that_is_not_text_is_a_problem() {
        let text = &*String::from_utf8_lossy(b"/srv/lager-s\xfcd");
        let inputs = Inputs {
            env: env(&[("HEADROOM_DATA_DIR", text), ("HEADROOM_KAFKA_SASL_PASSWORD", text), ("LAGER", text)]),
            ..Inputs::default()
        };
        let problems = Config::load(&inputs).unwrap_err().to_string();
        let expected = "the configuration has 2 problems
  environment variable HEADROOM_DATA_DIR: data_dir is not text in UTF-8
  environment variable HEADROOM_KAFKA_SASL_PASSWORD: kafka_sasl_password is not text in UTF-8";
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_crash_point_is_accepted_only_in_builds_that_have_crash_points() {
        let inputs = Inputs { env: env(&[("HEADROOM_CRASH_AT", "x")]), ..Inputs::default() };
        assert_eq!(Config::load(&inputs).is_ok(), cfg!(feature = "crash-points"));
    }

    #[test]
    fn a_dump_read_as_a_file_means_the_same() {
        let mut inputs = Inputs::default();
        inputs.flags.insert(Setting::DataDir, "a \"b\\c\u{1}é".to_owned());
        inputs.flags.insert(Setting::Partitions, "7".to_owned());
        inputs.flags.insert(Setting::LogLevel, "warn,headroom::owner=trace".to_owned());
        inputs.flags.insert(Setting::ConnectionsPerAddress, "08".to_owned());
        inputs.flags.insert(Setting::KafkaBrokers, "k:9092".to_owned());
        inputs.flags.insert(Setting::KafkaAlternatingProducers, "FALSE".to_owned());
        let config = Config::load(&inputs).unwrap();
        let again = Config::load(&file(&config.dump())).unwrap();
        assert_eq!(Config { given: BTreeMap::new(), ..again }, Config { given: BTreeMap::new(), ..config });
    }

    #[test]
    fn hosts_are_names_without_ports() {
        let of = |text: &str| hosts(text).map(|names| names.into_iter().collect::<Vec<_>>());
        assert_eq!(of("Slots.Example, slots"), Ok(vec!["slots".to_owned(), "slots.example".to_owned()]));
        for bad in ["", "a,", "a:80", "http://a", "a b", "*.example", &"x".repeat(254)] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_level_is_a_level() {
        for good in ["info", "OFF", "warn,headroom=debug", "headroom::owner=trace"] {
            assert!(log_level(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "headroom", "info,,", "headroom=loud", "info;debug"] {
            assert!(log_level(bad).is_err(), "{bad}");
        }
    }
}
