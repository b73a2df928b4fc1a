//! Finds out which schemas the registry's ids are. A thread of its own asks the registry about all ids that are waited for
//! in one round, and about each id once at a time. After a failure it pauses, for longer each time. Readers that still wait
//! then ask again, so an id that nobody needs any more is not asked about.
//!
//! Only answers are kept. Their number is bounded, because any program can write records with any id: past the bound the
//! oldest answers are dropped, and their ids are asked about again when they are met.
//!
//! A "no" may be that of a registry that is behind, or was restored without the schema. So the thread asks again about every
//! id of a "no" from time to time, when no other id is waited for. The "no" counts until there is another answer, so nobody
//! waits meanwhile.

use crate::limits::{REGISTRY_ANSWERS_MAX, REGISTRY_ASKED_AT_ONCE, REGISTRY_IDS_WAITING_MAX};
use crate::limits::{REGISTRY_RETRY_MAX_MS, REGISTRY_RETRY_MS};
use crate::log::LogError;
use crate::threads;
use crate::time::{Stopwatch, retry_ms};
use crate::wire::frame::Fingerprint;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The registry's answer about one id: which of our schemas it is, or `None` for any other. An error is no answer.
pub type IdAnswer = Result<Option<Fingerprint>, LogError>;
/// Asks the registry about some ids, and returns an answer for each, in order. It may block, with a limit.
pub type Ask = dyn Fn(&[u32]) -> Vec<IdAnswer> + Send + Sync;

/// A definite answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// The id is this schema of ours.
    Ours(Fingerprint),
    /// The id is another schema, or does not exist.
    NotOurs,
}

/// The answers of one registry, and the thread that asks for more; it ends after this has been dropped.
pub(super) struct Resolver {
    common: Arc<Common>,
    bell: Sender<()>,
}

struct Common {
    answers: RwLock<Answers>,
    waiting: Mutex<Waiting>,
    /// Notified when a round of questions is over.
    over: Condvar,
}

#[derive(Default)]
struct Answers {
    known: BTreeMap<u32, Answer>,
    /// Ids that were asked about, oldest first. Their answers may be dropped.
    learned: VecDeque<u32>,
}

#[derive(Default)]
struct Waiting {
    queued: BTreeSet<u32>,
    asked: BTreeSet<u32>,
    /// Ids of a "no" that are to be asked about again. Nobody waits for them.
    again: BTreeSet<u32>,
    /// Why the last round had no answer for some id.
    failed: Option<String>,
}

impl Waiting {
    fn has(&self, id: u32) -> bool {
        self.queued.contains(&id) || self.asked.contains(&id)
    }
}

impl Answers {
    /// Returns whether nothing was known about the id.
    fn learn(&mut self, id: u32, answer: Answer) -> bool {
        let is_new = self.known.insert(id, answer).is_none();
        if is_new {
            self.learned.push_back(id);
        }
        if self.learned.len() > REGISTRY_ANSWERS_MAX
            && let Some(oldest) = self.learned.pop_front()
        {
            self.known.remove(&oldest);
        }
        is_new
    }
}

impl Resolver {
    /// Starts the thread. The given ids are known for good. The ids of a "no" are asked about again after each `no_lasts`.
    ///
    /// # Errors
    /// [`LogError`] when the thread cannot be started.
    pub(super) fn start(
        ids: impl IntoIterator<Item = (u32, Fingerprint)>,
        ask: Box<Ask>,
        no_lasts: Duration,
    ) -> Result<Resolver, LogError> {
        let known = ids.into_iter().map(|(id, fingerprint)| (id, Answer::Ours(fingerprint))).collect();
        let common = Arc::new(Common {
            answers: RwLock::new(Answers { known, learned: VecDeque::new() }),
            waiting: Mutex::default(),
            over: Condvar::new(),
        });
        let (bell, rung) = bounded(1);
        let asks = Arc::clone(&common);
        let thread = threads::spawn("schema-ids", move || asks.run(&rung, &ask, no_lasts));
        thread.map_err(|error| LogError::no_thread(&error))?;
        Ok(Resolver { common, bell })
    }

