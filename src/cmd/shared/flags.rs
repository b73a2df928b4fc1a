//! The flags of each command, their help, and how they become a configuration together with file and environment.

use crate::cmd::Failure;
use crate::config::{Config, FileText, Group, Inputs, Kind, Problems, Setting};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::collections::BTreeMap;
use std::io::Read;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Longest secret that is read from a file, in bytes.
const SECRET_BYTES_MAX: u64 = 4_096;

/// The settings that a command uses and so takes as flags. It ignores all others, which the file and the environment may
/// set for other commands.
pub(in crate::cmd) trait Takes {
    fn takes(setting: Setting) -> bool;
}

/// Log lines, which every command may write.
fn is_of_log_lines(setting: Setting) -> bool {
    matches!(setting, Setting::LogFormat | Setting::LogLevel)
}

/// What a client of the cluster needs to connect.
fn is_of_connection(setting: Setting) -> bool {
    let is_of_server = matches!(
        setting,
        Setting::KafkaReplication
            | Setting::KafkaMinInSync
            | Setting::KafkaEventsKeep
            | Setting::KafkaAlternatingProducers
            | Setting::Environment
            | Setting::Roles
    );
    setting.group() == Group::Kafka && !is_of_server
}

/// For commands that read a log, wherever it is.
#[derive(Debug)]
pub(in crate::cmd) struct AnyLog;

impl Takes for AnyLog {
    fn takes(setting: Setting) -> bool {
        setting == Setting::DataDir
            || is_of_log_lines(setting)
            || is_of_connection(setting)
            || matches!(setting.group(), Group::Registry | Group::Topics)
    }
}

/// For commands that read what has left a log as well.
#[derive(Debug)]
pub(in crate::cmd) struct WholeLog;

impl Takes for WholeLog {
    fn takes(setting: Setting) -> bool {
        AnyLog::takes(setting) || setting == Setting::LogArchive
    }
}

/// For commands that fold the events of a log, and begin with a snapshot when the first events are gone.
#[derive(Debug)]
pub(in crate::cmd) struct FoldedLog;

impl Takes for FoldedLog {
    fn takes(setting: Setting) -> bool {
        WholeLog::takes(setting) || setting == Setting::Snapshots
    }
}

/// For commands on the tables to which events are written.
#[derive(Debug)]
pub(in crate::cmd) struct SinkTables;

impl Takes for SinkTables {
    fn takes(setting: Setting) -> bool {
        setting.group() == Group::Sink || is_of_log_lines(setting)
    }
}

/// For commands that read a log and write its events into tables.
#[derive(Debug)]
pub(in crate::cmd) struct SinkLog;

impl Takes for SinkLog {
    fn takes(setting: Setting) -> bool {
        SinkTables::takes(setting) || AnyLog::takes(setting)
    }
}

/// For commands that write an event into a partition, as its owner does.
#[derive(Debug)]
pub(in crate::cmd) struct OwnedLog;

impl Takes for OwnedLog {
    fn takes(setting: Setting) -> bool {
        AnyLog::takes(setting) || matches!(setting, Setting::Snapshots | Setting::KafkaAlternatingProducers)
    }
}

/// For the command that writes into a log which has lost events, and may have to make a new file.
#[derive(Debug)]
pub(in crate::cmd) struct LostLog;

impl Takes for LostLog {
    fn takes(setting: Setting) -> bool {
        OwnedLog::takes(setting) || matches!(setting, Setting::Partitions | Setting::LogArchive)
    }
}

/// For commands on a data directory, or on the server that runs on it.
#[derive(Debug)]
pub(in crate::cmd) struct DataDir;

impl Takes for DataDir {
    fn takes(setting: Setting) -> bool {
        setting == Setting::DataDir || is_of_log_lines(setting)
    }
}

/// For commands on the file of API tokens.
#[derive(Debug)]
pub(in crate::cmd) struct Tokens;

impl Takes for Tokens {
    fn takes(setting: Setting) -> bool {
        matches!(setting, Setting::DataDir | Setting::TokensFile) || is_of_log_lines(setting)
    }
}

/// For commands that need the names of the log's topics on a cluster, and nothing else of it.
#[derive(Debug)]
pub(in crate::cmd) struct ClusterNames;

impl Takes for ClusterNames {
    fn takes(setting: Setting) -> bool {
        is_of_log_lines(setting)
            || (is_of_connection(setting) && setting != Setting::KafkaClusterId)
            || setting.group() == Group::Topics
    }
}

/// For commands that compare or change topics.
#[derive(Debug)]
pub(in crate::cmd) struct ClusterTopics;

impl Takes for ClusterTopics {
    fn takes(setting: Setting) -> bool {
        let of_topics = [
            Setting::Partitions,
            Setting::Snapshots,
            Setting::SnapshotIntervalMs,
            Setting::KafkaReplication,
            Setting::KafkaMinInSync,
            Setting::KafkaEventsKeep,
            Setting::Environment,
        ];
        is_of_log_lines(setting)
            || is_of_connection(setting)
            || of_topics.contains(&setting)
            || setting.group() == Group::Topics
    }
}

/// For commands that compare or register schemas.
#[derive(Debug)]
pub(in crate::cmd) struct Schemas;

impl Takes for Schemas {
    fn takes(setting: Setting) -> bool {
        let without_schema = [Setting::TopicDeadLetters, Setting::TopicManifest];
        is_of_log_lines(setting)
            || setting == Setting::KafkaBrokers
            || setting.group() == Group::Registry
            || (setting.group() == Group::Topics && !without_schema.contains(&setting))
    }
}

