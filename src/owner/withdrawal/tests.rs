//! The machine of one process, in a world that it looks at twice a second.

use super::*;

const DEADLINE_MS: u64 = 250;
const LOOK_MS: u64 = 500;

/// A process that looks twice a second.
struct World {
    withdrawal: Withdrawal,
    now: Micros,
    turn_ms: u64,
    trip_ms: Option<u64>,
    others: Others,
    asked: u64,
    is_clock_wrong: bool,
    lack: Lack,
}

impl World {
    fn new() -> World {
        let withdrawal = Withdrawal::new(DEADLINE_MS, 7);
        let (now, others, lack) = (Micros(1_000_000), Others::Better, Lack::default());
        World { withdrawal, now, turn_ms: 8, trip_ms: Some(1), others, asked: 0, is_clock_wrong: false, lack }
    }

    /// Goes on for so long; answers what it did and when, in milliseconds from now.
    fn runs(&mut self, ms: u64) -> Vec<(u64, Output)> {
        let (begun, mut done) = (self.now, Vec::new());
        while self.now.ms_since(begun) < ms {
            self.now = self.now.plus_ms(LOOK_MS);
            let turns = TurnTimes { ended: (LOOK_MS / self.turn_ms).max(1), last_ms: self.turn_ms };
            // A turn ends with every look, or with every few.
            let has_ended = self.now.0 / 1_000 % self.turn_ms.max(LOOK_MS) < LOOK_MS;
            let is_seen = has_ended && !self.withdrawal.is_resting();
            let ended = is_seen.then_some((3, turns)).into_iter().collect();
            let (trip_ms, is_clock_wrong, lack) = (self.trip_ms, self.is_clock_wrong, self.lack);
            let look = Input::Look(Look { turns: ended, trip_ms, is_clock_wrong, lack });
            let mut output = self.withdrawal.handle(look, self.now);
            if output == Some(Output::Ask) {
                self.asked += 1;
                output = self.withdrawal.handle(Input::Group(self.others), self.now);
            }
            done.extend(output.map(|output| (self.now.ms_since(begun), output)));
        }
        done
    }

    fn slows(&mut self) {
        (self.turn_ms, self.trip_ms) = (1_800, Some(600));
    }

    fn recovers(&mut self) {
        (self.turn_ms, self.trip_ms) = (8, Some(1));
    }
}

#[test]
fn an_owner_whose_turns_fit_asks_nobody() {
    let mut w = World::new();
    assert_eq!((w.runs(60_000), w.asked), (vec![], 0));
}

#[test]
fn an_owner_on_a_slow_link_goes_within_seconds_and_comes_back_when_the_link_is_well() {
    let mut w = World::new();
    w.runs(5_000);
    w.slows();
    let gone = w.runs(SLOW_MS + 3_000);
    let [(after_ms, Output::Leave(Why::Far { partition: 3, slow_ms }))] = gone[..] else { panic!("{gone:?}") };
    assert!(after_ms <= SLOW_MS + 2_000 && slow_ms >= SLOW_MS, "{gone:?}");
    assert_eq!(w.runs(10 * SLOW_REST_MS), [], "while the link is slow it stays away");
    w.recovers();
    let back = w.runs(10_000);
    assert!(matches!(back[..], [(after_ms, Output::Return)] if after_ms <= 4_000), "{back:?}");
}

#[test]
fn a_link_that_is_well_again_at_once_is_rested_from_all_the_same() {
    let mut w = World::new();
    w.slows();
    assert_eq!(w.runs(6_000).len(), 1);
    w.recovers();
    assert_eq!(w.runs(SLOW_REST_MS - 6_000), []);
    assert!(matches!(w.runs(6_000)[..], [(_, Output::Return)]));
}

#[test]
fn who_is_alone_or_no_worse_than_the_others_stays() {
    for others in [Others::Nobody, Others::NoneBetter, Others::Unknown] {
        let mut w = World { others, ..World::new() };
        w.slows();
        assert_eq!(w.runs(60_000), [], "{others:?}");
        assert!(w.asked > 50, "it goes on asking");
    }
}

