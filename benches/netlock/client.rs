//! What the client costs: the public API beside a load of raw frames, which stands for a client
//! that does nothing but send and receive, and beside a bare client with a task for each caller,
//! which is the floor of an API like this one.

use std::net::SocketAddr;
use std::process::Command;

use super::{ROUND, ROUNDS, api, bare, raw, side};
use api::End;

/// The argument of the process that measures with client and server on one core.
pub(crate) const ON_ONE_CORE: &str = "client-on-one-core";

/// The rates of one round, and the processor time of a pair in microseconds.
#[derive(Clone, Copy)]
struct Side {
    rate: f64,
    processor: f64,
}

pub(crate) fn table() {
    rows("two cores");
    let myself = std::env::current_exe().expect("the path of this program");
    let on_one_core = Command::new("taskset")
        .args(["-c", "0"])
        .arg(myself)
        .arg(ON_ONE_CORE)
        .status();
    if !on_one_core.is_ok_and(|status| status.success()) {
        println!("(one core: taskset is required)");
    }
    println!();
}

/// Measures with client and server where the system puts them.
pub(crate) fn rows(place: &str) {
    println!(
        "client, {place:<12}  raw pairs/s (us)   bare tasks: of raw (us)   release: of raw (us)  wanted   of bare   drop: of release (us)  wanted   2 workers: of 1 (us)  wanted"
    );
    for tasks in [64, 256] {
        let rounds: Vec<[Side; 5]> = (0..ROUNDS)
            .map(|_| {
                [
                    measured(|address| raw::load(address, 1, tasks, ROUND)),
                    measured(|address| bare::load(address, tasks, ROUND)),
                    measured(|address| api::load(address, tasks, ROUND, 1, End::Release)),
                    measured(|address| api::load(address, tasks, ROUND, 1, End::Drop)),
                    measured(|address| api::load(address, tasks, ROUND, 2, End::Release)),
                ]
            })
            .collect();
        let median =
            |value: &dyn Fn(&[Side; 5]) -> f64| side::median(rounds.iter().map(value).collect());
        let ratio = |one: usize, other: usize| median(&|round| round[one].rate / round[other].rate);
        let processor = |of: usize| median(&|round| round[of].processor);
        println!(
            "{tasks:>4} tasks {:>21.0} ({:>4.2}) {:>18.2} ({:>4.2}) {:>15.2} ({:>4.2}) {:>7} {:>9.2} {:>15.2} ({:>4.2}) {:>7} {:>15.2} ({:>4.2}) {:>7}",
            median(&|round| round[0].rate),
            processor(0),
            ratio(1, 0),
            processor(1),
            ratio(2, 0),
            processor(2),
            0.7,
            ratio(2, 1),
            ratio(3, 2),
            processor(3),
            0.9,
            ratio(4, 2),
            processor(4),
            0.7,
        );
    }
}

/// Measures a load against a server of its own. The processor time is that of both.
fn measured(load: impl FnOnce(SocketAddr) -> f64) -> Side {
    let before = processor_micros();
    let rate = side::serving(raw::serve, load);
    let pairs = rate * ROUND.as_secs_f64();
    Side {
        rate,
        processor: (processor_micros() - before) / pairs,
    }
}

/// Returns the processor time of this process so far.
fn processor_micros() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
