//! Stands between clients and a broker, and does on the way what a test tells it: lets requests or answers come late or
//! not at all, holds them back, loses an answer, or says something else than the broker said. It counts what it did, so
//! that a test knows that its fault has happened.
//!
//! Requests are named by what they ask, by the client's name, by the partition written to and by the transactional id.
//! Their order on a connection is kept, so whatever waits makes all wait that comes after it on its connection.

pub mod frame;
mod tests;

use crate::rig::Rig;
use frame::Request;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Longer than any request or answer here.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Which requests are meant: all of them, but for what is said.
#[derive(Clone, Default, Debug)]
pub struct Which {
    api: Option<i16>,
    client: Option<String>,
    place: Option<(String, i32)>,
    transaction: Option<String>,
}

impl Which {
    pub fn all() -> Which {
        Which::default()
    }

    /// Of this kind: one of [`frame`]'s numbers.
    pub fn api(api: i16) -> Which {
        Which { api: Some(api), ..Which::default() }
    }

    /// Of clients whose name ends so: `turns`, `commands`, `reader`, `replies`, `member`, `post` or `ask`.
    pub fn of(self, client: &str) -> Which {
        Which { client: Some(client.to_owned()), ..self }
    }

    /// That are about writing to this partition.
    pub fn at(self, topic: &str, partition: i32) -> Which {
        Which { place: Some((topic.to_owned(), partition)), ..self }
    }

    /// With this transactional id.
    pub fn by(self, transaction: &str) -> Which {
        Which { transaction: Some(transaction.to_owned()), ..self }
    }

    fn has(&self, request: &Request) -> bool {
        self.api.is_none_or(|api| api == request.api)
            && self.client.as_deref().is_none_or(|name| request.client.rsplit('.').next() == Some(name))
            && self.place.as_ref().is_none_or(|place| request.places.contains(place))
            && self.transaction.as_ref().is_none_or(|id| request.transaction.as_ref() == Some(id))
    }
}

/// What happens to a request or to its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing; it is only written down.
    Watch,
    /// The request comes so much later, and so does its answer.
    Late { request: Duration, answer: Duration },
    /// The request waits until the rule ends.
    Hold,
    /// The answer does.
    HoldAnswer,
    /// The request comes, the answer does not, and the connection is cut.
    LoseAnswer,
    /// The request comes and the answer does not. The connection stays as it is.
    KeepAnswer,
    /// The request does not come, and the connection is cut.
    Cut,
    /// The request comes, and the answer says this code instead. Produce only.
    Spoil(i16),
    /// The request does not come, and the answer says this code. Produce and AddPartitionsToTxn only.
    Pretend(i16),
}

impl Fault {
    /// Whether a request has at most one of these.
    fn is_fate(self) -> bool {
        !matches!(self, Fault::Watch | Fault::Late { .. } | Fault::Hold | Fault::HoldAnswer)
    }
}

struct Ruling {
    which: Which,
    fault: Fault,
    /// How many more requests it may meet.
    left: AtomicUsize,
    is_over: AtomicBool,
    /// Every request that it has met.
    met: Mutex<Vec<Request>>,
}

impl Ruling {
    fn meets(&self, request: &Request) -> bool {
        !self.is_over.load(Relaxed) && self.which.has(request)
    }

    /// Meets a request for good, if it may.
    fn meet(&self, request: &Request) -> bool {
        let less = |left: usize| left.checked_sub(1);
        if !self.meets(request) || self.left.fetch_update(Relaxed, Relaxed, less).is_err() {
            return false;
        }
        self.met.lock().push(request.clone());
        true
    }
}

/// A rule in force. It ends with this value, and whatever it holds goes on.
#[must_use = "a rule ends when it is dropped"]
pub struct Rule<'p> {
    proxy: &'p Proxy,
    ruling: Arc<Ruling>,
}

impl Rule<'_> {
    /// How many requests it has met.
    pub fn count(&self) -> usize {
        self.ruling.met.lock().len()
    }

    /// Those it has met, in order.
    pub fn met(&self) -> Vec<Request> {
        self.ruling.met.lock().clone()
    }
}

impl Drop for Rule<'_> {
    fn drop(&mut self) {
        self.ruling.is_over.store(true, Relaxed);
        let inner = &self.proxy.inner;
        inner.rulings.lock().retain(|ruling| !Arc::ptr_eq(ruling, &self.ruling));
        inner.changed.send_replace(());
    }
}

/// One proxy before one broker, on a port of its own. When it ends, so do its connections.
pub struct Proxy {
    inner: Arc<Inner>,
    /// None once it ends.
    runtime: Option<Runtime>,
}

