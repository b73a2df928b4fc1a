//! The thread that folds a fresh state when an operator asks for it.

use super::owner::OwnerContext;
use super::spawn;
use crate::owner::begin::{Beginning, Looked};
use crate::owner::swap::{Course, Reached, Swap};
use crate::replica::{PartitionHandle, Replica};
use crate::service::swap::{SwapBegun, SwapEnd, SwapFailed, SwapProgress, Swaps};
use crate::time::Stopwatch;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

/// Makes fresh states, one at a time.
pub(super) struct Swapping {
    ending: Arc<AtomicBool>,
    work: Mutex<Work>,
}

struct Work {
    /// What a swap needs; none once the process ends.
    parts: Option<(Arc<OwnerContext>, Arc<Replica>)>,
    /// The last swap of each partition.
    runs: BTreeMap<u32, Arc<Run>>,
    thread: Option<JoinHandle<()>>,
}

/// A swap that is under way, or what came of it.
#[derive(Default)]
struct Run {
    course: Course,
    told: Mutex<Told>,
}

struct Told {
    since: Stopwatch,
    began_with: (Option<String>, Vec<String>),
    ended: Option<(SwapEnd, u64)>,
}

impl Default for Told {
    fn default() -> Told {
        Told { since: Stopwatch::start(), began_with: (None, Vec::new()), ended: None }
    }
}

impl Swapping {
    pub(super) fn new(context: &Arc<OwnerContext>, replica: &Arc<Replica>) -> Arc<Swapping> {
        let parts = Some((Arc::clone(context), Arc::clone(replica)));
        let work = Work { parts, runs: BTreeMap::new(), thread: None };
        Arc::new(Swapping { ending: Arc::default(), work: Mutex::new(work) })
    }

    /// Ends a swap that is under way, and lets go of what swaps need; returns whether its thread ended cleanly. It is called before
    /// owners end, one of which a swap may hold back, and before the thread of checkpoints does, which ends when all have let go.
    pub(super) fn end(&self) -> bool {
        self.ending.store(true, Relaxed);
        let thread = {
            let mut work = self.work.lock();
            work.parts = None;
            work.thread.take()
        };
        thread.is_none_or(|thread| {
            thread.thread().unpark();
            thread.join().is_ok()
        })
    }
}

impl Swaps for Swapping {
    fn begin(&self, partition: u32, ended: Box<dyn FnOnce(&SwapEnd) + Send>) -> SwapBegun {
        let mut work = self.work.lock();
        if work.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return SwapBegun::Busy;
        }
        let Some((context, replica)) = &work.parts else { return SwapBegun::Unable };
        let Some(handle) = replica.partition(partition).cloned() else { return SwapBegun::Unable };
        let (run, context, is_over) = (Arc::<Run>::default(), Arc::clone(context), Arc::clone(&self.ending));
        let began = Arc::clone(&run);
        let thread = spawn(&format!("swap-{partition}"), move || {
            let end = swap(&context, &handle, &run, &is_over);
            ended(&end);
            let mut told = run.told.lock();
            told.ended = Some((end, took_ms(&told)));
        });
        let Ok(thread) = thread else { return SwapBegun::Unable };
        work.thread = Some(thread);
        work.runs.insert(partition, began);
        SwapBegun::Begun
    }

    fn progress(&self, partition: u32) -> Option<SwapProgress> {
        let run = self.work.lock().runs.get(&partition).cloned()?;
        let told = run.told.lock();
        let Reached { first, reached, end, bytes } = run.course.now();
        let (snapshot, passed_over) = told.began_with.clone();
        let took_ms = told.ended.as_ref().map_or_else(|| took_ms(&told), |(_, took_ms)| *took_ms);
        let ended = told.ended.as_ref().map(|(end, _)| end.clone());
        Some(SwapProgress { snapshot, passed_over, first, reached, end, bytes, took_ms, ended })
    }
}

fn took_ms(told: &Told) -> u64 {
    told.since.now().0 / 1_000
}

fn swap(context: &OwnerContext, handle: &Arc<PartitionHandle>, run: &Run, is_over: &AtomicBool) -> SwapEnd {
    let tail = run.course.counting(context.tail.as_ref(), is_over);
    let swap = Swap {
        beginning: Beginning { log_id: context.log_id, tail: &tail, snapshots: context.snapshots.as_deref() },
        handle,
        report: context.metrics.as_ref(),
        course: &run.course,
        is_over,
    };
    let begun = |looked: &Looked| {
        let snapshot = looked.taken.as_ref().map(|(name, _)| name.text.clone());
        run.told.lock().began_with = (snapshot, looked.passed_over.clone());
    };
    swap.run(begun).map_err(|not| {
        let (partition, code, why) = (handle.id(), not.code(), not.why());
        tracing::warn!(partition, code, why, "no fresh state has taken the place of the one in memory");
        SwapFailed { code, why }
    })
}
