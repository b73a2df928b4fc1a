//! The checks of arguments against bounds, and against each other, before anything is started.

use super::{AccessArgs, Args, BareArgs, Command, CommitsArgs, CompareArgs, EdgesArgs, MemoryArgs, PaceArgs};
use crate::greedy;
use headroom::limits::{
    CREDENTIAL_BYTES_MAX, DEADLINE_MAX_MS, HTTP_CONNECTIONS_MAX, JWTS_KEPT_MAX, NAME_BYTES_MAX,
    POOLS_PER_PARTITION_MAX, TOKENS_MAX,
};

/// Most requests of one session, warm-up included: each is remembered for the audit.
pub const REQUESTS_MAX: f64 = 20e6;
/// Longest phase, in seconds.
const SECONDS_MAX: f64 = 3_600.0;
/// Highest rate, in requests a second.
const RATE_MAX: f64 = 200_000.0;
/// Most holds: making them takes more than a minute.
const HOLDS_MAX: f64 = 200_000.0;
/// Most rounds of a comparison.
const ROUNDS_MAX: f64 = 1_000.0;
/// Most partitions of a bare loop, each with an owner.
const BARE_PARTITIONS_MAX: f64 = 64.0;
/// Most reservations whose memory is measured: they begin and end within a day of log time.
const ENTRIES_MAX: u64 = 14_000_000;
/// Most events of one thread, before the measured ones or among them: all of them are in memory.
const EVENTS_MAX: f64 = 1e6;
/// Longest linger or pause of a bare loop, in milliseconds.
const WAIT_MS_MAX: f64 = 1_000.0;

impl Command {
    /// Checks the arguments before anything is started.
    ///
    /// # Errors
    /// The first argument that is wrong.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Command::Hot(args) | Command::Spread(args) => args.check().and_then(|()| args.server().map(drop)),
            Command::Compare(args) => args.check(),
            Command::Edges(args) => args.check(),
            Command::Bare(args) => args.check(),
            Command::BareConsume(_) => Ok(()),
            Command::Memory(args) => args.check(),
            Command::Access(args) => args.check(),
            Command::Commits(args) => args.check(),
        }
    }
}

impl MemoryArgs {
    fn check(&self) -> Result<(), String> {
        if self.entries == 0 || self.entries > ENTRIES_MAX {
            return Err(format!("--entries is 1 to {ENTRIES_MAX}"));
        }
        if self.order_bytes > NAME_BYTES_MAX || self.pools == 0 || self.pools > POOLS_PER_PARTITION_MAX {
            return Err(format!("--order-bytes is at most {NAME_BYTES_MAX}, --pools 1 to {POOLS_PER_PARTITION_MAX}"));
        }
        Ok(())
    }
}

impl AccessArgs {
    fn check(&self) -> Result<(), String> {
        // Half of the JWTs that a server remembers may make room for others.
        let most = JWTS_KEPT_MAX as u64 / 2;
        if self.tokens == 0 || self.tokens > TOKENS_MAX || self.jwts == 0 || self.jwts > most || self.checks == 0 {
            return Err(format!("--tokens is 1 to {TOKENS_MAX}, --jwts 1 to {most}, --checks at least 1"));
        }
        if self.jwt_bytes < 400 || self.jwt_bytes > CREDENTIAL_BYTES_MAX {
            return Err(format!("--jwt-bytes is 400 to {CREDENTIAL_BYTES_MAX}"));
        }
        Ok(())
    }
}

impl CommitsArgs {
    fn check(&self) -> Result<(), String> {
        within("turns", self.turns as f64, 1.0, EVENTS_MAX)?;
        within("events", self.events as f64, 1.0, EVENTS_MAX)?;
        within("warm", self.warm as f64, 0.0, EVENTS_MAX)?;
        within("rounds", f64::from(self.rounds), 1.0, ROUNDS_MAX)
    }
}

impl Args {
    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        let connections_max = HTTP_CONNECTIONS_MAX as f64 / 2.0;
        self.pace.check()?;
        within("connections", self.connections as f64, 1.0, connections_max)?;
        within("read-connections", self.read_connections as f64, 1.0, connections_max)?;
        within("channels", self.channels as f64, 1.0, connections_max)?;
        within("backlog", self.backlog as f64, 1.0, 1e6)?;
        within("read-rate", self.read_rate, 0.0, RATE_MAX)?;
        within("pools", f64::from(self.pools), 1.0, POOLS_PER_PARTITION_MAX as f64)?;
        within("readers", self.readers as f64, 0.0, connections_max)?;
        within("holds", f64::from(self.holds), 0.0, HOLDS_MAX)?;
        within("hold-rounds", f64::from(self.hold_rounds), 1.0, ROUNDS_MAX)?;
        if self.tls && self.serve.is_none() {
            return Err("--tls needs --serve: the server is started with a certificate and tokens".to_owned());
        }
        if self.is_greedy() {
            if self.serve.is_none() {
                return Err("--greedy-rate needs --serve: the server is started with tokens and a quota".to_owned());
            }
            within("greedy-rate", self.greedy_rate, greedy::TIMES, RATE_MAX)?;
        }
        within("greedy-rounds", f64::from(self.greedy_rounds), 1.0, ROUNDS_MAX)?;
        within("timeout-ms", self.timeout_ms as f64, 1.0, DEADLINE_MAX_MS as f64)?;
        let greedy = self.greedy_rate * self.pace.duration() * f64::from(self.greedy_rounds);
        within("greedy-rate x seconds", greedy, 0.0, REQUESTS_MAX)?;
        let (phases, held) = (self.besides().len() as f64, f64::from(self.holds) * f64::from(self.hold_rounds));
        within("rate x seconds", self.pace.rate * self.pace.duration() * phases + held, 1.0, REQUESTS_MAX)
    }
}

