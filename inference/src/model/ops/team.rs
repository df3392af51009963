//! The compute threads: a small team that shares the tasks of one operation at a time. Between two operations they spin for a
//! moment, then sleep. A task is taken by whoever is free, so that a thread which the system keeps from running holds up no
//! more than the task it has in hand. Nothing here knows what is computed.

use std::{
    any::Any,
    hint::spin_loop,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, TryLockError,
        atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use super::processors::processors;

/// How often a thread looks for the next operation before it sleeps: some 200 microseconds, more than the caller takes alone
/// between two operations. To sleep and be woken in between costs tens of microseconds each time, a hundred times a step.
const SPINS: u32 = 10_000;

/// Threads that were asked for.
static THREADS: OnceLock<usize> = OnceLock::new();

/// Sets the number of compute threads, rayon's as well: those asked for, or one for each processor that this process may use, by
/// its affinity and its cgroup's quota. The first call counts, and only before anything runs on [`team`] or on rayon's pool.
pub(in crate::model) fn set_threads(asked: Option<usize>) {
    let threads = *THREADS.get_or_init(|| asked.unwrap_or_else(processors));
    // Fails where it was called before: the pool is there.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global();
    let pool = rayon::current_num_threads();
    if pool != threads {
        tracing::warn!(
            "{threads} threads compute, but {pool} sample and read quantized weights: they began before"
        );
    }
}

/// The team of this process.
pub(in crate::model) fn team() -> &'static Team {
    static TEAM: OnceLock<Team> = OnceLock::new();
    TEAM.get_or_init(|| Team::new(*THREADS.get_or_init(processors)))
}

/// Threads that run the tasks of an operation, the caller's among them.
pub(in crate::model) struct Team {
    shared: Arc<Shared>,
    /// Held while an operation runs.
    turn: Mutex<()>,
    threads: usize,
}

/// What caller and workers see.
struct Shared {
    /// Tasks of the operation in the upper half, those taken in the lower.
    state: AtomicU64,
    /// The operation; valid while one of its tasks is taken and not done.
    job: AtomicPtr<Job<'static>>,
    /// Tasks that are done.
    done: AtomicU32,
    /// Workers asleep, or about to be.
    sleepers: AtomicUsize,
    /// What they sleep on.
    wake: AtomicU32,
    /// The team is gone.
    closed: AtomicU32,
}

/// One operation. It lives on the caller's stack.
struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Team {
    fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: AtomicPtr::new(ptr::null_mut()),
            done: AtomicU32::new(0),
            sleepers: AtomicUsize::new(0),
            wake: AtomicU32::new(0),
            closed: AtomicU32::new(0),
        });
        let worker = |index: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("compute-{index}"))
                .spawn(move || shared.work())
        };
        // Without a worker the others do its tasks.
        let workers = (1..threads).map(worker).filter(Result::is_ok).count();
        Self {
            shared,
            turn: Mutex::new(()),
            threads: workers + 1,
        }
    }

    /// Threads of the team.
    pub(in crate::model) fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `task` for every number below `tasks`, in any order, on any thread; returns when all are done.
    /// One operation has the team at a time: who comes while it is taken runs all tasks alone.
    ///
    /// # Panics
    /// When a task panicked, with its payload, once no task runs any more.
    pub(in crate::model) fn run(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        if tasks <= 1 || self.threads == 1 {
            return (0..tasks).for_each(task);
        }
        match self.turn() {
            Some(turn) => self.share(tasks, &task, turn),
            None => (0..tasks).for_each(task),
        }
    }

    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn share(&self, tasks: usize, task: &(dyn Fn(usize) + Sync), turn: MutexGuard<'_, ()>) {
        let shared = &*self.shared;
        let count = u32::try_from(tasks).expect("an operation has fewer than 2^32 tasks");
        let job = Job {
            task,
            panic: Mutex::new(None),
        };
        shared.done.store(0, Ordering::Relaxed);
        shared
            .job
            .store(ptr::from_ref(&job).cast_mut().cast(), Ordering::Relaxed);
        // Sequentially consistent, as is the count of sleepers: a worker sees the tasks, or we see it asleep.
        shared.state.store(u64::from(count) << 32, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            shared.wake.fetch_add(1, Ordering::SeqCst);
            atomic_wait::wake_all(&shared.wake);
        }
        while shared.take_task() {}
        shared.await_done(count);
        drop(turn);
        let panic = job.panic.into_inner().unwrap_or_else(|e| e.into_inner());
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.closed.store(1, Ordering::SeqCst);
        self.shared.wake.fetch_add(1, Ordering::SeqCst);
        atomic_wait::wake_all(&self.shared.wake);
    }
}

