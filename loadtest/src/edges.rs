//! Compares the ways in which one service is called, round by round: HTTP, HTTP over TLS with tokens, and gRPC. The speed of
//! a machine changes from minute to minute, but the ratio of two of them in one round changes much less.

use crate::args::{Args, EdgesArgs};
use crate::figure::Service;
use crate::machine;
use crate::report;
use crate::rounds::Spread;
use crate::session::Figures;
use serde_json::{Value, json};

/// A way of calling the service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// HTTP/1.1 in cleartext, from callers without a name.
    Http,
    /// The same over TLS, from a caller with a token.
    Tls,
    /// gRPC in cleartext, from callers without a name.
    Grpc,
}

/// All ways; the others are compared with the first.
const EDGES: [Edge; 3] = [Edge::Http, Edge::Tls, Edge::Grpc];

impl Edge {
    fn name(self) -> &'static str {
        match self {
            Edge::Http => "http",
            Edge::Tls => "https, token",
            Edge::Grpc => "grpc",
        }
    }

    fn of(self, args: &Args) -> Args {
        Args { tls: self == Edge::Tls, grpc: self == Edge::Grpc, ..args.clone() }
    }
}

/// What one phase measured of one way: p50 and p99 in milliseconds, and the server's CPU time of a request in microseconds.
type Measured = [f64; 3];

/// The names of what is measured.
const MEASURES: [&str; 3] = ["p50 ms", "p99 ms", "cpu µs"];

/// What one round measured of each way.
type Round = [Measured; EDGES.len()];

/// `headroom-loadtest edges`.
///
/// # Errors
/// Why there are no figures.
pub async fn command(args: EdgesArgs) -> Result<bool, String> {
    let line = std::env::args().collect::<Vec<_>>().join(" ");
    let place = machine::line();
    let is_json = args.load.json;
    if !is_json {
        println!("command  {line}\nmachine  {place}\n");
    }
    let (mut rounds, mut details, mut all_count) = (Vec::new(), Vec::new(), true);
    for number in 0..args.rounds {
        let mut round = Round::default();
        // Each round begins with another way, so that no way has the better place.
        for turn in 0..EDGES.len() {
            let at = (turn + number as usize) % EDGES.len();
            let edge = EDGES[at];
            let (figures, standing, why) = measure(&edge.of(&args.load)).await?;
            round[at] = of(&figures);
            all_count &= why.is_none() && figures.not_sustained().is_none();
            details.push(json!({"round": number + 1, "edge": edge.name(), "figures": report::json(&figures),
                                "standing": standing, "void": why}));
            if !is_json {
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                println!("round {}, {}, {standing}{why}\n{}", number + 1, edge.name(), report::table(&figures));
            }
        }
        rounds.push(round);
    }
    if is_json {
        println!(
            "{}",
            json!({"command": line, "machine": place, "load_after": machine::load(), "details": details,
                   "edges": compared(&rounds)})
        );
    } else {
        println!("{}(load afterwards {})", table(&rounds), machine::load());
    }
    Ok(all_count)
}

/// One phase against a server of its own, with its standing, and why its figure does not count.
async fn measure(args: &Args) -> Result<(Figures, &'static str, Option<String>), String> {
    let service = Service::start(args).await?;
    let mut outcome = service.measure(args, |_| {}).await?;
    service.stop().await?;
    let (standing, why) = outcome.standing();
    Ok((outcome.phases.pop().ok_or("nothing was measured")?, standing, why))
}

fn of(figures: &Figures) -> Measured {
    let latency = figures.reserves.all_us();
    let quantile_ms = |q| latency.value_at_quantile(q) as f64 / 1e3;
    let cpu_us = figures.cpu.server.map_or(f64::NAN, |seconds| report::cost(figures, seconds).1);
    [quantile_ms(0.5), quantile_ms(0.99), cpu_us]
}

/// One measure of one way over all rounds, and its ratio to the first way in the same round.
fn spreads(rounds: &[Round], edge: usize, measure: usize) -> [Spread; 2] {
    let values = rounds.iter().map(|round| round[edge][measure]);
    let ratios = rounds.iter().map(|round| round[edge][measure] / round[0][measure].max(1e-3));
    [Spread::of(values), Spread::of(ratios)]
}

fn table(rounds: &[Round]) -> String {
    let mut out = format!("{:<16}", "median (range)");
    MEASURES.iter().for_each(|name| out.push_str(&format!("{name:>28}{:>20}", "x http")));
    for (number, edge) in EDGES.iter().enumerate() {
        out.push_str(&format!("\n{:<16}", edge.name()));
        for measure in 0..MEASURES.len() {
            let [values, ratios] = spreads(rounds, number, measure).map(|spread| spread.to_string());
            out.push_str(&format!("{values:>28}{ratios:>20}"));
        }
    }
    out + "\n"
}

fn compared(rounds: &[Round]) -> Value {
    let of = |edge: usize| -> Value {
        let measures = MEASURES.iter().enumerate().map(|(measure, name)| {
            let [values, ratios] = spreads(rounds, edge, measure).map(|spread| spread.json());
            ((*name).to_owned(), json!({"value": values, "ratio": ratios}))
        });
        measures.collect()
    };
    EDGES.iter().enumerate().map(|(number, edge)| (edge.name().to_owned(), of(number))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_http_in_the_same_round() {
        let round = |http: f64, tls: f64| [[http; 3], [tls; 3], [http; 3]];
        // The second round had a bad minute, which all of them felt.
        let rounds = [round(2.0, 3.0), round(20.0, 30.0), round(4.0, 6.0)];
        let [values, ratios] = spreads(&rounds, 1, 2);
        assert_eq!((values.to_string(), ratios.to_string()), ("6.00 (3.00–30.00)".into(), "1.50 (1.50–1.50)".into()));
        let table = table(&rounds);
        assert!(table.contains("https, token") && table.contains("4.00 (2.00–20.00)"), "{table}");
        assert!((compared(&rounds)["grpc"]["p99 ms"]["ratio"]["median"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    }
}
