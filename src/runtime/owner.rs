// SPDX-License-Identifier: Apache-2.0
//! The owner of every task and thread: whoever starts one says its name, and `stop` waits for all of them.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::clock::{Parker, SharedClock};
use super::fatal::or_abort;
use super::shutdown::Shutdown;

/// Cheap to clone; all clones own the same tasks and threads.
#[derive(Clone, Debug)]
pub struct Runtime(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    handle: tokio::runtime::Handle,
    /// Threads for connections; without them connections run where everything else does.
    reactors: OnceLock<Vec<Arc<Reactor>>>,
    tasks: TaskTracker,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    /// Threads wait on these; a stop rings them all, so that no thread sleeps through it.
    parkers: Mutex<Vec<Parker>>,
    shutdown: Shutdown,
    clock: SharedClock,
}

/// A thread that looks for what has arrived for its connections, and runs their tasks: none is handed to another thread.
#[derive(Debug)]
struct Reactor {
    handle: tokio::runtime::Handle,
    connections_count: AtomicUsize,
}

/// A connection's place on a reactor, until dropped.
#[derive(Debug)]
pub struct Seat {
    runtime: Runtime,
    reactor: Option<Arc<Reactor>>,
}

impl Seat {
    fn handle(&self) -> &tokio::runtime::Handle {
        self.reactor.as_ref().map_or(&self.runtime.0.handle, |reactor| &reactor.handle)
    }

    /// What is registered inside `register` (a socket) is looked after by the reactor.
    pub fn register<T>(&self, register: impl FnOnce() -> T) -> T {
        let _entered = self.handle().enter();
        register()
    }

    /// As `Runtime::spawn`, on the reactor.
    pub fn spawn<F>(self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let handle = self.handle().clone();
        let tasks = self.runtime.0.tasks.clone();
        let seated = async move {
            let output = future.await;
            drop(self);
            output
        };
        Task(tasks.spawn_on(CaughtTask { name, future: Box::pin(seated) }, &handle))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(reactor) = &self.reactor {
            reactor.connections_count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A spawned task; dropping it lets the task run on (the runtime owns it).
#[derive(Debug)]
pub struct Task<T>(tokio::task::JoinHandle<Option<T>>);

impl<T> Task<T> {
    /// Ends the task at its next `.await`.
    pub fn abort(&self) {
        self.0.abort();
    }

    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// The task's result; `None` when it panicked (already logged) or was aborted.
    pub async fn join(self) -> Option<T> {
        self.0.await.ok().flatten()
    }
}

impl Runtime {
    /// Owns what will run on the tokio runtime behind `handle`.
    pub fn new(handle: tokio::runtime::Handle, clock: SharedClock) -> Self {
        Self(Arc::new(Owned {
            handle,
            reactors: OnceLock::new(),
            tasks: TaskTracker::new(),
            threads: Mutex::new(Vec::new()),
            parkers: Mutex::new(Vec::new()),
            shutdown: Shutdown::new(),
            clock,
        }))
    }

    /// On the tokio runtime that the caller runs in (tests, `main`).
    pub fn current(clock: SharedClock) -> Self {
        Self::new(tokio::runtime::Handle::current(), clock)
    }

    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    /// Gives connections threads of their own, as many as the runtime has: a wake on the thread that runs the task costs no switch, and
    /// two that share their tasks wake each other for every second message. `tasks_per_look`: so many run before it is looked for what
    /// has arrived meanwhile.
    pub fn start_reactors(&self, tasks_per_look: u32) -> io::Result<()> {
        let mut reactors = Vec::new();
        for _ in 0..self.0.handle.metrics().num_workers() {
            let reactor = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(tasks_per_look).build()?;
            reactors.push(Arc::new(Reactor { handle: reactor.handle().clone(), connections_count: AtomicUsize::new(0) }));
            let tasks = self.0.tasks.clone();
            // It ends when the stop has begun and no task is left.
            self.thread("reactor", move || reactor.block_on(tasks.wait()))?;
        }
        assert!(self.0.reactors.set(reactors).is_ok(), "reactors are started once");
        Ok(())
    }

    /// On the reactor with the fewest connections.
    pub fn seat(&self) -> Seat {
        let reactors = self.0.reactors.get().map_or(&[][..], Vec::as_slice);
        let reactor = reactors.iter().min_by_key(|reactor| reactor.connections_count.load(Ordering::Relaxed)).cloned();
        if let Some(reactor) = &reactor {
            reactor.connections_count.fetch_add(1, Ordering::Relaxed);
        }
        Seat { runtime: self.clone(), reactor }
    }

    /// What is registered inside `register` (a socket) is looked after by the runtime's own threads.
    pub fn register<T>(&self, register: impl FnOnce() -> T) -> T {
        let _entered = self.0.handle.enter();
        register()
    }

    /// Starts a task. A panic in it is logged with its name and ends only the task: what it served asks again.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task(self.0.tasks.spawn_on(CaughtTask { name, future: Box::pin(future) }, &self.0.handle))
    }

    /// Starts a task that runs as long as the process: nobody would notice that it is gone, so a panic in it ends the process.
    pub fn spawn_essential<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut future = Box::pin(future);
        self.spawn(name, std::future::poll_fn(move |context| or_abort(name, || future.as_mut().poll(context))))
    }

    /// Runs something that may block (a cold read, a file) on the pool for that.
    pub fn spawn_blocking<F, T>(&self, name: &'static str, work: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let caught = move || match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Some(result),
            Err(_) => {
                error!(work = name, "blocking work panicked");
                None
            }
        };
        Task(self.0.tasks.spawn_blocking_on(caught, &self.0.handle))
    }

