//! `headroom client`: calls a server, here or elsewhere, over HTTP or HTTPS. Standard output has the answer, as a short text
//! or as the server sent it; standard error has refusals and notes. A field or a code of a newer server, which this version
//! does not know, is shown or passed over, and never an error.

mod actions;
mod show;

use super::shared::certificate::{Certificate, CertificateFlags, PEM_BYTES_MAX};
use super::shared::files::file;
use super::shared::flags::token_of_environment;
use super::shared::stderr::note;
use super::{Failure, Verdict};
use crate::client::remote::{Proofs, Remote};
use crate::client::{Answer, CallError, Outgoing};
use crate::limits::{CREDENTIAL_BYTES_MAX, DEADLINE_MAX_MS};
use actions::{Action, Ask};
use serde_json::Value;
use show::printable;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Time past its own deadline after which a call counts as never answered.
const GIVE_UP_AFTER_MS: u64 = 2_000;
/// Most repetitions of a call.
const RETRIES_MAX: i64 = 100;
/// Pause before a call is repeated that could not be sent.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause before a repetition, whatever the server asks for, in seconds.
const RETRY_AFTER_MAX_S: u64 = 30;
/// Longest file of a token, in bytes: the longest token that a server takes, and a line break.
const TOKEN_FILE_BYTES_MAX: u64 = CREDENTIAL_BYTES_MAX as u64 + 2;

/// The call, and the server that it goes to.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    action: Action,
}

/// Where a call goes and how its answer is shown.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
struct Server {
    /// URL of the server, without a path
    #[arg(long, global = true, env = "HEADROOM_URL", hide_env_values = true, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// File that holds the token to call with; without this flag the variable HEADROOM_TOKEN is read
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authorities that vouch for the server (default: those that the system trusts)
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    certificate: CertificateFlags,
    /// Print the body of the answer as the server sent it, also that of a refusal
    #[arg(long, global = true)]
    json: bool,
    /// How often to repeat a call that could not be sent, or that the server asks to repeat later
    #[arg(long, global = true, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=RETRIES_MAX))]
    retry: u32,
}

/// Carries out the call, and the one that may follow it, and tells what became of each.
pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<Verdict, Failure> {
    let Args { server, action } = args;
    let remote = server.remote().map_err(Failure::Unusable)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unusable(format!("cannot start an event loop: {error}")))?;
    let mut make = |ask: &Ask| {
        if let Some(key) = ask.key.as_deref().filter(|_| ask.is_key_made) {
            note(format_args!("the key of this call is {key}; give --key {key} to repeat it"));
        }
        let within = Duration::from_millis(ask.timeout_ms.unwrap_or(DEADLINE_MAX_MS).saturating_add(GIVE_UP_AFTER_MS));
        let key = ask.key.as_deref();
        match runtime.block_on(call(&remote, &ask.request, within, server.retry)) {
            Ok(answer) => conclude(&answer, key, server, out),
            Err(CallError::NotSent(why)) => Err(Failure::Unusable(format!("cannot call {}: {why}", server.url))),
            Err(error) => Err(without_answer(&error.to_string(), key)),
        }
    };
    let mut done = make(&action.ask().map_err(Failure::Unusable)?)?;
    if let Some(answer) = &done
        && let Some(next) = action.then(answer).map_err(Failure::Unusable)?
    {
        done = make(&next)?;
    }
    Ok(Verdict::fine_if(done.is_some()))
}

impl Server {
    fn remote(&self) -> Result<Remote, String> {
        let token = match &self.token_file {
            Some(path) => Some(token(path)?),
            None => token_of_environment(),
        };
        let authorities = self.ca.as_deref().map(|path| file("--ca", path, PEM_BYTES_MAX)).transpose()?;
        let certificate = self.certificate.read()?;
        let certificate = certificate.as_ref().map(Certificate::parts);
        Remote::new(&self.url, Proofs { token: token.as_deref(), authorities: authorities.as_deref(), certificate })
    }
}

/// The token in a file. The line break at its end is no part of it.
fn token(path: &Path) -> Result<String, String> {
    let text = String::from_utf8(file("--token-file", path, TOKEN_FILE_BYTES_MAX)?);
    let text = text.map_err(|_| format!("the file of --token-file, {}, is not text in UTF-8", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Sends the request, and sends it again where that is safe: it never left this machine, or the server says when to come
/// back, and a repetition under the same key is the same call.
async fn call(remote: &Remote, request: &Outgoing, within: Duration, retries: u32) -> Result<Answer, CallError> {
    let mut left = retries;
    loop {
        let ended = remote.call(request.clone(), within).await;
        let pause = match &ended {
            Err(CallError::NotSent(_)) => RETRY_PAUSE,
            Ok(Answer { status: 429 | 503, retry_after_s: Some(s), .. }) => {
                Duration::from_secs(*s.min(&RETRY_AFTER_MAX_S))
            }
            Ok(_) | Err(_) => return ended,
        };
        if left == 0 {
            return ended;
        }
        left = left.saturating_sub(1);
        sleep_until(Instant::now() + pause).await;
    }
}

/// Prints the answer, and says what it means for the caller: its body when the call was done, and nothing when it was
/// refused and the refusal is printed. `key` is that of a command; a read has none.
fn conclude(
    answer: &Answer,
    key: Option<&str>,
    server: &Server,
    out: &mut impl Write,
) -> Result<Option<Value>, Failure> {
    let status = answer.status;
    let body = serde_json::from_slice(&answer.body).ok().filter(Value::is_object);
    let is_done = (200..300).contains(&status);
    let code = body.as_ref().and_then(|body| body["code"].as_str());
    let (Some(body), true) = (&body, is_done || code.is_some()) else {
        let why = format!("{} answered {status}, and not as Headroom does: look at --url", server.url);
        // Something between here and the server may have failed after the server had the call.
        let is_unsure = is_done || status >= 500;
        return Err(if is_unsure { without_answer(&why, key) } else { Failure::Unusable(why) });
    };
    let mut print = |text: &[u8]| out.write_all(text).and_then(|()| out.flush()).map_err(|error| unprinted(error, key));
    if server.json {
        print(&[&answer.body[..], b"\n"].concat())?;
    }
    let Some(code) = code.filter(|_| !is_done) else {
        if !server.json {
            print(show::text(body, answer.is_replayed).as_bytes())?;
        }
        show::notes(body).iter().for_each(note);
        return Ok(Some(body.clone()));
    };
    let told =
        printable(&format!("{code}: {}", body["detail"].as_str().or(body["title"].as_str()).unwrap_or_default()));
    match (key, body["outcome"].as_str()) {
        (None, _) | (_, Some("not_applied")) if server.json => Ok(None),
        (None, _) | (_, Some("not_applied")) => Err(Failure::Wrong(told)),
        (Some(_), _) => Err(without_answer(&told, key)),
    }
}

/// The answer could not be printed: who called does not know what became of the call.
fn unprinted(error: io::Error, key: Option<&str>) -> Failure {
    match Failure::from(error) {
        Failure::Unusable(why) => without_answer(&why, key),
        other => other,
    }
}

/// Nobody said what became of the call.
fn without_answer(why: &str, key: Option<&str>) -> Failure {
    match key {
        None => Failure::Unusable(why.to_owned()),
        Some(key) => Failure::Unknown(format!("the outcome is unknown: {why}; repeat the call with --key {key}")),
    }
}