struct Inner {
    broker: String,
    rulings: Mutex<Vec<Arc<Ruling>>>,
    changed: watch::Sender<()>,
    /// What has come and is not on its way to the broker.
    waiting: Mutex<BTreeMap<u64, Request>>,
    number: AtomicU64,
    /// The first thing that was not understood.
    broken: Mutex<Option<String>>,
}

impl Proxy {
    /// For the clients of a rig that has a listener for them.
    pub fn start(rig: &Rig) -> Proxy {
        Proxy::between(&rig.proxied_broker(), &rig.behind_proxy())
    }

    fn between(listens_at: &str, broker: &str) -> Proxy {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inner = Arc::new(Inner {
            broker: broker.to_owned(),
            rulings: Mutex::default(),
            changed: watch::channel(()).0,
            waiting: Mutex::default(),
            number: AtomicU64::default(),
            broken: Mutex::default(),
        });
        let listener = runtime.block_on(TcpListener::bind(listens_at)).unwrap();
        let accepting = Arc::clone(&inner);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(Arc::clone(&accepting), client));
            }
        });
        Proxy { inner, runtime: Some(runtime) }
    }

    /// Has this happen to every such request from now on.
    pub fn every(&self, which: Which, fault: Fault) -> Rule<'_> {
        self.next(usize::MAX, which, fault)
    }

    /// Has this happen to the next so many of them.
    pub fn next(&self, count: usize, which: Which, fault: Fault) -> Rule<'_> {
        let (left, is_over, met) = (AtomicUsize::new(count), AtomicBool::new(false), Mutex::default());
        let ruling = Arc::new(Ruling { which, fault, left, is_over, met });
        self.inner.rulings.lock().push(Arc::clone(&ruling));
        self.inner.changed.send_replace(());
        Rule { proxy: self, ruling }
    }

    /// How many of these have come and are not on their way to the broker, whatever they wait for.
    pub fn waiting(&self, which: &Which) -> usize {
        self.inner.waiting.lock().values().filter(|request| which.has(request)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let broken = self.inner.broken.lock().take();
        if let Some(broken) = broken.filter(|_| !std::thread::panicking()) {
            panic!("the proxy did not understand a client: {broken}");
        }
    }
}

impl Inner {
    fn rulings(&self) -> Vec<Arc<Ruling>> {
        self.rulings.lock().clone()
    }

    /// What was not understood ends its connection, and then the test.
    fn understand<T>(&self, read: Result<T, String>) -> io::Result<T> {
        read.map_err(|why| {
            self.broken.lock().get_or_insert_with(|| why.clone());
            io::Error::other(why)
        })
    }

    /// How late a request comes, and its answer.
    fn lateness(&self, request: &Request) -> (Duration, Duration) {
        let late = |ruling: &Arc<Ruling>| match ruling.fault {
            Fault::Late { request: there, answer: back } => ruling.meet(request).then_some((there, back)),
            _ => None,
        };
        let rulings = self.rulings();
        let all = rulings.iter().filter_map(late);
        all.fold(Default::default(), |(there, back), late| (there.max(late.0), back.max(late.1)))
    }

    /// Returns when nothing holds the request, or its answer, any more.
    async fn held(&self, request: &Request, by: Fault) {
        let (mut changes, mut has_met) = (self.changed.subscribe(), Vec::new());
        loop {
            changes.mark_unchanged();
            let holds = |ruling: &Arc<Ruling>| ruling.fault == by && ruling.meets(request);
            let holding: Vec<_> = self.rulings().into_iter().filter(holds).collect();
            let is_met = |ruling: &Arc<Ruling>| has_met.iter().any(|met| Arc::ptr_eq(met, ruling));
            let new: Vec<_> = holding.into_iter().filter(|ruling| is_met(ruling) || ruling.meet(request)).collect();
            if new.is_empty() || changes.changed().await.is_err() {
                return;
            }
            has_met = new;
        }
    }

    /// What becomes of a request that is about to go on.
    fn fate(&self, request: &Request) -> Option<Fault> {
        let rulings = self.rulings();
        rulings.iter().filter(|ruling| ruling.fault == Fault::Watch).for_each(|ruling| {
            ruling.meet(request);
        });
        rulings.iter().find(|ruling| ruling.fault.is_fate() && ruling.meet(request)).map(|ruling| ruling.fault)
    }
}

/// A request that has come, as it stands in [`Inner::waiting`].
struct Waiting {
    inner: Arc<Inner>,
    number: u64,
    request: Request,
}

