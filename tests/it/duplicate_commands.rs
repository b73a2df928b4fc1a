//! A log may hold a command twice: a client that does not know whether it was written writes it again. The copy decides
//! nothing, wherever it stands and whoever decides it: nobody who was told no holds anything, and what is applied is
//! applied once.

use crate::owner_laws::Life;
use crate::scenario::reservation_id;
use headroom::domain::room::Bounds;
use headroom::domain::*;
use headroom::limits::{COMMAND_SPAN_MS, COMMAND_WINDOW_MS, DECIDED_LEAF_IDS};
use headroom::log::CommitOutcome;
use headroom::wire;

const START: Micros = Micros(1_800_000_000_000_000);
/// As long as a caller may wait, and no longer than its copy is known.
const DEADLINE: Micros = Micros(START.0 + 5_000_000);

fn pool() -> PoolId {
    PoolId::new("van-1").unwrap()
}

fn orders(units: u64) -> Amounts {
    Amounts::new([(Dimension::new("orders").unwrap(), units)]).unwrap()
}

fn command(number: u128, body: CommandBody, key: Option<&str>) -> Command {
    let (attempt, key) = (Attempt(number as u64), key.map(|key| IdempotencyKey::new(key).unwrap()));
    Command { id: CommandId(number), reply_to: Some(9), attempt, actor: None, key, deadline: DEADLINE, body }
}

fn define(number: u128, limit: u64) -> Command {
    let (areas, labels) = Default::default();
    let spec =
        PoolSpec { limits: orders(limit), areas, window: None, labels, mode: Mode::Open, rules: PoolRules::default() };
    command(number, CommandBody::DefinePool { pool: pool(), spec, expected_version: None }, None)
}

fn reserve(number: u128, name: &str, is_keyed: bool) -> Command {
    let (pool, reservation) = (pool(), reservation_id(&pool(), name));
    let body = CommandBody::Reserve { pool, reservation, demand: orders(1), hold_ttl_ms: None, order_ref: None };
    command(number, body, Some(name).filter(|_| is_keyed))
}

fn release(number: u128, name: &str) -> Command {
    command(number, CommandBody::Release { reservation: reservation_id(&pool(), name) }, None)
}

fn abandon(number: u128, name: &str, of: &Command) -> Command {
    let body = CommandBody::Abandon { pool: pool(), reservation: reservation_id(&pool(), name) };
    Command { attempt: of.attempt, deadline: Micros::MAX, ..command(number, body, None) }
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
        life.turn(&batch, START, CommitOutcome::Ok);
        batch.clear();
    }
    life = match between {
        Between::Nothing | Between::Turn => life,
        Between::Owner => {
            life.claim(START);
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
    let now = if matches!(between, Between::Nothing) { START } else { DEADLINE };
    let body = life.turn(&batch, now, CommitOutcome::Ok).pop().unwrap().event.body;
    (life, body)
}

#[test]
fn a_copy_of_a_decided_command_does_nothing_wherever_it_comes() {
    let (first, keyed, keyless) = (reserve(2, "first", true), reserve(3, "keyed", true), reserve(3, "keyless", false));
    let by = vec![(Dimension::new("orders").unwrap(), 3)];
    let adjust = command(
        2,
        CommandBody::AdjustLimits { pool: pool(), change: LimitChange::By(by), expected_version: None },
        None,
    );
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
fn an_attempt_that_was_given_up_never_counts_however_many_were() {
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
fn nobody_is_told_of_a_copy() {
    let mut life = Life::new(Bounds::default());
    let first = wire::command::encode(&reserve(2, "first", true));
    let told = life.told(&[wire::command::encode(&define(1, 1)), first.clone(), first], START);
    assert_eq!(told, [Kind::PoolDefined, Kind::Accepted]);
}

/// Ids are let go when no copy can be in time any more; what is left of them in checkpoints goes, too.
#[test]
fn ids_are_kept_for_as_long_as_a_copy_may_be_in_time_and_not_much_longer() {
    let mut life = Life::new(Bounds::default());
    let bytes = |command: Command| wire::command::encode(&command);
    life.turn(&[bytes(define(1, 0))], START, CommitOutcome::Ok);
    let many = DECIDED_LEAF_IDS as u128 + 10;
    let batch: Vec<_> = (2..many).map(|n| bytes(reserve(n, "refused", true))).collect();
    life.turn(&batch, START, CommitOutcome::Ok);
    life.checkpoint();
    assert_eq!(life.state.decided_count(START), many as usize - 1);
    let last = START.plus_ms(COMMAND_WINDOW_MS);
    for mut life in [life.restarted(false), life.restarted(true), life] {
        let id = CommandId(many - 1);
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
    let keyed = command(3, to, Some("remembered"));
    let commands =
        [define(1, 0), reserve(2, "refused", true), keyed, abandon(4, "cancelled", &reserve(5, "cancelled", true))];
    life.turn(&commands.iter().map(wire::command::encode).collect::<Vec<_>>(), START, CommitOutcome::Ok);
    life.checkpoint();
    assert_eq!((life.state.live(), life.restarted(false).state.digest()), (Vec::new(), life.state.digest()));
    let kinds: std::collections::BTreeSet<u8> = life.rows().map(|key| key[0]).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), *b"dkpr");
    for lost in *b"dkr" {
        assert_ne!(life.without(lost).digest(), life.state.digest(), "without the rows of {}", char::from(lost));
    }
}
