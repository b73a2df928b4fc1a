//! Metrics of calls by their stages, and of how old reads are. Handles are resolved once: an observation takes no lock
//! and makes nothing.

use super::register::{Register, as_seconds, histogram, seconds};
use crate::gateway::Stage;
use crate::owner::TurnReport;
use prometheus::Histogram;

pub(super) struct StageMetrics {
    admit: Histogram,
    append: Histogram,
    wait: Histogram,
    decide: Histogram,
    commit: Histogram,
    reply: Histogram,
    answer: Histogram,
    staleness: Histogram,
}

impl StageMetrics {
    pub(super) fn new(r: &Register) -> StageMetrics {
        let stages = seconds(
            r,
            "headroom_stage_seconds",
            "Stages of calls. The process that takes a call measures admit, append, wait and answer: together they are \
             the whole call. The owner measures decide, commit and reply, each once for every command of a turn: they \
             pass while the call is in wait.",
            &["stage"],
        );
        let of = |stage: &str| stages.with_label_values(&[stage]);
        StageMetrics {
            admit: of("admit"),
            append: of("append"),
            wait: of("wait"),
            decide: of("decide"),
            commit: of("commit"),
            reply: of("reply"),
            answer: of("answer"),
            staleness: histogram(
                r,
                "headroom_read_staleness_seconds",
                "For how long the states that reads were answered from may have been behind the log.",
            ),
        }
    }

    /// A turn was committed. Each of its commands has taken as long as the turn.
    pub(super) fn turned(&self, turn: &TurnReport) {
        let decide_us = turn.turn_us.saturating_sub(turn.commit_us);
        for (stage, us) in [(&self.decide, decide_us), (&self.commit, turn.commit_us), (&self.reply, turn.reply_us)] {
            let (local, seconds) = (stage.local(), as_seconds(us));
            (0..turn.commands).for_each(|_| local.observe(seconds));
            local.flush();
        }
    }

    /// A call has come to the end of this stage in its gateway.
    pub(super) fn took(&self, stage: Stage, us: u64) {
        let stage = match stage {
            Stage::Admit => &self.admit,
            Stage::Append => &self.append,
            Stage::Wait => &self.wait,
        };
        stage.observe(as_seconds(us));
    }

    /// A call was answered so many microseconds after its outcome was known.
    pub(super) fn answered(&self, us: u64) {
        self.answer.observe(as_seconds(us));
    }

    /// A caller was answered from a state that may be so many microseconds old.
    pub(super) fn read(&self, staleness_us: u64) {
        self.staleness.observe(as_seconds(staleness_us));
    }
}
