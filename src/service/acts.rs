//! What planners do goes into the audit log: who, what, what has changed by it, and the event that decided it.

use super::{CallContext, Decided, Refusal};
use crate::access::{Act, Principal};
use crate::domain::{ChainedEvent, EventBody, Name, Pool, PoolId, PoolSpec, Retirement, Window};
use crate::replica::Replica;
use crate::time::Shown;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A planner's command under way. When it is dropped without an end, its caller has left.
pub(super) struct PlannersAct {
    operation: &'static str,
    pool: PoolId,
    principal: Arc<Principal>,
    trace_id: String,
    /// The pool as this process knew it when the command came; `None` when it did not know it.
    before: Option<Arc<Pool>>,
    is_over: bool,
}

impl PlannersAct {
    pub(super) fn begin(
        replica: &Replica,
        operation: &'static str,
        pool: &PoolId,
        context: &CallContext,
    ) -> PlannersAct {
        let (principal, trace_id) = (Arc::clone(&context.principal), context.trace.to_string());
        PlannersAct { operation, pool: pool.clone(), principal, trace_id, before: replica.pool(pool), is_over: false }
    }

    /// Logs how it ended, and answers that.
    pub(super) fn end(mut self, ended: Result<Decided, Refusal>) -> Result<Decided, Refusal> {
        self.is_over = true;
        match &ended {
            // What the key did the first time has a line of its own.
            Ok(decided) if decided.is_repeated() => self.log("repeated", None, Some(&decided.0)),
            Ok(decided) => {
                let changed = match &decided.0.event.body {
                    EventBody::PoolRetired(Retirement { pool, live, .. }) => {
                        Some(format!("version: {} -> none, live_reservations: {live} -> none", pool.version))
                    }
                    body => body.pool().map(|after| changed(self.before.as_deref(), after)),
                };
                self.log("ok", changed, Some(&decided.0));
            }
            Err(refusal) => self.log(refusal.code().meaning().name, None, refusal.event()),
        }
        ended
    }

    fn log(&self, outcome: &'static str, changed: Option<String>, event: Option<&ChainedEvent>) {
        let act = Act {
            principal: self.principal.name.as_ref().map(Name::as_str),
            operation: self.operation,
            about: Some(self.pool.as_str()),
            outcome,
            changed: changed.as_deref(),
            partition: event.map(|chained| chained.event.partition),
            seq: event.map(|chained| chained.event.seq),
            trace_id: Some(&self.trace_id),
        };
        act.log();
    }
}

impl Drop for PlannersAct {
    fn drop(&mut self) {
        if !self.is_over {
            self.log("caller_left", None, None);
        }
    }
}

/// The parts of the pool that differ. It begins with the versions: when they are not neighbours, this process did not
/// know the last version before the change, or there were other changes in between, and the parts are those of all.
fn changed(before: Option<&Pool>, after: &Pool) -> String {
    let version = |pool: Option<&Pool>| pool.map_or(0, |pool| pool.version);
    let (old, new) = (before.map(|pool| parts(&pool.spec)).unwrap_or_default(), parts(&after.spec));
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    let value =
        |parts: &BTreeMap<String, String>, name: &String| parts.get(name).map_or("none", String::as_str).to_owned();
    let differing = names.map(|name| (name, value(&old, name), value(&new, name))).filter(|(_, old, new)| old != new);
    let mut text = format!("version: {} -> {}", version(before), after.version);
    for (name, old, new) in differing {
        text.push_str(&format!(", {name}: {old} -> {new}"));
    }
    text
}

