//! `headroom tokens`: makes, lists and revokes API tokens in the file that servers read. It needs no server; a running one
//! reads the file again within a second or so.

use super::shared::flags::{Flags, Tokens as OfTokens};
use super::{Failure, Verdict};
use crate::access::{Principal, Role, Roles, Tokens, outside_name};
use crate::app::{new_token, write_private};
use crate::config::Config;
use crate::domain::{Micros, Name};
use crate::time::{Clock, SystemClock, text};
use clap::Subcommand;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

/// Longest life that a new API token may be given, in days.
const TOKEN_LIFE_MAX_DAYS: u64 = 3_650;

/// The subcommands of `tokens`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Make a token, and print it: nothing else ever shows it again
    ///
    /// The file keeps a hash. A caller sends the token with every call, as `Authorization: Bearer TOKEN`. Several tokens may
    /// have one name, so that a caller can change from one to the next.
    New {
        #[command(flatten)]
        flags: Flags<OfTokens>,
        /// Name of the caller; events record it as the actor
        #[arg(value_name = "NAME", value_parser = outside_name)]
        name: Name,
        /// What it may do: checkout, viewer, planner, operator, metrics, or several of them
        #[arg(long, value_name = "ROLE,...", value_delimiter = ',', required = true)]
        roles: Vec<Role>,
        /// How long it is valid, such as 90d, 12h or 30m; without this, until it is revoked
        #[arg(long, value_name = "TIME", value_parser = life)]
        expires: Option<u64>,
    },
    /// List all tokens, without their secrets
    List {
        #[command(flatten)]
        flags: Flags<OfTokens>,
    },
    /// Take away the token with this id, or all tokens of this name
    Revoke {
        #[command(flatten)]
        flags: Flags<OfTokens>,
        /// Id of a token, as `list` prints it, or name of a caller
        #[arg(value_name = "ID|NAME", value_parser = without_secret)]
        which: String,
    },
}

impl Action {
    pub(super) fn load(&self) -> Result<Config, Failure> {
        let (Action::New { flags, .. } | Action::List { flags } | Action::Revoke { flags, .. }) = self;
        flags.load()
    }

    pub(super) fn act(&self) -> Option<(&'static str, String)> {
        match self {
            Action::New { name, roles, .. } => {
                let roles: Roles = roles.iter().copied().collect();
                Some(("tokens new", format!("{name}: {roles}")))
            }
            Action::Revoke { which, .. } => Some(("tokens revoke", which.clone())),
            Action::List { .. } => None,
        }
    }
}

/// The id of a token that was given whole, so that its secret is not repeated; any other text as it is.
fn without_secret(text: &str) -> Result<String, Infallible> {
    let parts = text.strip_prefix("hr_").and_then(|rest| rest.split_once('_'));
    Ok(parts.map_or(text, |(id, _)| id).to_owned())
}

pub(super) fn run(config: &Config, action: &Action, out: &mut impl Write) -> Result<Verdict, Failure> {
    let path = &config.tokens_file;
    match action {
        Action::New { name, roles, expires, .. } => {
            let wall = SystemClock::new().wall();
            let expires = expires.map(|life_us| Micros(wall.0.saturating_add(life_us)));
            let principal = Principal { name: Some(name.clone()), roles: roles.iter().copied().collect() };
            new(path, principal, expires, out)
        }
        Action::List { .. } => list(&read(path)?, out),
        Action::Revoke { which, .. } => revoke(path, which, out),
    }
}

fn new(path: &Path, principal: Principal, expires: Option<Micros>, out: &mut impl Write) -> Result<Verdict, Failure> {
    let dir = directory(path);
    std::fs::create_dir_all(dir).map_err(|error| cannot("make the directory", dir, &error))?;
    let _lock = lock(path)?;
    let mut tokens = if path.exists() { read(path)? } else { Tokens::default() };
    let token = new_token();
    tokens.add(&token, principal, expires).map_err(Failure::Unusable)?;
    write(path, &tokens)?;
    let shown = writeln!(out, "{}", token.text).and_then(|()| out.flush());
    shown.map(|()| Verdict::Fine).map_err(|error| {
        Failure::Unusable(format!(
            "the token {id} is in {path} and nobody has it, because the output cannot be written: {error}; take it away with \
             headroom tokens revoke {id}, and make another one",
            id = token.id,
            path = path.display()
        ))
    })
}