/// For the service, and for printing its settings.
#[derive(Debug)]
pub(in crate::cmd) struct Every;

impl Takes for Every {
    fn takes(_: Setting) -> bool {
        true
    }
}

/// The configuration file and the settings that were given as flags.
#[derive(Debug)]
pub(in crate::cmd) struct Flags<T> {
    config: Option<PathBuf>,
    given: BTreeMap<Setting, String>,
    takes: PhantomData<T>,
}

impl<T: Takes> Flags<T> {
    /// Reads the file, the environment and the flags, and checks all settings, those of other commands too.
    pub(in crate::cmd) fn load(&self) -> Result<Config, Failure> {
        self.load_or(|problems| Failure::Unusable(problems.to_string()))
    }

    /// The same for a command that tells problems of the settings in its own way.
    pub(in crate::cmd) fn load_or(&self, told: impl FnOnce(Problems) -> Failure) -> Result<Config, Failure> {
        // The setting of a variable that is not valid text is a problem, by its replacement characters.
        let env = std::env::vars_os()
            .map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned()));
        let file = self.config.as_deref().map(read).transpose()?;
        Config::load(&Inputs { file, env: env.collect(), flags: self.given.clone(), read_secret }).map_err(told)
    }

    fn settings() -> impl Iterator<Item = Setting> {
        Setting::ALL.iter().copied().filter(|setting| T::takes(*setting) && setting.kind() != Kind::Secret)
    }

    /// What the help says below the flags, in short and in full.
    fn notes() -> (String, String) {
        let sources = "Settings also come from the file of --config (data_dir = \"DIR\") and from the environment \
                       (HEADROOM_DATA_DIR=DIR).\nA flag wins over the environment, and the environment over the file.";
        let secrets: Vec<String> = Setting::ALL
            .iter()
            .filter(|setting| setting.kind() == Kind::Secret && T::takes(**setting))
            .map(|setting| setting.variable())
            .collect();
        match secrets.split_last() {
            None => (sources.to_owned(), sources.to_owned()),
            Some((last, others)) => {
                let all = if others.is_empty() { last.clone() } else { format!("{} or {last}", others.join(", ")) };
                (
                    format!("{sources}\n--help lists more settings."),
                    format!(
                        "{sources}\nPasswords have no flag, because other users can read flags: name a file, or set\n{all}."
                    ),
                )
            }
        }
    }
}

impl<T: Takes> Args for Flags<T> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config").long("config").value_name("FILE").env("HEADROOM_CONFIG").hide_env(true);
        let config =
            config.value_parser(clap::value_parser!(PathBuf)).help("TOML file of settings [env: HEADROOM_CONFIG]");
        let (short, long) = Self::notes();
        command.arg(config).args(Self::settings().map(flag)).after_help(short).after_long_help(long)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Takes> FromArgMatches for Flags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: Setting| Some((setting, matches.get_one::<String>(setting.name())?.clone()));
        let config = matches.get_one::<PathBuf>("config").cloned();
        Ok(Flags { config, given: Self::settings().filter_map(given).collect(), takes: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flag of a setting. The short help lists groups other than the first only by the setting that turns them on.
fn flag(setting: Setting) -> Arg {
    let doc = setting.doc();
    let (first, rest) = doc.split_at_checked(1).unwrap_or_default();
    let default = setting.default().map(|default| format!(" [default: {default}]")).unwrap_or_default();
    let help = format!("{}{rest}{default}", first.to_uppercase());
    let long = format!("{help} [env: {}]", setting.variable());
    let arg = Arg::new(setting.name()).long(setting.flag().trim_start_matches('-')).help(help).long_help(long);
    let arg = match setting.kind() {
        Kind::Text(name) | Kind::Number(name) => arg.value_name(name),
        Kind::Truth => arg.value_name("true|false"),
        Kind::Secret => arg,
    };
    let turns_on = matches!(
        setting,
        Setting::TlsCertificate
            | Setting::Auth
            | Setting::TokensFile
            | Setting::SinkDatabase
            | Setting::SinkFiles
            | Setting::KafkaBrokers
    );
    let arg = arg.hide_short_help(setting.group() != Group::Process && !turns_on);
    match setting.group() {
        Group::Process => arg,
        Group::Tls => arg.help_heading("TLS"),
        Group::Callers => arg.help_heading("Callers"),
        Group::Sink => arg.help_heading("Tables and files for analysts"),
        Group::Kafka => arg.help_heading("Kafka cluster"),
        Group::Registry => arg.help_heading("Schema registry"),
        Group::Topics => arg.help_heading("Topic names"),
    }
}

fn read(path: &Path) -> Result<FileText, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text
        .map_err(|error| Failure::Unusable(format!("cannot read the file of --config, {}: {error}", path.display())))?;
    Ok(FileText { path: path.display().to_string(), text })
}

/// The token in the variable `HEADROOM_TOKEN`, for commands that call a server. There is no flag for one, because other users
/// of a machine can read flags.
pub(in crate::cmd) fn token_of_environment() -> Option<String> {
    std::env::var("HEADROOM_TOKEN").ok().filter(|token| !token.is_empty())
}

/// Reads a file that holds a secret. The error says what is wrong, without the path and without the content.
fn read_secret(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(_) if text.len() as u64 > SECRET_BYTES_MAX => {
            Err(format!("holds more than {SECRET_BYTES_MAX} bytes, which is no password"))
        }
        Ok(_) => Ok(text),
    }
}