#[test]
fn who_rests_comes_back_at_once_when_nobody_is_left() {
    let mut w = World::new();
    w.slows();
    assert_eq!(w.runs(6_000).len(), 1);
    w.others = Others::Nobody;
    let back = w.runs(1_500);
    assert!(matches!(back[..], [(_, Output::Return)]), "{back:?}");
    assert_eq!(w.runs(60_000), [], "and stays for as long as it is alone");
}

#[test]
fn turns_that_are_slow_on_a_fast_link_are_no_reason_to_go() {
    let mut w = World { turn_ms: 2_000, ..World::new() };
    assert_eq!((w.runs(60_000), w.asked), (vec![], 0), "they would be as slow elsewhere");
    // One long turn, such as one that outlasts a broker, is no reason either, and a cluster that does not answer is
    // none.
    w.slows();
    let outlasted = BTreeMap::from([(3, TurnTimes { ended: 1, last_ms: 7_000 })]);
    let mut w = World::new();
    w.runs(5_000);
    let (trip_ms, lack) = (Some(5_000), Lack::default());
    let look = Input::Look(Look { turns: outlasted, trip_ms, is_clock_wrong: false, lack });
    assert_eq!(w.withdrawal.handle(look, w.now), None);
    assert_eq!(w.runs(30_000), []);
    let mut w = World { turn_ms: 2_000, trip_ms: None, ..World::new() };
    assert_eq!(w.runs(60_000), []);
}

#[test]
fn a_link_that_comes_and_goes_moves_partitions_ever_more_rarely() {
    let mut w = World::new();
    let mut rests_ms = Vec::new();
    for _ in 0..8 {
        w.slows();
        let gone = w.runs(6_000);
        assert!(matches!(gone[..], [(_, Output::Leave(..))]), "{gone:?}");
        let left = w.now;
        w.recovers();
        while w.withdrawal.is_resting() {
            w.runs(LOOK_MS);
        }
        rests_ms.push(w.now.ms_since(left) / SLOW_REST_MS);
    }
    assert_eq!(rests_ms, [0, 1, 3, 7, 15, 15, 15, 15], "in rests, less what it was slow for");
    // After a long time the next rest is a short one again.
    assert_eq!(w.runs(SLOW_FORGOTTEN_MS), []);
    w.slows();
    assert_eq!(w.runs(6_000).len(), 1);
    w.recovers();
    assert!(matches!(w.runs(SLOW_REST_MS)[..], [(_, Output::Return)]));
}

#[test]
fn an_owner_whose_clock_is_wrong_goes_when_somebody_is_there_and_comes_back_when_it_is_right() {
    for others in [Others::Nobody, Others::Unknown] {
        let mut w = World { is_clock_wrong: true, others, ..World::new() };
        assert_eq!(w.runs(60_000), [], "{others:?}");
        w.others = Others::NoneBetter;
        let gone = w.runs(2 * ASK_EVERY_MS);
        assert!(matches!(gone[..], [(_, Output::Leave(Why::Clock))]), "{gone:?}");
        assert_eq!(w.runs(10 * SLOW_REST_MS), [], "while the clock is wrong it stays away");
        w.is_clock_wrong = false;
        let back = w.runs(4_000);
        assert!(matches!(back[..], [(_, Output::Return)]), "{back:?}");
        // It leaves again, and comes back with its wrong clock when nobody else is left.
        w.is_clock_wrong = true;
        assert_eq!(w.runs(2_000).len(), 1);
        w.others = Others::Nobody;
        assert!(matches!(w.runs(2_000)[..], [(_, Output::Return)]));
        w.others = Others::Better;
        assert_eq!(w.runs(SLOW_REST_MS), [], "it does not go to and fro");
    }
}