    /// Starts a named thread; it must end soon after `shutdown` begins. A panic in it ends the process, as in an essential task.
    pub fn thread<F>(&self, name: &str, work: F) -> io::Result<()>
    where
        F: FnOnce() + Send + 'static,
    {
        let of = name.to_owned();
        let handle = thread::Builder::new().name(name.to_owned()).spawn(move || or_abort(&of, work))?;
        self.0.threads.lock().push(handle);
        Ok(())
    }

    /// A bell for a thread, rung by the stop as well.
    pub fn parker(&self) -> Parker {
        let parker = Parker::new();
        self.0.parkers.lock().push(parker.clone());
        if self.0.shutdown.has_begun() {
            parker.unpark();
        }
        parker
    }

    /// Says stop and waits until every task and thread has ended, for at most `patience`. False when something is left.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.0.shutdown.begin();
        self.0.parkers.lock().iter().for_each(Parker::unpark);
        self.0.tasks.close();
        let all_ended = async {
            self.0.tasks.wait().await;
            loop {
                let next = self.0.threads.lock().pop();
                let Some(thread) = next else { break };
                let name = thread.thread().name().unwrap_or("unnamed").to_owned();
                match self.0.handle.spawn_blocking(move || thread.join().is_err()).await {
                    Ok(false) => {}
                    _ => error!(thread = name, "a thread ended by a panic"),
                }
            }
        };
        let ended = tokio::time::timeout(patience, all_ended).await.is_ok();
        if !ended {
            warn!(tasks_left = self.0.tasks.len(), threads_left = self.0.threads.lock().len(), "stopped waiting");
        }
        ended
    }
}

struct CaughtTask<F> {
    name: &'static str,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for CaughtTask<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.future.as_mut();
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(_) => {
                error!(task = self.name, "a task panicked");
                Poll::Ready(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SystemClock;

    #[tokio::test]
    async fn stop_waits_for_tasks_and_rings_parked_threads() {
        let runtime = Runtime::current(SystemClock::shared());
        let shutdown = runtime.shutdown().clone();
        runtime.spawn("waits for the stop", async move { shutdown.begun().await });
        let (parker, shutdown) = (runtime.parker(), runtime.shutdown().clone());
        let clock = runtime.clock().clone();
        runtime
            .thread("parked", move || {
                while !shutdown.has_begun() {
                    clock.park(&parker, Duration::from_secs(600));
                }
            })
            .unwrap();
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn stop_gives_up_on_what_does_not_end() {
        let runtime = Runtime::current(SystemClock::shared());
        let stuck = runtime.spawn("stuck", std::future::pending::<()>());
        assert!(!runtime.stop(Duration::from_millis(20)).await);
        stuck.abort();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_sit_on_the_reactor_with_the_fewest_until_the_stop() {
        let runtime = Runtime::current(SystemClock::shared());
        runtime.start_reactors(4).unwrap();
        let here = |runtime: &Runtime, ends: bool| {
            let shutdown = runtime.shutdown().clone();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let task = runtime.seat().spawn("connection", async move {
                sender.send((thread::current().id(), thread::current().name().map(str::to_owned))).unwrap();
                if !ends {
                    shutdown.begun().await;
                }
            });
            (receiver, task)
        };
        let (first, _first) = here(&runtime, false);
        let (second, _second) = here(&runtime, false);
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert_ne!(first.0, second.0);
        assert_eq!((first.1.as_deref(), second.1.as_deref()), (Some("reactor"), Some("reactor")));
        for _ in 0..3 {
            let (third, task) = here(&runtime, true);
            let third = third.await.unwrap();
            assert!(task.join().await.is_some());
            assert_eq!(third.0, first.0, "the one before it has left its seat");
        }
        assert!(runtime.stop(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_task() {
        let runtime = Runtime::current(SystemClock::shared());
        let panics = runtime.spawn("panics", async { panic!("on purpose") });
        let panics: Option<()> = panics.join().await;
        assert_eq!(panics, None);
        assert_eq!(runtime.spawn("lives", async { 7 }).join().await, Some(7));
        assert_eq!(runtime.spawn_blocking("blocks", || 8).join().await, Some(8));
    }
}
