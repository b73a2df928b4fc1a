//! Flags as typed, and the rest of what a configuration is made of: the file and the environment.

use crate::cmd::Failure;
use crate::config::{Config, FileText, Inputs, Kind, Setting};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::collections::BTreeMap;
use std::io::Read;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Longest secret that is read from a file, in bytes.
const SECRET_BYTES_MAX: u64 = 4_096;

/// Which settings a command takes as flags. All others it takes from the file and the environment.
pub(in crate::cmd) trait Takes {
    fn takes(setting: Setting) -> bool;
}

/// Where a log is, for commands that look at one.
#[derive(Debug)]
pub(in crate::cmd) struct AnyLog;

impl Takes for AnyLog {
    fn takes(setting: Setting) -> bool {
        matches!(setting, Setting::DataDir | Setting::LogFormat | Setting::LogLevel) || setting.is_of_kafka()
    }
}

/// A cluster, for commands that look after one.
#[derive(Debug)]
pub(in crate::cmd) struct Cluster;

impl Takes for Cluster {
    fn takes(setting: Setting) -> bool {
        AnyLog::takes(setting) || setting == Setting::Partitions
    }
}

/// Every setting.
#[derive(Debug)]
pub(in crate::cmd) struct Every;

impl Takes for Every {
    fn takes(_: Setting) -> bool {
        true
    }
}

/// The settings that were given as flags.
#[derive(Debug)]
pub(in crate::cmd) struct Flags<T> {
    config: Option<PathBuf>,
    given: BTreeMap<Setting, String>,
    takes: PhantomData<T>,
}

pub(in crate::cmd) type PlaceFlags = Flags<AnyLog>;
pub(in crate::cmd) type ClusterFlags = Flags<Cluster>;
pub(in crate::cmd) type SettingFlags = Flags<Every>;

impl<T: Takes> Flags<T> {
    pub(in crate::cmd) fn load(&self) -> Result<Config, Failure> {
        // A variable that is not text cannot be a setting's value; what is left of it will be a problem by name.
        let env = std::env::vars_os()
            .map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned()));
        let file = self.config.as_deref().map(read).transpose()?;
        Config::load(&Inputs { file, env: env.collect(), flags: self.given.clone(), read_secret })
            .map_err(|problems| Failure::Unusable(problems.to_string()))
    }

    fn settings() -> impl Iterator<Item = Setting> {
        Setting::ALL.iter().copied().filter(|setting| T::takes(*setting) && setting.kind() != Kind::Secret)
    }
}

impl<T: Takes> Args for Flags<T> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config").long("config").value_name("FILE").env("HEADROOM_CONFIG");
        let config = config.value_parser(clap::value_parser!(PathBuf)).help("A TOML file of settings");
        command.arg(config).args(Self::settings().map(flag))
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

fn flag(setting: Setting) -> Arg {
    let doc = setting.doc();
    let (first, rest) = doc.split_at_checked(1).unwrap_or_default();
    let default = setting.default().map(|default| format!(" [default: {default}]")).unwrap_or_default();
    let arg = Arg::new(setting.name())
        .long(setting.flag().trim_start_matches('-'))
        .help(format!("{}{rest}{default}", first.to_uppercase()));
    let arg = match setting.kind() {
        Kind::Text(name) | Kind::Number(name) => arg.value_name(name),
        Kind::Truth => arg.value_name("true|false"),
        Kind::Secret => arg,
    };
    if setting.is_of_kafka() { arg.help_heading("The log on a Kafka cluster") } else { arg }
}

fn read(path: &Path) -> Result<FileText, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::Unusable(format!("cannot read {}: {error}", path.display())))?;
    Ok(FileText { path: path.display().to_string(), text })
}

fn read_secret(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(_) if text.len() as u64 > SECRET_BYTES_MAX => Err(format!("holds more than {SECRET_BYTES_MAX} bytes")),
        Ok(_) => Ok(text),
    }
}
