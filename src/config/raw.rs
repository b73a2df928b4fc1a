//! The values of settings as text, each with its source. A flag wins over the environment, the environment over the
//! file, and the file over the default. [`super::Config`] parses and checks the texts.

use super::setting::ENV_PREFIX;
use super::{Problem, Setting};
use std::collections::BTreeMap;
use std::fmt;

/// Variables with the prefix of settings that are not settings.
const ENV_OTHERS: &[&str] = &[
    "HEADROOM_CONFIG",
    "HEADROOM_URL",
    "HEADROOM_TOKEN",
    #[cfg(feature = "crash-points")]
    "HEADROOM_CRASH_AT",
    #[cfg(feature = "crash-points")]
    "HEADROOM_OLDER_LEVEL",
];

/// Prefix of the variables of the test rig, which are not settings either.
const ENV_RIG: &str = "HEADROOM_RIG_";

/// The source of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The default: nobody set it.
    Default,
    /// A file with this path: the configuration file, or one that holds a secret.
    File(String),
    /// An environment variable with this name.
    Env(String),
    /// A flag of the command line, with its dashes.
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

/// The text of a value, and its source.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// The value as it was typed.
    pub text: String,
    /// The file, variable or flag that it was read from.
    pub source: Source,
}

impl fmt::Debug for Given {
    /// Leaves the text out, because it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {}", self.source)
    }
}

/// The content of a configuration file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileText {
    /// The path of the file, for messages.
    pub path: String,
    /// The whole content, as TOML.
    pub text: String,
}

/// Everything that settings are read from.
#[derive(Clone)]
pub struct Inputs {
    /// The configuration file, if one was named.
    pub file: Option<FileText>,
    /// The whole environment of the process, with [`char::REPLACEMENT_CHARACTER`] for what is not text.
    pub env: BTreeMap<String, String>,
    /// The settings that were given as flags.
    pub flags: BTreeMap<Setting, String>,
    /// Reads a file that holds a secret; the error says what is wrong with the path.
    pub read_secret: fn(&str) -> Result<String, String>,
}

impl Default for Inputs {
    fn default() -> Inputs {
        let read_secret = |_: &str| Err("cannot be read: reading files is not configured".to_owned());
        Inputs { file: None, env: BTreeMap::new(), flags: BTreeMap::new(), read_secret }
    }
}

/// The winning value of each setting, and the problems found on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raw {
    /// The values by setting, without those that nobody set and that have no default.
    pub given: BTreeMap<Setting, Given>,
    /// Unknown settings, values of a wrong TOML type, and files that cannot be read.
    pub problems: Vec<Problem>,
}

impl Raw {
    /// Takes the defaults, then the file, the environment and the flags; a later value replaces an earlier one.
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

    /// Reads a secret from the file that is named for it.
    fn take_secret(&mut self, secret: Setting, file: Setting, read: fn(&str) -> Result<String, String>) {
        let Some(Given { text: path, source }) = self.given.get(&file).cloned() else { return };
        if let Some(given) = self.given.get(&secret) {
            let detail = format!("{} is set as well, by {}: set only one of them", secret.name(), given.source);
            return self.problem(source, format!("{} is set, and {detail}", file.name()));
        }
        match read(&path) {
            // Editors and `echo` end a file with a line break, which is not part of the password.
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
                _ => self.problem(source.clone(), format!("{key} must be a string, a whole number, true or false")),
            }
        }
    }

    fn take_variable(&mut self, name: &str, text: &str) {
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { return };
        let key = rest.to_ascii_lowercase();
        let source = Source::Env(name.to_owned());
        match Setting::named(&key) {
            // With the character that stands for what is no text, a path would be that of another directory.
            Some(_) if text.contains(char::REPLACEMENT_CHARACTER) => {
                self.problem(source, format!("{key} is not text in UTF-8"));
            }
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

/// Kubernetes gives every container variables about every service. Those of a service called `headroom…` have our prefix.
fn is_of_a_service(rest: &str) -> bool {
    let rest = format!("_{rest}");
    rest.contains("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.contains("_PORT_")
        || rest.ends_with("_PORT")
}

fn no_setting(key: &str) -> String {
    let known: Vec<_> = Setting::ALL.iter().map(|setting| setting.name()).collect();
    format!("there is no setting {key}; the settings are {}", known.join(", "))
}

fn not_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    format!("line {line} is not valid TOML: {}", error.message().replace('\n', ", "))
}
