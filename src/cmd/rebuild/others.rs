//! The processes of a cluster that are asked by their URLs.

use super::Telling;
use crate::client::remote::{Proofs, Remote};
use crate::client::running::RunningServer;
use crate::cmd::Failure;
use crate::cmd::shared::certificate::{Certificate, PEM_BYTES_MAX};
use crate::cmd::shared::files::file;
use crate::cmd::shared::flags::token_of_environment;
use crate::cmd::shared::source::Source;
use crate::cmd::shared::stderr;
use crate::log::CommittedTail;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// The flags that name them.
#[derive(Debug, clap::Args)]
pub(super) struct Others {
    /// Of a log on a Kafka cluster: ask the process at this URL, and not that of --data-dir; repeated for each process
    ///
    /// A name that has several addresses stands for a process at each of them, as the name of the pods' service does on
    /// Kubernetes. The variable HEADROOM_TOKEN holds an operator's token. Exit code 1 also when the cluster shows more
    /// processes that serve the log than were asked.
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    /// PEM file of the authorities that vouch for these servers (default: those that the system trusts)
    #[arg(long, value_name = "FILE", requires = "server")]
    ca: Option<PathBuf>,
}

impl Others {
    pub(super) fn are_named(&self) -> bool {
        !self.server.is_empty()
    }

    /// The servers at these URLs, which serve this log.
    pub(super) fn servers(&self, source: &Source, own: Option<&Certificate>) -> Result<Named, Failure> {
        if !matches!(source, Source::Cluster(_)) {
            return Err(Failure::Unusable(
                "--server is for a log on a Kafka cluster: the one server of an embedded log is named by --data-dir"
                    .to_owned(),
            ));
        }
        let token = token_of_environment();
        let authorities = self.ca.as_deref().map(|path| file("--ca", path, PEM_BYTES_MAX)).transpose();
        let authorities = authorities.map_err(Failure::Unusable)?;
        let proofs = Proofs {
            token: token.as_deref(),
            authorities: authorities.as_deref(),
            certificate: own.map(Certificate::parts),
        };
        let mut named = Named { servers: Vec::new(), earlier: Vec::new() };
        for url in &self.server {
            for (remote, base) in Remote::each(url, proofs).map_err(Failure::Unusable)? {
                match RunningServer::elsewhere(remote, base.clone()) {
                    Ok(server) => named.servers.push(of_log(server, source.log_id())?),
                    Err(error) if error.needs_operator() => named.earlier.push((base, error.detail)),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(named)
    }
}

/// The servers that were named.
pub(super) struct Named {
    /// Those that can be asked.
    pub(super) servers: Vec<RunningServer>,
    /// Those of an earlier version, which cannot be asked: how each is called, and why it cannot.
    earlier: Vec<(String, String)>,
}

impl Named {
    /// Tells of those that cannot be asked; returns whether there is none.
    pub(super) fn tell_earlier(&self, telling: &Telling, out: &mut impl Write) -> Result<bool, Failure> {
        for (server, why) in &self.earlier {
            if telling.is_json {
                writeln!(out, "{}", telling.not_compared(("server", json!(server)), why))?;
            } else {
                writeln!(out, "NOT COMPARED: {why}")?;
            }
        }
        out.flush()?;
        Ok(self.earlier.is_empty())
    }
}

fn of_log(server: RunningServer, log_id: u128) -> Result<RunningServer, Failure> {
    if CommittedTail::log_id(&server) == Some(log_id) {
        return Ok(server);
    }
    Err(Failure::Unusable(format!("{} serves another log than {log_id:032x}", server.base())))
}

/// Tells when the cluster shows more processes than were asked; returns whether it does not.
pub(super) fn all_were_asked(
    source: &Source,
    asked: usize,
    telling: &Telling,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let hosts = match source.processes() {
        None => return Ok(true),
        Some(Ok(hosts)) => hosts,
        Some(Err(error)) => {
            stderr::note(format_args!("whether these are all processes that serve the log is not known: {error}"));
            return Ok(true);
        }
    };
    let are_all = hosts.len() <= asked;
    if telling.is_json {
        let log = format!("{:032x}", telling.log_id);
        writeln!(out, "{}", json!({ "log": log, "processes": hosts, "asked": asked, "fine": are_all }))?;
    } else if !are_all {
        let (count, hosts) = (hosts.len(), hosts.join(", "));
        writeln!(out, "NOT ALL WERE ASKED: {count} processes serve the log, {asked} were asked; they are at {hosts}")?;
    }
    out.flush()?;
    Ok(are_all)
}