/// Whether a task of this state can be taken.
fn is_open(state: u64) -> bool {
    state as u32 != (state >> 32) as u32
}

impl Shared {
    /// A worker's life.
    fn work(&self) {
        while self.closed.load(Ordering::Relaxed) == 0 {
            if !self.take_task() {
                self.await_tasks();
            }
        }
    }

    /// Takes a task and runs it. False: there is none.
    fn take_task(&self) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if !is_open(state) {
                return false;
            }
            let taken = self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        let job = self.job.load(Ordering::Relaxed);
        #[expect(unsafe_code, reason = "workers see an operation on the caller's stack")]
        // SAFETY: a task was taken and is not done. The caller stored `job` before it released the state that the task was
        // taken from, and does not return, nor store another, before `done` has counted this task.
        let job = unsafe { &*job };
        let run = catch_unwind(AssertUnwindSafe(|| (job.task)(state as u32 as usize)));
        if let Err(payload) = run {
            let mut panic = job.panic.lock().unwrap_or_else(|e| e.into_inner());
            match *panic {
                None => *panic = Some(payload),
                // Dropping it might panic as well.
                Some(_) => std::mem::forget(payload),
            }
        }
        // From here on `job` may be gone.
        let count = (state >> 32) as u32;
        if self.done.fetch_add(1, Ordering::AcqRel) + 1 == count {
            atomic_wait::wake_all(&self.done);
        }
        true
    }

    /// Waits for tasks: awake for a moment, then asleep.
    fn await_tasks(&self) {
        for _ in 0..SPINS {
            if is_open(self.state.load(Ordering::Relaxed)) {
                return;
            }
            spin_loop();
        }
        let seen = self.wake.load(Ordering::SeqCst);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let nothing = !is_open(self.state.load(Ordering::SeqCst));
        if nothing && self.closed.load(Ordering::SeqCst) == 0 {
            atomic_wait::wait(&self.wake, seen);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until all tasks are done; all of them are in hand.
    fn await_done(&self, count: u32) {
        for _ in 0..SPINS {
            if self.done.load(Ordering::Acquire) == count {
                return;
            }
            spin_loop();
        }
        loop {
            let done = self.done.load(Ordering::Acquire);
            if done == count {
                return;
            }
            atomic_wait::wait(&self.done, done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every task of many operations, once each.
    fn check_every_task_runs_once(team: &Team) {
        for tasks in [0, 1, 2, 3, 17, 1000] {
            let counts: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
            team.run(tasks, |task| {
                counts[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn every_task_runs_once_whatever_the_size_of_the_team() {
        for threads in [1, 2, 3, 8] {
            let team = Team::new(threads);
            assert_eq!(team.threads(), threads);
            for _ in 0..200 {
                check_every_task_runs_once(&team);
            }
        }
    }

    #[test]
    fn callers_that_come_at_once_all_get_their_tasks_done() {
        let team = Team::new(3);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| check_every_task_runs_once(&team)));
            }
        });
    }

    #[test]
    fn a_task_may_run_an_operation_of_its_own() {
        let team = Team::new(2);
        let count = AtomicU32::new(0);
        team.run(4, |_| {
            team.run(5, |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(count.load(Ordering::Relaxed), 20);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new(2);
        for _ in 0..50 {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                team.run(64, |task| assert_ne!(task, 31, "thirty-one"));
            }));
            let payload = panic.unwrap_err();
            let message = payload.downcast_ref::<String>().unwrap();
            assert!(message.contains("thirty-one"));
            check_every_task_runs_once(&team);
        }
    }

    /// Workers are asleep at the end of each pause; none misses the next operation.
    #[test]
    fn sleeping_workers_wake_for_the_next_operation() {
        let team = Team::new(4);
        for _ in 0..20 {
            let asleep = || team.shared.sleepers.load(Ordering::SeqCst) == 3;
            while !asleep() {
                thread::yield_now();
            }
            check_every_task_runs_once(&team);
        }
    }
}