    /// The registry's answer, without waiting. Without one the registry is asked, and the error says why the last question
    /// failed.
    pub(super) fn look(&self, id: u32) -> Result<Answer, Option<String>> {
        if let Some(answer) = self.common.answer(id) {
            return Ok(answer);
        }
        let mut waiting = self.common.waiting.lock();
        self.queue(&mut waiting, id);
        Err(waiting.failed.clone())
    }

    /// The same, waiting until the question about this id has succeeded or failed, for `limit` at most.
    pub(super) fn wait(&self, id: u32, limit: Duration) -> Result<Answer, Option<String>> {
        let since = Stopwatch::start();
        if let Some(answer) = self.common.answer(id) {
            return Ok(answer);
        }
        let mut waiting = self.common.waiting.lock();
        self.queue(&mut waiting, id);
        loop {
            // A round stores its answers before it takes this lock, so none is missed.
            if let Some(answer) = self.common.answer(id) {
                return Ok(answer);
            }
            if !waiting.has(id) || since.left_of(limit).is_zero() {
                return Err(waiting.failed.clone());
            }
            self.common.over.wait_for(&mut waiting, since.left_of(limit));
        }
    }

    /// Drops an answer, so that the registry is asked again when the id is met again.
    pub(super) fn forget(&self, id: u32) {
        let mut answers = self.common.answers.write();
        answers.known.remove(&id);
        answers.learned.retain(|learned| *learned != id);
    }

    fn queue(&self, waiting: &mut Waiting, id: u32) {
        if !waiting.has(id) && waiting.queued.len() < REGISTRY_IDS_WAITING_MAX {
            waiting.queued.insert(id);
            // Rung already is rung.
            let _ = self.bell.try_send(());
        }
    }
}

impl Common {
    fn answer(&self, id: u32) -> Option<Answer> {
        self.answers.read().known.get(&id).copied()
    }

    fn run(&self, rung: &Receiver<()>, ask: &Ask, no_lasts: Duration) {
        let (mut failures, mut since) = (0_u32, Stopwatch::start());
        // There may always be something to ask again: that nobody will read the answers is looked for before each question.
        while rung.try_recv() != Err(TryRecvError::Disconnected) {
            if since.left_of(no_lasts).is_zero() {
                self.ask_noes_again();
                since = Stopwatch::start();
            }
            let Some(ids) = self.take() else {
                let _ = rung.recv_timeout(since.left_of(no_lasts));
                continue;
            };
            let failed = self.settle(&ids, ask(&ids));
            match (&failed, failures) {
                (Some(why), 0) => {
                    tracing::warn!(?ids, why, "the registry did not answer for these schema ids: asking again");
                }
                (None, 1..) => tracing::info!("the registry answers again"),
                _ => {}
            }
            if failed.is_none() {
                failures = 0;
                continue;
            }
            let pause_ms = retry_ms(failures, REGISTRY_RETRY_MS, REGISTRY_RETRY_MAX_MS);
            if is_left(rung, Duration::from_millis(pause_ms)) {
                return;
            }
            failures = failures.saturating_add(1);
        }
    }

    /// Has every id of a "no" asked about again, once those of the last time have been.
    fn ask_noes_again(&self) {
        let is_no = |(id, answer): (&u32, &Answer)| (*answer == Answer::NotOurs).then_some(*id);
        let noes: BTreeSet<u32> = self.answers.read().known.iter().filter_map(is_no).collect();
        let mut waiting = self.waiting.lock();
        if waiting.again.is_empty() {
            waiting.again = noes;
        }
    }

    /// Some of those that wait; where none does, some of those of a "no".
    fn take(&self) -> Option<Vec<u32>> {
        let mut waiting = self.waiting.lock();
        let Waiting { queued, asked, again, .. } = &mut *waiting;
        // Whoever meets one that was dropped asks himself.
        again.retain(|id| self.answer(*id).is_some());
        let from = if queued.is_empty() { again } else { queued };
        let ids: Vec<u32> = from.iter().copied().take(REGISTRY_ASKED_AT_ONCE).collect();
        from.retain(|id| !ids.contains(id));
        asked.extend(&ids);
        (!ids.is_empty()).then_some(ids)
    }

