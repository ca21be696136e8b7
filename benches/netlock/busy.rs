//! The cost of many busy connections, each with one request in flight:
//! `cargo bench --bench netlock -- busy NETLOCKD [EARLIER]`, with the paths of one or two builds.

use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::programs::Program;
use super::visits::{medians, round};
use super::{ROUND, ROUNDS, echo, raw, side};

pub(crate) fn table(paths: &[String]) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("more descriptors");
    println!(
        "busy connections          us of the server a pair   of a hundred   wanted   two frames of the echo   of a hundred        earlier   of a hundred"
    );
    let mut hundred = None;
    for connections in [100, 5_000, 10_000] {
        let mut echoed = Vec::new();
        let mut served = vec![Vec::new(); paths.len()];
        for _ in 0..ROUNDS {
            echoed.push(side::serving(echo::serve, |address| {
                round(
                    || side::cpu_of_thread("server"),
                    || echo::load(address, connections, 1, ROUND) / 2.0,
                )
            }));
            for (path, rounds) in paths.iter().zip(&mut served) {
                let program = Program::start(path, &[]);
                let address: SocketAddr = program.address.parse().expect("an address");
                rounds.push(round(
                    || program.cpu(),
                    || raw::load(address, connections, 1, ROUND),
                ));
            }
        }
        let costs: Vec<f64> = std::iter::once(&echoed)
            .chain(&served)
            .map(|rounds| medians(rounds).1)
            .collect();
        let first = hundred.get_or_insert_with(|| costs.clone());
        let ratio = |side: usize| costs[side] / first[side];
        print!(
            "{connections:>6} {:>42.2} {:>14.2} {:>8} {:>24.2} {:>14.2}",
            costs[1],
            ratio(1),
            "1.3",
            costs[0],
            ratio(0)
        );
        if costs.len() > 2 {
            print!(" {:>14.2} {:>14.2}", costs[2], ratio(2));
        }
        println!();
    }
    println!();
}