impl CompareArgs {
    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of bounds, or what does not go together.
    pub fn check(&self) -> Result<(), String> {
        within("rounds", f64::from(self.rounds), 1.0, ROUNDS_MAX)?;
        within("warm", self.warm, 0.0, SECONDS_MAX)?;
        if self.load.ramp.is_some() {
            return Err("--ramp searches for a rate, and `compare` measures at a fixed rate: leave it out".to_owned());
        }
        self.load.check()?;
        self.bare()?.check()
    }
}

impl EdgesArgs {
    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of bounds, or what does not go together.
    pub fn check(&self) -> Result<(), String> {
        within("rounds", f64::from(self.rounds), 1.0, ROUNDS_MAX)?;
        let load = &self.load;
        if load.serve.is_none() || load.tls || load.grpc || load.token_file.is_some() {
            return Err(
                "`edges` chooses the way: give --serve PATH, and leave --tls, --grpc and --token-file out".into()
            );
        }
        if load.ramp.is_some() || load.besides().len() != 1 {
            return Err("`edges` measures reservations at one rate, with nothing beside them but --read-rate".into());
        }
        load.check()
    }
}

impl BareArgs {
    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        self.pace.check()?;
        within("partitions", f64::from(self.partitions), 1.0, BARE_PARTITIONS_MAX)?;
        within("linger-ms", self.turns.linger_ms.unwrap_or_default(), 0.0, WAIT_MS_MAX)?;
        within("pause-ms", self.turns.pause_ms, 0.0, WAIT_MS_MAX)
    }
}

impl PaceArgs {
    fn check(&self) -> Result<(), String> {
        within("rate", self.rate, 1.0, RATE_MAX)?;
        within("seconds", self.seconds, 1.0, SECONDS_MAX)?;
        within("warmup", self.warmup, 0.0, SECONDS_MAX)
    }
}

fn within(name: &str, value: f64, min: f64, max: f64) -> Result<(), String> {
    let fits = value.is_finite() && (min..=max).contains(&value);
    if fits { Ok(()) } else { Err(format!("--{name} {value} is out of range: give {min} to {max}")) }
}

#[cfg(test)]
mod tests {
    use crate::args::Cli;
    use clap::Parser as _;

    fn check(line: &str) -> Result<(), String> {
        Cli::try_parse_from(line.split(' ')).map_err(|e| e.to_string())?.command.check()
    }

    #[test]
    fn work_is_bounded_and_stays_on_this_machine() {
        check("loadtest hot --url http://127.0.0.1:1 --rate 5000").unwrap();
        check("loadtest spread --serve ./headroom --read-rate 100 --limit 50").unwrap();
        check("loadtest hot --serve ./headroom --readers 256 --pools 5000").unwrap();
        check("loadtest hot --serve ./headroom --holds 20000 --hold-rounds 5 --seconds 2").unwrap();
        check("loadtest hot --serve ./headroom --greedy-rate 10000 --greedy-rounds 3").unwrap();
        check("loadtest compare --serve ./headroom --brokers 127.0.0.1:1 --rounds 5 --linger-ms 3").unwrap();
        check("loadtest bare --brokers 127.0.0.1:1 --rate 10000 --linger-ms 3").unwrap();
        check("loadtest hot --serve ./headroom --tls").unwrap();
        check("loadtest spread --url http://127.0.0.1:1 --grpc --channels 4").unwrap();
        check("loadtest edges --serve ./headroom --rate 5000 --rounds 7").unwrap();
        check("loadtest commits --turns 10 --events 100 --warm 0 --rounds 1").unwrap();
        for bad in [
            "loadtest hot",
            "loadtest hot --url http://10.1.2.3:1",
            "loadtest hot --url http://127.0.0.1:1 --serve x",
            "loadtest hot --url http://127.0.0.1:1 --rate 0",
            "loadtest hot --url http://127.0.0.1:1 --rate NaN",
            "loadtest hot --url http://127.0.0.1:1 --rate 100000 --seconds 3600",
            "loadtest hot --url http://127.0.0.1:1 --pools 300000",
            "loadtest hot --url http://127.0.0.1:1 --readers 4096",
            "loadtest hot --url http://127.0.0.1:1 --readers 4 --holds 5",
            "loadtest hot --url http://127.0.0.1:1 --holds 300000",
            "loadtest hot --url http://127.0.0.1:1 --greedy-rate 10000",
            "loadtest hot --serve x --greedy-rate 10000 --ramp 100",
            "loadtest hot --serve x --greedy-rate 50",
            "loadtest",
            "loadtest hot --url http://127.0.0.1:1 --brokers 127.0.0.1:1",
            "loadtest compare --serve ./headroom",
            "loadtest compare --serve ./headroom --brokers 127.0.0.1:1 --ramp 100",
            "loadtest bare --rate 10000",
            "loadtest hot --url http://127.0.0.1:1 --tls",
            "loadtest hot --serve x --tls --grpc",
            "loadtest hot --serve x --grpc --channels 0",
            "loadtest hot --serve x --grpc --greedy-rate 10000",
            "loadtest edges --url http://127.0.0.1:1",
            "loadtest edges --serve x --grpc",
            "loadtest edges --serve x --ramp 100",
            "loadtest edges --serve x --holds 5",
            "loadtest edges --serve x --rounds 0",
            "loadtest commits --turns 0",
            "loadtest commits --events 2000000",
            "loadtest bare --brokers 127.0.0.1:1 --partitions 65",
            "loadtest bare --brokers 127.0.0.1:1 --pause-ms 5000",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