    /// Keeps what was said. Answers why something was not.
    fn settle(&self, ids: &[u32], said: Vec<IdAnswer>) -> Option<String> {
        let mut failed = None;
        let mut answers = self.answers.write();
        for (id, said) in ids.iter().zip(said) {
            match said {
                Ok(Some(fingerprint)) => {
                    answers.learn(*id, Answer::Ours(fingerprint));
                }
                Ok(None) => {
                    if answers.learn(*id, Answer::NotOurs) {
                        tracing::info!(
                            id,
                            "the registry says that these schemas are not ours: records of them count as another program's"
                        );
                    }
                }
                Err(error) => failed = Some(error.detail),
            }
        }
        drop(answers);
        let mut waiting = self.waiting.lock();
        waiting.asked.clear();
        waiting.failed.clone_from(&failed);
        self.over.notify_all();
        failed
    }
}

/// Waits, however often the bell rings meanwhile; answers whether nobody will ask any more.
fn is_left(rung: &Receiver<()>, pause: Duration) -> bool {
    let since = Stopwatch::start();
    loop {
        match rung.recv_timeout(since.left_of(pause)) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    const OURS: Fingerprint = [1; 8];
    /// Longer than a busy machine takes.
    const LONG: Duration = Duration::from_secs(30);

    /// Says `answer` to everything; and what it was asked, round by round. A round ends when somebody says so.
    fn resolver(answer: IdAnswer) -> (Resolver, Receiver<Vec<u32>>, Sender<()>) {
        let ((told, asked), (go, going)) = (unbounded(), unbounded());
        let ask = move |ids: &[u32]| {
            told.send(ids.to_vec()).unwrap();
            // It goes on when nobody holds it up any more.
            let _ = going.recv();
            ids.iter().map(|_| answer.clone()).collect()
        };
        (Resolver::start([(7, OURS)], Box::new(ask), Duration::MAX).unwrap(), asked, go)
    }

    #[test]
    fn all_that_wait_are_asked_about_in_one_go_and_each_once() {
        let (resolver, asked, go) = resolver(Ok(None));
        let most = u32::try_from(REGISTRY_ASKED_AT_ONCE).unwrap();
        assert_eq!(resolver.look(7), Ok(Answer::Ours(OURS)));
        assert_eq!(resolver.look(1_000), Err(None));
        assert_eq!(asked.recv_timeout(LONG), Ok(vec![1_000]));
        for _ in 0..2 {
            assert!((1_000..1_002 + most).all(|id| resolver.look(id) == Err(None)), "nobody is waited for");
        }
        drop(go);
        assert_eq!(asked.recv_timeout(LONG), Ok((1_001..1_001 + most).collect()));
        assert_eq!(asked.recv_timeout(LONG), Ok(vec![1_001 + most]));
        assert_eq!(resolver.wait(1_001 + most, LONG), Ok(Answer::NotOurs));
        assert!((1_000..1_001 + most).all(|id| resolver.look(id) == Ok(Answer::NotOurs)));
        assert!(asked.is_empty());
    }

    #[test]
    fn a_stranger_can_make_it_forget_and_ask_again_and_never_guess() {
        let (resolver, asked, go) = resolver(Ok(None));
        drop(go);
        let count = u32::try_from(REGISTRY_ANSWERS_MAX).unwrap() + 1;
        for id in 1_000..1_000 + count {
            assert_eq!(resolver.wait(id, LONG), Ok(Answer::NotOurs));
        }
        assert_eq!(asked.try_iter().count(), count as usize);
        assert_eq!(resolver.look(1_000 + count - 1), Ok(Answer::NotOurs));
        assert_eq!(resolver.wait(1_000, LONG), Ok(Answer::NotOurs));
        assert_eq!(asked.try_iter().collect::<Vec<_>>(), [[1_000]], "the oldest was forgotten");
        assert_eq!(resolver.look(7), Ok(Answer::Ours(OURS)), "what was known at the start stays");
    }

    /// The story: the registry was restored without a schema, and got it again. From then on the commands of that schema were
    /// refused until each process had started anew.
    #[test]
    fn a_no_is_asked_for_again_by_itself_and_counts_until_there_is_another_answer() {
        let ((told, asked), (say, said)) = (unbounded(), unbounded::<IdAnswer>());
        let ask = move |ids: &[u32]| {
            let _ = told.send(ids.to_vec());
            // Nobody says anything any more when the test is over.
            ids.iter().map(|_| said.recv().unwrap_or(Ok(None))).collect()
        };
        let resolver = Resolver::start([(7, OURS)], Box::new(ask), Duration::from_millis(1)).unwrap();
        say.send(Ok(None)).unwrap();
        assert_eq!(resolver.wait(1, LONG), Ok(Answer::NotOurs));
        assert_eq!((asked.recv_timeout(LONG), asked.recv_timeout(LONG)), (Ok(vec![1]), Ok(vec![1])));
        assert_eq!(resolver.look(1), Ok(Answer::NotOurs), "nobody waits while the registry is asked");
        say.send(Err(LogError::transient("silent"))).unwrap();
        assert_eq!(asked.recv_timeout(LONG), Ok(vec![1]));
        assert_eq!(resolver.look(1), Ok(Answer::NotOurs), "nor while it is silent");
        say.send(Ok(Some(OURS))).unwrap();
        let mut waiting = resolver.common.waiting.lock();
        while waiting.has(1) {
            assert!(!resolver.common.over.wait_for(&mut waiting, LONG).timed_out());
        }
        drop(waiting);
        assert_eq!(resolver.look(1), Ok(Answer::Ours(OURS)));
        say.send(Ok(None)).unwrap();
        assert_eq!(resolver.wait(2, LONG), Ok(Answer::NotOurs));
        let later = (asked.recv_timeout(LONG), asked.recv_timeout(LONG));
        assert_eq!(later, (Ok(vec![2]), Ok(vec![2])), "a schema of ours stays one");
    }

    /// The story: a program writes records of very many schemas, each of which is a "no". A partition that waits for a new one of
    /// ours waited until all those were asked about again. Who has left is noticed as well while there is always one of them.
    #[test]
    fn what_is_asked_again_keeps_nobody_waiting() {
        const NOES: u32 = 2 + REGISTRY_ASKED_AT_ONCE as u32;
        let ((told, asked), (go, going)) = (unbounded(), unbounded::<()>());
        let ask = move |ids: &[u32]| {
            let _ = told.send(ids.to_vec());
            let _ = going.recv();
            ids.iter().map(|_| IdAnswer::Ok(None)).collect()
        };
        let resolver = Resolver::start([(7, OURS)], Box::new(ask), Duration::ZERO).unwrap();
        let mut answers = resolver.common.answers.write();
        assert!((101..=100 + NOES).all(|id| answers.learn(id, Answer::NotOurs)));
        drop(answers);
        assert_eq!(asked.recv_timeout(LONG), Ok((101..99 + NOES).collect()));
        assert!(resolver.look(1_000).is_err());
        resolver.forget(99 + NOES);
        go.send(()).unwrap();
        assert_eq!(asked.recv_timeout(LONG), Ok(vec![1_000]), "who waits comes first");
        go.send(()).unwrap();
        assert_eq!(asked.recv_timeout(LONG), Ok(vec![100 + NOES]), "and then what is left of those");
        drop((resolver, go));
        assert!(asked.iter().take(100).count() < 100, "the thread ends");
    }

    #[test]
    fn no_answer_is_no_answer_and_is_asked_for_again_by_who_still_wants_it() {
        let (resolver, asked, go) = resolver(Err(LogError::transient("silent")));
        assert_eq!((resolver.look(1), resolver.look(2)), (Err(None), Err(None)));
        let first = asked.recv_timeout(LONG).unwrap();
        assert_eq!(resolver.wait(1, Duration::ZERO), Err(None), "nobody waits longer than he likes");
        drop(go);
        let silent = Err(Some("silent".to_owned()));
        assert_eq!(resolver.wait(1, LONG), silent);
        assert_eq!(resolver.wait(1, LONG), silent);
        let rounds: Vec<_> = std::iter::once(first).chain(asked.try_iter()).collect();
        assert!(rounds.iter().filter(|ids| ids.contains(&1)).count() >= 2, "{rounds:?}");
        assert_eq!(rounds.iter().filter(|ids| ids.contains(&2)).count(), 1, "{rounds:?}");
    }
}
