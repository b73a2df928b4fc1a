//! Processes of a cluster that cannot restore some states: who of them is in the group of owners, over hours and restarts. What one
//! of them does is in `src/owner/withdrawal.rs`.

use headroom::domain::Micros;
use headroom::limits::UNRESTORED_MS;
use headroom::owner::withdrawal::{Input, Lack, Look, Others, Output, Withdrawal};
use std::collections::BTreeMap;

const DEADLINE_MS: u64 = 250;
const LOOK_MS: u64 = 500;
/// After so long partitions without an owner are worth a try by who could serve them.
const TRIED_MS: u64 = 20_000;
const PARTITIONS: usize = 4;

/// A process of a cluster, and the partitions whose states it can have.
struct Node {
    withdrawal: Withdrawal,
    has: [bool; PARTITIONS],
    is_up: bool,
    has_entered: bool,
    is_in: bool,
    moves: usize,
}

impl Node {
    fn new(seed: u64, lacks: &[usize]) -> Node {
        let has = std::array::from_fn(|partition| !lacks.contains(&partition));
        let withdrawal = Withdrawal::new(DEADLINE_MS, seed);
        Node { withdrawal, has, is_up: true, has_entered: false, is_in: false, moves: 0 }
    }

    fn count(&self) -> usize {
        self.has.iter().filter(|has| **has).count()
    }

    /// The group as everybody sees it at this moment: who is in it, and how many partitions are decided.
    fn looks(&mut self, n: usize, members: &[usize], served: usize, now: Micros) {
        let is_any = self.count() < PARTITIONS;
        if !self.has_entered && !is_any {
            (self.has_entered, self.is_in) = (true, true);
        }
        let is_given = |partition: &usize| members.get(partition % members.len().max(1)) == Some(&n);
        let given = (0..PARTITIONS).filter(is_given).find(|partition| !self.has[*partition]);
        let lack = Lack {
            is_any,
            given: given.filter(|_| self.is_in).map(|partition| u32::try_from(partition).unwrap()),
            could_serve_more: is_any && self.count() > served,
            is_kept_out: is_any && !self.has_entered,
        };
        let look = Look { turns: BTreeMap::new(), trip_ms: Some(1), is_clock_wrong: false, lack };
        let mut output = self.withdrawal.handle(Input::Look(look), now);
        if output == Some(Output::Ask) {
            let is_alone = members.iter().all(|member| *member == n);
            let others = if is_alone { Others::Nobody } else { Others::NoneBetter };
            output = self.withdrawal.handle(Input::Group(others), now);
        }
        match output {
            Some(Output::Return) => (self.is_in, self.has_entered) = (true, true),
            Some(Output::Leave(_)) => self.is_in = false,
            Some(Output::Ask) | None => return,
        }
        self.moves += 1;
    }
}

/// Several processes that all look at the same moments, which is the worst for them.
struct Cluster {
    nodes: Vec<Node>,
    now: Micros,
}

impl Cluster {
    fn of(seed: u64, lacks: &[&[usize]]) -> Cluster {
        let node = |(n, lacks): (u64, &&[usize])| Node::new(seed * 1_000 + n, lacks);
        Cluster { nodes: (0..).zip(lacks).map(node).collect(), now: Micros(1_000_000) }
    }

    fn members(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].is_up && self.nodes[*n].is_in).collect()
    }

    fn served(&self) -> usize {
        let members = self.members();
        let owner = |partition: usize| members.get(partition % members.len().max(1));
        (0..PARTITIONS).filter(|p| owner(*p).is_some_and(|owner| self.nodes[*owner].has[*p])).count()
    }

    /// Goes on for so long; answers how often somebody left or came meanwhile.
    fn runs(&mut self, ms: u64) -> usize {
        let moves = |nodes: &[Node]| nodes.iter().map(|node| node.moves).sum::<usize>();
        let before = moves(&self.nodes);
        for _ in 0..ms / LOOK_MS {
            self.now = self.now.plus_ms(LOOK_MS);
            let (members, served, now) = (self.members(), self.served(), self.now);
            for (n, node) in self.nodes.iter_mut().enumerate().filter(|(_, node)| node.is_up) {
                node.looks(n, &members, served, now);
            }
        }
        moves(&self.nodes) - before
    }

    /// A process ends in good order, or another one takes its place that begins anew.
    fn set_up(&mut self, n: usize, is_up: bool) {
        let node = &mut self.nodes[n];
        let (seed, has) = (self.now.0, node.has);
        *node = Node { has, is_up, ..Node::new(seed, &[]) };
    }
}

