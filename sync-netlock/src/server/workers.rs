//! The workers, which serve the connections. The first is the runtime that runs the server. Each
//! other one is a thread with a runtime of its own, which a connection never leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use distsync_core::spi::clock::Source;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Starts the task of a connection on the runtime of a worker.
pub(super) type Job = Box<dyn FnOnce(&mut JoinSet<()>) + Send>;

/// The most workers. A larger number is most likely a mistake, and each is a thread.
pub(super) const WORKERS_MAX: usize = 1_024;

/// The workers of a running server. Dropping it ends all threads and their connections.
#[derive(Debug)]
pub(super) struct Workers {
    /// Counts the connections of the runtime that runs the server.
    own: Load,
    threads: Vec<Worker>,
    /// Ends the threads without waiting for their connections.
    abort: CancellationToken,
    /// Receives the number of each thread that has ended.
    ended: UnboundedReceiver<usize>,
    ended_sender: UnboundedSender<usize>,
}

/// The number of connections of a worker.
#[derive(Clone, Debug, Default)]
struct Load(Arc<AtomicUsize>);

/// Counts one connection for its worker, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat(Load);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take_seat(&self) -> Seat {
        self.0.fetch_add(1, Ordering::Relaxed);
        Seat(self.clone())
    }
}

/// A thread that serves connections.
#[derive(Debug)]
struct Worker {
    number: usize,
    load: Load,
    /// Starts connections. `None` once the server stops.
    jobs: Option<UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// Where a connection is served.
pub(super) enum Place<'w> {
    /// On the runtime that runs the server.
    Here,
    /// On a thread, which takes jobs.
    Thread(&'w UnboundedSender<Job>),
}

/// Reports the end of a thread when it is dropped, also by a panic.
struct Ended {
    number: usize,
    sender: UnboundedSender<usize>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // An error means that the server has ended too.
        let _ = self.sender.send(self.number);
    }
}

impl Workers {
    /// Starts so many workers, less the one that is the runtime of the caller. If the system allows
    /// fewer threads, there are fewer workers.
    pub(super) fn start(count: usize) -> Self {
        let (ended_sender, ended) = unbounded_channel();
        let mut workers = Self {
            own: Load::default(),
            threads: Vec::new(),
            abort: CancellationToken::new(),
            ended,
            ended_sender,
        };
        for number in 1..count {
            if !workers.start_thread(number) {
                break;
            }
        }
        workers
    }

    /// Returns whether the thread could be started.
    fn start_thread(&mut self, number: usize) -> bool {
        match self.thread(number) {
            Ok(worker) => {
                self.threads.push(worker);
                true
            }
            Err(error) => {
                warn!(%error, number, "cannot start a worker, and the others serve its connections: raise the limits of threads and open files");
                false
            }
        }
    }

