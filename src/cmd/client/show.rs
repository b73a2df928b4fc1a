//! Answers as short texts. An answer is told by what it holds, so that one of a newer server is shown as far as it is known,
//! and otherwise as JSON.

use crate::cmd::shared::table::lines;
use serde_json::{Map, Value};

/// Says that a text stands for nothing.
const NONE: &str = "-";

/// The columns of a list of pools.
const COLUMNS: [&str; 6] = ["POOL", "MODE", "VERSION", "LEFT", "WINDOW", "AREAS"];

/// The answer for a person, with its line ends.
pub(super) fn text(body: &Value, is_replayed: bool) -> String {
    let text = if let Some(pools) = body["pools"].as_array() {
        table(pools)
    } else if let Some(reservations) = body["reservations"].as_array() {
        reservations.iter().map(reservation).collect()
    } else if body["reservation"].is_string() {
        reservation(body)
    } else if body["limits"].is_object() {
        table(std::slice::from_ref(body))
    } else {
        format!("{body:#}\n")
    };
    let again = if is_replayed { "nothing was changed: this had been done before\n" } else { "" };
    format!("{text}{again}")
}

/// What has to be known beside the answer, one note for each.
pub(super) fn notes(body: &Value) -> Vec<String> {
    let incomplete = body["incomplete"].as_array().into_iter().flatten();
    let missing = incomplete
        .map(|part| format!("the pools of partition {} are missing: {}", part["partition"], string(&part["reason"])));
    let next = body["next"].as_str().map(|next| format!("there may be more: --cursor {}", printable(next)));
    missing.chain(next).collect()
}

/// The text without characters that a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// One line: the id, what it is now, what it takes, and which event says so.
fn reservation(body: &Value) -> String {
    let mut line = format!("{} {}", string(&body["reservation"]), string(&body["status"]));
    if let Some(until) = body["hold_until"].as_str() {
        line.push_str(&format!(" until {}", printable(until)));
    }
    if body["pool"].is_string() {
        line.push_str(&format!(" in {}", string(&body["pool"])));
    }
    if let Some(demand) = body["demand"].as_object() {
        line.push_str(&format!(": {}", units(demand, |_, units| units.to_string())));
    }
    let event = [&body["proof"], &body["last_event"]].into_iter().find(|event| event.is_object());
    if let Some(event) = event {
        line.push_str(&format!(" (partition {}, event {})", event["partition"], event["seq"]));
    }
    line + "\n"
}

/// A line for each pool, under the names of the columns.
fn table(pools: &[Value]) -> String {
    lines(COLUMNS, || pools.iter().map(row)).collect()
}

fn row(pool: &Value) -> [String; COLUMNS.len()] {
    let left = pool["limits"].as_object().map_or_else(String::new, |limits| {
        units(limits, |dimension, limit| format!("{}/{limit}", pool["remaining"][dimension]))
    });
    let is_over = pool["over_committed"].as_bool().unwrap_or_default();
    let window = match (pool["window"]["start"].as_str(), pool["window"]["end"].as_str()) {
        (Some(start), Some(end)) => format!("{} to {}", printable(start), printable(end)),
        _ => NONE.to_owned(),
    };
    let areas: Vec<_> = pool["areas"].as_array().into_iter().flatten().map(string).collect();
    [
        string(&pool["pool"]),
        string(&pool["mode"]),
        string(&pool["version"]),
        if is_over { format!("{left}, over-committed") } else { left },
        window,
        if areas.is_empty() { NONE.to_owned() } else { areas.join(", ") },
    ]
}

fn units(amounts: &Map<String, Value>, each: impl Fn(&str, &Value) -> String) -> String {
    let each = |(dimension, units): (&String, &Value)| format!("{} {}", printable(dimension), each(dimension, units));
    amounts.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// A text without its quotes, or any other value as JSON.
fn string(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => NONE.to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_shown_and_no_error() {
        assert_eq!(text(&json!({"new": 1}), false), "{\n  \"new\": 1\n}\n");
        let held = json!({"reservation": "hr_1", "status": "parked", "demand": {"orders": 1}, "more": {"of": "it"}});
        assert_eq!(text(&held, true), "hr_1 parked: orders 1\nnothing was changed: this had been done before\n");
        assert_eq!(
            text(&json!({"pools": [{"pool": "van-1"}]}), false),
            "POOL   MODE  VERSION  LEFT  WINDOW  AREAS\nvan-1  -     -              -       -\n"
        );
    }

    #[test]
    fn no_text_of_a_server_moves_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
    }
}
