//! Compares Headroom with the bare loop, round by round on one cluster. The speed of a machine changes from minute to
//! minute, but the ratio of the two changes much less.

use crate::args::{Args, BareArgs, CompareArgs, PaceArgs};
use crate::bare;
use crate::figure::Service;
use crate::machine;
use crate::report::QUANTILES;
use crate::rounds::Spread;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The latencies of one side in one round, in milliseconds.
type Latencies = [f64; QUANTILES.len()];

struct Round {
    bare: Latencies,
    service: Latencies,
    standing: &'static str,
    why: Option<String>,
}

impl Round {
    /// Whether its figures count: both sides have sustained the rate, and the audit was clean.
    fn counts(&self) -> bool {
        self.standing == "audited" && self.why.is_none()
    }
}

/// `headroom-loadtest compare`.
///
/// # Errors
/// Why there are no figures.
pub async fn command(args: CompareArgs) -> Result<bool, String> {
    let line = std::env::args().collect::<Vec<_>>().join(" ");
    let place = format!("{}; cluster at {}", machine::line(), args.brokers()?);
    let is_json = args.load.json;
    let say = |text: String| {
        if !is_json {
            println!("{text}");
        }
    };
    say(format!("command  {line}\nmachine  {place}\n"));
    if args.warm > 0.0 {
        let bare = args.bare()?;
        let pace = PaceArgs { seconds: args.warm, warmup: 0.0, ..bare.pace };
        bare::measure(BareArgs { pace, ..bare }).await?;
    }
    let mut rounds = Vec::new();
    let mut details = Vec::new();
    for number in 1..=args.rounds {
        let (round, detail) = run(&args, |text| say(format!("round {number}\n{text}"))).await?;
        rounds.push(round);
        details.push(detail);
    }
    let all_count = rounds.iter().all(Round::counts);
    if is_json {
        println!(
            "{}",
            json!({"command": line, "machine": place, "load_after": machine::load(), "rounds": details,
                   "medians_ms": medians_json(&rounds), "standing": if all_count { "audited" } else { "VOID" }})
        );
    } else {
        println!("{}(load afterwards {})", table(&rounds), machine::load());
    }
    Ok(all_count)
}

async fn run(args: &CompareArgs, say: impl Fn(String)) -> Result<(Round, Value), String> {
    let bare = bare::measure(args.bare()?).await?;
    say(bare.table());
    let load: &Args = &args.load;
    let service = Service::start(load).await?;
    let outcome = service.measure(load, |figures| say(crate::report::table(figures))).await?;
    service.stop().await?;
    let (standing, why) = outcome.standing();
    let figures = outcome.phases.first().ok_or("nothing was measured")?;
    // What never came back is in no latency: a side that is overloaded would be compared by its lucky calls.
    let why = why.or_else(|| figures.not_sustained());
    let why = why.or_else(|| bare.not_sustained().map(|why| format!("the bare loop: {why}")));
    let detail = json!({"bare": bare.json(), "service": crate::report::json(figures), "standing": standing, "void": why,
                        "audit": outcome.verdict.as_ref().map(crate::verdict::Verdict::json)});
    let service = latencies(&figures.reserves.all_us());
    Ok((Round { bare: latencies(bare.latency_us()), service, standing, why }, detail))
}

fn latencies(of: &Histogram<u64>) -> Latencies {
    QUANTILES.map(|(_, q)| of.value_at_quantile(q) as f64 / 1e3)
}

/// The medians of the bare loop, of the service, and of the ratios of the rounds.
fn medians(rounds: &[Round]) -> [Latencies; 3] {
    let of = |value: &dyn Fn(&Round, usize) -> f64| {
        std::array::from_fn(|q| Spread::of(rounds.iter().map(|round| value(round, q))).median)
    };
    [
        of(&|round, q| round.bare[q]),
        of(&|round, q| round.service[q]),
        of(&|round, q| round.service[q] / round.bare[q].max(1e-3)),
    ]
}

fn table(rounds: &[Round]) -> String {
    let mut out = format!("{:<24}", "ms");
    QUANTILES.iter().for_each(|(name, _)| out.push_str(&format!("{name:>10}")));
    let row = |name: String, values: Latencies| {
        values.iter().fold(format!("\n{name:<24}"), |row, value| format!("{row}{value:>10.2}"))
    };
    for (number, round) in (1..).zip(rounds) {
        out.push_str(&row(format!("round {number}, bare"), round.bare));
        out.push_str(&row(format!("round {number}, headroom"), round.service));
        let why = round.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        out.push_str(&format!("   {}{why}", round.standing));
    }
    let names = ["median, bare", "median, headroom", "median of the ratios"];
    names.into_iter().zip(medians(rounds)).for_each(|(name, values)| out.push_str(&row(name.to_owned(), values)));
    out + "\n"
}

fn medians_json(rounds: &[Round]) -> Value {
    let [bare, service, ratio] = medians(rounds);
    let named = |values: Latencies| -> Value {
        QUANTILES.iter().zip(values).map(|((name, _), value)| ((*name).to_owned(), json!(value))).collect()
    };
    json!({"bare": named(bare), "headroom": named(service), "ratio": named(ratio)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_one_round_not_of_two() {
        let round = |bare: f64, service: f64| Round {
            bare: [bare; QUANTILES.len()],
            service: [service; QUANTILES.len()],
            standing: "audited",
            why: None,
        };
        // The second round had a bad minute, which both sides felt.
        let [bare, service, ratio] = medians(&[round(2.0, 3.0), round(20.0, 30.0), round(4.0, 6.0)]);
        assert_eq!((bare[0], service[0]), (4.0, 6.0));
        assert!((ratio[0] - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_round_counts_only_if_it_is_audited_and_nothing_is_wrong_with_it() {
        let latency = [1.0; QUANTILES.len()];
        let counts = |standing, why: Option<&str>| {
            Round { bare: latency, service: latency, standing, why: why.map(str::to_owned) }.counts()
        };
        assert!(counts("audited", None));
        assert!(!counts("audited", Some("the bare loop: 90.0 % …")) && !counts("UNAUDITED", None));
    }
}
