//! One worker and two: `cargo bench --bench netlock -- workers NETLOCKD`, with the path of the
//! program. The load shares the cores with the server, so its speed is not that of two workers. The
//! busiest thread of the server limits it when the load runs on cores of its own.

use super::features::{Features, Files};
use super::side::{self, Run};
use super::{ROUND, ROUNDS, raw};

/// One round of one side.
#[derive(Clone, Copy)]
struct Round {
    per_second: f64,
    /// The processor time of all threads of the server for one pair, in microseconds.
    all: f64,
    /// The same of its busiest thread.
    busiest: f64,
}

fn round(run: &Run<Vec<f64>>) -> Round {
    let threads: Vec<f64> = run
        .after
        .iter()
        .enumerate()
        .map(|(thread, time)| time - run.before.get(thread).unwrap_or(&0.0))
        .collect();
    let a_pair = |time: f64| time * 1e6 / run.done;
    Round {
        per_second: run.per_second,
        all: a_pair(threads.iter().sum()),
        busiest: a_pair(threads.iter().copied().fold(0.0, f64::max)),
    }
}

pub(crate) fn table(path: &str) {
    let files = Files::new();
    println!(
        "workers                 pairs/s: one         two   of that   us a pair, busiest thread: one     two   one / two   wanted   all threads: one     two"
    );
    for (name, features, connections, window, wanted) in [
        ("", Features::PLAIN, 1, 1, "1"),
        ("", Features::PLAIN, 64, 1, "-"),
        ("TLS", Features::TLS, 64, 1, "1.6"),
        ("", Features::PLAIN, 16, 16, "-"),
    ] {
        let mut sides = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (workers, rounds) in ["1", "2"].iter().zip(&mut sides) {
                let data = tempfile::tempdir().expect("a folder");
                let (program, target) =
                    files.start(path, features, data.path(), &["--workers", workers]);
                let cpu = || program.cpu_of_threads();
                let run = raw::measured(target, connections, window, ROUND, cpu);
                rounds.push(round(&run));
            }
        }
        let median = |rounds: &[Round], what: fn(&Round) -> f64| {
            side::median(rounds.iter().map(what).collect())
        };
        let of = |what: fn(&Round) -> f64| (median(&sides[0], what), median(&sides[1], what));
        let (speed, busiest, all) = (
            of(|round| round.per_second),
            of(|round| round.busiest),
            of(|round| round.all),
        );
        println!(
            "{connections:>4} x {window:<4} {name:<3} {:>19.0} {:>11.0} {:>9.2} {:>36.2} {:>7.2} {:>11.2} {wanted:>8} {:>18.2} {:>7.2}",
            speed.0,
            speed.1,
            speed.1 / speed.0,
            busiest.0,
            busiest.1,
            busiest.0 / busiest.1,
            all.0,
            all.1,
        );
    }
    println!();
}
