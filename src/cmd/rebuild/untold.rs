//! Partitions of which nothing can be told: their logs have lost events, and there is nothing with which a new state could begin.
//! That is no difference, and the other partitions are rebuilt or compared all the same.

use super::Telling;
use crate::cmd::shared::stderr;
use crate::cmd::{Failure, Verdict};
use crate::log::{ClaimError, LogError};
use serde_json::json;
use std::io::Write;

/// Why no new state of a partition was made, or compared.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum NotMade {
    /// Nothing covers the first events that its log has lost, or it has lost all of them: the words say what an operator can do.
    Untold(String),
    /// The whole command ends with this.
    Failed(Failure),
}

impl From<Failure> for NotMade {
    fn from(failure: Failure) -> NotMade {
        NotMade::Failed(failure)
    }
}

impl From<LogError> for NotMade {
    fn from(error: LogError) -> NotMade {
        match error.has_lost_events() {
            true => NotMade::Untold(error.detail),
            false => NotMade::Failed(error.into()),
        }
    }
}

impl From<ClaimError> for NotMade {
    fn from(error: ClaimError) -> NotMade {
        match error {
            ClaimError::Log(error) => error.into(),
            ClaimError::Breach(_) => NotMade::Failed(error.into()),
        }
    }
}

/// The partitions of which nothing can be told, each with the reason.
#[derive(Default)]
pub(super) struct Untold(Vec<(u32, String)>);

impl Untold {
    /// What was made of a partition; none where nothing can be told of it, which is kept here.
    pub(super) fn made<T>(&mut self, partition: u32, made: Result<T, NotMade>) -> Result<Option<T>, Failure> {
        match made {
            Ok(made) => Ok(Some(made)),
            Err(NotMade::Untold(why)) => {
                self.0.push((partition, why));
                Ok(None)
            }
            Err(NotMade::Failed(failure)) => Err(failure),
        }
    }

    /// Prints a line of JSON for each of them, where lines of JSON are asked for.
    pub(super) fn tell(&self, telling: &Telling, out: &mut impl Write) -> Result<(), Failure> {
        if !telling.is_json {
            return Ok(());
        }
        for (partition, why) in &self.0 {
            writeln!(out, "{}", telling.not_compared(("partition", json!(partition)), why))?;
        }
        out.flush()?;
        Ok(())
    }

    /// How the command ends whose other partitions are fine, or are not. What differs differs, whatever the rest is.
    pub(super) fn verdict(self, is_fine: bool) -> Result<Verdict, Failure> {
        let each =
            self.0.iter().map(|(partition, why)| format!("partition {partition}: nothing can be compared: {why}"));
        let told = each.collect::<Vec<_>>().join("; ");
        match (told.is_empty(), is_fine) {
            (true, _) => Ok(Verdict::fine_if(is_fine)),
            (false, true) => Err(Failure::Unusable(told)),
            (false, false) => {
                stderr::note(told);
                Ok(Verdict::Wrong)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Breach, Law};

    #[test]
    fn what_was_lost_is_untold_and_everything_else_ends_the_command() {
        for lost in [LogError::emptied("gone"), LogError::uncovered("gone")] {
            let untold = || NotMade::Untold("gone".to_owned());
            assert_eq!(NotMade::from(lost.clone()), untold());
            assert_eq!(NotMade::from(ClaimError::Log(lost)), untold());
        }
        let others = [LogError::transient("slow"), LogError::operator("a disk"), LogError::withheld(false, "a right")];
        for other in others {
            let failed = NotMade::Failed(Failure::from(other.clone()));
            assert_eq!(NotMade::from(ClaimError::Log(other)), failed);
        }
        let breach = Breach { law: Law::Chain, partition: 1, seq: 2, detail: "a gap".to_owned() };
        let wrong = Failure::Wrong(breach.to_string());
        assert_eq!(NotMade::from(ClaimError::Breach(breach)), NotMade::Failed(wrong));
    }

    /// The story: one partition has lost all its events, and one is rebuilt. The exit code says that something could not be told,
    /// unless something differs.
    #[test]
    fn a_partition_of_which_nothing_can_be_told_is_no_difference_and_hides_none() {
        let of = |made: [Result<(), NotMade>; 2]| {
            let mut untold = Untold::default();
            let kept = (0..).zip(made).map(|(partition, made)| untold.made(partition, made).unwrap().is_some());
            (kept.collect::<Vec<_>>(), untold)
        };
        let gone = || Err(NotMade::Untold("gone".to_owned()));
        let (kept, untold) = of([gone(), Ok(())]);
        let mut told = Vec::new();
        untold.tell(&Telling { log_id: 7, is_json: false }, &mut told).unwrap();
        assert_eq!((kept, told.len()), (vec![false, true], 0));
        untold.tell(&Telling { log_id: 7, is_json: true }, &mut told).unwrap();
        let line: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(
            (&line["partition"], &line["verdict"], &line["why"]),
            (&0.into(), &"not_compared".into(), &"gone".into())
        );
        let unusable = Failure::Unusable("partition 0: nothing can be compared: gone".to_owned());
        assert_eq!(untold.verdict(true), Err(unusable));
        assert_eq!(of([gone(), Ok(())]).1.verdict(false), Ok(Verdict::Wrong));
        let both = "partition 0: nothing can be compared: gone; partition 1: nothing can be compared: gone";
        assert_eq!(of([gone(), gone()]).1.verdict(true), Err(Failure::Unusable(both.to_owned())));
        assert_eq!(of([Ok(()), Ok(())]).1.verdict(true), Ok(Verdict::Fine));
        let mut untold = Untold::default();
        let failed = Failure::Unusable("a disk".to_owned());
        assert_eq!(untold.made(0, Err::<(), _>(NotMade::Failed(failed.clone()))), Err(failed));
    }
}
