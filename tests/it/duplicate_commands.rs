//! A log may hold a command twice: a client that does not know whether it was written writes it again. The copy decides
//! nothing, wherever it stands and whoever decides it: nobody who was told no holds anything, and what is applied is
//! applied once.

use crate::fixtures::{self, NOW, command, dimension, key, orders, pool_id, reservation_id};
use crate::owner_laws::Life;
use headroom::domain::retention::Bounds;
use headroom::domain::*;
use headroom::limits::{COMMAND_SPAN_MS, COMMAND_WINDOW_MS, DECIDED_LEAF_IDS};
use headroom::log::CommitOutcome;
use headroom::wire;

/// As long as a caller may wait, and no longer than its copy is known.
const DEADLINE: Micros = Micros(NOW.0 + 5_000_000);

fn pool() -> PoolId {
    pool_id("van-1")
}

/// Somebody waits for its reply.
fn answered(number: u64, body: CommandBody) -> Command {
    Command { reply_to: Some(9), ..command(number, body) }
}

fn define(number: u64, limit: u64) -> Command {
    answered(number, fixtures::define(&pool(), orders(limit)))
}

fn reserve(number: u64, name: &str, is_keyed: bool) -> Command {
    let key = is_keyed.then(|| key(name));
    Command { key, ..answered(number, fixtures::reserve(&pool(), name)) }
}

fn release(number: u64, name: &str) -> Command {
    answered(number, CommandBody::Release { reservation: reservation_id(&pool(), name) })
}

fn abandon(number: u64, name: &str, of: &Command) -> Command {
    let (attempt, deadline) = (of.attempt, Micros::MAX);
    Command { attempt, deadline, ..answered(number, fixtures::abandon(&pool(), name)) }
}

/// What happens between a command and its copy.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Turn,
    Owner,
    Restart,
    RestartFromTheLog,
}

const BETWEEN: [Between; 5] =
    [Between::Nothing, Between::Turn, Between::Owner, Between::Restart, Between::RestartFromTheLog];

/// Decides the commands and then the copy; answers the life after it and what the copy came to.
fn play(commands: &[Command], copy: &Command, between: Between) -> (Life, EventBody) {
    let mut life = Life::new(Bounds::default());
    let mut batch: Vec<_> = commands.iter().map(wire::command::encode).collect();
    if !matches!(between, Between::Nothing) {
        life.turn(&batch, NOW, CommitOutcome::Ok);
        batch.clear();
    }
    life = match between {
        Between::Nothing | Between::Turn => life,
        Between::Owner => {
            life.claim(NOW);
            life
        }
        Between::Restart => {
            life.checkpoint();
            life.restarted(false)
        }
        Between::RestartFromTheLog => life.restarted(true),
    };
    batch.push(wire::command::encode(copy));
    // The last instant at which the original would have been decided.
    let now = if matches!(between, Between::Nothing) { NOW } else { DEADLINE };
    let body = life.turn(&batch, now, CommitOutcome::Ok).pop().unwrap().event.body;
    (life, body)
}

#[test]
fn a_copy_of_a_decided_command_does_nothing_wherever_it_comes() {
    let (first, keyed, keyless) = (reserve(2, "first", true), reserve(3, "keyed", true), reserve(3, "keyless", false));
    let by = vec![(dimension("orders"), 3)];
    let adjust =
        answered(2, CommandBody::AdjustLimits { pool: pool(), change: LimitChange::By(by), expected_version: None });
    let paths = [
        (
            "refused, and then there is room",
            vec![define(1, 1), first.clone(), keyed.clone(), release(4, "first")],
            keyed,
        ),
        ("refused without a key", vec![define(1, 1), first.clone(), keyless.clone(), release(4, "first")], keyless),
        ("taken back", vec![define(1, 1), first.clone(), abandon(3, "first", &first)], first.clone()),
        ("released", vec![define(1, 1), first.clone(), release(3, "first")], first.clone()),
        ("released, and the key forgotten with its refusal", vec![define(1, 0), first.clone(), define(3, 1)], first),
        ("adjusted by a difference", vec![define(1, 1), adjust.clone()], adjust),
    ];
    for (what, commands, copy) in paths {
        for between in BETWEEN {
            let (life, body) = play(&commands, &copy, between);
            let reason = body.rejection().map(|rejection| rejection.reason);
            assert_eq!(reason, Some(Reason::Duplicate), "{what}, {between:?}: {body:?}");
            assert_eq!(life.state.live(), [], "{what}, {between:?}");
            let pool = life.state.pool(&pool()).unwrap();
            assert_eq!(pool.used, orders(0), "{what}, {between:?}");
            let limit = if what.starts_with("adjusted") { 4 } else { 1 };
            assert_eq!(pool.spec.limits, orders(limit), "{what}, {between:?}");
        }
    }
}