impl Waiting {
    fn new(inner: &Arc<Inner>, request: Request) -> Waiting {
        let number = inner.number.fetch_add(1, Relaxed);
        inner.waiting.lock().insert(number, request.clone());
        Waiting { inner: Arc::clone(inner), number, request }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.inner.waiting.lock().remove(&self.number);
    }
}

/// A request on its way to the broker.
struct Came {
    at: Instant,
    waiting: Waiting,
    frame: Vec<u8>,
}

/// An answer that is owed.
struct Owed {
    request: Request,
    fate: Option<Fault>,
    late: Duration,
    /// What is said instead of asking the broker.
    instead: Option<Vec<u8>>,
}

/// An answer on its way to the client.
struct Answer {
    at: Instant,
    owed: Owed,
    frame: Vec<u8>,
}

/// Carries one connection until either side, or a fault, ends it.
async fn carry(inner: Arc<Inner>, client: TcpStream) {
    let Ok(broker) = TcpStream::connect(&inner.broker).await else { return };
    for stream in [&client, &broker] {
        // A connection that is gone already is seen at once.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let (came, to_go) = unbounded_channel();
    let (owed, owing) = unbounded_channel();
    let (answered, answers) = unbounded_channel();
    // The first to end ends all; what it says is of no interest, for the connection is gone.
    tokio::select! {
        _ = take_requests(&inner, from_client, came) => {}
        _ = send_requests(&inner, to_go, to_broker, owed) => {}
        _ = take_answers(from_broker, owing, answered) => {}
        _ = send_answers(&inner, answers, to_client) => {}
    }
}

fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

async fn take_requests(inner: &Arc<Inner>, mut from: OwnedReadHalf, came: UnboundedSender<Came>) -> io::Result<()> {
    loop {
        let frame = read(&mut from).await?;
        let waiting = Waiting::new(inner, inner.understand(Request::read(&frame))?);
        came.send(Came { at: Instant::now(), waiting, frame }).map_err(|_| gone())?;
    }
}

async fn send_requests(
    inner: &Inner,
    mut came: UnboundedReceiver<Came>,
    mut to: OwnedWriteHalf,
    owed: UnboundedSender<Owed>,
) -> io::Result<()> {
    while let Some(Came { at, waiting, frame }) = came.recv().await {
        let request = waiting.request.clone();
        let (late, answer_late) = inner.lateness(&request);
        sleep_until(at + late).await;
        inner.held(&request, Fault::Hold).await;
        let fate = inner.fate(&request);
        drop(waiting);
        let instead = match fate {
            Some(Fault::Cut) => return Ok(()),
            Some(Fault::Pretend(code)) => Some(inner.understand(request.answer(code))?),
            _ => None,
        };
        let is_asked = instead.is_none();
        // It is owed before it can come.
        owed.send(Owed { request, fate, late: answer_late, instead }).map_err(|_| gone())?;
        if is_asked {
            write(&mut to, &frame).await?;
        }
    }
    Ok(())
}

async fn take_answers(
    mut from: OwnedReadHalf,
    mut owing: UnboundedReceiver<Owed>,
    answered: UnboundedSender<Answer>,
) -> io::Result<()> {
    let mut first = [0];
    loop {
        let owed = tokio::select! {
            biased;
            owed = owing.recv() => owed.ok_or_else(gone)?,
            ended = from.peek(&mut first) => match ended? {
                0 => return Ok(()),
                _ => continue,
            },
        };
        let frame = match &owed.instead {
            Some(instead) => instead.clone(),
            None => read(&mut from).await?,
        };
        answered.send(Answer { at: Instant::now(), owed, frame }).map_err(|_| gone())?;
    }
}

async fn send_answers(inner: &Inner, mut answers: UnboundedReceiver<Answer>, mut to: OwnedWriteHalf) -> io::Result<()> {
    while let Some(Answer { at, owed: Owed { request, fate, late, .. }, mut frame }) = answers.recv().await {
        sleep_until(at + late).await;
        inner.held(&request, Fault::HoldAnswer).await;
        match fate {
            Some(Fault::LoseAnswer) => return to.shutdown().await,
            Some(Fault::KeepAnswer) => continue,
            Some(Fault::Spoil(code)) => drop(inner.understand(request.spoil(&mut frame, code))?),
            _ => {}
        }
        write(&mut to, &frame).await?;
    }
    Ok(())
}

/// What comes after a length.
async fn read(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(to: &mut OwnedWriteHalf, frame: &[u8]) -> io::Result<()> {
    let mut whole = u32::try_from(frame.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    whole.extend(frame);
    to.write_all(&whole).await
}
