//! One side of a comparison: a server on a thread of its own, and a load on this one.

use std::future::Future;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::ROUNDS;

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
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

/// Returns the processor time of the threads of this process with a name so far, in seconds.
pub(crate) fn cpu_of_thread(name: &str) -> f64 {
    let process = std::process::id();
    let named = threads(process).into_iter().filter(|thread| {
        let file = format!("/proc/{process}/task/{thread}/comm");
        std::fs::read_to_string(file).is_ok_and(|comm| comm.trim() == name)
    });
    named.map(|thread| cpu(process, thread)).sum()
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