/// An Abandon that comes before as many others as are kept leaves none of them out.
#[test]
fn a_cancelled_attempt_never_counts_however_many_there_are() {
    for between in BETWEEN {
        let late = reserve(200, "much", true);
        let mut commands = vec![define(1, 1), abandon(2, "much", &late)];
        commands.extend((0..40).map(|n| abandon(3 + n, "much", &reserve(100 + n, "much", true))));
        for attempt in [200, 100, 115, 116, 139] {
            let reserve = Command { attempt: Attempt(attempt), ..late.clone() };
            let (life, body) = play(&commands, &reserve, between);
            let reason = body.rejection().map(|rejection| rejection.reason);
            assert!(
                matches!(reason, Some(Reason::Abandoned | Reason::TooManyAttempts)),
                "{attempt}, {between:?}: {body:?}"
            );
            assert_eq!(life.state.live(), [], "{attempt}, {between:?}");
        }
    }
}

#[test]
fn a_duplicate_has_no_reply() {
    let mut life = Life::new(Bounds::default());
    let first = wire::command::encode(&reserve(2, "first", true));
    let told = life.told(&[wire::command::encode(&define(1, 1)), first.clone(), first], NOW);
    assert_eq!(told, [EventKind::PoolDefined, EventKind::Accepted]);
}

/// Ids are let go when no copy can be in time any more; what is left of them in checkpoints goes, too.
#[test]
fn ids_are_kept_for_as_long_as_a_copy_may_be_in_time_and_not_much_longer() {
    let mut life = Life::new(Bounds::default());
    let bytes = |command: Command| wire::command::encode(&command);
    life.turn(&[bytes(define(1, 0))], NOW, CommitOutcome::Ok);
    let many = DECIDED_LEAF_IDS as u64 + 10;
    let batch: Vec<_> = (2..many).map(|n| bytes(reserve(n, "refused", true))).collect();
    life.turn(&batch, NOW, CommitOutcome::Ok);
    life.checkpoint();
    assert_eq!(life.state.decided_count(NOW), many as usize - 1);
    let last = NOW.plus_ms(COMMAND_WINDOW_MS);
    for mut life in [life.restarted(false), life.restarted(true), life] {
        let id = CommandId((many - 1).into());
        assert!(life.state.is_decided(id, last) && life.state.is_decided(CommandId(1), last));
        let late = Command { deadline: last, ..reserve(many - 1, "refused", true) };
        let body = life.turn(&[bytes(late)], last, CommitOutcome::Ok).pop().unwrap().event.body;
        assert_eq!(body.rejection().map(|rejection| rejection.reason), Some(Reason::Duplicate));
        let over = last.plus_ms(COMMAND_SPAN_MS);
        assert_eq!((life.state.decided_count(over), life.state.is_decided(id, over)), (0, false));
        life.turn(&[b"no command".to_vec()], over, CommitOutcome::Ok);
        life.checkpoint();
        assert_eq!(
            life.rows().filter(|key| key.starts_with(&wire::snapshot::decided_key((Micros(0), 0))[..1])).count(),
            0
        );
    }
}

/// L7 covers what is merely remembered: a restart that knows less of it than the log says is told apart.
#[test]
fn what_a_checkpoint_has_lost_shows_in_the_digest() {
    let mut life = Life::new(Bounds::default());
    let to = CommandBody::AdjustLimits { pool: pool(), change: LimitChange::To(orders(0)), expected_version: None };
    let keyed = Command { key: Some(key("remembered")), ..answered(3, to) };
    let commands =
        [define(1, 0), reserve(2, "refused", true), keyed, abandon(4, "cancelled", &reserve(5, "cancelled", true))];
    life.turn(&commands.iter().map(wire::command::encode).collect::<Vec<_>>(), NOW, CommitOutcome::Ok);
    life.checkpoint();
    assert_eq!((life.state.live(), life.restarted(false).state.digest()), (Vec::new(), life.state.digest()));
    let kinds: std::collections::BTreeSet<u8> = life.rows().map(|key| key[0]).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), *b"dkpr");
    for lost in *b"dkr" {
        assert_ne!(life.without(lost).digest(), life.state.digest(), "without the rows of {}", char::from(lost));
    }
}
