//! `headroom support`: one readable file of what helps to find out what is wrong with a server. It holds no secret, and of
//! what callers have reserved only how much there is.

use super::shared::certificate::{Certificate, CertificateFlags};
use super::shared::source::own_server;
use super::{Failure, Verdict, topics};
use crate::client::running::RunningServer;
use crate::config::Config;
use crate::time::{Clock, Shown, SystemClock};
use serde_json::Value;
use std::fmt::Display;
use std::fs::{self, DirEntry, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// The name of standard output among files.
const STDOUT: &str = "-";

pub(super) fn run(
    config: &Config,
    certificate: &CertificateFlags,
    file: &Path,
    out: &mut impl Write,
) -> Result<Verdict, Failure> {
    let own = certificate.read().map_err(Failure::Unusable)?;
    if file.as_os_str() == STDOUT {
        write(config, own.as_ref(), out)?;
        return Ok(Verdict::Fine);
    }
    let failed = |error: io::Error| {
        let way_out = if error.kind() == ErrorKind::AlreadyExists { "; name another --out" } else { "" };
        Failure::Unusable(format!("cannot write {}: {error}{way_out}", file.display()))
    };
    let mut bundle = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    write(config, own.as_ref(), &mut bundle)?;
    bundle.sync_all().map_err(failed)?;
    writeln!(out, "{} is written: read it before you send it to anybody", file.display())?;
    Ok(Verdict::Fine)
}

fn write(config: &Config, own: Option<&Certificate>, out: &mut impl Write) -> Result<(), Failure> {
    let (version, now) = (env!("CARGO_PKG_VERSION"), Shown(SystemClock::new().wall()));
    writeln!(out, "Support bundle of headroom {version}, made at {now}")?;
    match own_server(&config.data_dir, own) {
        Ok(server) => of_server(&server, out)?,
        Err(why) => section(out, "Server", &format!("No server could be asked: {why}"))?,
    }
    section(out, "Settings of this command", &config.dump())?;
    section(out, "Files of the data directory", &files(&config.data_dir))?;
    if let Some(kafka) = &config.kafka {
        let mut differences = Vec::new();
        let told = match topics::check(config, kafka, &mut differences) {
            Ok(_) => String::from_utf8_lossy(&differences).into_owned(),
            Err(why) => format!("The topics could not be compared: {why}"),
        };
        section(out, "Topics", &told)?;
    }
    Ok(())
}

/// What the server says of itself.
fn of_server(server: &RunningServer, out: &mut impl Write) -> Result<(), Failure> {
    match server.support() {
        Err(why) => section(out, "Server", &format!("The server does not answer: {why}"))?,
        Ok(told) => {
            let of = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
            section(out, "Server", &format!("version {}\ntime    {}", of("version"), of("now")))?;
            section(out, "Partitions", &partitions(server, &told))?;
            section(out, "Threads", &lines(&told, "threads"))?;
            section(out, "Settings of the server", of("settings"))?;
            section(out, "Last log lines", &lines(&told, "log_lines"))?;
        }
    }
    let metrics = server.metrics().unwrap_or_else(|why| format!("The metrics cannot be read: {why}"));
    section(out, "Metrics", &metrics)
}

/// One line for each partition: what the server tells, and the digest of its state.
fn partitions(server: &RunningServer, told: &Value) -> String {
    let all = told.get("partitions").and_then(Value::as_array).into_iter().flatten();
    let line = |of: &Value| {
        let number = of.get("partition").and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        let digest = number.map(|number| server.state(number).map(|state| state.digest));
        let digest = match digest {
            Some(Ok(digest)) => digest,
            Some(Err(why)) => format!("not known: {why}"),
            None => "not known".to_owned(),
        };
        format!("{of} digest {digest}")
    };
    joined(all.map(line))
}

fn lines(told: &Value, name: &str) -> String {
    joined(told.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str))
}

/// The files of a data directory and of the directories in it.
fn files(dir: &Path) -> String {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return format!("{} cannot be listed: {error}", dir.display()),
    };
    let of_entry = |entry: DirEntry, within: &str| {
        let name = format!("{within}{}", entry.file_name().to_string_lossy());
        (name, entry.metadata().map_or(0, |of| of.len()))
    };
    let mut all = Vec::new();
    for entry in entries.flatten() {
        match fs::read_dir(entry.path()) {
            Err(_) => all.push(of_entry(entry, "")),
            Ok(below) => {
                let within = format!("{}/", entry.file_name().to_string_lossy());
                all.extend(below.flatten().map(|entry| of_entry(entry, &within)));
            }
        }
    }
    all.sort();
    joined(all.into_iter().map(|(name, bytes)| format!("{bytes:>14} bytes  {name}")))
}

fn joined(lines: impl Iterator<Item = impl Display>) -> String {
    lines.map(|line| line.to_string()).collect::<Vec<_>>().join("\n")
}

fn section(out: &mut impl Write, title: &str, text: &str) -> Result<(), Failure> {
    writeln!(out, "\n== {title}\n\n{}", text.trim_end())?;
    Ok(())
}
