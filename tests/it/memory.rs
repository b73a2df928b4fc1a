//! What is remembered of what is over is bounded by count: past the bound the oldest goes first, and what is live never
//! does.

use crate::owner_laws::Life;
use crate::scenario::reservation_id;
use headroom::domain::*;
use headroom::log::CommitOutcome;
use headroom::replica::Bounds;
use headroom::wire;

const START: Micros = Micros(1_000_000_000_000);
const BOUNDS: Bounds = Bounds { reservations: 3, commands: 2 };

fn pool() -> PoolId {
    PoolId::new("van-1").unwrap()
}

fn orders(units: u64) -> Amounts {
    Amounts::new([(Dimension::new("orders").unwrap(), units)]).unwrap()
}

/// A partition that decides one command a second.
struct Told {
    life: Life,
    now: Micros,
}

impl Told {
    fn new(limit: u64) -> Told {
        let mut told = Told { life: Life::new(BOUNDS), now: START };
        let (areas, labels) = Default::default();
        let spec = PoolSpec {
            limits: orders(limit),
            areas,
            window: None,
            labels,
            mode: Mode::Open,
            rules: PoolRules::default(),
        };
        told.ask(Ask::DefinePool { pool: pool(), spec, expected_version: None }, None);
        told
    }

    fn ask(&mut self, ask: Ask, key: Option<&str>) -> Body {
        let key = key.map(|key| IdempotencyKey::new(key).unwrap());
        let (id, attempt, deadline) = (CommandId(self.life.log.len() as u128), Attempt(1), self.now.plus_ms(5_000));
        let command = Command { id, reply_to: None, attempt, actor: None, key, deadline, ask };
        self.tell(wire::command::encode(&command))
    }

    fn tell(&mut self, bytes: Vec<u8>) -> Body {
        self.now = self.now.plus_ms(1_000);
        let mut decided = self.life.turn(&[bytes], self.now, CommitOutcome::Ok);
        decided.pop().unwrap().event.body
    }

    fn reserve(&mut self, key: &str, units: u64) -> Kind {
        let (pool, reservation) = (pool(), reservation_id(&pool(), key));
        let ask = Ask::Reserve { pool, reservation, demand: orders(units), hold_ttl_ms: None, order_ref: None };
        self.ask(ask, Some(key)).kind()
    }

    fn release(&mut self, key: &str) -> Kind {
        self.ask(Ask::Release { reservation: reservation_id(&pool(), key) }, None).kind()
    }

    fn abandon(&mut self, key: &str) -> Kind {
        self.ask(Ask::Abandon { pool: pool(), reservation: reservation_id(&pool(), key) }, None).kind()
    }

    fn adjust(&mut self, key: &str) -> Kind {
        let by = vec![(Dimension::new("orders").unwrap(), 1)];
        let ask = Ask::AdjustLimits { pool: pool(), change: LimitChange::By(by), expected_version: None };
        self.ask(ask, Some(key)).kind()
    }

    /// An event that adds nothing: each one sweeps what those before it left.
    fn sweep(&mut self) {
        assert_eq!(self.tell(b"no command".to_vec()).kind(), Kind::Malformed);
    }

    fn knows(&self, key: &str) -> bool {
        self.life.state.reservation(&reservation_id(&pool(), key)).is_some()
    }

    fn known<'a>(&self, keys: &[&'a str]) -> Vec<&'a str> {
        keys.iter().copied().filter(|key| self.knows(key)).collect()
    }
}

#[test]
fn the_oldest_that_is_over_goes_first_and_the_living_never() {
    let mut told = Told::new(6);
    let living = ["L0", "L1", "L2", "L3", "L4"];
    living.iter().for_each(|key| assert_eq!(told.reserve(key, 1), Kind::Accepted));
    // Everything that is remembered for a while: an end, a refusal, a burned attempt.
    assert_eq!((told.reserve("ended", 1), told.release("ended")), (Kind::Accepted, Kind::Released));
    assert_eq!(told.reserve("refused", 9), Kind::Rejected);
    assert_eq!(told.abandon("burned"), Kind::Abandoned);
    let past = ["ended", "refused", "burned", "N0", "N1", "N2"];
    told.sweep();
    assert_eq!(told.known(&past), ["ended", "refused", "burned"]);
    for (new, kept) in [("N0", ["ended", "refused", "N0"]), ("N1", ["refused", "N0", "N1"]), ("N2", ["N0", "N1", "N2"])]
    {
        assert_eq!(told.reserve(new, 9), Kind::Rejected);
        told.sweep();
        assert_eq!(told.known(&past), kept);
    }
    assert_eq!(told.known(&living), living);
    assert_eq!(told.life.state.pool(&pool()).unwrap().used, orders(5));
    // A key that is remembered has its answer, one that is forgotten is decided anew.
    assert_eq!((told.reserve("N2", 9), told.reserve("refused", 1)), (Kind::Repeated, Kind::Accepted));
    assert_eq!(told.reserve("L0", 1), Kind::Repeated);
}

#[test]
fn the_oldest_answer_of_a_command_goes_first() {
    let mut told = Told::new(1);
    for key in ["C0", "C1", "C2"] {
        assert_eq!(told.adjust(key), Kind::LimitsAdjusted);
    }
    // The third answer is swept by the next event.
    assert_eq!([told.adjust("C1"), told.adjust("C2")], [Kind::Repeated; 2]);
    assert_eq!(told.adjust("C0"), Kind::LimitsAdjusted);
    assert_eq!(told.life.state.pool(&pool()).unwrap().spec.limits, orders(5));
    told.sweep();
    // It had been repeated, which did not make it younger.
    assert_eq!(told.adjust("C1"), Kind::LimitsAdjusted);
}

/// A checkpoint written before something was forgotten must not bring it back.
#[test]
fn what_was_forgotten_does_not_come_back_with_a_checkpoint() {
    let mut told = Told::new(1);
    let (keys, newest) = (["R0", "R1", "R2", "R3", "R4"], ["R2", "R3", "R4"]);
    let answers = ["C0", "C1", "C2", "C3"];
    for (key, answer) in keys.into_iter().zip(answers.into_iter().cycle()) {
        assert_eq!(told.reserve(key, 9), Kind::Rejected);
        told.adjust(answer);
        told.life.checkpoint();
    }
    told.sweep();
    told.sweep();
    told.life.checkpoint();
    for is_store_lost in [false, true] {
        let mut again = Told { life: told.life.restarted(is_store_lost), now: told.now };
        assert_eq!(again.known(&keys), newest);
        assert_eq!(again.adjust("C2"), Kind::LimitsAdjusted);
        assert_eq!(again.adjust("C0"), Kind::Repeated);
    }
}
