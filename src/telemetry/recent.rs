//! The last log lines of this process, for a support bundle. Lines of the access log are not among them, because they would
//! push all others out.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// Last log lines that a process keeps for a support bundle; lines of the access log are not among them.
const RECENT_LINES_MAX: usize = 500;
/// Bytes of such a line that are kept.
const RECENT_LINE_BYTES_MAX: usize = 4_096;

static RECENT: Mutex<Recent> = Mutex::new(Recent(VecDeque::new()));

/// Keeps a line as it was written.
pub(super) fn keep(line: &[u8]) {
    RECENT.lock().keep(line);
}

/// The lines that are kept, the oldest first, without their ends.
pub(super) fn lines() -> Vec<String> {
    RECENT.lock().0.iter().cloned().collect()
}

struct Recent(VecDeque<String>);

impl Recent {
    fn keep(&mut self, line: &[u8]) {
        if self.0.len() >= RECENT_LINES_MAX {
            self.0.pop_front();
        }
        let kept = line.get(..RECENT_LINE_BYTES_MAX).unwrap_or(line);
        self.0.push_back(String::from_utf8_lossy(kept).trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_long_ones_are_cut() {
        let mut recent = Recent(VecDeque::new());
        for number in 0..RECENT_LINES_MAX + 2 {
            recent.keep(format!("line {number}\n").as_bytes());
        }
        assert_eq!((recent.0.len(), recent.0.front().map(String::as_str)), (RECENT_LINES_MAX, Some("line 2")));
        recent.keep("ü".repeat(RECENT_LINE_BYTES_MAX).as_bytes());
        assert_eq!(recent.0.back().map(String::len), Some(RECENT_LINE_BYTES_MAX));
    }
}
