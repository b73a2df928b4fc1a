//! `headroom metrics`: says what every metric is that a server may export, without a server.

use super::{Failure, Verdict};
use crate::telemetry::{Metrics, table};
use std::io::Write;

pub(super) fn run(as_json: bool, out: &mut impl Write) -> Result<Verdict, Failure> {
    let rows = Metrics::new().catalogue();
    if as_json {
        let json = serde_json::to_string_pretty(&rows).map_err(|error| Failure::Unusable(error.to_string()))?;
        writeln!(out, "{json}")?;
    } else {
        out.write_all(table(&rows).as_bytes())?;
    }
    Ok(Verdict::Fine)
}
