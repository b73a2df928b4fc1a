//! Runs the requests of a connection in the task of the connection.
//!
//! hyper gives each request of HTTP/2 to an executor. A task for each of them costs two changes of task for each answer, and
//! a write of its own: the connection's task sends what is there as soon as one answer is made. Here the answers that were
//! made in one go, such as those of one commit, leave in one write. The requests of one connection use one core at a time.
//!
//! A request that has its answer wakes the connection, and a connection that has read a body wakes its request. While the
//! task runs, such a wake needs nobody: the task looks again. To tell tokio of it would wake another worker, which finds
//! nothing to do.

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use futures_util::task::AtomicWaker;
use hyper::rt::Executor;
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// How often the task looks again before others have their turn.
const LOOKS_MAX: u32 = 16;

/// What is left to do for one request.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the requests of one connection.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Arrived>>);

#[derive(Default)]
struct Arrived {
    works: Vec<Work>,
    /// What gives the next one up.
    end: Option<Work>,
}

impl Arrivals {
    /// The request that comes next is given up once this is ready, which resets its stream if it is not over by then. hyper
    /// calls its service for a request, and gives that request to the executor before it calls the service again.
    pub fn end_next(&self, end: impl Future<Output = ()> + Send + 'static) {
        self.0.lock().end = Some(Box::pin(end));
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Arrivals {
    fn execute(&self, work: F) {
        let mut arrived = self.0.lock();
        let mut work: Work = Box::pin(work);
        if let Some(mut end) = arrived.end.take() {
            work = Box::pin(poll_fn(move |cx| match work.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => end.as_mut().poll(cx),
            }));
        }
        arrived.works.push(work);
    }
}

/// The task of the connection.
#[derive(Default)]
struct Running {
    waker: AtomicWaker,
    is_running: AtomicBool,
}

/// Wakes the task, or only notes that there is something to look at while the task runs.
struct Bell {
    task: Arc<Running>,
    has_rung: AtomicBool,
}

impl Bell {
    fn new(task: &Arc<Running>) -> Arc<Bell> {
        Arc::new(Bell { task: Arc::clone(task), has_rung: AtomicBool::new(false) })
    }

    fn ring(&self) {
        self.has_rung.store(true, Ordering::SeqCst);
    }

    fn has_rung(&self) -> bool {
        self.has_rung.load(Ordering::SeqCst)
    }

    fn take(&self) -> bool {
        self.has_rung.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Noted first: a task that stops running looks at the note once more after that.
        self.ring();
        if !self.task.is_running.load(Ordering::SeqCst) {
            self.task.waker.wake();
        }
    }
}

/// The requests of one connection that are not answered yet. When it is dropped, nobody answers them any more.
pub struct OneTask {
    arrivals: Arrivals,
    open: FuturesUnordered<Work>,
    task: Arc<Running>,
    /// Rings when a request can go on.
    requests: Arc<Bell>,
    /// Rings when the connection can go on.
    connection: Arc<Bell>,
}

impl OneTask {
    /// Runs what these arrivals take.
    pub fn new(arrivals: Arrivals) -> OneTask {
        let task = Arc::<Running>::default();
        let (requests, connection) = (Bell::new(&task), Bell::new(&task));
        OneTask { arrivals, open: FuturesUnordered::new(), task, requests, connection }
    }

