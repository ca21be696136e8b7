//! One side of a comparison: a server on a thread of its own, and a load on this one.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::ROUNDS;

/// The number of connections that are made at the same time. More than the listener keeps would
/// have to be tried again, after a second.
const CONNECTING: usize = 64;

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Raises the limit of open files as far as possible.
pub(crate) fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("more descriptors");
}

/// Returns a runtime with one thread.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Runs `load` against `serve` on a free port; the server ends afterwards.
pub(crate) fn serving<S, F, T>(serve: S, load: impl FnOnce(SocketAddr) -> T) -> T
where
    S: FnOnce(TcpListener) -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let (tell, told) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let named = std::thread::Builder::new().name("server".to_owned());
    let server = named.spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let _ = tell.send(listener.local_addr().expect("an address"));
            tokio::select! {
                () = serve(listener) => {}
                _ = stopped => {}
            }
        });
    });
    let server = server.expect("a thread");
    let result = load(told.blocking_recv().expect("the server starts"));
    drop(stop);
    server.join().expect("the server ends");
    result
}

/// What clients did in a round, and the processor time of the server before and after it.
pub(crate) struct Run<C> {
    pub(crate) done: f64,
    pub(crate) per_second: f64,
    pub(crate) before: C,
    pub(crate) after: C,
}

/// What clients did per second, and the processor time of the server for one, in microseconds.
pub(crate) type Round = (f64, f64);

impl Run<f64> {
    pub(crate) fn round(&self) -> Round {
        (
            self.per_second,
            (self.after - self.before) * 1e6 / self.done,
        )
    }
}

/// Returns the medians of rounds.
pub(crate) fn medians(rounds: &[Round]) -> Round {
    (
        median(rounds.iter().map(|round| round.0).collect()),
        median(rounds.iter().map(|round| round.1).collect()),
    )
}

/// Connects the clients of a load, and then starts all of them at the same time.
pub(crate) struct Start {
    connecting: Semaphore,
    connected: Barrier,
    started: Barrier,
    time: Duration,
}

impl Start {
    /// Connects. `greet` makes the connection ready, with an answer of the server.
    pub(crate) async fn connect<S>(
        &self,
        address: SocketAddr,
        greet: impl AsyncFnOnce(TcpStream) -> S,
    ) -> S {
        let permit = self.connecting.acquire().await.expect("it is open");
        let stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let ready = greet(stream).await;
        drop(permit);
        ready
    }

    /// Waits until all clients are connected. Returns the end of the round.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    pub(crate) async fn wait(&self) -> Instant {
        self.connected.wait().await;
        self.started.wait().await;
        Instant::now() + self.time
    }
}

/// Runs clients, which return the number of what they did and their connections. Neither the time
/// nor the processor time includes connecting and disconnecting.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn together<F, S, C>(
    clients: usize,
    time: Duration,
    cpu: impl Fn() -> C,
    client: impl Fn(usize, Arc<Start>) -> F,
) -> Run<C>
where
    F: Future<Output = (usize, S)> + Send + 'static,
    S: Send + 'static,
{
    runtime().block_on(async {
        let start = Arc::new(Start {
            connecting: Semaphore::new(CONNECTING),
            connected: Barrier::new(clients + 1),
            started: Barrier::new(clients + 1),
            time,
        });
        let mut tasks: JoinSet<_> = (0..clients)
            .map(|number| client(number, start.clone()))
            .collect();
        start.connected.wait().await;
        let (before, begin) = (cpu(), Instant::now());
        start.started.wait().await;
        let (mut done, mut streams) = (0, Vec::new());
        while let Some(ended) = tasks.join_next().await {
            let (count, stream) = ended.expect("the client ends");
            done += count;
            streams.push(stream);
        }
        Run {
            done: done as f64,
            per_second: done as f64 / begin.elapsed().as_secs_f64(),
            before,
            after: cpu(),
        }
    })
}

/// Returns the medians of two sides that alternate.
pub(crate) fn interleaved(
    mut one: impl FnMut() -> f64,
    mut other: impl FnMut() -> f64,
) -> (f64, f64) {
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (one(), other())).collect();
    (
        median(rounds.iter().map(|round| round.0).collect()),
        median(rounds.iter().map(|round| round.1).collect()),
    )
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the processor time of each thread of a process so far, in seconds. The order of the
/// threads is that in which they were started.
pub(crate) fn cpu_of_threads(process: u32) -> Vec<f64> {
    let mut threads = threads(process);
    threads.sort_unstable();
    threads.iter().map(|thread| cpu(process, *thread)).collect()
}

fn threads(process: u32) -> Vec<u32> {
    std::fs::read_dir(format!("/proc/{process}/task"))
        .expect("the process lives")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Returns the processor time of a thread. One that has just ended counts as idle.
fn cpu(process: u32, thread: u32) -> f64 {
    let times = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"))
        .unwrap_or_default();
    let first = times.split(' ').next().unwrap_or_default();
    first.parse::<f64>().unwrap_or(0.0) / 1e9
}

/// Returns how long this thread has run on a processor.
pub(crate) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a time")
}