    fn thread(&self, number: usize) -> std::io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (jobs, received) = unbounded_channel();
        let (abort, clock) = (self.abort.clone(), Source::current());
        let ended = Ended {
            number,
            sender: self.ended_sender.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("netlock-io-{number}"))
            .spawn(move || {
                // Dropped last, after the runtime and its connections.
                let _ended = ended;
                clock.install();
                serve(runtime, received, &abort);
            })?;
        Ok(Worker {
            number,
            load: Load::default(),
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Chooses the worker with the fewest connections for one more. Among equals, it is the runtime
    /// that runs the server, so that a single connection needs no other thread.
    pub(super) fn place(&self) -> (Place<'_>, Seat) {
        let least = self
            .threads
            .iter()
            .filter_map(|worker| Some((worker.jobs.as_ref()?, &worker.load)))
            .min_by_key(|(_, load)| load.get());
        match least {
            Some((jobs, load)) if load.get() < self.own.get() => {
                (Place::Thread(jobs), load.take_seat())
            }
            _ => (Place::Here, self.own.take_seat()),
        }
    }

    /// Returns the number of connections of all workers.
    pub(super) fn connections(&self) -> usize {
        let threads = self.threads.iter().map(|worker| worker.load.get());
        self.own.get() + threads.sum::<usize>()
    }

    /// Waits until a thread has ended, and returns its number.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn ended(&mut self) -> usize {
        match self.ended.recv().await {
            Some(number) => number,
            // Not reached, because this has a sender too.
            None => std::future::pending().await,
        }
    }

    /// Starts a thread again that has ended although the server runs. Its connections are closed,
    /// and their clients connect again.
    pub(super) fn restart(&mut self, number: usize) {
        error!(
            number,
            "a worker has ended by a fault, its connections are closed, and it is started again: report this"
        );
        self.threads.retain(|worker| worker.number != number);
        self.start_thread(number);
    }

    /// Waits until the connections of all threads have ended. No connection can be added any more.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn drain(&mut self) {
        for worker in &mut self.threads {
            worker.jobs = None;
        }
        while !self.threads.is_empty() {
            let number = self.ended().await;
            self.threads.retain(|worker| worker.number != number);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.abort.cancel();
    }
}

impl Drop for Worker {
    /// Waits for the thread, so that no connection outlives the server. The thread has ended, or
    /// does so at its next wait.
    fn drop(&mut self) {
        // An error means that the thread panicked, which was reported when it ended.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Serves connections until there are no more jobs and all have ended, or until `abort` is
/// cancelled.
fn serve(runtime: Runtime, mut jobs: UnboundedReceiver<Job>, abort: &CancellationToken) {
    runtime.block_on(async {
        let mut connections = JoinSet::new();
        let serve = async {
            loop {
                tokio::select! {
                    biased;
                    job = jobs.recv() => match job {
                        Some(job) => job(&mut connections),
                        None => break,
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
            while connections.join_next().await.is_some() {}
        };
        tokio::select! {
            () = serve => {}
            () = abort.cancelled() => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    fn name() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    /// Places a connection, and returns the thread that serves it until the second part is dropped.
    async fn served(workers: &Workers) -> (String, Option<oneshot::Sender<()>>) {
        let (place, seat) = workers.place();
        let Place::Thread(jobs) = place else {
            // Keep the seat as long as the test runs.
            std::mem::forget(seat);
            return ("here".to_owned(), None);
        };
        let (tell, told) = oneshot::channel();
        let (hold, held) = oneshot::channel::<()>();
        let sent = jobs.send(Box::new(move |connections| {
            connections.spawn(async move {
                let _seat = seat;
                let _ = tell.send(name());
                let _ = held.await;
            });
        }));
        assert!(sent.is_ok());
        (told.await.expect("it runs"), Some(hold))
    }

    #[tokio::test]
    async fn each_connection_goes_to_the_worker_with_the_fewest() {
        let mut workers = Workers::start(3);
        let mut holds = Vec::new();
        let mut names = Vec::new();
        for _ in 0..6 {
            let (name, hold) = served(&workers).await;
            names.push(name);
            holds.push(hold);
        }
        let each = ["here", "netlock-io-1", "netlock-io-2"];
        assert_eq!(names, [each, each].concat());
        assert_eq!(workers.connections(), 6);
        drop(holds);
        tokio::time::timeout(Duration::from_secs(10), workers.drain())
            .await
            .expect("the threads end with their connections");
        assert_eq!(workers.connections(), 2);
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_started_again() {
        let mut workers = Workers::start(2);
        let (first, _hold) = served(&workers).await;
        assert_eq!(first, "here");
        let (Place::Thread(jobs), seat) = workers.place() else {
            panic!("the other worker has no connection");
        };
        let job = Box::new(move |_: &mut JoinSet<()>| {
            drop(seat);
            panic!("a fault, on purpose");
        });
        assert!(jobs.send(job).is_ok());
        let ended = tokio::time::timeout(Duration::from_secs(10), workers.ended());
        let number = ended.await.expect("the end is reported");
        workers.restart(number);
        let (second, _hold) = served(&workers).await;
        assert_eq!(second, "netlock-io-1");
    }

    #[tokio::test]
    async fn dropping_the_workers_ends_connections_that_do_not_end() {
        let workers = Workers::start(2);
        std::mem::forget(workers.place().1);
        let (Place::Thread(jobs), _seat) = workers.place() else {
            panic!("the other worker has no connection");
        };
        let (tell, told) = oneshot::channel::<()>();
        let job = Box::new(move |connections: &mut JoinSet<()>| {
            connections.spawn(async move {
                let _tell = tell;
                std::future::pending::<()>().await;
            });
        });
        assert!(jobs.send(job).is_ok());
        drop(workers);
        assert!(told.await.is_err(), "the task was dropped");
    }
}
