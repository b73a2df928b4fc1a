//! Runs the requests of a connection in the task of the connection.
//!
//! hyper gives each request of HTTP/2 to an executor. A task for each of them costs two changes of task for each answer, and
//! a write of its own: the connection's task sends what is there as soon as one answer is made. Here the answers that were
//! made in one go, such as those of one commit, leave in one write. The requests of one connection use one core at a time.

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::rt::Executor;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What is left to do for one request.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the requests of one connection.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Work>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Arrivals {
    fn execute(&self, work: F) {
        self.0.lock().push(Box::pin(work));
    }
}

/// The requests of one connection that are not answered yet. When it is dropped, nobody answers them any more.
pub struct OneTask {
    arrivals: Arrivals,
    open: FuturesUnordered<Work>,
}

impl OneTask {
    /// Runs what these arrivals take.
    pub fn new(arrivals: Arrivals) -> OneTask {
        OneTask { arrivals, open: FuturesUnordered::new() }
    }

    /// Drives the connection and its requests; ready when the connection has ended. Requests come before the connection, so
    /// that it sends all answers which they have made.
    pub fn poll<C: Future>(&mut self, mut connection: Pin<&mut C>, cx: &mut Context<'_>) -> Poll<C::Output> {
        loop {
            while let Poll::Ready(Some(())) = self.open.poll_next_unpin(cx) {}
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            let arrived = std::mem::take(&mut *self.arrivals.0.lock());
            if arrived.is_empty() {
                return Poll::Pending;
            }
            self.open.extend(arrived);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    #[test]
    fn what_a_request_has_ready_is_there_when_the_connection_looks_again() {
        let (arrivals, answers) = (Arrivals::default(), Arc::new(AtomicUsize::new(0)));
        let mut requests = OneTask::new(arrivals.clone());
        let mut looks = 0;
        let mut connection = pin!(poll_fn(|_| {
            looks += 1;
            if looks > 1 {
                return Poll::Ready(answers.load(Ordering::Relaxed));
            }
            for _ in 0..3 {
                let answers = Arc::clone(&answers);
                arrivals.execute(async move {
                    answers.fetch_add(1, Ordering::Relaxed);
                });
            }
            Poll::Pending
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(requests.poll(connection.as_mut(), &mut cx), Poll::Ready(3));
        assert_eq!(looks, 2);
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
}
