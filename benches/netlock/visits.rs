//! The size of a visit to the table: pairs per second and processor time for different numbers of
//! connections and requests in flight, beside Redis and a bare echo:
//! `cargo bench --bench netlock -- visits NETLOCKD [EARLIER]`, with the paths of one or two builds.
//! `taskset -c 0` in front of it puts servers and load on one core.

use std::net::SocketAddr;

use super::programs::Program;
use super::redis::{self, Redis, Release};
use super::side::{self, medians};
use super::{ROUND, ROUNDS, echo, raw};

pub(crate) fn table(paths: &[String]) {
    println!(
        "visits, pairs/s (us of processor a pair)   echo frames/s          redis        netlockd   x redis   2 x pairs / frames   wanted x redis        earlier   of that (time)"
    );
    for (connections, window, wanted) in [
        (1, 1, "-"),
        (1, 64, "-"),
        (1, 256, "3"),
        (4, 64, "3"),
        (16, 16, "-"),
    ] {
        let (mut echoed, mut stored) = (Vec::new(), Vec::new());
        let mut served = vec![Vec::new(); paths.len()];
        for _ in 0..ROUNDS {
            echoed.push(side::serving(echo::serve, |address| {
                echo::load(address, connections, window, ROUND)
            }));
            let server = Redis::start();
            let run = redis::measured(&server, Release::Delete, connections, window, ROUND);
            stored.push(run.round());
            drop(server);
            for (path, rounds) in paths.iter().zip(&mut served) {
                let program = Program::start(path, &[]);
                let address: SocketAddr = program.address.parse().expect("an address");
                let run = raw::measured(address, connections, window, ROUND, || program.cpu());
                rounds.push(run.round());
            }
        }
        let echo = side::median(echoed);
        let redis = medians(&stored);
        let later = medians(&served[0]);
        print!(
            "{connections:>4} x {window:<4} {echo:>45.0} {:>9.0} ({:.2}) {:>9.0} ({:.2}) {:>8.2} {:>16.2} {wanted:>16}",
            redis.0,
            redis.1,
            later.0,
            later.1,
            later.0 / redis.0,
            2.0 * later.0 / echo,
        );
        if let Some(earlier) = served.get(1).map(|rounds| medians(rounds)) {
            print!(
                " {:>15.0} ({:.2}) {:>9.2} ({:.2})",
                earlier.0,
                earlier.1,
                later.0 / earlier.0,
                later.1 / earlier.1
            );
        }
        println!();
    }
    println!();
}