/// However long the cluster is slow for all, and whatever the processes say of each other, none leaves more than
/// once in a rest, and one always stays.
#[test]
fn a_cluster_that_is_slow_for_everybody_makes_no_ping_pong() {
    let mut worlds: Vec<_> = (0..3).map(|_| World::new()).collect();
    worlds.iter_mut().for_each(World::slows);
    let mut moves = 0;
    for _ in 0..7_200 {
        for n in 0..worlds.len() {
            let others = worlds.iter().enumerate().filter(|(m, w)| *m != n && !w.withdrawal.is_resting()).count();
            worlds[n].others = if others == 0 { Others::Nobody } else { Others::Better };
            moves += worlds[n].runs(LOOK_MS).len();
            assert!(worlds.iter().any(|w| !w.withdrawal.is_resting()), "nobody is left");
        }
    }
    assert_eq!(moves, 2, "in an hour, of three: two go, and the last stays");
}
/// The same when all of them look at the same moment, so that all leave and then find that nobody is left.
#[test]
fn who_goes_together_comes_back_together_and_not_more_than_once_in_a_rest() {
    let mut worlds: Vec<_> = (0..2).map(|_| World::new()).collect();
    worlds.iter_mut().for_each(World::slows);
    let mut left: Vec<Micros> = Vec::new();
    for _ in 0..7_200 {
        let is_resting: Vec<_> = worlds.iter().map(|w| w.withdrawal.is_resting()).collect();
        for n in 0..2 {
            worlds[n].others = if is_resting[1 - n] { Others::Nobody } else { Others::Better };
            let done = worlds[n].runs(LOOK_MS);
            if n == 0 && matches!(done[..], [(_, Output::Leave(..))]) {
                left.push(worlds[0].now);
            }
        }
    }
    let rests_ms: Vec<_> = left.windows(2).map(|two| two[1].ms_since(two[0])).collect();
    assert!(left.len() <= 11, "{rests_ms:?}");
    let least = (0..).map(|n| (SLOW_REST_MS << n.min(16)).min(SLOW_REST_MAX_MS));
    assert!(rests_ms.iter().zip(least).all(|(rest_ms, least_ms)| *rest_ms >= least_ms), "{rests_ms:?}");
}

const LACKS: Lack = Lack { is_any: true, given: Some(3), could_serve_more: false, is_kept_out: false };

#[test]
fn a_partition_whose_state_cannot_be_restored_is_left_to_whoever_else_is_there() {
    for others in [Others::Better, Others::NoneBetter] {
        let mut w = World { lack: LACKS, others: Others::Nobody, ..World::new() };
        assert_eq!(w.runs(60_000), [], "alone it serves the others");
        w.others = others;
        let gone = w.runs(2 * ASK_EVERY_MS);
        assert!(matches!(gone[..], [(_, Output::Leave(Why::State { partition: 3 }))]), "{gone:?}");
        w.lack = Lack { given: None, ..LACKS };
        assert_eq!(w.runs(10 * SLOW_REST_MS), [], "while it lacks the state it stays away");
        // No rest keeps it away from what it can serve.
        w.lack = Lack::default();
        let back = w.runs(3_000);
        assert!(matches!(back[..], [(_, Output::Return)]), "{back:?}");
        // A state that comes within seconds moves nothing.
        w.lack = LACKS;
        assert_eq!(w.runs(UNRESTORED_MS - 2 * LOOK_MS), []);
        w.lack = Lack::default();
        assert_eq!(w.runs(60_000), []);
    }
    let mut w = World { lack: LACKS, others: Others::Unknown, ..World::new() };
    assert_eq!(w.runs(60_000), [], "who else is there is not known");
}

/// All processes are as far from the cluster, so nobody leaves for that, and nobody has to wait for a nearer link.
#[test]
fn who_left_because_of_a_state_comes_back_with_it_however_far_the_cluster_is() {
    let mut w = World { lack: LACKS, others: Others::NoneBetter, trip_ms: Some(100), ..World::new() };
    let gone = w.runs(10_000);
    assert!(matches!(gone[..], [(_, Output::Leave(Why::State { .. }))]), "{gone:?}");
    w.lack = Lack::default();
    let back = w.runs(3_000);
    assert!(matches!(back[..], [(_, Output::Return)]), "{back:?}");
}

#[test]
fn one_answer_that_shows_nobody_is_not_enough_and_one_that_did_not_come_is_no_member() {
    let lack = Lack { is_any: true, given: None, could_serve_more: false, is_kept_out: true };
    let mut w = World { lack, others: Others::Nobody, ..World::new() };
    assert_eq!(w.runs(WAIT_MIN_MS - LOOK_MS), []);
    w.others = Others::Unknown;
    assert_eq!(w.runs(2 * SPREAD_MS), [], "who else is there is not known");
    w.others = Others::Nobody;
    let came = w.runs(WAIT_MIN_MS);
    assert!(matches!(came[..], [(_, Output::Return), ..]), "{came:?}");
}
