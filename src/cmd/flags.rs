//! Flags as typed, and the rest of what a configuration is made of: the file and the environment.

use super::Failure;
use crate::config::{Config, FileText, Inputs, Setting};
use crate::limits::{DEADLINE_DEFAULT_MS, PARTITIONS_DEFAULT};
use clap::Args;
use std::path::{Path, PathBuf};

/// Where a log is, for commands that look at one.
#[derive(Debug, Args)]
pub(super) struct PlaceFlags {
    /// A TOML file of settings
    #[arg(long, value_name = "FILE", env = "HEADROOM_CONFIG")]
    config: Option<PathBuf>,
    /// The directory of log and checkpoints [default: .headroom]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Which log lines are written: a level, or module=level with commas between [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Every setting. Each can also be given as HEADROOM_<NAME> in the environment, and in the file.
#[derive(Debug, Args)]
pub(super) struct SettingFlags {
    #[command(flatten)]
    place: PlaceFlags,
    /// Address and port for HTTP; port 0 takes any free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    #[arg(long, value_name = "N", help = format!(
        "Partitions of a new log, and what an old one must have [default: {PARTITIONS_DEFAULT} for a new log]"
    ))]
    partitions: Option<String>,
    #[arg(long, value_name = "MS", help = format!(
        "How long a call may take whose caller names no time, in milliseconds [default: {DEADLINE_DEFAULT_MS}]"
    ))]
    deadline_default_ms: Option<String>,
}

impl PlaceFlags {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        self.load_with([])
    }

    fn load_with<const N: usize>(&self, others: [(Setting, &Option<String>); N]) -> Result<Config, Failure> {
        let own = [
            (Setting::DataDir, &self.data_dir),
            (Setting::LogFormat, &self.log_format),
            (Setting::LogLevel, &self.log_level),
        ];
        let flags = own.into_iter().chain(others).filter_map(|(setting, text)| Some((setting, text.clone()?)));
        // A variable that is not text cannot be a setting's value; what is left of it will be a problem by name.
        let env = std::env::vars_os()
            .map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned()));
        let file = self.config.as_deref().map(read).transpose()?;
        Config::load(&Inputs { file, env: env.collect(), flags: flags.collect() })
            .map_err(|problems| Failure::Unusable(problems.to_string()))
    }
}

impl SettingFlags {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        self.place.load_with([
            (Setting::Listen, &self.listen),
            (Setting::Partitions, &self.partitions),
            (Setting::DeadlineDefaultMs, &self.deadline_default_ms),
        ])
    }
}

fn read(path: &Path) -> Result<FileText, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::Unusable(format!("cannot read {}: {error}", path.display())))?;
    Ok(FileText { path: path.display().to_string(), text })
}