    /// Drives the connection and its requests; ready when the connection has ended.
    pub fn poll<C: Future>(&mut self, mut connection: Pin<&mut C>, cx: &mut Context<'_>) -> Poll<C::Output> {
        self.task.waker.register(cx.waker());
        self.task.is_running.store(true, Ordering::SeqCst);
        // Whoever has told the connection to end rings no bell.
        self.connection.ring();
        for _ in 0..LOOKS_MAX {
            // Requests come before the connection, so that it sends all answers which they have made.
            if self.requests.take() {
                let waker = Waker::from(Arc::clone(&self.requests));
                while let Poll::Ready(Some(())) = self.open.poll_next_unpin(&mut Context::from_waker(&waker)) {}
            }
            if !self.connection.take() {
                break;
            }
            let waker = Waker::from(Arc::clone(&self.connection));
            if let Poll::Ready(ended) = connection.as_mut().poll(&mut Context::from_waker(&waker)) {
                // Nobody runs what has come just now. A request has a clone of its executor: kept there, it would stay for ever.
                let unrun = std::mem::take(&mut *self.arrivals.0.lock());
                drop(unrun);
                return Poll::Ready(ended);
            }
            let arrived = std::mem::take(&mut self.arrivals.0.lock().works);
            if !arrived.is_empty() {
                self.open.extend(arrived);
                self.requests.ring();
            }
        }
        self.task.is_running.store(false, Ordering::SeqCst);
        if self.requests.has_rung() || self.connection.has_rung() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    #[test]
    fn what_a_request_has_ready_is_there_when_the_connection_looks_again() {
        let (arrivals, answers) = (Arrivals::default(), Arc::new(AtomicUsize::new(0)));
        let mut requests = OneTask::new(arrivals.clone());
        let mut looks = 0;
        let mut connection = pin!(poll_fn(|cx| {
            looks += 1;
            if looks > 1 {
                return Poll::Ready(answers.load(Ordering::Relaxed));
            }
            for _ in 0..3 {
                let (answers, connection) = (Arc::clone(&answers), cx.waker().clone());
                arrivals.execute(async move {
                    answers.fetch_add(1, Ordering::Relaxed);
                    connection.wake();
                });
            }
            Poll::Pending
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(requests.poll(connection.as_mut(), &mut cx), Poll::Ready(3));
        assert_eq!(looks, 2);
    }

    /// Counts how often the task is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_wakes_the_task_while_it_runs_wakes_nobody_and_is_looked_at() {
        let (arrivals, woken) = (Arrivals::default(), Arc::<Count>::default());
        let mut requests = OneTask::new(arrivals.clone());
        let body: Arc<Mutex<Option<Waker>>> = Arc::default();
        let (waits, mut looks) = (Arc::clone(&body), 0);
        let mut connection = pin!(poll_fn(|cx| {
            looks += 1;
            match looks {
                // The head of a request, and then its body, which the request waits for.
                1 => arrivals.execute({
                    let (waits, connection) = (Arc::clone(&waits), cx.waker().clone());
                    poll_fn(move |cx| {
                        connection.wake_by_ref();
                        waits.lock().replace(cx.waker().clone()).map_or(Poll::Pending, |_| Poll::Ready(()))
                    })
                }),
                2 => waits.lock().as_ref().unwrap().wake_by_ref(),
                _ => {}
            }
            Poll::<()>::Pending
        }));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(requests.poll(connection.as_mut(), &mut Context::from_waker(&waker)).is_pending());
        assert!(requests.open.is_empty(), "the request has seen its body");
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        body.lock().take().unwrap().wake();
        requests.connection.wake_by_ref();
        assert!(woken.0.load(Ordering::Relaxed) > 0, "the task does not run any more");
        assert_eq!(looks, 3);
    }

    #[test]
    fn a_connection_that_goes_on_wakes_the_task_so_that_others_have_their_turn() {
        let woken = Arc::<Count>::default();
        let mut requests = OneTask::new(Arrivals::default());
        let mut looks = 0;
        let mut connection = pin!(poll_fn(|cx| {
            looks += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(requests.poll(connection.as_mut(), &mut Context::from_waker(&waker)).is_pending());
        assert_eq!((looks, woken.0.load(Ordering::Relaxed)), (LOOKS_MAX, 1));
    }

    #[test]
    fn a_request_ends_with_its_connection() {
        let (arrivals, held) = (Arrivals::default(), Arc::new(()));
        let mut requests = OneTask::new(arrivals.clone());
        let kept = Arc::clone(&held);
        arrivals.execute(async move {
            std::future::pending::<()>().await;
            drop(kept);
        });
        let mut connection = pin!(std::future::pending::<()>());
        assert!(requests.poll(connection.as_mut(), &mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(Arc::strong_count(&held), 2);
        drop(requests);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    /// The story: a caller left just as its request had come. The request had the executor, which had the request, and the slot
    /// of the connection was never free again.
    #[test]
    fn a_request_that_comes_as_its_connection_ends_is_not_kept() {
        let (arrivals, held) = (Arrivals::default(), Arc::new(()));
        let mut requests = OneTask::new(arrivals.clone());
        let kept = (Arc::clone(&held), arrivals.clone());
        let mut connection = pin!(poll_fn(move |_| {
            let kept = kept.clone();
            arrivals.execute(async move { drop(kept) });
            Poll::Ready(())
        }));
        assert!(requests.poll(connection.as_mut(), &mut Context::from_waker(Waker::noop())).is_ready());
        drop(requests);
        assert_eq!(Arc::strong_count(&held), 2, "here and in what the connection asks with");
    }

    #[test]
    fn a_request_that_is_given_up_ends_without_its_connection_and_the_next_one_stays() {
        let (arrivals, held) = (Arrivals::default(), Arc::new(()));
        let mut requests = OneTask::new(arrivals.clone());
        arrivals.end_next(std::future::ready(()));
        for kept in [Arc::clone(&held), Arc::clone(&held)] {
            arrivals.execute(async move {
                std::future::pending::<()>().await;
                drop(kept);
            });
        }
        let mut connection = pin!(std::future::pending::<()>());
        assert!(requests.poll(connection.as_mut(), &mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!((Arc::strong_count(&held), requests.open.len()), (2, 1));
    }
}