fn list(tokens: &Tokens, out: &mut impl Write) -> Result<Verdict, Failure> {
    let wall = SystemClock::new().wall();
    for (id, token) in tokens.iter() {
        let Principal { name, roles } = &*token.principal;
        let name = name.as_ref().map(Name::as_str).unwrap_or_default();
        let until = match token.expires {
            None => "until it is revoked".to_owned(),
            Some(at) if at <= wall => format!("expired at {}", text(at)),
            Some(at) => format!("until {}", text(at)),
        };
        writeln!(out, "{id}  {name}  {roles}  {until}")?;
    }
    Ok(Verdict::Fine)
}

fn revoke(path: &Path, which: &str, out: &mut impl Write) -> Result<Verdict, Failure> {
    // A file that is not there is no reason to make one.
    read(path)?;
    let _lock = lock(path)?;
    let mut tokens = read(path)?;
    let revoked = tokens.revoke(which);
    if revoked.is_empty() {
        return Err(Failure::Wrong(format!("{}: no token has the id or the name {which:?}", path.display())));
    }
    write(path, &tokens)?;
    for id in revoked {
        writeln!(out, "revoked {id}")?;
    }
    Ok(Verdict::Fine)
}

/// Keeps other commands from changing the file, until the answer is dropped. The lock is on a file beside it, because the
/// file itself is replaced. It belongs to the same user and group, whoever makes it: they have to open it as well.
fn lock(path: &Path) -> Result<File, Failure> {
    let mut beside = OsString::from(path);
    beside.push(".lock");
    let beside = Path::new(&beside);
    let file = match File::options().write(true).create_new(true).open(beside) {
        Ok(made) => {
            // Only a file that is new is given away: where there is one, its name may lead elsewhere.
            if let Ok(tokens) = path.metadata() {
                let _ = fchown(&made, Some(tokens.uid()), Some(tokens.gid()));
            }
            Ok(made)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::options().write(true).open(beside),
        Err(error) => Err(error),
    };
    file.and_then(|file| file.lock().map(|()| file)).map_err(|error| cannot("lock", beside, &error))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read(path: &Path) -> Result<Tokens, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| cannot("read", path, &error))?;
    Tokens::parse(&text).map_err(|why| Failure::Unusable(format!("{}: {why}", path.display())))
}

/// Puts these tokens into the file, which stays that of its user and of its group: a server that could not read it would go on
/// with the tokens from before.
fn write(path: &Path, tokens: &Tokens) -> Result<(), Failure> {
    let was = path.metadata().ok();
    write_private(path, &tokens.render(), was.as_ref()).map_err(|error| cannot("write", path, &error))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Unusable(format!("cannot {what} {}: {error}", path.display()))
}

/// Parses a number of days, hours or minutes into microseconds.
fn life(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).unwrap_or_default();
    let minutes: Option<u64> = match unit {
        "d" => Some(24 * 60),
        "h" => Some(60),
        "m" => Some(1),
        _ => None,
    };
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let minutes = minutes
        .zip(number.parse().ok().filter(|_| is_plain))
        .and_then(|(unit, number): (u64, u64)| unit.checked_mul(number));
    let minutes = minutes.filter(|minutes| (1..=TOKEN_LIFE_MAX_DAYS * 24 * 60).contains(minutes));
    minutes.map(|minutes| minutes.saturating_mul(60_000_000)).ok_or_else(|| {
        format!("it has to be a number of days, hours or minutes, such as 90d, at most {TOKEN_LIFE_MAX_DAYS}d")
    })
}