const HOUR_MS: u64 = 3_600_000;

/// The story: two processes on empty disks cannot restore three of four partitions. The healthy one was restarted, was given one
/// partition, and the two others kept the rest.
#[test]
fn who_has_all_states_gets_all_partitions_again_after_each_restart() {
    for seed in 0..20 {
        let mut cluster = Cluster::of(seed, &[&[], &[0, 1, 2], &[0, 1, 2]]);
        cluster.runs(10_000);
        assert_eq!((cluster.members(), cluster.served()), (vec![0], 4), "{seed}");
        assert_eq!(cluster.runs(HOUR_MS), 0, "they do not even try");
        for away_ms in [1_000, 3_000, 10_000, 120_000] {
            cluster.set_up(0, false);
            cluster.runs(away_ms);
            cluster.set_up(0, true);
            cluster.runs(UNRESTORED_MS + 5_000);
            assert_eq!((cluster.members(), cluster.served()), (vec![0], 4), "{seed}, {away_ms}");
            assert_eq!(cluster.runs(HOUR_MS), 0, "{seed}, {away_ms}");
        }
    }
}

#[test]
fn where_nobody_has_all_states_one_serves_all_that_it_can_and_stays() {
    let cases: [(&[&[usize]], usize); 5] = [
        (&[&[0]], 3),
        (&[&[0], &[0], &[0]], 3),
        (&[&[0, 1, 2], &[0, 1, 2], &[0, 1, 2]], 1),
        // Each lacks what the other one has.
        (&[&[0], &[1]], 3),
        (&[&[0, 1], &[2, 3]], 2),
    ];
    for (lacks, least) in cases {
        for seed in 0..20 {
            let mut cluster = Cluster::of(seed, lacks);
            let mut moves = cluster.runs(300_000);
            assert!(moves <= 20, "{lacks:?}, {seed}: {moves}");
            assert!(cluster.served() >= least, "{lacks:?}, {seed}");
            moves = cluster.runs(HOUR_MS);
            assert_eq!(moves, 0, "{lacks:?}, {seed}");
            // Its place is taken by another one.
            let first = cluster.members()[0];
            cluster.set_up(first, false);
            cluster.runs(300_000);
            let is_any_left = lacks.len() > 1;
            assert_eq!(!cluster.members().is_empty(), is_any_left, "{lacks:?}, {seed}");
            assert_eq!(cluster.runs(HOUR_MS), 0, "{lacks:?}, {seed}");
        }
    }
}

/// A process that lacks one state comes while one that lacks three is all that there is.
#[test]
fn who_lacks_less_takes_the_place_of_who_lacks_more() {
    for seed in 0..20 {
        let mut cluster = Cluster::of(seed, &[&[0, 1, 2], &[0]]);
        cluster.set_up(1, false);
        cluster.runs(60_000);
        assert_eq!((cluster.members(), cluster.served()), (vec![0], 1), "{seed}");
        cluster.set_up(1, true);
        cluster.runs(TRIED_MS + UNRESTORED_MS);
        assert_eq!((cluster.members(), cluster.served()), (vec![1], 3), "{seed}");
        assert_eq!(cluster.runs(HOUR_MS), 0, "{seed}");
        // The operator brings back what was lacking.
        cluster.nodes[0].has = [true; PARTITIONS];
        cluster.runs(UNRESTORED_MS + 5_000);
        assert_eq!((cluster.members().contains(&0), cluster.served()), (true, 4), "{seed}");
    }
}
