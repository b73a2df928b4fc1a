//! What was typed, and where: file, environment and flags laid over the defaults, as text. What a text means is for
//! [`super::Config`] to say.

use super::{Problem, Setting};
use std::collections::BTreeMap;
use std::fmt;

/// What begins the name of every environment variable of ours.
const ENV_PREFIX: &str = "HEADROOM_";
/// Variables with that prefix that other parts read.
const ENV_OTHERS: &[&str] = &[
    "HEADROOM_CONFIG",
    #[cfg(feature = "crash-points")]
    "HEADROOM_CRASH_AT",
];

/// What begins the names of those that the test rig reads.
const ENV_RIG: &str = "HEADROOM_RIG_";

/// Where a value was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A configuration file.
    File(String),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "file {path}"),
            Source::Env(name) => write!(f, "environment variable {name}"),
            Source::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value as typed.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// The text.
    pub text: String,
    /// Where it was read.
    pub source: Source,
}

impl fmt::Debug for Given {
    /// Without the text, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {}", self.source)
    }
}

/// A configuration file, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileText {
    /// Its name, for messages.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// All that settings can come from.
#[derive(Clone)]
pub struct Inputs {
    /// The file, if one was named.
    pub file: Option<FileText>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The flags that were given.
    pub flags: BTreeMap<Setting, String>,
    /// Reads a file that holds a secret, or says why not.
    pub read_secret: fn(&str) -> Result<String, String>,
}

impl Default for Inputs {
    fn default() -> Inputs {
        let read_secret = |_: &str| Err("cannot be read: no files are at hand".to_owned());
        Inputs { file: None, env: BTreeMap::new(), flags: BTreeMap::new(), read_secret }
    }
}

/// The value that counts of each setting, and what could not be understood at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raw {
    /// By setting. One that nobody set and that has no default is not there.
    pub given: BTreeMap<Setting, Given>,
    /// What names no setting, and the like.
    pub problems: Vec<Problem>,
}

impl Raw {
    /// Lays flags over environment over file over defaults.
    pub fn gather(inputs: &Inputs) -> Raw {
        let mut raw = Raw { given: BTreeMap::new(), problems: Vec::new() };
        for setting in Setting::ALL {
            if let Some(text) = setting.default() {
                raw.put(*setting, text, Source::Default);
            }
        }
        if let Some(file) = &inputs.file {
            raw.take_file(file);
        }
        for (name, text) in &inputs.env {
            raw.take_variable(name, text);
        }
        for (setting, text) in &inputs.flags {
            raw.put(*setting, text.clone(), Source::Flag(setting.flag()));
        }
        for (secret, file) in Setting::SECRETS {
            raw.take_secret(*secret, *file, inputs.read_secret);
        }
        raw
    }

    /// A secret from the file that is named instead of it.
    fn take_secret(&mut self, secret: Setting, file: Setting, read: fn(&str) -> Result<String, String>) {
        let Some(Given { text: path, source }) = self.given.get(&file).cloned() else { return };
        if let Some(given) = self.given.get(&secret) {
            let detail = format!("{} is given too, by {}: give one of them", secret.name(), given.source);
            return self.problem(source, format!("{} names a file, and {detail}", file.name()));
        }
        match read(&path) {
            // Editors and `echo` end a file with a line's end, which is of no password.
            Ok(text) => self.put(secret, text.trim_end_matches(['\r', '\n']).to_owned(), Source::File(path)),
            Err(why) => self.problem(source, format!("{} = {} {why}", file.name(), super::quoted(&path))),
        }
    }

    fn take_file(&mut self, file: &FileText) {
        let source = Source::File(file.path.clone());
        let table: toml::Table = match file.text.parse() {
            Ok(table) => table,
            Err(error) => return self.problem(source, not_toml(&file.text, &error)),
        };
        for (key, value) in table {
            let Some(setting) = Setting::named(&key) else {
                self.problem(source.clone(), no_setting(&key));
                continue;
            };
            match value {
                toml::Value::String(text) => self.put(setting, text, source.clone()),
                toml::Value::Integer(number) => self.put(setting, number.to_string(), source.clone()),
                toml::Value::Boolean(truth) => self.put(setting, truth.to_string(), source.clone()),
                _ => self.problem(source.clone(), format!("{key} must be a text, a whole number, true or false")),
            }
        }
    }

    fn take_variable(&mut self, name: &str, text: &str) {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { return };
        let key = rest.to_ascii_lowercase();
        let source = Source::Env(name.to_owned());
        match Setting::named(&key) {
            Some(setting) => self.put(setting, text.to_owned(), source),
            None if ENV_OTHERS.contains(&name) || name.starts_with(ENV_RIG) || is_of_a_service(rest) => {}
            None => self.problem(source, no_setting(&key)),
        }
    }

    fn put(&mut self, setting: Setting, text: String, source: Source) {
        self.given.insert(setting, Given { text, source });
    }

    fn problem(&mut self, source: Source, detail: String) {
        self.problems.push(Problem { source, detail });
    }
}

/// Kubernetes tells every container of every service; one called `headroom…` makes variables with our prefix.
fn is_of_a_service(rest: &str) -> bool {
    let rest = format!("_{rest}");
    rest.contains("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.contains("_PORT_")
        || rest.ends_with("_PORT")
}

fn no_setting(key: &str) -> String {
    let known: Vec<_> = Setting::ALL.iter().map(|setting| setting.name()).collect();
    format!("{key} is no setting; known are {}", known.join(", "))
}

fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    format!("line {line} is not toml: {}", error.message().replace('\n', ", "))
}