/// What a planner defines, each part by its name.
fn parts(spec: &PoolSpec) -> BTreeMap<String, String> {
    let PoolSpec { limits, areas, window, labels, mode, rules } = spec;
    let mut parts: BTreeMap<_, _> =
        limits.iter().map(|(dimension, units)| (format!("limits.{dimension}"), units.to_string())).collect();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            parts.insert(name.to_owned(), value);
        }
    };
    let areas: Vec<_> = areas.iter().map(shown).collect();
    put("areas", (!areas.is_empty()).then(|| areas.join("|")));
    let at = |of: fn(&Window) -> _| window.as_ref().and_then(of).map(|at| Shown(at).to_string());
    put("window.start", at(|window| Some(window.start)));
    put("window.end", at(|window| Some(window.end)));
    put("window.cutoff", at(|window| window.cutoff));
    put("mode", Some(mode.code().to_owned()));
    put("hold_ttl_max_ms", rules.hold_ttl_max_ms.map(|ms| ms.to_string()));
    put("hold_life_max_ms", rules.hold_life_max_ms.map(|ms| ms.to_string()));
    put("retire_after_ms", rules.retire_after_ms.map(|ms| ms.to_string()));
    put("unique_order_ref", Some(rules.unique_order_ref.to_string()));
    parts.extend(labels.iter().map(|(name, value)| (format!("labels.{}", shown(name)), shown(value))));
    parts
}

/// A name as it stands among the parts. A planner chooses it: one that could be read as something else there is in quotes.
fn shown(name: &Name) -> String {
    let text = name.as_str();
    let is_plain = |c: char| c.is_alphanumeric() || "-_.#/@".contains(c);
    if text != "none" && text.chars().all(is_plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Amounts, Dimension, Micros, Mode, PoolRules};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn pool(version: u64, limits: [(&str, u64); 2]) -> Pool {
        let limits = Amounts::new(limits.map(|(text, units)| (Dimension::new(text).unwrap(), units))).unwrap();
        let (labels, areas) = ([(name("fleet"), name("van"))].into(), [name("SG-02"), name("SG-01")].into());
        let spec = PoolSpec { limits, areas, window: None, labels, mode: Mode::Open, rules: PoolRules::default() };
        let used = spec.limits.map(|_, _| 0);
        Pool { id: PoolId::new("van-1").unwrap(), spec, used, version }
    }

    #[test]
    fn what_has_changed_is_told_by_its_parts_and_nothing_else() {
        let before = pool(1, [("orders", 5), ("crates", 9)]);
        let mut after = pool(2, [("orders", 6), ("crates", 9)]);
        after.spec.mode = Mode::Paused;
        after.spec.labels = [(name("shift"), name("late"))].into();
        after.spec.window = Some(Window { start: Micros(0), end: Micros(3_600_000_000), cutoff: None });
        let expected = "version: 1 -> 2, labels.fleet: van -> none, limits.orders: 5 -> 6, mode: open -> paused, \
                        labels.shift: none -> late, window.end: none -> 1970-01-01T01:00:00Z, \
                        window.start: none -> 1970-01-01T00:00:00Z";
        assert_eq!(changed(Some(&before), &after), expected);
        let made = changed(None, &before);
        assert!(
            made.starts_with("version: 0 -> 1, areas: none -> SG-01|SG-02, ")
                && made.contains("limits.orders: none -> 5")
        );
    }

    /// The story: a planner gave a pool a label, and the line of the audit log said that the limit had been raised.
    #[test]
    fn no_name_of_a_planner_is_read_as_another_part() {
        let before = pool(1, [("orders", 5), ("crates", 9)]);
        let mut after = pool(2, [("orders", 5), ("crates", 9)]);
        after.spec.areas = [name("SG-01|SG-02"), name("K\u{f6}ln")].into();
        let labels = [("a: none -> b, limits.orders", "5 -> 900"), ("fleet", "none"), ("say \"", "it")];
        after.spec.labels = labels.map(|(label, value)| (name(label), name(value))).into();
        let expected = r#"version: 1 -> 2, areas: SG-01|SG-02 -> Köln|"SG-01|SG-02", labels.fleet: van -> "none", "#
            .to_owned()
            + r#"labels."a: none -> b, limits.orders": none -> "5 -> 900", labels."say \"": none -> it"#;
        assert_eq!(changed(Some(&before), &after), expected);
    }
}
