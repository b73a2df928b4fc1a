//! The clock: what a partition's time makes of two clocks, and what callers see of one that is wrong.

mod not_known;
pub mod over_http;
pub mod real_binary;

use headroom::domain::Micros;
use headroom::limits::{CLOCK_STEP_MS, CLOCK_TOLD_MAX_MS};
use headroom::time::{LogClock, Steps};
use proptest::collection::vec;
use proptest::prelude::*;

const START: u64 = 1_800_000_000_000_000;
const SECOND: u64 = 1_000_000;

#[test]
fn the_log_follows_the_wall_clock_and_goes_on_at_half_pace_where_it_is_ahead() {
    let mut clock = LogClock::default();
    clock.saw(Micros(100));
    // The wall clock, the steady one, and what is told.
    let cases = [
        (50, 1_000, 100),
        (51, 1_001, 100),
        (52, 1_002, 101),
        (62, 1_012, 106),
        // It is met again, and is followed.
        (107, 1_013, 107),
        (140, 1_014, 140),
        // It is put back.
        (90, 1_016, 141),
        (90, 1_034, 150),
        // It stands still, or comes on too slowly.
        (149, 1_044, 155),
    ];
    for (wall, steady, told) in cases {
        assert_eq!(clock.tell(Micros(wall), Micros(steady)), Micros(told), "at {wall}, {steady}");
    }
    // An event that is later than its own time takes it along.
    clock.saw(Micros(500));
    assert_eq!(clock.tell(Micros(150), Micros(1_050)), Micros(500));
    assert_eq!(clock.tell(Micros(160), Micros(1_060)), Micros(505));
    // The log was set back.
    clock.saw(Micros(170));
    assert_eq!(clock.tell(Micros(171), Micros(1_062)), Micros(171));
}

#[test]
fn what_a_wrong_clock_was_told_is_forgotten_when_the_clock_is_vouched_for() {
    let us = |ms: u64| Micros(START + ms * 1_000);
    let (hour_ms, told_ms) = (3_600_000, CLOCK_TOLD_MAX_MS);
    let mut clock = LogClock::default();
    clock.saw(us(0));
    assert_eq!(clock.tell(us(hour_ms), Micros(0)), us(hour_ms));
    // The wall clock is right again, and nobody says so.
    assert_eq!(clock.tell(us(10), Micros(0)), us(hour_ms));
    assert_eq!(clock.tell_vouched(us(10), Micros(0)), us(10));
    // What is in the log is kept to, and so is what a log that is ahead goes on by between two events.
    clock.saw(us(hour_ms));
    assert_eq!(clock.tell_vouched(us(20), Micros(0)), us(hour_ms));
    assert_eq!(clock.tell_vouched(us(20), Micros(2_000 * told_ms)), us(hour_ms + told_ms));
    assert_eq!(clock.tell_vouched(us(20), Micros(2_000 * told_ms + 2_000)), us(hour_ms));
}

/// What happens between two readings: so much time passes, and the wall clock steps by so much.
fn passing() -> impl Strategy<Value = Vec<(u64, i64)>> {
    let step = prop_oneof![
        8 => Just(0i64),
        1 => -40_000_000_000i64..40_000_000_000,
        1 => -2_000_000i64..2_000_000,
    ];
    vec((0u64..3 * SECOND, step), 1..200)
}

proptest! {
    #[test]
    fn a_partitions_time_is_the_wall_clocks_or_half_the_pace_and_never_goes_back(readings in passing()) {
        let mut clock = LogClock::default();
        let (mut wall, mut steady) = (i128::from(START), 77u64);
        let mut last = clock.tell(Micros(START), Micros(steady));
        for (passes, steps) in readings {
            steady += passes;
            wall = (wall + i128::from(passes) + i128::from(steps)).max(0);
            let shown = Micros(u64::try_from(wall).unwrap());
            let told = clock.tell(shown, Micros(steady));
            prop_assert!(told >= last, "back from {last:?} to {told:?}");
            prop_assert!(told >= shown, "{told:?} is behind the wall clock, {shown:?}");
            // By one at most it may come out otherwise: half of an odd number.
            let half = told.0 - last.0;
            prop_assert!(told == shown || half <= passes / 2 + 1, "{half} in {passes}");
            prop_assert!(half >= passes / 2, "no more than {half} in {passes}");
            last = told;
        }
    }

    #[test]
    fn a_clock_that_is_right_again_is_met_in_the_time_that_it_was_ahead_by(
        ahead_us in 1u64..1u64 << 40, looks in 2u64..100
    ) {
        let mut clock = LogClock::default();
        clock.saw(Micros(START + ahead_us));
        let told = |clock: &mut LogClock, passed: u64| clock.tell(Micros(START + passed), Micros(passed)).0;
        told(&mut clock, 0);
        let mut last = ahead_us;
        for look in 1..=looks {
            let passed = 2 * ahead_us * look / looks;
            let left = told(&mut clock, passed) - START - passed;
            prop_assert!(left <= last);
            last = left;
        }
        prop_assert_eq!(last, 0);
    }

    #[test]
    fn what_is_remembered_of_a_log_does_not_depend_on_how_often_it_is_looked_at(
        looks in vec(1u64..1_000, 1..50)
    ) {
        let (mut often, mut once) = (LogClock::default(), LogClock::default());
        for clock in [&mut often, &mut once] {
            clock.saw(Micros(START));
            clock.tell(Micros(0), Micros(0));
        }
        let mut steady = 0;
        let mut told = Micros(0);
        for passes in looks {
            steady += passes;
            told = often.tell(Micros(steady), Micros(steady));
        }
        prop_assert_eq!(told, once.tell(Micros(steady), Micros(steady)));
    }
}

#[test]
fn a_step_is_told_once_and_an_adjusted_clock_is_none() {
    let step = i128::from(CLOCK_STEP_MS) * 1_000;
    let (mut wall, mut steady) = (i128::from(START), 0u64);
    let mut steps = Steps::new(Micros(START), Micros(0));
    let mut look = |passes: u64, by: i128| {
        steady += passes;
        wall += i128::from(passes) + by;
        steps.look(Micros(u64::try_from(wall).unwrap()), Micros(steady))
    };
    let cases = [
        (0, None),
        (step, Some(step)),
        (0, None),
        (-step, Some(-step)),
        (step - 1, None),
        (step - 1, None),
        (1 - step, None),
        (-28_800 * 1_000_000, Some(-28_800 * 1_000_000)),
        (0, None),
    ];
    for (by, told) in cases {
        assert_eq!(look(250_000, by), told);
    }
}
